//! One connected remote worker: its places, and the jobs it has not answered for.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::SystemTime,
};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::registry::Remotes;
use crate::worker::{
    desk::{Desk, Ticket},
    job::Claimed,
    outcome::Outcome,
    stop::Reason,
};

/// What is sent to a worker.
#[derive(Debug)]
pub enum ToWorker {
    /// A job to run.
    Job(Box<Assignment>),
    /// A job that should stop.
    Cancel {
        /// The job.
        id: Uuid,
        /// The lease it was sent under.
        lease: Uuid,
        /// Why.
        reason: &'static str,
    },
    /// No more jobs will come.
    Drain,
}

/// A job on its way to a worker.
#[derive(Debug)]
pub struct Assignment {
    /// The job.
    pub job: Claimed,
    /// Its lease.
    pub lease: Uuid,
    /// When the node stops waiting.
    pub deadline: Option<SystemTime>,
    sent: Arc<AtomicBool>,
}

impl Assignment {
    /// Notes that the job has left for the worker: from now on it may be running there.
    pub fn mark_sent(&self) {
        self.sent.store(true, Relaxed);
    }
}

/// What a worker says about a job.
#[derive(Debug)]
pub enum Answer {
    /// How far it is.
    Progress {
        /// 0 to 100.
        percent: f32,
        /// For people.
        message: String,
    },
    /// How it ended.
    End(Outcome),
}

/// A job that a worker has not answered for.
#[derive(Debug)]
struct Unanswered {
    ticket: Arc<Ticket>,
    end: oneshot::Sender<Outcome>,
}

/// A connected worker.
#[derive(Debug)]
pub(super) struct Stream {
    pub name: String,
    places: usize,
    out: mpsc::Sender<ToWorker>,
    unanswered: Mutex<HashMap<Uuid, Unanswered>>,
    /// No more jobs.
    closed: AtomicBool,
    gone: CancellationToken,
}

impl Stream {
    /// A worker with `places`, and what is to be sent to it.
    pub fn new(name: String, places: usize) -> (Arc<Self>, mpsc::Receiver<ToWorker>) {
        // A job and a cancel for each place, twice, and the drain: it cannot overflow unless the peer does not read.
        let (out, sending) = mpsc::channel(places * 4 + 4);
        let stream = Self {
            name,
            places,
            out,
            unanswered: Mutex::default(),
            closed: AtomicBool::new(false),
            gone: CancellationToken::new(),
        };
        (Arc::new(stream), sending)
    }

    /// Places free now.
    pub fn free(&self) -> usize {
        if self.is_shut() {
            0
        } else {
            self.places.saturating_sub(self.lock().len())
        }
    }

    /// Sends a job and waits for its end.
    pub async fn run(
        self: Arc<Self>,
        job: Claimed,
        ticket: Arc<Ticket>,
        end: oneshot::Receiver<Outcome>,
    ) -> Outcome {
        let (id, lease) = (job.id, ticket.lease.id);
        let sent = Arc::new(AtomicBool::new(false));
        let deadline = SystemTime::now().checked_add(ticket.kind.timeout);
        let assignment = Assignment {
            job,
            lease,
            deadline,
            sent: sent.clone(),
        };
        if self
            .out
            .try_send(ToWorker::Job(Box::new(assignment)))
            .is_err()
        {
            self.forget(id, lease);
            return Outcome::Released;
        }
        let mut end = std::pin::pin!(end);
        let ended = tokio::select! {
            biased;
            ended = &mut end => ended,
            () = ticket.stop.token().cancelled() => {
                let reason = ticket.stop.reason().unwrap_or(Reason::Cancelled).as_str();
                let _ = self.out.try_send(ToWorker::Cancel { id, lease, reason });
                end.await
            }
        };
        match ended {
            Ok(outcome) => outcome,
            Err(_) if sent.load(Relaxed) => {
                Outcome::retry(format!("worker lost: the stream of {} ended", self.name))
            }
            Err(_) => Outcome::Released,
        }
    }

    /// Sets a place aside for `ticket`; the end comes through the receiver, or its sender is dropped with the stream.
    pub fn reserve(&self, ticket: &Arc<Ticket>) -> Option<oneshot::Receiver<Outcome>> {
        let mut unanswered = self.lock();
        if self.is_shut() || unanswered.len() >= self.places {
            return None;
        }
        let (end, receiver) = oneshot::channel();
        unanswered.insert(
            ticket.id,
            Unanswered {
                ticket: ticket.clone(),
                end,
            },
        );
        Some(receiver)
    }

    /// Takes what the worker says about a job; an answer under another lease is ignored.
    pub fn answer(&self, desk: &Desk, id: Uuid, lease: Uuid, answer: Answer) -> bool {
        let mut unanswered = self.lock();
        let known = unanswered
            .get(&id)
            .is_some_and(|job| job.ticket.lease.id == lease);
        match answer {
            Answer::Progress { percent, message } if known => {
                if let Some(job) = unanswered.get(&id) {
                    desk.progress.report(&job.ticket, percent, &message);
                }
            }
            Answer::End(outcome) if known => {
                if let Some(job) = unanswered.remove(&id) {
                    // The job may have been given up meanwhile: its place is free all the same.
                    let _ = job.end.send(outcome);
                }
            }
            _ => {}
        }
        known
    }

    fn is_shut(&self) -> bool {
        self.gone.is_cancelled() || self.closed.load(Relaxed)
    }

    fn forget(&self, id: Uuid, lease: Uuid) {
        let mut unanswered = self.lock();
        if unanswered
            .get(&id)
            .is_some_and(|job| job.ticket.lease.id == lease)
        {
            unanswered.remove(&id);
        }
    }

    /// Ends the stream: every unanswered job is told by its dropped sender.
    fn leave(&self) {
        let mut unanswered = self.lock();
        self.gone.cancel();
        unanswered.clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Unanswered>> {
        self.unanswered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A worker's place on this node; dropping it ends the stream.
#[derive(Debug)]
pub struct Seat {
    pub(super) stream: Arc<Stream>,
    pub(super) remotes: Remotes,
    pub(super) id: u64,
}

impl Seat {
    /// Takes what the worker says about a job; false when it is not (or no longer) its job.
    pub fn answer(&self, id: Uuid, lease: Uuid, answer: Answer) -> bool {
        let known = self.stream.answer(self.remotes.desk(), id, lease, answer);
        self.remotes.freed(self.id);
        known
    }

    /// Gives the worker no more jobs.
    pub fn close(&self) {
        self.stream.closed.store(true, Relaxed);
    }

    /// Tells the worker that no more jobs will come.
    pub fn say_drain(&self) {
        let _ = self.stream.out.try_send(ToWorker::Drain);
    }

    /// Whether it gets no more jobs and has answered for all.
    pub fn is_finished(&self) -> bool {
        self.stream.closed.load(Relaxed) && self.stream.lock().is_empty()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.stream.leave();
        self.remotes.leave(self.id);
    }
}
