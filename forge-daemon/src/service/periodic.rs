//! Periodic work: idempotent, free of input, summed up in one line.

use std::{fmt::Debug, time::Duration};

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Tasks;

/// Work done again and again. One run needs nothing from the one before it.
pub trait Periodic: Send + 'static {
    /// What a run did, for the log.
    type Summary: Debug + Send;
    /// Why a run failed.
    type Error: std::fmt::Display + Send;

    /// Does what is due now.
    fn run_once(&mut self) -> impl Future<Output = Result<Self::Summary, Self::Error>> + Send;
}

/// Starts `work` under `name`, at once and then every `period`; a run longer than `limit` is given up.
pub fn every<P: Periodic>(
    tasks: &Tasks,
    name: &'static str,
    period: Duration,
    limit: Duration,
    work: P,
) {
    tasks.spawn(name, move |token| repeat(token, name, period, limit, work));
}

async fn repeat<P: Periodic>(
    token: CancellationToken,
    name: &str,
    period: Duration,
    limit: Duration,
    mut work: P,
) {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = token.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let run = tokio::select! {
            () = token.cancelled() => return,
            run = tokio::time::timeout(limit, work.run_once()) => run,
        };
        match run {
            Ok(Ok(summary)) => tracing::trace!(work = name, ?summary, "periodic work done"),
            Ok(Err(error)) => {
                tracing::warn!(work = name, %error, "periodic work failed; it is tried again")
            }
            Err(_) => tracing::warn!(
                work = name,
                ?limit,
                "periodic work took too long; it is tried again"
            ),
        }
    }
}
