//! Newman, which runs Postman collections, as `tests/newman/package-lock.json` pins it.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result};
use forge_tests::checkout;

use super::node_js;
use crate::command::{run, say};

/// Newman's program, for `node`.
///
/// # Errors
/// When Node.js is missing and cannot be installed, or the packages cannot be fetched.
pub fn newman() -> Result<PathBuf> {
    let source = checkout::root().join("tests/newman");
    let dir = checkout::target_dir().join("newman");
    let (program, stamp) = (
        dir.join("node_modules/newman/bin/newman.js"),
        dir.join("stamp"),
    );
    let wanted = fs::read_to_string(source.join("package-lock.json"))?;
    if program.is_file() && fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
        return Ok(program);
    }
    node_js()?;
    say("installing newman");
    fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    for name in ["package.json", "package-lock.json"] {
        fs::copy(source.join(name), dir.join(name))?;
    }
    run(Command::new("npm").current_dir(&dir).args([
        "ci",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
    ]))?;
    fs::write(stamp, wanted)?;
    Ok(program)
}
