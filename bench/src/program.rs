//! The client program of the SQL path: one session that enqueues batches, claims them and completes
//! them. Forge and pgmq are driven by the same loops with the same batches and arguments.

pub mod forge;
pub mod pgmq;

use anyhow::ensure;
use postgres_types::Json;
use serde_json::{Value, json};
use std::future::Future;
use std::time::{Duration, Instant};

/// How long a program waits for work it knows is there.
const PATIENCE: Duration = Duration::from_secs(30);

/// A queue as one client program uses it over one session.
pub trait Program: Sized + Send + Sync + 'static {
    /// Opens a session on `queue`, made anew and empty.
    fn fresh(url: &str, queue: &str) -> impl Future<Output = anyhow::Result<Self>> + Send;
    /// Opens another session on a queue that exists.
    fn join(url: &str, queue: &str) -> impl Future<Output = anyhow::Result<Self>> + Send;
    /// Enqueues one job per element of `args`, in one transaction.
    fn enqueue(&self, args: &[Json<Value>]) -> impl Future<Output = anyhow::Result<()>> + Send;
    /// Claims up to `limit` jobs and completes them, each in a transaction of its own; how many.
    fn work(&self, limit: i32) -> impl Future<Output = anyhow::Result<usize>> + Send;
}

/// The arguments of a batch of no-op jobs.
pub fn batch(size: usize) -> Vec<Json<Value>> {
    (0..size).map(|n| Json(json!({ "n": n }))).collect()
}

/// Enqueues `jobs` jobs in batches of `size`.
pub async fn fill(program: &impl Program, jobs: usize, size: usize) -> anyhow::Result<()> {
    let args = batch(size);
    let mut left = jobs;
    while left > 0 {
        let take = left.min(size);
        program.enqueue(&args[..take]).await?;
        left -= take;
    }
    Ok(())
}

/// Claims and completes exactly `jobs` jobs in batches of `size`.
///
/// # Errors
/// More jobs came than there are, or none for half a minute while some are left.
pub async fn drain(program: &impl Program, jobs: usize, size: usize) -> anyhow::Result<()> {
    let mut done = 0;
    let mut progress = Instant::now();
    while done < jobs {
        let worked = program.work(i32::try_from(size)?).await?;
        if worked > 0 {
            done += worked;
            progress = Instant::now();
        }
        ensure!(
            progress.elapsed() < PATIENCE,
            "{done} of {jobs} jobs came, then none for {} s",
            PATIENCE.as_secs()
        );
    }
    ensure!(
        done == jobs,
        "{done} jobs were claimed of the {jobs} enqueued"
    );
    Ok(())
}

/// How long a cycle took, in its two halves.
#[derive(Clone, Copy, Debug)]
pub struct Cycle {
    jobs: usize,
    filled: Duration,
    drained: Duration,
}

impl Cycle {
    /// Jobs per second from the first enqueue to the last completion.
    pub fn rate(&self) -> f64 {
        self.per_second(self.filled + self.drained)
    }

    /// Jobs per second of enqueueing alone.
    pub fn enqueue_rate(&self) -> f64 {
        self.per_second(self.filled)
    }

    /// Jobs per second of claiming and completing alone.
    pub fn drain_rate(&self) -> f64 {
        self.per_second(self.drained)
    }

    fn per_second(&self, time: Duration) -> f64 {
        self.jobs as f64 / time.as_secs_f64()
    }
}

impl std::iter::Sum for Cycle {
    fn sum<I: Iterator<Item = Self>>(cycles: I) -> Self {
        let none = Self {
            jobs: 0,
            filled: Duration::ZERO,
            drained: Duration::ZERO,
        };
        cycles.fold(none, |all, one| Self {
            jobs: all.jobs + one.jobs,
            filled: all.filled + one.filled,
            drained: all.drained + one.drained,
        })
    }
}

/// Enqueues `jobs` jobs, then claims and completes them all.
pub async fn cycle(program: &impl Program, jobs: usize, size: usize) -> anyhow::Result<Cycle> {
    let started = Instant::now();
    fill(program, jobs, size).await?;
    let filled = started.elapsed();
    drain(program, jobs, size).await?;
    Ok(Cycle {
        jobs,
        filled,
        drained: started.elapsed() - filled,
    })
}

/// `workers` sessions claim and complete batches of `size` from a backlog of `jobs` until it is
/// empty or `limit` has passed; jobs per second of them all together.
pub async fn crowd<P: Program>(
    url: &str,
    queue: &str,
    workers: usize,
    size: i32,
    limit: Duration,
) -> anyhow::Result<f64> {
    let mut programs = Vec::with_capacity(workers);
    for _ in 0..workers {
        programs.push(P::join(url, queue).await?);
    }
    let started = Instant::now();
    let tasks: Vec<_> = programs
        .into_iter()
        .map(|program| {
            tokio::spawn(async move {
                let mut done = 0;
                while started.elapsed() < limit {
                    match program.work(size).await? {
                        0 => break,
                        worked => done += worked,
                    }
                }
                anyhow::Ok(done)
            })
        })
        .collect();
    let mut done = 0;
    for task in tasks {
        done += task.await??;
    }
    Ok(done as f64 / started.elapsed().as_secs_f64())
}
