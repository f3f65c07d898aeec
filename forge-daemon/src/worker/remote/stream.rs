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
    desk::Ticket, job::Claimed, outcome::Outcome, progress::Progress, stop::Reason,
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
    pub fn answer(&self, progress: &Progress, id: Uuid, lease: Uuid, answer: Answer) -> bool {
        let mut unanswered = self.lock();
        let known = unanswered
            .get(&id)
            .is_some_and(|job| job.ticket.lease.id == lease);
        match answer {
            Answer::Progress { percent, message } if known => {
                if let Some(job) = unanswered.get(&id) {
                    progress.report(&job.ticket, percent, &message);
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
        let progress = &self.remotes.desk().progress;
        let known = self.stream.answer(progress, id, lease, answer);
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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::{
        cluster::Life,
        worker::{job::Lease, json::JsonText, kind::tests::kind},
    };

    fn job() -> (Claimed, Arc<Ticket>) {
        let lease = Lease {
            id: Uuid::now_v7(),
            life: Arc::new(Life::for_test()),
            claimed_at: Instant::now(),
        };
        let job = Claimed {
            pos: 0,
            id: Uuid::now_v7(),
            kind: Arc::new(kind("a", "worker", "general")),
            args: JsonText::parse("{}".into()).unwrap(),
            attempt: 1,
            max_attempts: 3,
            traceparent: None,
        };
        let ticket = Arc::new(Ticket::new(&Arc::new(lease), &job));
        (job, ticket)
    }

    fn completed() -> Answer {
        Answer::End(Outcome::Completed(None))
    }

    #[tokio::test]
    async fn an_answer_ends_the_job_and_frees_its_place() {
        let (stream, mut sending) = Stream::new("w".into(), 1);
        let (job, ticket) = job();
        let (id, lease) = (job.id, ticket.lease.id);
        let end = stream.reserve(&ticket).unwrap();
        assert!(stream.free() == 0 && stream.reserve(&ticket).is_none());
        let running = tokio::spawn(stream.clone().run(job, ticket, end));
        assert!(matches!(sending.recv().await, Some(ToWorker::Job(_))));
        let progress = Progress::default();
        assert!(
            !stream.answer(&progress, id, Uuid::now_v7(), completed()),
            "another lease"
        );
        assert!(stream.answer(&progress, id, lease, completed()));
        assert_eq!(running.await.unwrap(), Outcome::Completed(None));
        assert_eq!(stream.free(), 1);
        assert!(
            !stream.answer(&progress, id, lease, completed()),
            "answered before"
        );
    }

    #[tokio::test]
    async fn a_lost_stream_fails_what_was_sent_and_releases_the_rest() {
        let (stream, mut sending) = Stream::new("w".into(), 2);
        let start = |(job, ticket): (Claimed, Arc<Ticket>)| {
            let end = stream.reserve(&ticket).unwrap();
            tokio::spawn(stream.clone().run(job, ticket, end))
        };
        let first = start(job());
        let Some(ToWorker::Job(assignment)) = sending.recv().await else {
            panic!("no job was sent");
        };
        assignment.mark_sent();
        let second = start(job());
        assert!(sending.recv().await.is_some());
        stream.leave();
        assert!(
            matches!(first.await.unwrap(), Outcome::Failed { error, retry: true, .. } if error.contains("worker lost"))
        );
        assert_eq!(second.await.unwrap(), Outcome::Released);
        assert_eq!(stream.free(), 0);
    }

    #[tokio::test]
    async fn a_job_told_to_stop_is_cancelled_on_the_worker_too() {
        let (stream, mut sending) = Stream::new("w".into(), 1);
        let (job, ticket) = job();
        let (id, lease) = (job.id, ticket.lease.id);
        let end = stream.reserve(&ticket).unwrap();
        let running = tokio::spawn(stream.clone().run(job, ticket.clone(), end));
        assert!(matches!(sending.recv().await, Some(ToWorker::Job(_))));
        ticket.stop.now(Reason::TimedOut);
        let cancel = sending.recv().await;
        assert!(
            matches!(cancel, Some(ToWorker::Cancel { id: of, reason: "timed out", .. }) if of == id)
        );
        let answer = Answer::End(Outcome::retry("stopped"));
        assert!(stream.answer(&Progress::default(), id, lease, answer));
        assert_eq!(running.await.unwrap(), Outcome::retry("stopped"));
    }
}
