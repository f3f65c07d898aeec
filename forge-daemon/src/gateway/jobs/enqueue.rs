//! `POST /v1/jobs`: one job, or a list of up to 10,000 that is accepted as a whole or not at all.
//!
//! An answer of 201 means that the jobs are committed in the database; nothing is kept in memory for later.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, StatusCode},
    response::{IntoResponse, Response},
};
use forge_core::{Code, limits};
use postgres_types::Type;
use serde_json::{json, value::RawValue};
use uuid::Uuid;

use super::options::{Mistakes, Order, order};
use crate::{
    db::Query,
    gateway::{Door, body, problem::Problem, trace},
};

const ENQUEUE: Query = Query::new(
    "gateway_enqueue",
    "SELECT forge_private.gateway_enqueue($1, j->>'kind', j->'args', (j->'options') || jsonb_build_object('traceparent', $3)) \
     FROM jsonb_array_elements($2::text::jsonb) WITH ORDINALITY AS given(j, n) ORDER BY n",
    &[Type::TEXT, Type::TEXT, Type::TEXT],
);

/// What was sent: one job or several.
struct Batch<'a> {
    orders: Vec<Order<'a>>,
    single: bool,
}

/// Enqueues: 201 with `job_id`, or `job_ids` in the order sent.
pub(in crate::gateway) async fn enqueue(
    State(door): State<Arc<Door>>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let admitted = match body::require_json(&parts.headers) {
        Ok(()) => door.identities.to_change(&parts.headers).await,
        Err(problem) => Err(problem),
    };
    let (identity, body) = body::or_discard(admitted, body).await?;
    let bytes = body::read(
        &parts.headers,
        body,
        door.limits(door.context.config.http.body_limit.get()),
    )
    .await?;
    let raw: &RawValue = serde_json::from_slice(&bytes).map_err(|error| body::malformed(&error))?;
    let key = idempotency_key(&parts.headers)?;
    let batch = read(raw, key.as_deref())?;
    let orders = serde_json::to_string(&batch.orders).map_err(|_| Problem::internal())?;
    let traceparent = trace::traceparent(&parts.headers);
    let ids: Vec<Uuid> = door
        .context
        .db
        .column(&ENQUEUE, &[&identity.role, &orders, &traceparent])
        .await?;
    for order in &batch.orders {
        metrics::counter!("forge_jobs_enqueued_total", "kind" => order.kind.clone()).increment(1);
    }
    match (batch.single, ids.as_slice()) {
        (true, [id]) => {
            let location = [(
                HeaderName::from_static("location"),
                format!("/v1/jobs/{id}"),
            )];
            Ok((StatusCode::CREATED, location, Json(json!({ "job_id": id }))).into_response())
        }
        (true, _) => Err(Problem::internal()),
        (false, ids) => Ok((StatusCode::CREATED, Json(json!({ "job_ids": ids }))).into_response()),
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<Box<RawValue>>, Problem> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let text = value
        .to_str()
        .map_err(|_| Problem::field("Idempotency-Key", "must be ASCII"))?;
    serde_json::value::to_raw_value(text)
        .map(Some)
        .map_err(|_| Problem::internal())
}

/// The jobs in a body, or every mistake in it.
fn read<'a>(raw: &'a RawValue, key: Option<&'a RawValue>) -> Result<Batch<'a>, Problem> {
    let shape = |_: serde_json::Error| {
        Problem::field(
            "body",
            "must be a job object such as {\"kind\":\"…\",\"args\":{}}, or a list of them",
        )
    };
    if !raw.get().starts_with('[') {
        let mut object: BTreeMap<String, &RawValue> =
            serde_json::from_str(raw.get()).map_err(shape)?;
        if let Some(key) = key {
            object.entry("idempotency_key".into()).or_insert(key);
        }
        let mut mistakes = Mistakes {
            prefix: String::new(),
            errors: Vec::new(),
        };
        let order = order(object, &mut mistakes);
        return match order {
            Some(order) => Ok(Batch {
                orders: vec![order],
                single: true,
            }),
            None => Err(Problem::invalid(mistakes.errors)),
        };
    }
    if key.is_some() {
        return Err(Problem::field(
            "Idempotency-Key",
            "fits one job only; give each job of a list its idempotency_key",
        ));
    }
    let objects: Vec<BTreeMap<String, &RawValue>> =
        serde_json::from_str(raw.get()).map_err(shape)?;
    if objects.is_empty() {
        return Err(Problem::field(
            "body",
            "is an empty list; send at least one job",
        ));
    }
    if objects.len() > limits::MAX_BATCH {
        let detail = format!(
            "the list has {} jobs; at most {} are taken at once",
            objects.len(),
            limits::MAX_BATCH
        );
        return Err(Problem::new(Code::TooLarge, detail));
    }
    let mut mistakes = Mistakes {
        prefix: String::new(),
        errors: Vec::new(),
    };
    let orders: Vec<Order<'a>> = objects
        .into_iter()
        .enumerate()
        .filter_map(|(index, object)| {
            mistakes.prefix = format!("[{index}].");
            order(object, &mut mistakes)
        })
        .collect();
    if mistakes.errors.is_empty() {
        Ok(Batch {
            orders,
            single: false,
        })
    } else {
        Err(Problem::invalid(mistakes.errors))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(text: &str) -> Result<(usize, bool), Problem> {
        let raw: &RawValue = serde_json::from_str(text).unwrap();
        read(raw, None).map(|batch| (batch.orders.len(), batch.single))
    }

    #[test]
    fn one_or_many() {
        assert_eq!(outcome(r#" {"kind":"a"} "#).unwrap(), (1, true));
        assert_eq!(
            outcome(r#"[{"kind":"a"},{"kind":"b"}]"#).unwrap(),
            (2, false)
        );
        let many = format!("[{}]", vec![r#"{"kind":"a"}"#; limits::MAX_BATCH].join(","));
        assert_eq!(outcome(&many).unwrap(), (10_000, false));
    }

    #[test]
    fn refuses_what_is_no_job() {
        let many = format!(
            "[{}]",
            vec![r#"{"kind":"a"}"#; limits::MAX_BATCH + 1].join(",")
        );
        assert_eq!(outcome(&many).unwrap_err().status.as_u16(), 413);
        for bad in ["null", "[]", "[null]", "[[]]", "7", "\"x\""] {
            assert_eq!(outcome(bad).unwrap_err().status.as_u16(), 422, "{bad}");
        }
        let problem = outcome(r#"[{"kind":"a"},{"queue":"q"}]"#).unwrap_err();
        assert_eq!(problem.errors[0].field, "[1].kind");
    }

    #[test]
    fn the_idempotency_header_fits_one_job() {
        let key = serde_json::value::to_raw_value("k").unwrap();
        let one: &RawValue = serde_json::from_str(r#"{"kind":"a"}"#).unwrap();
        assert_eq!(
            read(one, Some(&key)).unwrap().orders[0].options["idempotency_key"].get(),
            "\"k\""
        );
        let list: &RawValue = serde_json::from_str(r#"[{"kind":"a"}]"#).unwrap();
        assert!(read(list, Some(&key)).is_err());
    }
}
