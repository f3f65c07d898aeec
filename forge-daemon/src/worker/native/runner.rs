//! Runs native jobs: each is polled once where it was claimed, and becomes a task only when it has to wait.
//!
//! A handler that is done at once costs neither a task nor a channel. One that computes for long without waiting would
//! hold up the claim loop, so its kind is run in tasks from then on.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use forge_core::Handler;
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;

use super::{Failure, Job, registry::Work};
use crate::worker::{
    catalog::Catalog,
    claim::{Offer, Runner, Slots},
    desk::{Desk, Ticket, log_end},
    flush::Report,
    job::{Batch, Claimed, Lease},
    json::JsonText,
    kind::Kind,
    outcome::Outcome,
    supervise::{panicked, supervise},
};

/// A first poll longer than this makes its kind run in tasks …
const HEAVY: Duration = Duration::from_micros(500);
/// … for so many jobs, then it is tried again.
const HEAVY_JOBS: u32 = 10_000;

/// One lane of native jobs.
pub struct NativeRunner {
    desk: Arc<Desk>,
    slots: Slots,
    heavy: HashMap<Arc<str>, u32>,
}

/// What happened at the first poll.
enum First {
    Done(Outcome),
    Waiting(Work),
}

impl NativeRunner {
    /// A lane that shares `slots` with others.
    pub fn new(desk: Arc<Desk>, slots: Slots) -> Self {
        Self {
            desk,
            slots,
            heavy: HashMap::new(),
        }
    }

    fn begin(&mut self, ticket: &Arc<Ticket>, job: Claimed) -> First {
        let Handler::Native(name) = &job.kind.handler else {
            return First::Done(Outcome::Released);
        };
        let Some(handler) = self.desk.context.natives.get(name) else {
            return First::Done(Outcome::Released);
        };
        let args = match job.args.to_value() {
            Ok(args) => args,
            Err(error) => {
                return First::Done(Outcome::dead(format!(
                    "the arguments cannot be read: {error}"
                )));
            }
        };
        let job = Job {
            id: job.id,
            kind: job.kind.name.clone(),
            args,
            attempt: job.attempt.unsigned_abs(),
            max_attempts: job.max_attempts.unsigned_abs(),
            traceparent: job.traceparent,
            ticket: ticket.clone(),
            desk: self.desk.clone(),
        };
        match catch_unwind(AssertUnwindSafe(|| handler.call(job))) {
            Ok(work) => First::Waiting(work),
            Err(panic) => First::Done(panicked(&*panic)),
        }
    }

    /// Polls for the first time, here.
    fn first_poll(&mut self, kind: &Kind, mut work: Work) -> First {
        if let Some(left) = self.heavy.get_mut(&kind.name) {
            *left -= 1;
            if *left == 0 {
                self.heavy.remove(&kind.name);
            }
            return First::Waiting(work);
        }
        let started = Instant::now();
        let poll = catch_unwind(AssertUnwindSafe(|| {
            work.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        }));
        if started.elapsed() > HEAVY {
            self.heavy.insert(kind.name.clone(), HEAVY_JOBS);
        }
        match poll {
            Ok(Poll::Pending) => First::Waiting(work),
            Ok(Poll::Ready(end)) => First::Done(outcome(end, self.desk.result_limit())),
            Err(panic) => First::Done(panicked(&*panic)),
        }
    }

    fn spawn(&self, ticket: Arc<Ticket>, work: Work, permit: Option<OwnedSemaphorePermit>) {
        let desk = self.desk.clone();
        let task = async move {
            let limit = desk.result_limit();
            supervise(&desk, &ticket, async move { outcome(work.await, limit) }).await;
            drop(permit);
        };
        self.desk.tracker.spawn(task);
    }

    fn start(
        &mut self,
        lease: &Arc<Lease>,
        job: Claimed,
        permit: &mut Option<OwnedSemaphorePermit>,
    ) -> Option<Outcome> {
        let ticket = Arc::new(Ticket::new(lease, &job));
        let kind = job.kind.clone();
        let first = match self.begin(&ticket, job) {
            First::Waiting(work) => self.first_poll(&kind, work),
            done => done,
        };
        match first {
            First::Done(outcome) => {
                if !matches!(outcome, Outcome::Completed(_)) {
                    log_end(&ticket, &outcome);
                }
                Some(outcome)
            }
            First::Waiting(work) => {
                let one = permit.as_mut().and_then(|permit| permit.split(1));
                self.spawn(ticket, work, one);
                None
            }
        }
    }
}

impl Runner for NativeRunner {
    async fn room(&mut self) -> usize {
        self.slots.reserve().await
    }

    fn vacate(&mut self) {
        self.slots.vacate();
    }

    fn offer(&mut self, catalog: &Catalog) -> Offer {
        let config = &self.desk.context.config;
        let natives = &self.desk.context.natives;
        let runs = |kind: &&Arc<Kind>| match &kind.handler {
            Handler::Native(name) => {
                natives.get(name).is_some() && config.node.capabilities.contains(&kind.capability)
            }
            _ => false,
        };
        Offer::of(catalog.open().filter(runs).cloned())
    }

    async fn run(&mut self, batch: Batch) {
        let mut permit = self.slots.take();
        let mut ends = Vec::with_capacity(batch.jobs.len());
        let mut tallies: Vec<Tally> = Vec::new();
        let mut since = Instant::now();
        for job in batch.jobs {
            let (pos, kind) = (job.pos, job.kind.clone());
            if let Some(outcome) = self.start(&batch.lease, job, &mut permit) {
                let now = Instant::now();
                Tally::add(&mut tallies, &kind, &outcome, now - since);
                since = now;
                ends.push((pos, outcome));
            }
        }
        drop(permit);
        for tally in tallies {
            tally
                .kind
                .meters
                .tally(tally.completed, tally.failed, tally.took);
        }
        self.desk
            .flush
            .report(Report {
                lease: batch.lease,
                ends,
            })
            .await;
    }
}

/// Ends of one kind within a batch, counted together.
struct Tally {
    kind: Arc<Kind>,
    completed: u32,
    failed: u32,
    took: Duration,
}

impl Tally {
    fn add(tallies: &mut Vec<Tally>, kind: &Arc<Kind>, outcome: &Outcome, took: Duration) {
        let index = tallies
            .iter()
            .position(|tally| Arc::ptr_eq(&tally.kind, kind))
            .unwrap_or_else(|| {
                tallies.push(Tally {
                    kind: kind.clone(),
                    completed: 0,
                    failed: 0,
                    took: Duration::ZERO,
                });
                tallies.len() - 1
            });
        let tally = &mut tallies[index];
        match outcome {
            Outcome::Completed(_) => tally.completed += 1,
            Outcome::Failed { .. } => tally.failed += 1,
            _ => return,
        }
        tally.took += took;
    }
}

fn outcome(end: Result<Value, Failure>, limit: usize) -> Outcome {
    match end {
        Ok(Value::Null) => Outcome::Completed(None),
        Ok(value) => Outcome::completed(Some(JsonText::from(&value)), limit),
        Err(failure) => failure.into(),
    }
}
