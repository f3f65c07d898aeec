//! The limit: an HTTP handler on the same libraries as the daemon's, with as many connections to the
//! database, that runs one prepared statement and knows nobody.

use super::{ONE, TEN};
use crate::session;
use anyhow::Context;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore};
use tokio_postgres::{Client, Statement};

/// The subcommand of this program that is the handler.
const SERVE: &str = "bare";
/// What tells it where to listen and whom to ask.
const LISTEN: &str = "FORGE_BENCH_BARE_LISTEN";
const URL: &str = "FORGE_BENCH_BARE_URL";
const CONNECTIONS: usize = 10;
const START_LIMIT: Duration = Duration::from_secs(20);

/// The handler as a process; killed when dropped.
pub struct Bare {
    pub address: SocketAddr,
    child: Child,
}

impl Bare {
    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// It cannot be started, or does not listen within 20 s.
    pub async fn start(url: &str) -> anyhow::Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, forge_tests::port::free_port()?));
        let child = Command::new(std::env::current_exe()?)
            .arg(SERVE)
            .env(LISTEN, address.to_string())
            .env(URL, url)
            .stdin(Stdio::null())
            .spawn()
            .context("the bare handler cannot be started")?;
        let bare = Self { address, child };
        let began = std::time::Instant::now();
        while tokio::net::TcpStream::connect(address).await.is_err() {
            anyhow::ensure!(
                began.elapsed() < START_LIMIT,
                "the bare handler does not listen"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(bare)
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A session and its prepared statements.
struct Prepared {
    client: Client,
    one: Statement,
    ten: Statement,
}

/// Sessions, each used by one request at a time.
struct Pool {
    free: Semaphore,
    idle: Mutex<Vec<Prepared>>,
}

#[derive(Deserialize)]
struct Arguments {
    id: i32,
}

#[derive(Clone, Copy)]
enum Which {
    One,
    Ten,
}

/// Serves until killed.
///
/// # Errors
/// The environment does not say where, the database cannot be reached, or the address is taken.
pub async fn serve() -> anyhow::Result<()> {
    let url = std::env::var(URL).context(URL)?;
    let mut idle = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let client = session::open(&url).await?;
        let (one, ten) = (client.prepare(ONE).await?, client.prepare(TEN).await?);
        idle.push(Prepared { client, one, ten });
    }
    let pool = Arc::new(Pool {
        free: Semaphore::new(CONNECTIONS),
        idle: Mutex::new(idle),
    });
    let app = Router::new()
        .route("/one", post(|pool, body| answer(pool, body, Which::One)))
        .route("/ten", post(|pool, body| answer(pool, body, Which::Ten)))
        .with_state(pool);
    let listener = tokio::net::TcpListener::bind(std::env::var(LISTEN).context(LISTEN)?).await?;
    Ok(axum::serve(listener, app).await?)
}

async fn answer(
    State(pool): State<Arc<Pool>>,
    Json(arguments): Json<Arguments>,
    which: Which,
) -> Response {
    match pool.query(arguments.id, which).await {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")).into_response(),
    }
}

impl Pool {
    async fn query(&self, id: i32, which: Which) -> anyhow::Result<String> {
        let _permit = self.free.acquire().await?;
        let prepared = self
            .idle
            .lock()
            .await
            .pop()
            .context("a permit without a session")?;
        let statement = match which {
            Which::One => &prepared.one,
            Which::Ten => &prepared.ten,
        };
        let row = prepared.client.query_one(statement, &[&id]).await;
        self.idle.lock().await.push(prepared);
        Ok(row?.try_get(0)?)
    }
}
