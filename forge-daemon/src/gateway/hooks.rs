//! `POST /v1/hooks/{name}`: a verified delivery becomes one job, however often it is sent.

mod github;
mod payload;
mod plain;
mod scheme;
mod slack;
mod standard;
mod stripe;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{
    Json,
    extract::{Path, Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use forge_core::Code;
use postgres_types::Type;
use serde::Deserialize;

use self::{
    payload::Payload,
    scheme::{Delivery, Scheme},
};
use super::{Door, body, problem::Problem, trace};
use crate::db::Query;

const WEBHOOK: Query = Query::new(
    "webhook",
    "SELECT forge_private.webhook($1)::text",
    &[Type::TEXT],
);
const DELIVER: Query = Query::new(
    "gateway_webhook",
    "SELECT forge_private.gateway_webhook($1, $2, $3, $4::text::jsonb, $5)::text",
    &[Type::TEXT, Type::TEXT, Type::TEXT, Type::TEXT, Type::TEXT],
);
const LONGEST_NAME: usize = 255;
const UNKNOWN_TTL: Duration = Duration::from_secs(1);

/// What `forge.register_webhook` was told.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Registration {
    scheme: Scheme,
    secret: Option<String>,
    tolerance_ms: u64,
}

#[derive(Deserialize)]
struct Delivered {
    duplicate: bool,
}

/// Takes a delivery: 202 with the new job, 200 with the old one for a duplicate.
pub(super) async fn deliver(
    State(door): State<Arc<Door>>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let known = registration(&door, &name).await;
    let (registration, body) = body::or_discard(known, body).await?;
    let bytes = body::read(
        &parts.headers,
        body,
        door.limits(door.context.config.hooks.body_limit.get()),
    )
    .await?;
    let secret = registration
        .secret
        .as_deref()
        .filter(|secret| !secret.is_empty())
        .ok_or_else(|| {
            Problem::new(
                Code::NeedsSetup,
                format!("webhook `{name}` has no secret; register it again with one"),
            )
        })?;
    registration.scheme.verify(&Delivery {
        headers: &parts.headers,
        body: &bytes,
        secret,
        tolerance: Duration::from_millis(registration.tolerance_ms),
        now: SystemTime::now(),
    })?;
    let payload = Payload::read(registration.scheme, &parts.headers, &bytes)?;
    if let Some(challenge) = payload.challenge {
        return Ok(Json(serde_json::json!({ "challenge": challenge })).into_response());
    }
    let traceparent = trace::traceparent(&parts.headers);
    let answer: String = door
        .context
        .db
        .scalar(
            &DELIVER,
            &[
                &name,
                &payload.delivery_id,
                &payload.event,
                &payload.json,
                &traceparent,
            ],
        )
        .await?;
    let delivered: Delivered = door.understand("gateway_webhook", &answer)?;
    let status = if delivered.duplicate {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    metrics::counter!("forge_webhook_deliveries_total", "webhook" => name, "duplicate" => delivered.duplicate.to_string())
        .increment(1);
    Ok((status, [("content-type", "application/json")], answer).into_response())
}

/// The registration called `name`, remembered until something is registered. ZF001 when there is none.
async fn registration(door: &Door, name: &str) -> Result<Registration, Problem> {
    let unknown = || {
        Problem::new(
            Code::NotFound,
            format!("there is no webhook `{name}`; register it with forge.register_webhook"),
        )
    };
    if name.len() > LONGEST_NAME || name.contains('\0') {
        return Err(unknown());
    }
    if let Some(known) = door.webhooks.get(&name.to_owned()) {
        return known.ok_or_else(unknown);
    }
    let asked = door.webhooks.ask();
    let answer: Option<String> = door.context.db.scalar(&WEBHOOK, &[&name]).await?;
    let found: Option<Registration> = answer
        .map(|text| door.understand("webhook", &text))
        .transpose()?;
    let ttl = if found.is_some() {
        door.context.config.hooks.registration_ttl.get()
    } else {
        UNKNOWN_TTL
    };
    door.webhooks
        .put(name.to_owned(), found.clone(), asked, ttl);
    found.ok_or_else(unknown)
}
