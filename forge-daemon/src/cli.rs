//! The command line: serving, looking, and the few things an operator does by hand.
//!
//! Every command talks to the database of the configuration (or `--database-url`); tables are for people, `--json` is
//! for programs. Exit status: 0 done, 1 refused or not found, 2 wrong usage, 64 wrong configuration, 69 database away.

/// Prints a line to standard output. A reader that has gone away, such as `head`, is no error.
macro_rules! say {
    ($($line:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stdout(), $($line)*);
    }};
}

mod arguments;
mod codegen;
mod config;
mod console;
mod doctor;
mod drain;
mod failure;
mod functions;
mod jobs;
mod keys;
mod schedules;
mod serve;
mod status;
mod table;
mod token;

use std::process::ExitCode;

use clap::Parser;

use self::{
    arguments::{Arguments, Command},
    failure::Failure,
};

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the runtime cannot start: {error}");
            return ExitCode::from(71);
        }
    };
    let status = runtime.block_on(dispatch(arguments));
    // Blocking work of a forced stop must not hold the process.
    runtime.shutdown_background();
    status
}

async fn dispatch(arguments: Arguments) -> ExitCode {
    let target = arguments.target;
    let outcome = match arguments.command {
        Command::Serve => return serve::serve(&target).await,
        Command::Dev => return serve::dev(&target).await,
        Command::Status => status::show(&target).await,
        Command::Doctor => doctor::run(&target).await,
        Command::Drain(what) => drain::run(&target, what).await,
        Command::Config(what) => config::run(&target, &what),
        Command::Jobs(what) => jobs::run(&target, what).await,
        Command::Schedules(what) => schedules::run(&target, what).await,
        Command::Functions(what) => functions::run(&target, what).await,
        Command::Token(what) => token::run(&target, what).await,
        Command::Keys(what) => keys::run(&target, what).await,
        Command::Codegen(what) => codegen::run(&target, what).await,
        Command::Version => version(target.json),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn version(json: bool) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    if json {
        say!("{}", serde_json::json!({ "version": version }));
    } else {
        say!("forge-daemon {version}");
    }
    Ok(())
}
