//! What is counted per kind. Handles are made once per kind, because looking one up costs more than a small job.

use std::{fmt, time::Duration};

use metrics::{Counter, Histogram};

use super::outcome::Outcome;

/// Counters of one kind.
#[derive(Clone)]
pub struct Meters {
    completed: Counter,
    failed: Counter,
    duration: Histogram,
}

impl Meters {
    /// The meters of `kind`.
    pub fn of(kind: &str) -> Self {
        let kind = kind.to_owned();
        Self {
            completed: metrics::counter!("forge_jobs_completed_total", "kind" => kind.clone()),
            failed: metrics::counter!("forge_jobs_failed_total", "kind" => kind.clone()),
            duration: metrics::histogram!("forge_job_duration_seconds", "kind" => kind),
        }
    }

    /// Counts the end of one attempt that took `duration`.
    pub fn ended(&self, outcome: &Outcome, duration: Duration) {
        match outcome {
            Outcome::Completed(_) => self.tally(1, 0, duration),
            Outcome::Failed { .. } => self.tally(0, 1, duration),
            Outcome::Cancelled | Outcome::Released | Outcome::Snoozed(_) => {}
        }
    }

    /// Counts several ends that took `total` together.
    pub fn tally(&self, completed: u32, failed: u32, total: Duration) {
        if completed > 0 {
            self.completed.increment(completed.into());
        }
        if failed > 0 {
            self.failed.increment(failed.into());
        }
        let count = completed + failed;
        if count > 0 {
            self.duration
                .record_many(total.as_secs_f64() / f64::from(count), count as usize);
        }
    }
}

/// Meters are no part of what a kind is: two kinds are equal whatever was counted.
impl PartialEq for Meters {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl fmt::Debug for Meters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meters")
    }
}
