//! The Python environment of the example worker.

use std::{fs, path::PathBuf, process::Command};

use anyhow::Result;
use forge_tests::checkout;

use super::debian::Needs;
use crate::command::{self, run, say};

/// A Python that has what `examples/python-worker/requirements.txt` lists.
pub fn worker_python() -> Result<PathBuf> {
    let requirements = checkout::root().join("examples/python-worker/requirements.txt");
    let wanted = fs::read_to_string(&requirements)?;
    let venv = checkout::target_dir().join("python-worker-venv");
    let (python, stamp) = (venv.join("bin/python"), venv.join("requirements"));
    if python.exists() && fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
        return Ok(python);
    }
    let mut needs = Needs::default();
    if !command::exists("python3") || !can_make_venv() {
        needs.add(
            "python3-venv",
            "Python environments, for the example worker",
        );
    }
    needs.meet()?;
    say("making the Python environment of the example worker");
    run(Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(&venv))?;
    run(Command::new(&python)
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-r",
        ])
        .arg(&requirements))?;
    fs::write(stamp, wanted)?;
    Ok(python)
}

fn can_make_venv() -> bool {
    Command::new("python3")
        .args(["-c", "import venv, ensurepip"])
        .output()
        .is_ok_and(|out| out.status.success())
}
