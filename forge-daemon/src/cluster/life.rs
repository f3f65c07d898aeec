//! One life of this node: the time it is registered under one id.
//!
//! Invariants: an id is never used again once its life is lost; every lease claimed under an id belongs to that life and
//! ends with it; the clock that decides is monotonic, so a frozen or stepped wall clock cannot prolong a life.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How long the database waits for a heartbeat before it declares a node dead.
pub const NODE_LEASE: Duration = Duration::from_secs(15);

/// This node stops acting so long before the database may give its jobs to others.
const MARGIN: Duration = Duration::from_millis(500);

/// A node id and the signal that it is no longer good.
#[derive(Debug)]
pub struct Life {
    id: Uuid,
    lost: CancellationToken,
}

impl Life {
    /// A new life under a new id.
    pub(super) fn begin() -> Self {
        Self {
            id: Uuid::now_v7(),
            lost: CancellationToken::new(),
        }
    }

    /// A life for tests of parts that need one.
    #[cfg(test)]
    pub fn for_test() -> Self {
        Self::begin()
    }

    /// The node id to claim and complete under.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// Cancelled when every lease held under this id must be treated as lost.
    pub fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    /// Whether it is over.
    pub fn is_lost(&self) -> bool {
        self.lost.is_cancelled()
    }
}

/// How long something granted by the database may be relied on, by this machine's monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trust {
    until: Instant,
}

impl Trust {
    /// A grant of `ttl` asked for at `sent`, to be relied on until `margin` before its end. Counting from when the
    /// question was sent errs on the safe side: the database counts from when it answered.
    pub fn granted(sent: Instant, ttl: Duration, margin: Duration) -> Self {
        Self {
            until: sent + ttl.saturating_sub(margin),
        }
    }

    /// A node's own lease, renewed by a heartbeat sent at `sent`.
    pub fn node(sent: Instant) -> Self {
        Self::granted(sent, NODE_LEASE, MARGIN)
    }

    /// When it ends.
    pub fn until(self) -> Instant {
        self.until
    }

    /// Whether it still holds at `now`.
    pub fn holds(self, now: Instant) -> bool {
        now < self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_ends_before_the_grant_does() {
        let sent = Instant::now();
        let trust = Trust::granted(sent, Duration::from_secs(4), Duration::from_secs(1));
        assert!(trust.holds(sent + Duration::from_millis(2999)));
        assert!(!trust.holds(sent + Duration::from_secs(3)));
        assert!(Trust::node(sent).until() < sent + NODE_LEASE);
    }

    #[test]
    fn a_margin_longer_than_the_grant_is_no_trust() {
        let sent = Instant::now();
        assert!(!Trust::granted(sent, Duration::from_secs(1), Duration::from_secs(2)).holds(sent));
    }
}
