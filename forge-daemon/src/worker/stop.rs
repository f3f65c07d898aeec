//! Telling a running job to stop, and why.

use std::sync::OnceLock;

use tokio_util::sync::CancellationToken;

/// Why a job should stop. The first reason counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Someone asked for it.
    Cancelled,
    /// It ran longer than its kind allows.
    TimedOut,
    /// This node must treat its leases as lost; whatever it does now counts for nothing.
    LeaseLost,
    /// This node stops and waited long enough.
    NodeStopping,
}

impl Reason {
    /// In the words that workers are told.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Cancelled => "cancelled",
            Reason::TimedOut => "timed out",
            Reason::LeaseLost => "lease lost",
            Reason::NodeStopping => "node stopping",
        }
    }
}

/// The stop signal of one job. The token is made only when someone asks for it: most jobs are done before.
#[derive(Debug, Default)]
pub struct Stop {
    token: OnceLock<CancellationToken>,
    reason: OnceLock<Reason>,
}

impl Stop {
    /// Says to stop.
    pub fn now(&self, reason: Reason) {
        if self.reason.set(reason).is_ok() {
            self.token().cancel();
        }
    }

    /// Why it should stop, once it should.
    pub fn reason(&self) -> Option<Reason> {
        self.reason.get().copied()
    }

    /// Cancelled when it should stop.
    pub fn token(&self) -> &CancellationToken {
        self.token.get_or_init(CancellationToken::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_counts() {
        let stop = Stop::default();
        let token = stop.token().clone();
        assert!(!token.is_cancelled() && stop.reason().is_none());
        stop.now(Reason::TimedOut);
        stop.now(Reason::Cancelled);
        assert!(token.is_cancelled());
        assert_eq!(stop.reason(), Some(Reason::TimedOut));
    }
}
