//! The repository's commands. What people run and what CI runs are the same.
#![forbid(unsafe_code)]

mod bench;
mod build;
mod command;
mod demo;
mod dev;
mod machine;
mod test;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// From a fresh machine to a running system with real input.
    Demo {
        /// End after the tour, with success only if every count agrees.
        #[arg(long)]
        once: bool,
        #[command(flatten)]
        place: demo::Place,
    },
    /// All tests, or one kind of them.
    Test(test::Selection),
    /// A private cluster and daemon nodes.
    Dev(dev::Options),
    /// Stop what `dev --detach` started.
    Down {
        /// Directory given to `dev`.
        #[arg(long)]
        dir: Option<PathBuf>,
    },
    /// One benchmark against its peer or limit.
    Bench(bench::Options),
    /// Build the extension's library.
    BuildExt(Extension),
    /// Build the extension and install it into this machine's PostgreSQL.
    InstallExt(Extension),
    /// Keep the SQL scripts of the version under way, which is released with this.
    ReleaseSql,
}

/// Which build of the extension.
#[derive(Args, Clone, Copy)]
pub struct Extension {
    /// Major version of PostgreSQL.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(15..=18))]
    pub pg_major: u32,
    /// Optimised as for production.
    #[arg(long)]
    pub release: bool,
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Demo { once, place } => demo::run(once, &place),
        Task::Test(selection) => test::run(&selection),
        Task::Dev(options) => dev::run(&options).map(|()| 0),
        Task::Down { dir } => dev::down(dir.as_deref()).map(|()| 0),
        Task::Bench(options) => bench::run(&options),
        Task::BuildExt(extension) => build_ext(extension).map(|()| 0),
        Task::InstallExt(extension) => install_ext(extension).map(|()| 0),
        Task::ReleaseSql => release_sql().map(|()| 0),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn build_ext(extension: Extension) -> Result<()> {
    println!(
        "{}",
        build::extension(extension.pg_major, extension.release)?.display()
    );
    Ok(())
}

fn release_sql() -> Result<()> {
    for path in forge_tests::script::release()? {
        println!("{}", path.display());
    }
    Ok(())
}

/// Into the system's own directories, which takes the rights to write there.
fn install_ext(extension: Extension) -> Result<()> {
    let library = build::extension(extension.pg_major, extension.release)?;
    let installation = forge_tests::Installation::find(extension.pg_major)?;
    let files = forge_tests::script::extension_files()?;
    forge_tests::extension::install_files(&installation, &library, &files)?;
    println!("{}", installation.pkglib.join("forge.so").display());
    for file in files {
        println!(
            "{}",
            installation
                .share
                .join("extension")
                .join(file.name)
                .display()
        );
    }
    Ok(())
}
