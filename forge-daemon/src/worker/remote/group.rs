//! Workers that take the same kinds, and the runner that hands them jobs.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use forge_core::Handler;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::{registry::Takes, stream::Stream};
use crate::worker::{
    catalog::Catalog,
    claim::{Offer, Runner},
    desk::{Desk, Ticket},
    flush::Report,
    job::{Batch, Claimed},
    kind::Kind,
    outcome::Outcome,
    supervise::supervise,
};

/// What a job's message needs beside its arguments, in bytes.
const ENVELOPE: usize = 4096;

/// A group of workers.
#[derive(Debug)]
pub(super) struct Group {
    takes: Takes,
    streams: Mutex<BTreeMap<u64, Arc<Stream>>>,
    /// Work may be ready.
    pub wake: Arc<Notify>,
    /// A place may be free.
    pub freed: Notify,
    /// The last worker has left.
    pub ended: CancellationToken,
}

impl Group {
    pub fn new(takes: Takes) -> Self {
        Self {
            takes,
            streams: Mutex::default(),
            wake: Arc::default(),
            freed: Notify::new(),
            ended: CancellationToken::new(),
        }
    }

    pub fn add(&self, id: u64, stream: Arc<Stream>) {
        self.lock().insert(id, stream);
        self.freed.notify_one();
    }

    /// Takes a worker out; whether it was the last.
    pub fn remove(&self, id: u64) -> bool {
        let mut streams = self.lock();
        streams.remove(&id);
        streams.is_empty()
    }

    fn takes(&self, kind: &Kind) -> bool {
        matches!(kind.handler, Handler::Worker(_))
            && self.takes.capabilities.contains(&kind.capability)
            && (self.takes.kinds.is_empty() || self.takes.kinds.contains(&*kind.name))
    }

    fn free(&self) -> usize {
        self.lock().values().map(|stream| stream.free()).sum()
    }

    /// The worker with the most free places, with one set aside for `ticket`.
    fn reserve(&self, ticket: &Arc<Ticket>) -> Option<(Arc<Stream>, oneshot::Receiver<Outcome>)> {
        let streams = self.lock();
        let stream = streams.values().max_by_key(|stream| stream.free())?;
        let end = stream.reserve(ticket)?;
        Some((stream.clone(), end))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Stream>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hands a group's jobs to its workers.
pub(super) struct GroupRunner {
    desk: Arc<Desk>,
    group: Arc<Group>,
}

impl GroupRunner {
    pub fn new(desk: Arc<Desk>, group: Arc<Group>) -> Self {
        Self { desk, group }
    }
}

impl Runner for GroupRunner {
    async fn room(&mut self) -> usize {
        loop {
            let freed = self.group.freed.notified();
            let free = self.group.free();
            if free > 0 {
                return free.min(self.desk.context.config.worker.claim_max);
            }
            freed.await;
        }
    }

    fn vacate(&mut self) {}

    fn offer(&mut self, catalog: &Catalog) -> Offer {
        Offer::of(
            catalog
                .open()
                .filter(|kind| self.group.takes(kind))
                .cloned(),
        )
    }

    async fn run(&mut self, batch: Batch) {
        let mut unplaced = Vec::new();
        let limit = self.desk.context.config.grpc.message_limit.get();
        for job in batch.jobs {
            let size = job.args.as_str().len() + ENVELOPE;
            if size > limit {
                let error = format!(
                    "the job needs a message of {size} bytes, more than grpc.message_limit = {limit}; raise it"
                );
                unplaced.push((job.pos, Outcome::dead(error)));
                continue;
            }
            let ticket = Arc::new(Ticket::new(&batch.lease, &job));
            match self.group.reserve(&ticket) {
                Some((stream, end)) => self.spawn(stream, job, ticket, end),
                None => unplaced.push((job.pos, Outcome::Released)),
            }
        }
        self.desk
            .flush
            .report(Report {
                lease: batch.lease,
                ends: unplaced,
            })
            .await;
    }
}

impl GroupRunner {
    fn spawn(
        &self,
        stream: Arc<Stream>,
        job: Claimed,
        ticket: Arc<Ticket>,
        end: oneshot::Receiver<Outcome>,
    ) {
        let desk = self.desk.clone();
        self.desk.tracker.spawn(async move {
            let work = stream.run(job, ticket.clone(), end);
            supervise(&desk, &ticket, work).await;
        });
    }
}
