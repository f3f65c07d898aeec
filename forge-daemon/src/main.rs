//! The `forge-daemon` command.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    forge_daemon::cli::main()
}
