//! The HTTP door: jobs, inbound webhooks, health and metrics.
//!
//! Invariants: an accepted job is committed before the answer; nothing is buffered for later; every error is a problem
//! document (RFC 9457); while the node drains, new requests are refused and those in progress are waited for.

mod answer;
mod auth;
mod body;
mod cache;
mod call;
mod compress;
mod cors;
mod doorway;
mod guard;
mod health;
mod hooks;
pub(crate) mod identity;
mod jobs;
pub(crate) mod jwt;
pub mod openapi;
mod origin;
mod pace;
pub mod problem;
pub mod proxy;
mod route;
mod screen;
mod server;
mod stall;
mod trace;

use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    http::{StatusCode, request::Parts},
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
    body::Limits, cache::Cache, guard::RequestId, health::Pulse, hooks::Registration,
    identity::Identities, problem::Problem, proxy::ClientIp, server::Server,
};
use crate::{
    app::Context,
    config::{Http, Role},
    db::Wakeup,
    executor::Executor,
    observe::Gauges,
    tls::Certificates,
};

pub(crate) use self::{
    answer::{patience, problem as call_problem},
    call::plain_order,
};

const REMEMBERED_WEBHOOKS: usize = 1000;

/// What the handlers share.
struct Door {
    context: Context,
    executor: Executor,
    identities: Arc<Identities>,
    webhooks: Cache<String, Option<Registration>>,
    pulse: Pulse,
    gauges: Gauges,
    permits: Semaphore,
    in_progress: watch::Sender<usize>,
}

impl Door {
    fn new(context: &Context, executor: Executor, identities: Arc<Identities>) -> Self {
        let http = &context.config.http;
        Self {
            executor,
            identities,
            webhooks: Cache::new(REMEMBERED_WEBHOOKS),
            pulse: Pulse::new(&context.db),
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
    /// Starts serving on `listener`, encrypted with `certificates`. Without the gateway role only health and metrics are
    /// served.
    pub(crate) fn spawn(
        context: &Context,
        listener: TcpListener,
        certificates: Option<Certificates>,
        executor: Executor,
        identities: Arc<Identities>,
    ) -> Self {
        let door = Arc::new(Door::new(context, executor, identities));
        let config = context.config.http.clone();
        let router = around(router(door.clone()), &config);
        let drain = context.drain.clone();
        context.tasks.spawn("http", |token| {
            Server::new(router, config, certificates, drain, token).serve(listener)
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
            .route("/v1/hooks/{name}", post(hooks::deliver))
            .route("/v1/call/{name}", get(call::get).post(call::post))
            .route("/v1/auth/session", post(auth::log_in).delete(auth::log_out))
            .route("/openapi.json", get(openapi::serve))
            .fallback(route::fallback);
    } else {
        router = router.fallback(unknown_path);
    }
    router
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(door.clone(), guard::guard))
        .with_state(door)
}

/// The id the guard gave the request.
fn request_id(parts: &Parts) -> Option<String> {
    let RequestId(id) = parts.extensions.get()?;
    Some(id.clone())
}

/// The client's address, as far as it is known.
fn client_address(parts: &Parts) -> Option<String> {
    let ClientIp(ip) = parts.extensions.get()?;
    Some(ip.to_string())
}

/// What answers pass on their way out, after the guard.
fn around(mut router: Router, config: &Http) -> Router {
    if config.compression {
        router = router
            .layer(compress::layer())
            .layer(middleware::map_response(compress::weaken_etag));
    }
    match cors::layer(config) {
        Some(cors) => router.layer(cors),
        None => router,
    }
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

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request, response::Response};
    use http_body_util::BodyExt;
    use serde_json::Value;
    use tower::ServiceExt;

    use super::*;
    use crate::app::Phase;

    async fn send(
        context: &Context,
        request: axum::http::request::Builder,
        body: &str,
    ) -> Response {
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let executor = Executor::new(&context.db, &context.config.cache);
        let identities = Arc::new(Identities::new(context).unwrap());
        router(Arc::new(Door::new(context, executor, identities)))
            .oneshot(request)
            .await
            .unwrap()
    }

    async fn problem(response: Response) -> (u16, Value) {
        let status = response.status().as_u16();
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
        let id = response.headers()["x-request-id"]
            .to_str()
            .unwrap()
            .to_owned();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let document: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(document["request_id"], id);
        assert_eq!(document["status"], status);
        (status, document)
    }

    #[tokio::test]
    async fn unknown_paths_and_methods_are_problems() {
        let context = Context::unconnected();
        let request = Request::get("/v1/nope").header("x-request-id", "r-1");
        let (status, document) = problem(send(&context, request, "").await).await;
        assert_eq!(
            (status, &document["code"], &document["request_id"]),
            (404, &"ZF001".into(), &"r-1".into())
        );
        let response = send(&context, Request::put("/v1/jobs"), "").await;
        assert_eq!(response.headers()["allow"], "GET,HEAD,POST");
        assert_eq!(problem(response).await.0, 405);
    }

    #[tokio::test]
    async fn without_the_database_nothing_is_accepted() {
        let context = Context::unconnected();
        let enqueue = || Request::post("/v1/jobs").header("content-type", "application/json");
        let response = send(&context, enqueue(), r#"{"kind":"a"}"#).await;
        assert!(response.headers().contains_key("retry-after"));
        let (status, document) = problem(response).await;
        assert_eq!((status, &document["code"]), (503, &"ZF007".into()));
        assert_eq!(
            problem(send(&context, Request::get("/readyz"), "").await)
                .await
                .0,
            503
        );
        assert_eq!(
            send(&context, Request::get("/healthz"), "")
                .await
                .status()
                .as_u16(),
            200
        );
    }

    #[tokio::test]
    async fn bad_bodies_are_refused_before_the_database_is_asked() {
        let context = Context::unconnected();
        let enqueue = |media| Request::post("/v1/jobs").header("content-type", media);
        assert_eq!(
            problem(send(&context, enqueue("text/plain"), "{}").await)
                .await
                .0,
            415
        );
        assert_eq!(
            problem(send(&context, enqueue("application/json"), "{").await)
                .await
                .0,
            400
        );
        let large = Request::post("/v1/jobs")
            .header("content-type", "application/json")
            .header("content-length", "9999999999");
        assert_eq!(problem(send(&context, large, "").await).await.0, 413);
    }

    #[tokio::test]
    async fn a_draining_node_refuses_but_lives() {
        let context = Context::unconnected();
        context.enter(Phase::Draining);
        let response = send(&context, Request::get("/v1/jobs"), "").await;
        assert_eq!(response.headers()["connection"], "close");
        assert_eq!(problem(response).await.0, 503);
        assert_eq!(
            problem(send(&context, Request::get("/readyz"), "").await)
                .await
                .0,
            503
        );
        assert_eq!(
            send(&context, Request::get("/healthz"), "")
                .await
                .status()
                .as_u16(),
            200
        );
    }

    #[tokio::test]
    async fn without_the_gateway_role_only_health_is_served() {
        let mut context = Context::unconnected();
        let mut config = (*context.config).clone();
        config.node.roles = vec![Role::Worker];
        context.config = Arc::new(config);
        assert_eq!(
            problem(send(&context, Request::get("/v1/jobs"), "").await)
                .await
                .0,
            404
        );
        assert_eq!(
            send(&context, Request::get("/healthz"), "")
                .await
                .status()
                .as_u16(),
            200
        );
    }
}
