//! The HTTP door: jobs, inbound webhooks, health and metrics.
//!
//! Invariants: an accepted job is committed before the answer; nothing is buffered for later; every error is a problem
//! document (RFC 9457); while the node drains, new requests are refused and those in progress are waited for.

mod body;
mod cache;
mod guard;
mod health;
mod hooks;
pub(crate) mod identity;
mod jobs;
pub mod problem;
mod server;
mod stall;
mod trace;

use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    http::StatusCode,
    middleware,
    routing::{get, post},
};
use forge_core::Code;
use serde::de::DeserializeOwned;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
};
use tokio_util::sync::CancellationToken;

use self::{
    body::Limits, cache::Cache, health::Pulse, hooks::Registration, identity::Identities,
    problem::Problem,
};
use crate::{app::Context, config::Role, db::Wakeup, observe::Gauges};

const REMEMBERED_WEBHOOKS: usize = 1000;

/// What the handlers share.
struct Door {
    context: Context,
    identities: Identities,
    webhooks: Cache<String, Option<Registration>>,
    pulse: Pulse,
    gauges: Gauges,
    permits: Semaphore,
    in_progress: watch::Sender<usize>,
}

impl Door {
    fn new(context: &Context) -> Self {
        let http = &context.config.http;
        Self {
            identities: Identities::new(context.db.clone(), http.credential_ttl.get()),
            webhooks: Cache::new(REMEMBERED_WEBHOOKS),
            pulse: Pulse::default(),
            gauges: Gauges::default(),
            permits: Semaphore::new(http.max_requests),
            in_progress: watch::Sender::new(0),
            context: context.clone(),
        }
    }

    fn limits(&self, size: usize) -> Limits {
        Limits {
            size,
            idle: self.context.config.http.body_idle_timeout.get(),
        }
    }

    /// Reads JSON of the database's own making; anything unexpected there is an internal error.
    fn understand<T: DeserializeOwned>(&self, function: &str, text: &str) -> Result<T, Problem> {
        serde_json::from_str(text).map_err(|error| {
            tracing::error!(function, %error, "the database answered something else; do the versions fit?");
            Problem::internal()
        })
    }
}

/// The running HTTP server.
pub struct Gateway {
    door: Arc<Door>,
}

impl Gateway {
    /// Starts serving on `listener`. Without the gateway role only health and metrics are served.
    pub fn spawn(context: &Context, listener: TcpListener) -> Self {
        let door = Arc::new(Door::new(context));
        let router = router(door.clone());
        let config = context.config.http.clone();
        context.tasks.spawn("http", |token| {
            server::serve(listener, router, config, token)
        });
        let forgetting = door.clone();
        context
            .tasks
            .spawn("http caches", |token| forget(forgetting, token));
        Self { door }
    }

    /// Waits until no request is in progress.
    pub async fn drained(&self) {
        // The sender lives in `door`, so this cannot fail.
        let _ = self
            .door
            .in_progress
            .subscribe()
            .wait_for(|count| *count == 0)
            .await;
    }
}

/// What was registered or revoked may be what is remembered here.
async fn forget(door: Arc<Door>, token: CancellationToken) {
    let mut wakeups = door.context.wakeups.subscribe();
    loop {
        tokio::select! {
            () = token.cancelled() => return,
            _ = wakeups.next_of(&[Wakeup::Control]) => {
                door.identities.forget();
                door.webhooks.clear();
            }
        }
    }
}

fn router(door: Arc<Door>) -> Router {
    let mut router = Router::new()
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics));
    if door.context.config.node.has(Role::Gateway) {
        router = router
            .route("/v1/jobs", get(jobs::list).post(jobs::enqueue))
            .route("/v1/jobs/{id}", get(jobs::show))
            .route("/v1/jobs/{id}/cancel", post(jobs::cancel))
            .route("/v1/jobs/{id}/retry", post(jobs::retry))
            .route("/v1/hooks/{name}", post(hooks::deliver));
    }
    router
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(door.clone(), guard::guard))
        .with_state(door)
}

async fn unknown_path(request: Request) -> Problem {
    Problem::new(
        Code::NotFound,
        format!("there is nothing at {}", request.uri().path()),
    )
}

async fn wrong_method(request: Request) -> Problem {
    let detail = format!(
        "{} is not possible at {}; see the Allow header",
        request.method(),
        request.uri().path()
    );
    Problem::request(StatusCode::METHOD_NOT_ALLOWED, detail)
}
