//! Runs one attempt to its end: time limit, stop signals, panics.
//!
//! A handler that is told to stop gets `worker.cancel_grace` to end by itself, then it is dropped.

use std::{
    any::Any,
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use futures::FutureExt;
use tokio::time::timeout;

use super::{
    desk::{Desk, Ticket},
    outcome::Outcome,
    stop::Reason,
};

/// Runs `work` for `ticket` and hands over how it ended. The future returned is what a task runs.
pub async fn supervise(desk: &Desk, ticket: &Ticket, work: impl Future<Output = Outcome>) {
    let entry = desk
        .running
        .enter(ticket.id, &ticket.lease, ticket.stop.clone());
    let left = ticket.kind.timeout.saturating_sub(ticket.started.elapsed());
    let grace = desk.context.config.worker.cancel_grace.get();
    let outcome = conclude(ticket, left, grace, work).await;
    desk.progress.forget(ticket.id);
    if let Some(outcome) = outcome {
        desk.end(ticket, outcome).await;
    }
    drop(entry);
}

/// The outcome, or nothing when the lease was lost.
async fn conclude(
    ticket: &Ticket,
    left: Duration,
    grace: Duration,
    work: impl Future<Output = Outcome>,
) -> Option<Outcome> {
    let work = AssertUnwindSafe(work)
        .catch_unwind()
        .map(|end| end.unwrap_or_else(|panic| panicked(&*panic)));
    let mut work = std::pin::pin!(work);
    let stop = &ticket.stop;
    tokio::select! {
        biased;
        outcome = &mut work => return settle(stop.reason(), Some(outcome), ticket.kind.timeout),
        () = stop.token().cancelled() => {}
        () = tokio::time::sleep(left) => stop.now(Reason::TimedOut),
    }
    let asked = Instant::now();
    let outcome = timeout(grace, &mut work).await.ok();
    if outcome.is_none() {
        let (waited, kind) = (asked.elapsed(), &*ticket.kind.name);
        tracing::warn!(job_id = %ticket.id, kind, ?waited, "the handler did not stop when told to and was dropped");
    }
    settle(stop.reason(), outcome, ticket.kind.timeout)
}

/// What is reported of a handler that ended (or was dropped) after `reason` to stop.
fn settle(reason: Option<Reason>, outcome: Option<Outcome>, limit: Duration) -> Option<Outcome> {
    match (reason, outcome) {
        (Some(Reason::LeaseLost), _) => None,
        (Some(Reason::TimedOut), _) => Some(timed_out(limit)),
        // What was finished all the same is finished.
        (_, Some(outcome @ Outcome::Completed(_))) => Some(outcome),
        (Some(Reason::Cancelled), _) => Some(Outcome::Cancelled),
        (Some(Reason::NodeStopping), _) => Some(Outcome::Released),
        (None, outcome) => outcome,
    }
}

/// The failure of a job that took longer than its kind allows.
pub fn timed_out(limit: Duration) -> Outcome {
    Outcome::retry(format!(
        "timed out after {limit:?}, the timeout of its kind"
    ))
}

/// The failure of a handler that panicked.
pub fn panicked(panic: &(dyn Any + Send)) -> Outcome {
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".into());
    Outcome::retry(format!("the handler panicked: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(3);

    #[test]
    fn the_reason_to_stop_decides_unless_the_job_was_finished() {
        let completed = || Some(Outcome::Completed(None));
        let failed = || Some(Outcome::retry("interrupted"));
        assert_eq!(settle(None, failed(), LIMIT), failed());
        assert_eq!(
            settle(Some(Reason::Cancelled), completed(), LIMIT),
            completed()
        );
        assert_eq!(
            settle(Some(Reason::Cancelled), failed(), LIMIT),
            Some(Outcome::Cancelled)
        );
        assert_eq!(
            settle(Some(Reason::Cancelled), None, LIMIT),
            Some(Outcome::Cancelled)
        );
        assert_eq!(
            settle(Some(Reason::NodeStopping), failed(), LIMIT),
            Some(Outcome::Released)
        );
        assert_eq!(
            settle(Some(Reason::TimedOut), completed(), LIMIT),
            Some(timed_out(LIMIT))
        );
        assert_eq!(settle(Some(Reason::LeaseLost), completed(), LIMIT), None);
    }

    #[test]
    fn panics_tell_their_message() {
        let message = |panic: Box<dyn Any + Send>| match panicked(&*panic) {
            Outcome::Failed {
                error, retry: true, ..
            } => error,
            other => panic!("{other:?}"),
        };
        assert!(message(Box::new("boom")).ends_with("boom"));
        assert!(message(Box::new("boom 2".to_owned())).ends_with("boom 2"));
        assert!(message(Box::new(17)).contains("without a message"));
    }
}
