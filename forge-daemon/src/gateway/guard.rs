//! What happens around every request: its id, the drain gate, the time limit, the error document, the count.
//!
//! Invariants: every answer carries `X-Request-Id` and the `traceparent` it was handled under; health and metrics are
//! answered whatever the load; a request that was let in is counted until its answer is made, so a
//! drain can wait for it; a panic in a handler is an answer of 500, not a broken connection.

use std::{panic::AssertUnwindSafe, sync::Arc};

use axum::{
    body::Body,
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use forge_core::Code;
use futures::FutureExt;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use uuid::Uuid;

use super::{
    Door, body, compress, doorway::Crowded, problem::Problem, proxy::ClientIp, screen::screen,
    trace,
};
use crate::app::Phase;

const REQUEST_ID: &str = "x-request-id";
/// The request's id, as an extension of every request.
#[derive(Clone, Debug)]
pub(super) struct RequestId(pub String);

const IN_PROGRESS: &str = "forge_http_requests_in_progress";
const LONGEST_ID: usize = 128;
/// A drained node is gone soon; its balancer needs a moment to see that.
const DRAIN_RETRY: u32 = 5;

/// Health and metrics answer whatever the state of the node.
const ALWAYS: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// The layer around all routes.
pub(super) async fn guard(
    State(door): State<Arc<Door>>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let id = request_id(&request);
    request.extensions_mut().insert(RequestId(id.clone()));
    let method = request.method().clone();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("unknown", MatchedPath::as_str)
        .to_owned();
    let path = request.uri().path().to_owned();
    let client = request
        .extensions()
        .get()
        .map(|ClientIp(ip)| tracing::field::display(*ip));
    let traceparent = trace::adopt(request.headers_mut());
    let mut response = admit(&door, request, next).await;
    finish(&mut response, &id);
    if let Some(traceparent) = traceparent {
        response
            .headers_mut()
            .insert(trace::TRACEPARENT, traceparent);
    }
    protect(&mut response, &door);
    let (status, took) = (response.status(), started.elapsed());
    count(&method, &route, status, took);
    tracing::debug!(client, %method, path, status = status.as_u16(), ?took, request_id = id, "request");
    response
}

async fn admit(door: &Door, request: Request, next: Next) -> Response {
    if ALWAYS.contains(&request.uri().path()) {
        return run(request, next).await;
    }
    if door.context.phase() == Phase::Draining {
        return leave("the node is draining; send the request again to reach another one");
    }
    if request.extensions().get::<Crowded>().is_some() {
        return leave("the node has all the connections it serves; try again");
    }
    if let Err(problem) = screen(&request, door.context.config.http.header_limit.get()) {
        body::discard(request.into_body()).await;
        return problem.into_response();
    }
    let request = match compress::unpack(request) {
        Ok(request) => request,
        Err(refusal) => return *refusal,
    };
    let Ok(_permit) = door.permits.try_acquire() else {
        body::discard(request.into_body()).await;
        return Problem::new(Code::Unavailable, "the node is overloaded; try again")
            .into_response();
    };
    let _counted = Counted::new(&door.in_progress);
    let limit = door.context.config.http.request_timeout.get();
    match timeout(limit, run(request, next)).await {
        Ok(response) => response,
        Err(_) => Problem::new(
            Code::TimedOut,
            format!("the request took longer than {limit:?}"),
        )
        .into_response(),
    }
}

/// 503 and the end of the connection: a new one reaches another node, or finds a place.
fn leave(reason: &str) -> Response {
    let problem = Problem::new(Code::Unavailable, reason);
    let mut response = Problem {
        retry_after: Some(DRAIN_RETRY),
        ..problem
    }
    .into_response();
    response
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

async fn run(request: Request, next: Next) -> Response {
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => {
            tracing::error!("a request handler panicked");
            Problem::internal().into_response()
        }
    }
}

/// Writes the error document, now that the id is known.
fn finish(response: &mut Response, id: &str) {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        // 503 is an answer, not a failure, and during an outage there are many; the outage itself is in the log.
        let (status, code) = (problem.status.as_u16(), &problem.code);
        if problem.status.is_server_error() && status != 503 {
            tracing::warn!(request_id = id, status, %code, detail = problem.detail, "request failed");
        }
        *response.body_mut() = Body::from(problem.render(id));
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    if let Ok(value) = HeaderValue::from_str(id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
}

/// What browsers should hold to, where the handler said nothing else.
fn protect(response: &mut Response, door: &Door) {
    let status = response.status();
    let headers = response.headers_mut();
    headers
        .entry(header::X_CONTENT_TYPE_OPTIONS)
        .or_insert(HeaderValue::from_static("nosniff"));
    if status.is_client_error() || status.is_server_error() {
        headers
            .entry(header::CACHE_CONTROL)
            .or_insert(HeaderValue::from_static("no-store"));
    }
    let http = &door.context.config.http;
    let seconds = http.hsts.get().as_secs();
    if seconds > 0
        && http.tls_certificate.is_some()
        && let Ok(value) = HeaderValue::try_from(format!("max-age={seconds}"))
    {
        headers
            .entry(header::STRICT_TRANSPORT_SECURITY)
            .or_insert(value);
    }
}

/// The caller's id when it is usable, so that both sides' logs agree; else a new one.
fn request_id(request: &Request) -> String {
    request
        .headers()
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|id| {
            (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
        })
        .map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

fn count(method: &Method, route: &str, status: StatusCode, took: std::time::Duration) {
    let method = if method.as_str().len() <= 7 {
        method.as_str().to_owned()
    } else {
        "other".into()
    };
    let labels = [
        ("method", method),
        ("route", route.to_owned()),
        ("status", status.as_u16().to_string()),
    ];
    metrics::counter!("forge_http_requests_total", &labels).increment(1);
    metrics::histogram!("forge_http_request_duration_seconds", &labels[..2]).record(took);
}

/// Counts a request while it is in progress.
struct Counted(watch::Sender<usize>);

impl Counted {
    fn new(in_progress: &watch::Sender<usize>) -> Self {
        in_progress.send_modify(|count| *count += 1);
        metrics::gauge!(IN_PROGRESS).increment(1);
        Self(in_progress.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
        metrics::gauge!(IN_PROGRESS).decrement(1);
    }
}
