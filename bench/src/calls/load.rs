//! Requests over a fixed number of open HTTP/1.1 connections, each sending the next one as soon as it has
//! the answer to the last.

use crate::statistic::percentile;
use anyhow::{Context, bail, ensure};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The longest one answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
const LARGEST_ANSWER: usize = 1 << 20;

/// What is sent and what must come back.
#[derive(Clone)]
pub struct Request {
    pub address: SocketAddr,
    pub path: String,
    /// Header lines, each with its line end.
    pub headers: String,
    /// Ids are taken from 0 up to this.
    pub ids: u32,
    pub status: u16,
}

/// What a run came to.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

/// Sends for `duration` over `connections`.
///
/// # Errors
/// A connection is refused, an answer has another status than the expected one, or takes too long.
pub async fn run(
    request: &Request,
    connections: usize,
    duration: Duration,
) -> anyhow::Result<Load> {
    let mut streams = Vec::with_capacity(connections);
    for _ in 0..connections {
        streams.push(Connection::open(request.address).await?);
    }
    let request = Arc::new(request.clone());
    let started = Instant::now();
    let tasks: Vec<_> = streams
        .into_iter()
        .enumerate()
        .map(|(n, stream)| tokio::spawn(client(stream, request.clone(), n, started, duration)))
        .collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await??);
    }
    let elapsed = started.elapsed().as_secs_f64();
    Ok(Load {
        per_second: latencies.len() as f64 / elapsed,
        p50_ms: percentile(&latencies, 0.5).context("no answer came")?,
        p99_ms: percentile(&latencies, 0.99).context("no answer came")?,
    })
}

/// One connection's milliseconds per call.
async fn client(
    mut stream: Connection,
    request: Arc<Request>,
    seed: usize,
    started: Instant,
    duration: Duration,
) -> anyhow::Result<Vec<f64>> {
    let mut latencies = Vec::new();
    let mut random = seed as u64 * 7919 + 1;
    while started.elapsed() < duration {
        // Knuth's linear congruential generator; its high bits are good enough for choosing rows.
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let id = (random >> 33) % u64::from(request.ids);
        let asked = Instant::now();
        let status = tokio::time::timeout(ANSWER_LIMIT, stream.call(&request, id))
            .await
            .with_context(|| format!("no answer within {} s", ANSWER_LIMIT.as_secs()))??;
        if status != request.status {
            let answer = String::from_utf8_lossy(&stream.buffer).into_owned();
            bail!(
                "{} answered {status}, not {}: {answer}",
                request.path,
                request.status
            );
        }
        latencies.push(asked.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(latencies)
}

/// An open connection and the last answer's body.
pub struct Connection {
    stream: TcpStream,
    out: Vec<u8>,
    buffer: Vec<u8>,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            out: Vec::new(),
            buffer: Vec::new(),
        })
    }

    /// Sends one call and reads its answer whole; the status.
    pub async fn call(&mut self, request: &Request, id: u64) -> anyhow::Result<u16> {
        let body = format!("{{\"id\":{id}}}");
        self.out.clear();
        self.out.extend_from_slice(
            format!(
                "POST {} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n{}content-length: {}\r\n\r\n{body}",
                request.path,
                request.headers,
                body.len()
            )
            .as_bytes(),
        );
        self.stream.write_all(&self.out).await?;
        self.buffer.clear();
        loop {
            if let Some(head) = head(&self.buffer)? {
                ensure!(
                    head.whole <= LARGEST_ANSWER,
                    "an answer of {} bytes",
                    head.whole
                );
                if self.buffer.len() >= head.whole {
                    return Ok(head.status);
                }
            }
            let read = self.stream.read_buf(&mut self.buffer).await?;
            ensure!(
                read > 0,
                "the connection was closed in the middle of an answer"
            );
        }
    }
}

struct Head {
    status: u16,
    /// Length of head and body together.
    whole: usize,
}

/// Reads status and length, once the head is there.
fn head(bytes: &[u8]) -> anyhow::Result<Option<Head>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&bytes[..end]).context("the answer's head is not text")?;
    let mut lines = text.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|code| code.parse().ok())
        .with_context(|| format!("no status in `{text}`"))?;
    let length: usize = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .with_context(|| format!("no content-length in `{text}`"))?;
    Ok(Some(Head {
        status,
        whole: end + 4 + length,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_its_length_says_so() {
        assert!(
            head(b"HTTP/1.1 200 OK\r\nContent-Le")
                .expect("more to come")
                .is_none()
        );
        let found = head(b"HTTP/1.1 401 No\r\nContent-Length: 7\r\nx: y\r\n\r\nabc")
            .expect("a head")
            .expect("whole");
        assert_eq!((found.status, found.whole), (401, 51));
        assert!(head(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
