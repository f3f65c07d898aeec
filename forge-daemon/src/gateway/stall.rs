//! The stream of a connection: writes may not stall, reads are noticed, and the end waits for a client that still sends.
//!
//! Invariants: a client that stops reading is cut off instead of holding its place for ever; the place is kept as long as
//! the stream lives, upgraded or not; the last answer is not lost because the client was still sending when it came.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::OwnedSemaphorePermit,
    time::{Instant, Sleep, sleep},
};

use super::pace::Pace;

/// How long, and how many bytes, a client may still send after the last answer. Closing earlier would reset the
/// connection, and the answer could be lost on its way.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 32 << 20;

/// Wraps a stream; a write that makes no progress for `limit` fails with `TimedOut`.
pub(super) struct Stall<S> {
    stream: S,
    limit: Duration,
    timer: Pin<Box<Sleep>>,
    waiting: bool,
    /// Bytes still taken before the end, once the last answer is out.
    lingering: Option<usize>,
    pace: Arc<Pace>,
    _place: OwnedSemaphorePermit,
}

impl<S> Stall<S> {
    pub fn new(stream: S, limit: Duration, pace: Arc<Pace>, place: OwnedSemaphorePermit) -> Self {
        Self {
            stream,
            limit,
            timer: Box::pin(sleep(limit)),
            waiting: false,
            lingering: None,
            pace,
            _place: place,
        }
    }

    /// Passes an outcome on; a pending one starts the clock or finds it run out.
    fn watch<T>(
        &mut self,
        outcome: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.waiting = false;
            return outcome;
        }
        if !self.waiting {
            self.waiting = true;
            self.timer.as_mut().reset(Instant::now() + self.limit);
        }
        ready!(self.timer.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client stopped reading",
        )))
    }
}

impl<S: AsyncRead + Unpin> Stall<S> {
    /// Reads away what the client sends until it ends, or has had its share.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut scratch = [0; 8192];
        while let Some(left) = self.lingering.filter(|left| *left > 0) {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.lingering = Some(left.saturating_sub(buffer.filled().len()));
                }
                Poll::Ready(_) => break,
                Poll::Pending => {
                    ready!(self.timer.as_mut().poll(context));
                    break;
                }
            }
        }
        self.lingering = Some(0);
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stall<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_read(context, buffer);
        if outcome.is_ready() {
            self.pace.received();
        }
        outcome
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stall<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(outcome, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch(outcome, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(context);
        self.watch(outcome, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            let outcome = Pin::new(&mut self.stream).poll_shutdown(context);
            ready!(self.watch(outcome, context))?;
            let bytes = if self.pace.is_unread() {
                LINGER_BYTES
            } else {
                0
            };
            self.lingering = Some(bytes);
            self.timer.as_mut().reset(Instant::now() + LINGER);
        }
        self.poll_linger(context).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
        sync::Semaphore,
    };

    use super::*;
    use crate::gateway::pace::Patience;

    fn stall(stream: DuplexStream) -> Stall<DuplexStream> {
        let patience = Patience {
            head: LINGER,
            idle: LINGER,
        };
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        Stall::new(
            stream,
            Duration::from_millis(20),
            Pace::new(patience),
            place,
        )
    }

    #[tokio::test]
    async fn a_reader_that_stops_is_cut_off() {
        let (near, _far) = tokio::io::duplex(16);
        let mut stream = stall(near);
        stream.write_all(&[0; 16]).await.unwrap();
        let error = stream.write_all(&[0; 16]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_client_that_still_sends_is_heard_out() {
        let (near, mut far) = tokio::io::duplex(16);
        let mut stream = stall(near);
        stream.pace.leave_unread();
        let client = tokio::spawn(async move {
            far.write_all(&[0; 1000]).await.unwrap();
            let mut answer = Vec::new();
            far.read_to_end(&mut answer).await.unwrap();
            answer
        });
        stream.write_all(b"413").await.unwrap();
        stream.shutdown().await.unwrap();
        drop(stream);
        assert_eq!(client.await.unwrap(), b"413");
    }

    #[tokio::test(start_paused = true)]
    async fn but_not_for_ever() {
        let (near, _far) = tokio::io::duplex(16);
        let mut stream = stall(near);
        stream.pace.leave_unread();
        let began = Instant::now();
        stream.shutdown().await.unwrap();
        assert!(began.elapsed() >= LINGER && began.elapsed() < LINGER * 2);
    }
}
