//! All tests, by kind: lint, unit, regress, isolation, integration, chaos.
//!
//! Kinds run one after the other on one cluster per major version; a kind that cannot run counts
//! as one failure and the others still run. The last lines are the counts.

mod lint;
mod regress;
mod report;
mod rust;

use anyhow::Result;
use clap::{Args, ValueEnum};
use forge_tests::{Cluster, ClusterOptions};

use crate::{build, command::say, machine};
use report::{Counts, Report};

/// Majors that a whole run covers; the first one gets every kind.
const MAJORS: [u32; 3] = [15, 16, 18];

/// A kind of test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Formatting, clippy, documentation.
    Lint,
    /// Unit and property tests.
    Unit,
    /// SQL and its output, by `pg_regress`.
    Regress,
    /// Interleaved sessions, by `isolationtester`.
    Isolation,
    /// Real daemons on a real server.
    Integration,
    /// Kills, crashes and frozen nodes under load.
    Chaos,
}

/// Which tests to run.
#[derive(Args)]
pub struct Selection {
    /// One kind only.
    kind: Option<Kind>,
    /// Tests whose name contains this.
    name: Option<String>,
    /// Major versions of PostgreSQL for regress and isolation.
    #[arg(long, value_delimiter = ',')]
    pg_major: Vec<u32>,
}

impl Selection {
    fn has(&self, kind: Kind) -> bool {
        self.kind.is_none_or(|only| only == kind)
    }

    fn majors(&self) -> Vec<u32> {
        match (self.pg_major.is_empty(), self.kind) {
            (false, _) => self.pg_major.clone(),
            (true, None) => MAJORS.to_vec(),
            (true, Some(_)) => vec![MAJORS[0]],
        }
    }

    fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }
}

/// Runs the selection; exit code 1 when anything failed.
pub fn run(selection: &Selection) -> Result<u8> {
    machine::toolchain()?;
    // Linting the extension needs the headers as much as building it does.
    machine::with_headers(MAJORS[0])?;
    let mut report = Report::default();
    if selection.has(Kind::Lint) {
        lint::all(&mut report);
    }
    if selection.has(Kind::Unit) {
        report.record("unit", || rust::unit(selection.name()));
        if selection.name().is_empty() {
            report.record("examples in the documentation", rust::doc);
        }
    }
    if [Kind::Regress, Kind::Isolation]
        .into_iter()
        .any(|kind| selection.has(kind))
    {
        for major in selection.majors() {
            sql(selection, major, &mut report);
        }
    }
    if [Kind::Integration, Kind::Chaos]
        .into_iter()
        .any(|kind| selection.has(kind))
    {
        programs(selection, &mut report);
    }
    Ok(report.close())
}

/// Regress and isolation: with the library preloaded and, on the first major, without.
fn sql(selection: &Selection, major: u32, report: &mut Report) {
    let modes: &[bool] = if major == MAJORS[0] {
        &[true, false]
    } else {
        &[true]
    };
    if !report.step(&format!("build for {major}"), || {
        build::extension(major, false).map(drop)
    }) {
        return;
    }
    for &preload in modes {
        let title = format!("{major}{}", if preload { "" } else { " without preload" });
        let Some(cluster) = report.made(&title, || start(major, preload)) else {
            continue;
        };
        for (kind, files) in [
            (Kind::Regress, regress::SQL),
            (Kind::Isolation, regress::ISOLATION),
        ] {
            if selection.has(kind) {
                let name = format!("{} on {title}", files.title);
                report.record(&name, || regress::run(&cluster, files, selection.name()));
            }
        }
    }
}

/// Integration and chaos.
fn programs(selection: &Selection, report: &mut Report) {
    let major = MAJORS[0];
    let built = report.step("build", || {
        build::extension(major, false)?;
        build::programs(&["forge-daemon"], false)?;
        build::example("forge-tests", "native_node")
    });
    if !built {
        return;
    }
    let Some(python) = report.made("the worker's Python", machine::worker_python) else {
        return;
    };
    let Some(newman) = report.made("newman", machine::newman) else {
        return;
    };
    if !report.step("a load balancer", machine::load_balancer) {
        return;
    }
    let Some(cluster) = report.made("a cluster", || start(major, true)) else {
        return;
    };
    if let Err(error) = cluster.make_template() {
        report.add("a template database", Err(error));
        return;
    }
    for (kind, chaos) in [(Kind::Integration, false), (Kind::Chaos, true)] {
        if selection.has(kind) {
            let title = if chaos { "chaos" } else { "integration" };
            report.record(title, || {
                rust::daemons(&cluster, &[&python, &newman], chaos, selection.name())
            });
        }
    }
}

fn start(major: u32, preload: bool) -> Result<Cluster> {
    say(&format!("starting PostgreSQL {major}"));
    Cluster::start(ClusterOptions {
        major,
        preload,
        ..ClusterOptions::default()
    })
}

/// The outcome of a step that either works or does not.
fn one(done: Result<()>) -> Result<Counts> {
    done.map(|()| Counts {
        passed: 1,
        failed: 0,
    })
}
