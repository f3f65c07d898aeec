//! `GET /v1/jobs` and `GET /v1/jobs/{id}`.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, RawQuery, State},
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use forge_core::{Code, State as JobState};
use postgres_types::Type;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::job_id;
use crate::{
    db::Query,
    gateway::{
        Door,
        problem::{FieldError, Problem},
    },
};

const JOBS: Query = Query::new(
    "gateway_jobs",
    "SELECT j::text FROM forge_private.gateway_jobs($1, $2::text::jsonb) AS j",
    &[Type::TEXT, Type::TEXT],
);
const JOB: Query = Query::new(
    "gateway_job",
    "SELECT forge_private.gateway_job($1, $2)::text",
    &[Type::TEXT, Type::UUID],
);
const DEFAULT_LIMIT: usize = 50;
const MOST: usize = 500;

/// Which jobs are asked for.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Filter {
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<JobState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Uuid>,
    limit: usize,
}

#[derive(Serialize)]
struct Page {
    jobs: Vec<Box<RawValue>>,
    next_cursor: Option<Uuid>,
}

/// Jobs newest first; `next_cursor` is null on the last page.
pub(in crate::gateway) async fn list(
    State(door): State<Arc<Door>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Json<impl Serialize>, Problem> {
    let identity = door.identities.of(&headers).await?;
    let filter = filter(query.as_deref().unwrap_or_default())?;
    let asked = serde_json::to_string(&filter).map_err(|_| Problem::internal())?;
    let rows: Vec<String> = door
        .context
        .db
        .column(&JOBS, &[&identity.role, &asked])
        .await?;
    #[derive(Deserialize)]
    struct Named {
        id: Uuid,
    }
    let next_cursor = match rows.last() {
        Some(last) if rows.len() >= filter.limit => {
            Some(door.understand::<Named>("gateway_jobs", last)?.id)
        }
        _ => None,
    };
    let jobs = rows
        .into_iter()
        .map(RawValue::from_string)
        .collect::<Result<_, _>>()
        .map_err(|_| Problem::internal())?;
    Ok(Json(Page { jobs, next_cursor }))
}

/// One job with its attempts. ZF001 when there is none.
pub(in crate::gateway) async fn show(
    State(door): State<Arc<Door>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let identity = door.identities.of(&headers).await?;
    let id = job_id(&id)?;
    match find(&door, &identity.role, id).await? {
        Some(text) => Ok(([("content-type", "application/json")], text).into_response()),
        None => Err(unknown(id)),
    }
}

/// The job as JSON text.
pub(super) async fn find(door: &Door, role: &str, id: Uuid) -> Result<Option<String>, Problem> {
    Ok(door.context.db.scalar(&JOB, &[&role, &id]).await?)
}

pub(super) fn unknown(id: Uuid) -> Problem {
    Problem::new(
        Code::NotFound,
        format!("there is no job {id}; it may have passed its retention"),
    )
}

fn filter(query: &str) -> Result<Filter, Problem> {
    let mut filter = Filter {
        limit: DEFAULT_LIMIT,
        ..Filter::default()
    };
    let mut errors = Vec::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        if value.is_empty() {
            continue;
        }
        if let Err(message) = filter.set(&name, &value) {
            let field = name.into_owned();
            errors.push(FieldError { field, message });
        }
    }
    if errors.is_empty() {
        Ok(filter)
    } else {
        Err(Problem::invalid(errors))
    }
}

impl Filter {
    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "state" => {
                self.state = Some(
                    JobState::parse(value).map_err(|error| format!("{error}; {}", error.hint()))?,
                );
            }
            "kind" => self.kind = Some(value.to_owned()),
            "queue" => self.queue = Some(value.to_owned()),
            "cursor" => {
                let cursor = Uuid::parse_str(value);
                self.before = Some(cursor.map_err(|_| {
                    format!("`{value}` is no cursor; pass the next_cursor of the page before")
                })?);
            }
            "limit" => {
                let limit = value
                    .parse()
                    .ok()
                    .filter(|limit| (1..=MOST).contains(limit));
                self.limit =
                    limit.ok_or_else(|| format!("`{value}` is out of range; from 1 to {MOST}"))?;
            }
            _ => return Err("is unknown; known are state, kind, queue, cursor, limit".into()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_filters() {
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        let read = filter(&format!(
            "state=dead&kind=a%2Fb&queue=q&cursor={id}&limit=7"
        ))
        .unwrap();
        assert_eq!(
            serde_json::to_value(&read).unwrap(),
            serde_json::json!({"state": "dead", "kind": "a/b", "queue": "q", "before": id, "limit": 7})
        );
        assert_eq!(
            filter("state=&kind=").unwrap(),
            Filter {
                limit: DEFAULT_LIMIT,
                ..Filter::default()
            }
        );
    }

    #[test]
    fn names_every_mistake() {
        let problem = filter("state=lost&cursor=1&limit=501&colour=red").unwrap_err();
        let fields: Vec<_> = problem
            .errors
            .iter()
            .map(|error| error.field.as_str())
            .collect();
        assert_eq!(fields, ["state", "cursor", "limit", "colour"]);
    }
}
