//! Compiles the gRPC services of `proto/`, without protoc, and keeps their descriptors for server reflection.

use std::{env, fs, path::PathBuf};

use protox::prost::Message;

const PROTOS: [&str; 2] = ["forge/v1/worker.proto", "forge/v1/gateway.proto"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../proto");
    println!("cargo::rerun-if-changed={}", root.display());
    let descriptors = protox::compile(PROTOS, [&root])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("forge.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .build_client(true)
        .build_server(true)
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)?;
    Ok(())
}
