//! Running a suite: entry after entry, each bounded in time, none able to end the run.

use crate::bench::{Bench, Options};
use crate::gate::{Gate, Row};
use crate::{report, session};
use anyhow::{Context, anyhow};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

/// A quick run ends within this, with room for printing.
const QUICK_BUDGET: Duration = Duration::from_secs(57);
/// The most of it that one entry may use, so that one that hangs leaves time for the others.
const QUICK_SHARE: Duration = Duration::from_secs(30);

/// One file of rows that are measured together.
pub struct Entry {
    /// The rows it answers, in the order they are printed.
    pub gates: &'static [Gate],
    /// The longest a full run of it may take.
    pub limit: Duration,
    /// Measures. A gate without a row in the answer counts as not measured.
    pub run: for<'a> fn(&'a Bench) -> BoxFuture<'a, anyhow::Result<Vec<Row>>>,
}

/// Runs the entries that `options` select and prints their rows.
///
/// # Errors
/// The database cannot be reached at all, or standard output cannot be written. A row that cannot be
/// measured is not an error: it is printed as failed, with its reason.
pub async fn run(entries: &[Entry], options: Options) -> anyhow::Result<()> {
    let bench = Bench::new(&options)?;
    eprintln!("{}", server(&bench.url).await?);
    let started = Instant::now();
    let mut rows = Vec::new();
    for entry in entries
        .iter()
        .filter(|entry| selected(entry, &options.only))
    {
        let limit = if bench.quick {
            entry
                .limit
                .min(QUICK_SHARE)
                .min(QUICK_BUDGET.saturating_sub(started.elapsed()))
        } else {
            entry.limit
        };
        let measured = measure(entry, &bench, limit).await;
        for row in &measured {
            eprintln!(
                "{:4.0} s  {}",
                started.elapsed().as_secs_f64(),
                report::line(row)
            );
        }
        rows.extend(measured);
    }
    if options.json {
        report::json(&rows)
    } else {
        report::table(&rows, options.quick)
    }
}

fn selected(entry: &Entry, only: &[String]) -> bool {
    only.is_empty()
        || entry
            .gates
            .iter()
            .any(|gate| only.iter().any(|text| gate.name.contains(text.as_str())))
}

/// Measures an entry and answers exactly one row per gate.
async fn measure(entry: &Entry, bench: &Bench, limit: Duration) -> Vec<Row> {
    if limit.is_zero() {
        let error = anyhow!(
            "not begun: the {} s of --quick were over",
            QUICK_BUDGET.as_secs()
        );
        return entry
            .gates
            .iter()
            .map(|gate| gate.failed(None, &error))
            .collect();
    }
    let run = AssertUnwindSafe((entry.run)(bench)).catch_unwind();
    let outcome = match tokio::time::timeout(limit, run).await {
        Err(_) => Err(anyhow!("not measured within {:.0} s", limit.as_secs_f64())),
        Ok(Err(panic)) => Err(anyhow!("the benchmark panicked: {}", panic_text(&*panic))),
        Ok(Ok(outcome)) => outcome,
    };
    let (measured, error) = match outcome {
        Ok(rows) => (rows, anyhow!("the benchmark did not answer this row")),
        Err(error) => (Vec::new(), error),
    };
    entry
        .gates
        .iter()
        .map(|gate| {
            let row = measured
                .iter()
                .find(|row| row.name == gate.name && row.peer == gate.peer);
            row.cloned().unwrap_or_else(|| gate.failed(None, &error))
        })
        .collect()
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a message")
}

/// One line about the server: what the numbers depend on.
async fn server(url: &str) -> anyhow::Result<String> {
    let client = session::open(url).await?;
    let row = client
        .query_one(
            "select current_setting('server_version'), current_setting('shared_preload_libraries'),
                    current_setting('synchronous_commit'), current_setting('fsync'),
                    current_setting('shared_buffers')",
            &[],
        )
        .await
        .context("the server's settings cannot be read")?;
    let setting = |column: usize| row.get::<_, String>(column);
    Ok(format!(
        "PostgreSQL {}, shared_preload_libraries '{}', synchronous_commit {}, fsync {}, shared_buffers {}, {} cores",
        setting(0),
        setting(1),
        setting(2),
        setting(3),
        setting(4),
        std::thread::available_parallelism().map_or(0, usize::from),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::Goal;

    const GATES: &[Gate] = &[
        Gate {
            name: "one",
            unit: "ms",
            peer: "limit",
            goal: Goal::Below(2.0),
        },
        Gate {
            name: "two",
            unit: "ms",
            peer: "limit",
            goal: Goal::Below(2.0),
        },
    ];

    fn bench() -> Bench {
        Bench {
            url: String::new(),
            daemon_url: String::new(),
            quick: false,
            peers: ".".into(),
        }
    }

    #[tokio::test]
    async fn a_panicking_entry_fails_its_rows_and_no_more() {
        let entry = Entry {
            gates: GATES,
            limit: Duration::from_secs(5),
            run: |_| Box::pin(async { panic!("broken") }),
        };
        let rows = measure(&entry, &bench(), entry.limit).await;
        assert_eq!(rows.len(), 2);
        assert!(rows.iter().all(|row| !row.pass));
        assert_eq!(
            rows[0].error.as_deref(),
            Some("the benchmark panicked: broken")
        );
    }

    #[tokio::test]
    async fn a_gate_without_a_row_has_failed() {
        let entry = Entry {
            gates: GATES,
            limit: Duration::from_secs(5),
            run: |_| Box::pin(async { Ok(vec![GATES[1].limited(1.0)]) }),
        };
        let rows = measure(&entry, &bench(), entry.limit).await;
        assert!(rows[0].error.is_some() && !rows[0].pass);
        assert!(rows[1].error.is_none() && rows[1].pass);
    }

    #[tokio::test]
    async fn an_entry_that_does_not_end_is_ended() {
        let entry = Entry {
            gates: GATES,
            limit: Duration::from_millis(10),
            run: |_| Box::pin(futures::future::pending()),
        };
        let rows = measure(&entry, &bench(), entry.limit).await;
        assert!(rows.iter().all(|row| row.error.is_some()));
    }
}
