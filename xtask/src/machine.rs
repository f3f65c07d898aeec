//! What a machine needs before anything can be built or run, and getting what is missing.
//!
//! As root on Debian missing packages are installed; otherwise the error lists them.

mod debian;
mod newman;
mod postgres;
mod python;

use anyhow::Result;
use forge_tests::balancer;

use crate::command;
use debian::Needs;

pub use newman::newman;
pub use postgres::with_headers;
pub use python::worker_python;

/// A C toolchain and libclang, for the extension's bindings.
pub fn toolchain() -> Result<()> {
    let mut needs = Needs::default();
    if !command::exists("cc") {
        needs.add("build-essential", "a C compiler and linker");
    }
    if !has_libclang() {
        needs.add("libclang-dev", "libclang, which reads PostgreSQL's headers");
    }
    needs.meet()
}

/// Node.js, for data and peers that come as npm packages.
pub fn node_js() -> Result<()> {
    let mut needs = Needs::default();
    if !command::exists("node") || !command::exists("npm") {
        needs.add("nodejs", "Node.js");
        needs.add("npm", "npm");
    }
    needs.meet()
}

/// HAProxy, which tests put in front of nodes.
pub fn load_balancer() -> Result<()> {
    let mut needs = Needs::default();
    if !balancer::program().is_file() {
        needs.add("haproxy", "HAProxy, the load balancer of the tests");
    }
    needs.meet()
}

fn has_libclang() -> bool {
    if std::env::var_os("LIBCLANG_PATH").is_some() {
        return true;
    }
    let folders = [
        "/usr/lib",
        "/usr/lib64",
        "/usr/local/lib",
        "/usr/lib/x86_64-linux-gnu",
    ];
    let mut places: Vec<std::path::PathBuf> = folders.iter().map(Into::into).collect();
    places.push(format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH).into());
    for entry in std::fs::read_dir("/usr/lib")
        .into_iter()
        .flatten()
        .flatten()
    {
        if entry.file_name().to_string_lossy().starts_with("llvm-") {
            places.push(entry.path().join("lib"));
        }
    }
    places.iter().any(|dir| {
        std::fs::read_dir(dir)
            .into_iter()
            .flatten()
            .flatten()
            .any(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                name.starts_with("libclang") && name.contains(".so")
            })
    })
}
