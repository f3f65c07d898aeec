//! `forge-bench`: Forge's benchmarks, each beside its peer or its limit in the same run.
//!
//! What it owns: choosing a suite, running it and printing the rows. Absolute numbers depend on the
//! machine; ratios to a peer measured in the same run are what carries over.
#![forbid(unsafe_code)]

mod bench;
mod calls;
mod failover;
mod fixture;
mod gate;
mod interleave;
mod jobs;
mod node;
mod peer;
mod program;
mod report;
mod session;
mod statistic;
mod suite;

use anyhow::Context;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(version, about = "Forge's benchmarks, each beside its peer")]
struct Arguments {
    #[command(subcommand)]
    suite: SuiteName,
}

#[derive(Subcommand)]
enum SuiteName {
    /// The queue: throughput, latency, and what a job costs, against pgmq, awa and graphile-worker.
    Jobs(bench::Options),
    /// How long work and leadership are without an owner when a node is killed or stopped.
    Failover(bench::Options),
    /// Calls through a node, against a bare HTTP handler and pgbench.
    Calls(bench::Options),
    /// The bare HTTP handler that `calls` starts.
    #[command(hide = true)]
    Bare,
    /// A node of the fleet that `failover` starts.
    #[command(hide = true)]
    Node,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the benchmark's runtime did not start")?;
    runtime.block_on(async {
        match arguments.suite {
            SuiteName::Jobs(options) => suite::run(jobs::ENTRIES, options).await,
            SuiteName::Failover(options) => suite::run(failover::ENTRIES, options).await,
            SuiteName::Calls(options) => suite::run(calls::ENTRIES, options).await,
            SuiteName::Bare => calls::serve().await,
            SuiteName::Node => return Ok(failover::serve().await),
        }
        .map(|()| ExitCode::SUCCESS)
    })
}
