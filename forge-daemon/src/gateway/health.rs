//! `/healthz`, `/readyz`, `/metrics`.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use forge_core::Code;
use serde_json::{Value, json};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use super::{Door, problem::Problem};
use crate::{
    app::Phase,
    db::{Db, Link, Query},
    observe,
};

const PING: Query = Query::new("ping", "SELECT 1", &[]);
const STATEMENTS: &[Query] = &[PING];
/// One look at the database serves all probes of this long.
const FRESH: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(2);

/// Looks at the database now and then, however many probes ask; over a connection of its own, since a busy pool says
/// nothing about the database.
pub(super) struct Pulse(Mutex<(Link, Option<(Instant, bool)>)>);

impl Pulse {
    pub fn new(db: &Db) -> Self {
        Self(Mutex::new((
            Link::new(db.clone(), "readiness", STATEMENTS),
            None,
        )))
    }

    /// Whether the database answers.
    pub async fn beats(&self) -> bool {
        let mut state = self.0.lock().await;
        let (link, last) = &mut *state;
        if let Some((at, beats)) = *last
            && at.elapsed() < FRESH
        {
            return beats;
        }
        let beats = matches!(
            timeout(PATIENCE, link.rows(PATIENCE, &PING, &[])).await,
            Ok(Ok(_))
        );
        *last = Some((Instant::now(), beats));
        beats
    }
}

/// The process lives.
pub(super) async fn alive() -> Json<Value> {
    Json(json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") }))
}

/// The node takes work: it has joined, does not drain, and the database answers.
pub(super) async fn ready(State(door): State<Arc<Door>>) -> Result<Json<Value>, Problem> {
    let reason = match door.context.phase() {
        Phase::Starting => {
            "the node is starting: it waits for the database or for its registration"
        }
        Phase::Draining => "the node is draining; use another one",
        Phase::Active if !door.pulse.beats().await => "the database does not answer",
        Phase::Active => {
            return Ok(Json(
                json!({ "status": "ready", "listening": door.context.wakeups.connected() }),
            ));
        }
    };
    Err(Problem::new(Code::Unavailable, reason))
}

/// Prometheus text.
pub(super) async fn metrics(
    State(door): State<Arc<Door>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if door.context.config.http.protect_metrics {
        let identity = door.identities.of(&headers).await?;
        if !identity.is_service() {
            let detail = format!(
                "role {} may not read metrics; use a key of role forge_service",
                identity.role
            );
            return Err(Problem::new(Code::Forbidden, detail));
        }
    }
    door.gauges.refresh(&door.context).await;
    let text = observe::metrics::render();
    Ok((
        [("content-type", "text/plain; version=0.0.4; charset=utf-8")],
        text,
    )
        .into_response())
}
