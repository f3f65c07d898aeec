//! One worker's stream: jobs out, answers in.
//!
//! Invariants: a job counts as sent when the transport takes it, not before; the stream ends when the worker is silent
//! for three heartbeat intervals, closes it, or has answered everything after it or the node said that it stops.

use std::time::Duration;

use futures::{Stream, stream};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use uuid::Uuid;

use super::{
    convert,
    proto::{
        Cancel, Drain, Job, Registered, WorkRequest, WorkResponse, work_request::Message as In,
        work_response::Message as Out,
    },
};
use crate::{
    app::Context,
    worker::{
        JsonText, Outcome,
        remote::{Answer, Seat, ToWorker},
    },
};

/// A worker must send something at least this often.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// After so long without a word the stream ends.
const SILENCE: Duration = Duration::from_secs(30);

/// Starts reading the worker's messages; the stream is what is sent to it.
pub(super) fn begin(
    context: &Context,
    worker: String,
    node: Uuid,
    inbound: Streaming<WorkRequest>,
    seat: Seat,
    out: mpsc::Receiver<ToWorker>,
) -> impl Stream<Item = Result<WorkResponse, Status>> + use<> {
    let (end, ended) = oneshot::channel();
    let reader = Reader {
        inbound,
        seat,
        drain: context.drain.clone(),
        result_limit: context.config.worker.result_limit.get(),
    };
    let name = format!("grpc worker {worker}");
    context.tasks.spawn(name, |stop| async move {
        let status = tokio::select! {
            () = stop.cancelled() => Some(Status::unavailable("this node has stopped; connect to another")),
            status = reader.run() => status,
        };
        tracing::info!(worker, status = ?status.as_ref().map(Status::message), "remote worker disconnected");
        // The stream may be gone already.
        let _ = end.send(status);
    });
    let grace = context.config.worker.drain_timeout.get();
    let registered = Registered {
        node_id: node.to_string(),
        heartbeat_interval: Some(convert::to_duration(HEARTBEAT)),
    };
    outgoing(registered, grace, out, ended)
}

/// What is sent: the greeting, then commands until the reader says that it is over.
fn outgoing(
    registered: Registered,
    grace: Duration,
    out: mpsc::Receiver<ToWorker>,
    ended: oneshot::Receiver<Option<Status>>,
) -> impl Stream<Item = Result<WorkResponse, Status>> {
    let greeting = stream::once(async { Ok(response(Out::Registered(registered))) });
    let commands = stream::unfold(Some((out, ended)), move |state| async move {
        let (mut out, mut ended) = state?;
        tokio::select! {
            command = out.recv() => Some((Ok(command_response(command?, grace)), Some((out, ended)))),
            status = &mut ended => status.ok().flatten().map(|status| (Err(status), None)),
        }
    });
    futures::StreamExt::chain(greeting, commands)
}

fn response(message: Out) -> WorkResponse {
    WorkResponse {
        message: Some(message),
    }
}

fn command_response(command: ToWorker, grace: Duration) -> WorkResponse {
    response(match command {
        ToWorker::Job(assignment) => {
            assignment.mark_sent();
            let job = &assignment.job;
            Out::Job(Job {
                id: job.id.to_string(),
                lease: assignment.lease.to_string(),
                kind: job.kind.name.to_string(),
                args_json: job.args.as_str().to_owned(),
                attempt: job.attempt.unsigned_abs(),
                max_attempts: job.max_attempts.unsigned_abs(),
                deadline: assignment.deadline.map(convert::to_timestamp),
                traceparent: job.traceparent.clone().unwrap_or_default(),
            })
        }
        ToWorker::Cancel { id, lease, reason } => Out::Cancel(Cancel {
            id: id.to_string(),
            lease: lease.to_string(),
            reason: reason.to_owned(),
        }),
        ToWorker::Drain => Out::Drain(Drain {
            grace: Some(convert::to_duration(grace)),
        }),
    })
}

/// Reads what the worker says. Dropping it ends the worker's seat.
struct Reader {
    inbound: Streaming<WorkRequest>,
    seat: Seat,
    drain: CancellationToken,
    result_limit: usize,
}

impl Reader {
    /// Reads until the stream is over; the status to end it with, none for a good end.
    async fn run(mut self) -> Option<Status> {
        let mut draining = false;
        loop {
            let message = tokio::select! {
                () = self.drain.cancelled(), if !draining => {
                    draining = true;
                    self.seat.close();
                    self.seat.say_drain();
                    None
                }
                message = timeout(SILENCE, self.inbound.message()) => match message {
                    Ok(Ok(Some(message))) => Some(message),
                    Ok(Ok(None)) => return None,
                    Ok(Err(status)) => return Some(status),
                    Err(_) => return Some(Status::deadline_exceeded(format!(
                        "nothing heard for {SILENCE:?}; send a Heartbeat every {HEARTBEAT:?}"
                    ))),
                },
            };
            if let Some(message) = message
                && let Err(status) = self.take(message)
            {
                return Some(status);
            }
            if self.seat.is_finished() {
                return None;
            }
        }
    }

    fn take(&self, message: WorkRequest) -> Result<(), Status> {
        let (id, lease, answer) = match message.message {
            None | Some(In::Heartbeat(_)) => return Ok(()),
            Some(In::Leave(_)) => {
                self.seat.close();
                return Ok(());
            }
            Some(In::Register(_)) => {
                return Err(Status::invalid_argument(
                    "Register was sent twice; open another stream",
                ));
            }
            Some(In::Progress(progress)) => (
                progress.id,
                progress.lease,
                Answer::Progress {
                    percent: progress.percent,
                    message: progress.message,
                },
            ),
            Some(In::Complete(complete)) => (
                complete.id,
                complete.lease,
                Answer::End(self.completed(complete.result_json)),
            ),
            Some(In::Fail(fail)) => {
                let delay = fail
                    .retry_in
                    .map(|delay| convert::duration("retry_in", delay))
                    .transpose()?;
                let outcome = if fail.retry.unwrap_or(true) {
                    Outcome::retry_in(fail.error, delay)
                } else {
                    Outcome::dead(fail.error)
                };
                (fail.id, fail.lease, Answer::End(outcome))
            }
            Some(In::Snooze(snooze)) => {
                let delay = convert::duration("delay", snooze.delay.unwrap_or_default())?;
                (
                    snooze.id,
                    snooze.lease,
                    Answer::End(Outcome::Snoozed(delay)),
                )
            }
        };
        let (id, lease) = (uuid("id", &id)?, uuid("lease", &lease)?);
        if !self.seat.answer(id, lease, answer) {
            tracing::debug!(job_id = %id, %lease, "an answer for a job that is not the worker's was ignored");
        }
        Ok(())
    }

    fn completed(&self, result: String) -> Outcome {
        if result.is_empty() {
            return Outcome::Completed(None);
        }
        match JsonText::parse(result) {
            Ok(result) => Outcome::completed(Some(result), self.result_limit),
            Err(error) => Outcome::retry(format!("the worker's result is not JSON: {error}")),
        }
    }
}

fn uuid(field: &str, text: &str) -> Result<Uuid, Status> {
    text.parse()
        .map_err(|_| Status::invalid_argument(format!("{field} `{text:.60}` is not a UUID")))
}
