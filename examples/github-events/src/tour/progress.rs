//! Shows how the run goes: a bar and a line on a terminal, a line every two seconds elsewhere.

use std::{
    io::IsTerminal,
    sync::{Arc, Mutex, atomic::Ordering},
    time::{Duration, Instant},
};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use tokio_postgres::Client;

use super::table::thousands;
use crate::replay::Counters;

const EVERY: Duration = Duration::from_secs(2);

/// What the queues hold, all queues of the example together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Waiting for a worker.
    pub ready: i64,
    /// Waiting for their time.
    pub later: i64,
    /// Running.
    pub running: i64,
    /// Out of attempts.
    pub dead: i64,
}

impl Backlog {
    /// Reads the queues; Forge keeps these counts as jobs move, so this costs the same at any size.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn read(client: &Client) -> Result<Self> {
        let statement = "SELECT coalesce(sum(ready), 0)::bigint, coalesce(sum(scheduled + retrying), 0)::bigint,
                                coalesce(sum(running), 0)::bigint, coalesce(sum(dead), 0)::bigint
                         FROM forge.queues
                         WHERE queue IN ('code', 'talk', 'people', 'callout', 'native', 'worker')";
        let row = client.query_one(statement, &[]).await?;
        Ok(Self {
            ready: row.get(0),
            later: row.get(1),
            running: row.get(2),
            dead: row.get(3),
        })
    }

    /// Whether nothing waits or runs.
    pub fn is_empty(&self) -> bool {
        self.ready == 0 && self.later == 0 && self.running == 0
    }
}

/// The display.
#[derive(Debug)]
pub struct Progress {
    start: Instant,
    bar: Option<ProgressBar>,
    last: Mutex<Option<Instant>>,
    counters: Arc<Counters>,
    total: u64,
}

impl Progress {
    /// A display of a replay of `total` requests.
    ///
    /// # Errors
    /// Never in practice: the bar's template is fixed.
    pub fn new(counters: Arc<Counters>, total: usize) -> Result<Self> {
        let total = total as u64;
        let bar = if std::io::stderr().is_terminal() {
            let style = ProgressStyle::with_template("{elapsed:>4} {bar:30} {msg}")?;
            Some(ProgressBar::new(total).with_style(style))
        } else {
            None
        };
        Ok(Self {
            start: Instant::now(),
            bar,
            last: Mutex::new(None),
            counters,
            total,
        })
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Something happened: a line that stays.
    pub fn event(&self, text: &str) {
        let line = format!("{:>6.1} s  {text}", self.start.elapsed().as_secs_f64());
        match &self.bar {
            Some(bar) => bar.println(line),
            None => println!("{line}"),
        }
    }

    /// Shows the state now; without a terminal at most every two seconds.
    pub fn show(&self, backlog: Backlog, completed: i64) {
        let sent = self.counters.sent.load(Ordering::Relaxed);
        let text = format!(
            "{} of {} answered · jobs: {} ready, {} later, {} running, {} dead, {} effects in the database",
            thousands(sent),
            thousands(self.total),
            backlog.ready,
            backlog.later,
            backlog.running,
            backlog.dead,
            thousands(completed.unsigned_abs()),
        );
        if let Some(bar) = &self.bar {
            bar.set_position(sent.min(self.total));
            bar.set_message(text);
        } else if self.due() {
            self.event(&text);
        }
    }

    /// Takes the bar off the screen.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn due(&self) -> bool {
        let mut last = self.last.lock().unwrap_or_else(|held| held.into_inner());
        let due = last.is_none_or(|at| at.elapsed() >= EVERY);
        if due {
            *last = Some(Instant::now());
        }
        due
    }
}
