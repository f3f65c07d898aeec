//! Running programs: what they are doing goes to stderr, so that stdout stays the command's own.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, ExitStatus, Stdio},
};

use anyhow::{Context, Result, ensure};

/// Shows what is about to happen.
pub fn say(what: &str) {
    eprintln!("==> {what}");
}

/// Runs a program to its end, its output on stderr.
///
/// # Errors
/// When it cannot be run or does not succeed.
pub fn run(command: &mut Command) -> Result<()> {
    let status = stream(command, |_| ())?;
    ensure!(status.success(), "{} ended with {status}", line(command));
    Ok(())
}

/// Runs a program, showing each line of its output on stderr as it comes and to `see`.
///
/// # Errors
/// When it cannot be run.
pub fn stream(command: &mut Command, mut see: impl FnMut(&str)) -> Result<ExitStatus> {
    let (read, write) = std::io::pipe()?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(write.try_clone()?)
        .stderr(write)
        .spawn()
        .with_context(|| format!("running {}", line(command)))?;
    // The command keeps the write ends, which would keep the pipe open.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    each_line(read, |text| {
        eprintln!("{text}");
        see(text);
    })?;
    Ok(child.wait()?)
}

/// Whether a program is on the path.
#[must_use]
pub fn exists(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// The command as one would type it.
#[must_use]
pub fn line(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(
        command
            .get_args()
            .map(|arg| arg.to_string_lossy().into_owned()),
    );
    words.join(" ")
}

/// Lines need not be UTF-8.
fn each_line(source: impl Read, mut see: impl FnMut(&str)) -> Result<()> {
    let mut reader = BufReader::new(source);
    let mut bytes = Vec::new();
    while reader.read_until(b'\n', &mut bytes)? > 0 {
        see(String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']));
        bytes.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_outputs_are_seen() {
        let mut seen = Vec::new();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo out; echo err >&2; exit 3"]);
        let status = stream(&mut command, |text| seen.push(text.to_owned())).unwrap();
        seen.sort();
        assert_eq!(
            (status.code(), seen),
            (Some(3), vec!["err".to_owned(), "out".to_owned()])
        );
    }
}
