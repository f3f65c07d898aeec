//! The outside service that `https:` jobs call: believes only signed calls, and fails a seeded share of them.
//!
//! Invariants: a webhook id has its effect once, at its first success, however often it is called; a call
//! that is failed has no effect; what it remembers is bounded.

mod certificate;
mod ledger;

use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use axum_server::Handle;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::sleep,
};
use uuid::Uuid;

use crate::{
    fate::{Failing, STALL},
    sign::Standard,
};
use ledger::{Ledger, Ruling};

pub use ledger::Report;

const BODY_LIMIT: usize = 4 << 20;
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// Command-line options of `receiver`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Address to listen on, by HTTPS; port 0 takes a free one. The URL is the first line of standard output.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where its certificate is written, for callers to trust (SSL_CERT_FILE).
    #[arg(long, default_value = "receiver.pem")]
    certificate: PathBuf,
    /// What the calls are signed with: whsec_ and base64.
    #[arg(long, env = "GITHUB_EVENTS_RECEIVER_SECRET")]
    secret: String,
    /// Decides which calls fail, and how.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

struct Receiver {
    standard: Standard,
    ledger: Mutex<Ledger>,
}

impl Receiver {
    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(|held| held.into_inner())
    }
}

/// Serves until it is told to stop.
///
/// # Errors
/// When the secret is malformed or the address cannot be listened on.
pub async fn run(options: Options) -> Result<ExitCode> {
    let receiver = Arc::new(Receiver {
        standard: Standard::new(&options.secret)?,
        ledger: Mutex::new(Ledger::new(options.seed)),
    });
    let tls = certificate::make(&options.certificate).await?;
    let listener = TcpListener::bind(options.listen)
        .with_context(|| format!("listening on {}", options.listen))?;
    listener.set_nonblocking(true)?;
    println!("https://{}", listener.local_addr()?);
    let handle = Handle::new();
    let stopped = stopped()?;
    let server = axum_server::from_tcp_rustls(listener, tls)?
        .handle(handle.clone())
        .serve(routes(receiver).into_make_service());
    tokio::spawn(async move {
        stopped.await;
        handle.graceful_shutdown(Some(STOP_WITHIN));
    });
    server.await?;
    Ok(ExitCode::SUCCESS)
}

fn stopped() -> Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

fn routes(receiver: Arc<Receiver>) -> Router {
    Router::new()
        .route("/report", get(report))
        .route("/pardon", post(pardon))
        .route("/hooks/{service}", post(take))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(receiver)
}

async fn report(State(receiver): State<Arc<Receiver>>) -> Json<Report> {
    Json(receiver.ledger().report())
}

async fn pardon(State(receiver): State<Arc<Receiver>>) -> Json<Value> {
    Json(json!({ "pardoned": receiver.ledger().pardon() }))
}

/// What Forge sends: the job's id, kind, attempt and arguments.
#[derive(Deserialize)]
struct Call {
    args: Delivery,
}

/// The arguments of every job a webhook makes; the payload is of no interest here.
#[derive(Deserialize)]
struct Delivery {
    event: String,
    delivery_id: Uuid,
}

/// Takes one call, as Standard Webhooks describes it.
async fn take(State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Bytes) -> Response {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let id = match receiver.standard.verify(header, &body, SystemTime::now()) {
        Ok(id) => id.to_owned(),
        Err(refusal) => {
            receiver.ledger().refuse();
            return problem(
                StatusCode::UNAUTHORIZED,
                &format!("not believed: {refusal:?}"),
            );
        }
    };
    let job = match serde_json::from_slice::<Call>(&body) {
        Ok(call) => call.args,
        Err(error) => {
            receiver.ledger().refuse();
            return problem(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string());
        }
    };
    let ruling = receiver.ledger().rule(&id, job.delivery_id);
    match ruling {
        Ruling::Effect => {
            Json(json!({ "delivery_id": job.delivery_id, "event": job.event, "repeated": false }))
                .into_response()
        }
        Ruling::Repeat => {
            Json(json!({ "delivery_id": job.delivery_id, "event": job.event, "repeated": true }))
                .into_response()
        }
        Ruling::Fail(failing) => fail(failing).await,
        Ruling::Full => problem(StatusCode::INSUFFICIENT_STORAGE, "too many webhook ids"),
    }
}

async fn fail(failing: Failing) -> Response {
    match failing {
        Failing::Error => problem(StatusCode::INTERNAL_SERVER_ERROR, "failed on purpose"),
        Failing::Unavailable => problem(StatusCode::SERVICE_UNAVAILABLE, "away on purpose"),
        Failing::TooMany => {
            let after = Duration::from_secs(1).as_secs().to_string();
            let refusal = problem(StatusCode::TOO_MANY_REQUESTS, "busy on purpose");
            ([("retry-after", after)], refusal).into_response()
        }
        Failing::Stall => {
            sleep(STALL).await;
            problem(StatusCode::GATEWAY_TIMEOUT, "slow on purpose")
        }
    }
}

fn problem(status: StatusCode, detail: &str) -> Response {
    (status, Json(json!({ "error": detail }))).into_response()
}
