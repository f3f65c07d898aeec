//! Stop signals of the operating system.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM, SIGINT and, where there is something to read anew, SIGHUP.
pub(super) struct Signals {
    term: Option<Signal>,
    int: Option<Signal>,
    hang_up: Option<Signal>,
}

impl Signals {
    /// Takes the signals over from now on; one that cannot be taken keeps its default effect.
    pub fn new() -> Self {
        Self {
            term: signal(SignalKind::terminate()).ok(),
            int: signal(SignalKind::interrupt()).ok(),
            hang_up: None,
        }
    }

    /// Takes SIGHUP over too, which otherwise ends the process as terminals expect.
    pub fn take_hang_up(&mut self) {
        self.hang_up = signal(SignalKind::hangup()).ok();
    }

    /// The name of the next signal to stop; calls `hang_up` for each of the other kind.
    pub async fn next(&mut self, hang_up: impl Fn()) -> &'static str {
        loop {
            tokio::select! {
                () = next(&mut self.term) => return "SIGTERM",
                () = next(&mut self.int) => return "SIGINT",
                () = next(&mut self.hang_up) => hang_up(),
            }
        }
    }
}

async fn next(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}
