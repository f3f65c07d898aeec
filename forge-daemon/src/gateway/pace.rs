//! The clocks of one connection: how long it may be without a request, and how long a request's head may take.
//!
//! Invariants: while a request is in progress no clock runs here (bodies and handlers have their own); a connection that
//! sends nothing, or a head without an end, is over at the first [`Pace::verdict`] after its time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::http::Version;
use tokio::time::Instant;

const NONE: u64 = u64::MAX;

/// How long each may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// From the first byte of a head, or from the start of the connection, to the head's end.
    pub head: Duration,
    /// From the end of one request to the next.
    pub idle: Duration,
}

/// What is to become of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing before this instant.
    Wait(Instant),
    /// It is idle: end it in order.
    Close,
    /// It began a head and did not finish it: cut it.
    Cut,
}

/// What a connection does, in milliseconds since it began.
#[derive(Debug)]
pub(super) struct Pace {
    began: Instant,
    patience: Patience,
    requests: AtomicUsize,
    idle_since: AtomicU64,
    head_since: AtomicU64,
    http2: AtomicBool,
    unread: AtomicBool,
}

impl Pace {
    pub fn new(patience: Patience) -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            patience,
            requests: AtomicUsize::new(0),
            idle_since: AtomicU64::new(0),
            head_since: AtomicU64::new(0),
            http2: AtomicBool::new(false),
            unread: AtomicBool::new(false),
        })
    }

    /// Bytes came: between two requests they begin a head.
    pub fn received(&self) {
        if self.requests.load(Ordering::Acquire) == 0
            && self.head_since.load(Ordering::Relaxed) == NONE
        {
            self.head_since.store(self.now(), Ordering::Relaxed);
        }
    }

    /// A head is complete: its request is in progress until the answer is dropped.
    pub fn begin(self: &Arc<Self>, version: Version) -> InProgress {
        self.http2
            .store(version == Version::HTTP_2, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::AcqRel);
        InProgress(self.clone())
    }

    /// Whether its requests share the connection: bytes between them may be pings, and it can be told to end.
    pub fn is_http2(&self) -> bool {
        self.http2.load(Ordering::Relaxed)
    }

    /// The client may still be sending what nobody will read.
    pub fn leave_unread(&self) {
        self.unread.store(true, Ordering::Relaxed);
    }

    /// Whether the client may still be sending.
    pub fn is_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }

    /// What the clocks say.
    pub fn verdict(&self) -> Verdict {
        let now = Instant::now();
        if self.requests.load(Ordering::Acquire) > 0 {
            // Whatever begins after this look cannot be due before the next.
            return Verdict::Wait(now + self.patience.head.min(self.patience.idle));
        }
        let (over, due) = match self.head_since.load(Ordering::Relaxed) {
            since if since != NONE && !self.is_http2() => {
                (Verdict::Cut, self.instant(since) + self.patience.head)
            }
            _ => {
                let since = self.idle_since.load(Ordering::Relaxed);
                (Verdict::Close, self.instant(since) + self.patience.idle)
            }
        };
        if due <= now {
            over
        } else {
            Verdict::Wait(due.min(now + self.patience.head))
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(NONE - 1)
    }

    fn instant(&self, since: u64) -> Instant {
        self.began + Duration::from_millis(since)
    }
}

/// A request in progress.
#[derive(Debug)]
pub(super) struct InProgress(Arc<Pace>);

impl Drop for InProgress {
    fn drop(&mut self) {
        let pace = &self.0;
        pace.idle_since.store(pace.now(), Ordering::Relaxed);
        pace.head_since.store(NONE, Ordering::Relaxed);
        pace.requests.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const PATIENCE: Patience = Patience {
        head: Duration::from_secs(10),
        idle: Duration::from_secs(60),
    };

    #[tokio::test(start_paused = true)]
    async fn a_head_must_end() {
        let pace = Pace::new(PATIENCE);
        assert_eq!(pace.verdict(), Verdict::Wait(pace.began + PATIENCE.head));
        advance(PATIENCE.head).await;
        assert_eq!(pace.verdict(), Verdict::Cut);
        drop(pace.begin(Version::HTTP_11));
        advance(PATIENCE.head * 2).await;
        assert!(matches!(pace.verdict(), Verdict::Wait(_)), "idle, not slow");
        pace.received();
        advance(PATIENCE.head / 2).await;
        pace.received();
        advance(PATIENCE.head / 2).await;
        assert_eq!(pace.verdict(), Verdict::Cut, "more bytes buy no time");
    }

    #[tokio::test(start_paused = true)]
    async fn only_idle_connections_are_closed() {
        let pace = Pace::new(PATIENCE);
        let request = pace.begin(Version::HTTP_2);
        advance(PATIENCE.idle * 2).await;
        assert!(matches!(pace.verdict(), Verdict::Wait(_)), "in progress");
        drop(request);
        pace.received();
        advance(PATIENCE.head * 2).await;
        assert!(
            matches!(pace.verdict(), Verdict::Wait(_)),
            "a ping is no head"
        );
        advance(PATIENCE.idle).await;
        assert_eq!(pace.verdict(), Verdict::Close);
    }
}
