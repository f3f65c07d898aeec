//! Formatting, clippy and documentation, warnings as errors.

use super::{MAJORS, one, report::Report};
use crate::{
    build::{cargo, extension_cargo},
    command::run,
};

/// Packages other than the extension, which needs PostgreSQL's headers and its own target
/// directory.
const OTHERS: [&str; 3] = ["--workspace", "--exclude", "forge-pgext"];

/// Each check counts as one test.
pub fn all(report: &mut Report) {
    report.record("formatting", || {
        one(run(cargo("fmt").args(["--all", "--check"])))
    });
    report.record("clippy", || {
        one(run(cargo("clippy").args(OTHERS).args([
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ])))
    });
    report.record("clippy of the extension", || {
        one(run(
            extension_cargo(MAJORS[0], "clippy")?.args(["--", "-D", "warnings"])
        ))
    });
    report.record("documentation", || {
        one(run(cargo("doc")
            .args(OTHERS)
            .arg("--no-deps")
            .env("RUSTDOCFLAGS", "-D warnings")))
    });
}
