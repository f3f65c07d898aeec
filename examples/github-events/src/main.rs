//! The GitHub example: real webhook deliveries through a Forge cluster, while a node dies.
//!
//! One program with the parts of the demonstration as subcommands: `node` is a Forge daemon with this
//! example's Rust handlers linked in, `receiver` an HTTP service that fails a share of its requests,
//! `replay` GitHub's side, and `tour` starts all of them, kills a node on the way and counts.
#![forbid(unsafe_code)]

mod fate;
mod native;
mod node;
mod payload;
mod plan;
mod receiver;
mod replay;
mod sign;
mod tour;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about, version)]
struct Cli {
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// Runs one Forge node with this example's native handlers, configured by FORGE_SECTION__FIELD variables.
    Node,
    /// Takes the calls of `https:` jobs, checks their signatures and fails a seeded share of them.
    Receiver(receiver::Options),
    /// Sends the deliveries to running nodes and prints the answers as JSON.
    Replay(replay::Options),
    /// Runs the whole demonstration against a database with the extension.
    Tour(Box<tour::Options>),
}

#[tokio::main]
async fn main() -> ExitCode {
    // The HTTP client is built with TLS for the daemon's sake and asks for a provider even to speak plain HTTP.
    // One that is installed already does as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let outcome = match Cli::parse().part {
        Part::Node => return node::run().await,
        Part::Receiver(options) => receiver::run(options).await,
        Part::Replay(options) => replay::run(options).await,
        Part::Tour(options) => tour::run(*options).await,
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("github-events: {error:#}");
            ExitCode::FAILURE
        }
    }
}
