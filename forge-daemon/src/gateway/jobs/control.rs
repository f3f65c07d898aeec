//! `POST /v1/jobs/{id}/cancel` and `/retry`.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::HeaderMap,
};
use forge_core::Code;
use postgres_types::Type;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{job_id, view};
use crate::{
    db::Query,
    gateway::{Door, problem::Problem},
};

const ACTION: Query = Query::new(
    "gateway_job_action",
    "SELECT forge_private.gateway_job_action($1, $2, $3)",
    &[Type::TEXT, Type::UUID, Type::TEXT],
);

/// Cancels a job; a running one is told and ends soon.
pub(in crate::gateway) async fn cancel(
    State(door): State<Arc<Door>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    act(&door, &id, &headers, "cancel", "cancelled").await
}

/// Makes a dead or cancelled job ready again.
pub(in crate::gateway) async fn retry(
    State(door): State<Arc<Door>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    act(&door, &id, &headers, "retry", "retried").await
}

/// ZF001 when there is no such job, ZF005 naming its state when the state does not allow it.
async fn act(
    door: &Door,
    id: &str,
    headers: &HeaderMap,
    action: &str,
    participle: &str,
) -> Result<Json<Value>, Problem> {
    #[derive(Deserialize)]
    struct Seen {
        state: String,
    }
    let identity = door.identities.to_change(headers).await?;
    let id = job_id(id)?;
    let done: bool = door
        .context
        .db
        .scalar(&ACTION, &[&identity.role, &id, &action])
        .await?;
    let job = view::find(door, &identity.role, id)
        .await?
        .ok_or_else(|| view::unknown(id))?;
    let Seen { state } = door.understand("gateway_job", &job)?;
    if !done {
        return Err(Problem::new(
            Code::Conflict,
            format!("job {id} is {state}; it cannot be {participle}"),
        ));
    }
    Ok(Json(json!({ "job_id": id, "state": state })))
}
