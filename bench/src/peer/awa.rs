//! awa: its Rust client in this process, over its queue storage.

use anyhow::{Context, ensure};
use awa::{
    Client, InsertOpts, InsertParams, JobArgs, JobResult, QueueConfig, QueueStorage,
    QueueStorageConfig,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// A drain that has not ended by then has failed.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug, Serialize, Deserialize, JobArgs)]
struct BenchNoop {
    n: usize,
}

/// Enqueues `jobs` no-op jobs, then drains them with one client; jobs per second from the first
/// job's start until every completion is durable.
pub async fn drain(url: &str, jobs: usize) -> anyhow::Result<f64> {
    let url = url.to_owned();
    let runtime = tokio::runtime::Handle::current();
    // The futures of its bulk insert cannot move between threads.
    tokio::task::spawn_blocking(move || runtime.block_on(drain_here(&url, jobs)))
        .await
        .context("awa's drain panicked")?
}

async fn drain_here(url: &str, jobs: usize) -> anyhow::Result<f64> {
    let pool = sqlx::postgres::PgPoolOptions::new()
        .max_connections(20)
        .connect(url)
        .await
        .context("awa cannot connect")?;
    awa::migrations::run(&pool)
        .await
        .context("awa's migrations failed")?;
    let queue = format!("bench_{}", Uuid::now_v7().simple());
    let seen = Arc::new(Seen::default());
    let client = client(pool.clone(), &queue, seen.clone())?;
    // A fresh installation chooses its storage when the first client starts.
    client.start().await.context("awa's client did not start")?;
    client.shutdown(Duration::from_secs(5)).await;
    fill(&pool, &queue, jobs).await?;

    let client = self::client(pool.clone(), &queue, seen.clone())?;
    client.start().await.context("awa's client did not start")?;
    let drained = until_terminal(&pool, &queue, jobs, &seen).await;
    client.shutdown(Duration::from_secs(5)).await;
    pool.close().await;
    drained
}

/// What the handler saw.
#[derive(Default)]
struct Seen {
    first: std::sync::OnceLock<Instant>,
    count: AtomicUsize,
}

fn client(pool: sqlx::PgPool, queue: &str, seen: Arc<Seen>) -> anyhow::Result<Client> {
    let config = QueueConfig {
        // The best of 50 to 2048; a second claimer makes it slower.
        max_workers: 256,
        poll_interval: Duration::from_millis(50),
        // A deadline per job costs a row per job: its own throughput benchmark has none.
        deadline_duration: Duration::ZERO,
        ..QueueConfig::default()
    };
    Client::builder(pool)
        .queue(queue, config)
        .register::<BenchNoop, _, _>(move |_, _| {
            seen.first.get_or_init(Instant::now);
            seen.count.fetch_add(1, Ordering::Relaxed);
            async { Ok(JobResult::Completed) }
        })
        .build()
        .context("awa's client was refused")
}

async fn fill(pool: &sqlx::PgPool, queue: &str, jobs: usize) -> anyhow::Result<()> {
    let all: Vec<InsertParams> = (0..jobs)
        .map(|n| {
            let opts = InsertOpts {
                queue: queue.to_owned(),
                ..InsertOpts::default()
            };
            awa::model::insert::params_with(&BenchNoop { n }, opts)
        })
        .collect::<Result<_, _>>()
        .context("awa refused the arguments")?;
    for batch in all.chunks(1000) {
        awa::insert_many_copy_from_pool(pool, batch)
            .await
            .context("awa's insert_many_copy failed")?;
    }
    Ok(())
}

async fn until_terminal(
    pool: &sqlx::PgPool,
    queue: &str,
    jobs: usize,
    seen: &Seen,
) -> anyhow::Result<f64> {
    let store =
        QueueStorage::new(QueueStorageConfig::default()).context("awa's storage was refused")?;
    let began = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let ran = seen.count.load(Ordering::Relaxed);
        // Counting is expensive there: only once every job has run.
        if ran >= jobs {
            let counts = store
                .queue_counts(pool, queue)
                .await
                .context("awa's counts failed")?;
            if counts.terminal >= i64::try_from(jobs)? {
                let first = seen.first.get().context("no job ran")?;
                return Ok(jobs as f64 / first.elapsed().as_secs_f64());
            }
        }
        ensure!(
            began.elapsed() < PATIENCE,
            "awa ran {ran} of {jobs} jobs in {} s",
            PATIENCE.as_secs()
        );
    }
}
