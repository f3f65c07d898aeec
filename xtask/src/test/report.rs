//! Counts per kind, and the closing lines.

use std::time::{Duration, Instant};

use anyhow::{Error, Result};

use crate::command::say;

/// Tests that ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub passed: u32,
    pub failed: u32,
}

struct Row {
    title: String,
    counts: Counts,
    took: Duration,
    error: Option<Error>,
}

/// What a run has done so far.
#[derive(Default)]
pub struct Report {
    rows: Vec<Row>,
}

impl Report {
    /// Runs a kind of tests; one that could not be run counts as one failure.
    pub fn record(&mut self, title: &str, tests: impl FnOnce() -> Result<Counts>) {
        say(title);
        let start = Instant::now();
        let outcome = tests();
        self.push(title, outcome, start.elapsed());
    }

    /// Adds an outcome as it is.
    pub fn add(&mut self, title: &str, outcome: Result<Counts>) {
        self.push(title, outcome, Duration::ZERO);
    }

    /// Does what tests need; only a failure is counted. Answers whether it worked.
    pub fn step(&mut self, title: &str, work: impl FnOnce() -> Result<()>) -> bool {
        self.made(title, work).is_some()
    }

    /// Makes what tests need; only a failure is counted.
    pub fn made<T>(&mut self, title: &str, make: impl FnOnce() -> Result<T>) -> Option<T> {
        let start = Instant::now();
        match make() {
            Ok(made) => Some(made),
            Err(error) => {
                self.push(title, Err(error), start.elapsed());
                None
            }
        }
    }

    /// Prints the counts and answers with the exit code.
    pub fn close(&self) -> u8 {
        println!();
        for row in &self.rows {
            let Counts { passed, failed } = row.counts;
            println!(
                "{:<40} {passed:>5} passed {failed:>4} failed {:>8.1} s",
                row.title,
                row.took.as_secs_f64()
            );
            if let Some(error) = &row.error {
                println!("    {}", format!("{error:#}").replace('\n', "\n    "));
            }
        }
        let sum = |of: fn(&Counts) -> u32| self.rows.iter().map(|row| of(&row.counts)).sum::<u32>();
        let (passed, failed) = (sum(|counts| counts.passed), sum(|counts| counts.failed));
        println!("\n{passed} passed, {failed} failed");
        // A run in which nothing ran is a mistake in the selection.
        u8::from(failed > 0 || passed == 0)
    }

    fn push(&mut self, title: &str, outcome: Result<Counts>, took: Duration) {
        let (counts, error) = match outcome {
            Ok(counts) => (counts, None),
            Err(error) => (
                Counts {
                    passed: 0,
                    failed: 1,
                },
                Some(error),
            ),
        };
        if let Some(error) = &error {
            say(&format!("{title}: {error:#}"));
        }
        self.rows.push(Row {
            title: title.to_owned(),
            counts,
            took,
            error,
        });
    }
}
