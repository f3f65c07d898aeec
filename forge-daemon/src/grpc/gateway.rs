//! Service `Gateway`: jobs for programs that speak gRPC.

use std::{sync::Arc, time::Duration};

use postgres_types::Type;
use prost_types::Timestamp;
use serde_json::{Map, Value, json};
use tonic::{Request, Response, Status, metadata::MetadataMap};
use uuid::Uuid;

use super::{
    convert::{self, count, text, timestamp},
    credential::Credentials,
    proto::{
        CallRequest, CallResponse, EnqueueRequest, EnqueueResponse, GetJobRequest, GetJobResponse,
        gateway_server::{self, GatewayServer},
        get_job_response::{Attempt, Job},
    },
    status,
};
use crate::{
    app::Context,
    db::{Db, Query},
    executor::{Answer, Circumstances, Executor, Freshness, Order},
    gateway,
    worker::JsonText,
};

const ENQUEUE: Query = Query::new(
    "gateway_enqueue",
    "SELECT forge_private.gateway_enqueue($1, $2, $3, $4)",
    &[Type::TEXT, Type::TEXT, Type::JSONB, Type::JSONB],
);
const JOB: Query = Query::new(
    "gateway_job",
    "SELECT forge_private.gateway_job($1, $2)",
    &[Type::TEXT, Type::UUID],
);

/// The service.
pub(super) struct GatewayService {
    db: Db,
    executor: Executor,
    patience: Duration,
    drain: tokio_util::sync::CancellationToken,
    credentials: Arc<Credentials>,
}

impl GatewayService {
    pub fn new(context: &Context, credentials: Arc<Credentials>, executor: Executor) -> Self {
        Self {
            executor,
            patience: gateway::patience(context.config.http.request_timeout.get()),
            db: context.db.clone(),
            drain: context.drain.clone(),
            credentials,
        }
    }

    /// With messages of at most `limit` bytes.
    pub fn into_server(self, limit: usize) -> GatewayServer<Self> {
        GatewayServer::new(self)
            .max_decoding_message_size(limit)
            .max_encoding_message_size(limit)
    }

    fn open(&self) -> Result<(), Status> {
        if self.drain.is_cancelled() {
            return Err(Status::unavailable("this node stops; connect to another"));
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl gateway_server::Gateway for GatewayService {
    async fn call(&self, request: Request<CallRequest>) -> Result<Response<CallResponse>, Status> {
        self.open()?;
        let identity = self.credentials.identity(request.metadata()).await?;
        let traceparent = traceparent(request.metadata());
        let ip = request
            .remote_addr()
            .map(|address| address.ip().to_string());
        let request = request.into_inner();
        let circumstances = Circumstances {
            idempotency_key: request.idempotency_key,
            traceparent,
            ip,
            ..Circumstances::default()
        };
        let order = gateway::plain_order(&identity, request.name, request.args_json, circumstances)
            .map_err(|problem| status::from_problem(&problem))?;
        let order = Order {
            later: request.respond_async,
            patience: self.patience,
            ..order
        };
        let answer = self
            .executor
            .call(order)
            .await
            .map_err(|error| status::from_problem(&gateway::call_problem(&error, &identity)))?;
        Ok(Response::new(response(answer)))
    }

    async fn enqueue(
        &self,
        request: Request<EnqueueRequest>,
    ) -> Result<Response<EnqueueResponse>, Status> {
        self.open()?;
        let role = self.credentials.role(request.metadata()).await?.role;
        let traceparent = traceparent(request.metadata());
        let mut request = request.into_inner();
        let args = match std::mem::take(&mut request.args_json) {
            args if args.is_empty() => JsonText::from(&json!({})),
            args => JsonText::parse(args).map_err(|error| {
                Status::invalid_argument(format!("args_json is not JSON: {error}"))
            })?,
        };
        let kind = std::mem::take(&mut request.kind);
        let options = options(request, traceparent)?;
        let id: Uuid = self
            .db
            .scalar(&ENQUEUE, &[&role, &kind, &args, &options])
            .await
            .map_err(status::from_db)?;
        Ok(Response::new(EnqueueResponse { id: id.to_string() }))
    }

    async fn get_job(
        &self,
        request: Request<GetJobRequest>,
    ) -> Result<Response<GetJobResponse>, Status> {
        self.open()?;
        let role = self.credentials.role(request.metadata()).await?.role;
        let text = request.into_inner().id;
        let id: Uuid = text
            .parse()
            .map_err(|_| Status::invalid_argument(format!("id `{text:.60}` is not a UUID")))?;
        let found: Option<Value> = self
            .db
            .scalar(&JOB, &[&role, &id])
            .await
            .map_err(status::from_db)?;
        let found = found.ok_or_else(|| {
            Status::not_found(format!(
                "job {id} does not exist; it may be past its retention"
            ))
        })?;
        Ok(Response::new(GetJobResponse {
            job: Some(job(&found)),
        }))
    }
}

fn response(answer: Answer) -> CallResponse {
    let (reply, freshness) = match answer {
        Answer::Accepted(job) => {
            return CallResponse {
                job_id: job.to_string(),
                ..CallResponse::default()
            };
        }
        Answer::Done(reply, freshness) => (reply, freshness),
    };
    let headers = reply.headers.iter().map(|(name, value)| {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        (name.clone(), text)
    });
    CallResponse {
        value_json: String::from_utf8_lossy(&reply.body).into_owned(),
        job_id: String::new(),
        http_status: reply.status.map_or(0, u32::from),
        http_headers: headers.collect(),
        replayed: reply.replayed,
        stale: matches!(freshness, Freshness::Stale(_)),
    }
}

fn traceparent(metadata: &MetadataMap) -> Option<String> {
    metadata
        .get("traceparent")?
        .to_str()
        .ok()
        .map(ToOwned::to_owned)
}

/// The optional parameters of `forge.enqueue` that are present.
fn options(request: EnqueueRequest, traceparent: Option<String>) -> Result<Value, Status> {
    let mut options = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            options.insert(name.to_owned(), value);
        }
    };
    let run_at = request
        .run_at
        .map(|at| convert::rfc3339("run_at", at))
        .transpose()?;
    let delay = request
        .delay
        .map(|delay| convert::duration("delay", delay))
        .transpose()?;
    set("queue", request.queue.map(Value::from));
    set("priority", request.priority.map(Value::from));
    set("run_at", run_at.map(Value::from));
    set(
        "delay",
        delay.map(|delay| format!("{} seconds", delay.as_secs_f64()).into()),
    );
    set("max_attempts", request.max_attempts.map(Value::from));
    set("unique_key", request.unique_key.map(Value::from));
    set("on_conflict", request.on_conflict.map(Value::from));
    set("idempotency_key", request.idempotency_key.map(Value::from));
    set("concurrency_key", request.concurrency_key.map(Value::from));
    set(
        "tags",
        (!request.tags.is_empty()).then(|| request.tags.into()),
    );
    set("traceparent", traceparent.map(Value::from));
    Ok(Value::Object(options))
}

fn job(found: &Value) -> Job {
    let at = |name: &str| -> Option<Timestamp> { timestamp(&found[name]) };
    let json = |name: &str| match &found[name] {
        Value::Null => String::new(),
        value => value.to_string(),
    };
    let list = |name: &str| {
        found[name]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default()
    };
    Job {
        id: text(&found["id"]),
        kind: text(&found["kind"]),
        queue: text(&found["queue"]),
        priority: text(&found["priority"]),
        state: text(&found["state"]),
        args_json: json("args"),
        result_json: json("result"),
        error: text(&found["error"]),
        attempt: count(&found["attempt"]),
        max_attempts: count(&found["max_attempts"]),
        // A percentage fits any float.
        progress: found["progress"].as_f64().unwrap_or(0.0) as f32,
        progress_message: text(&found["progress_message"]),
        tags: list("tags").iter().map(text).collect(),
        trace_id: text(&found["trace_id"]),
        node_id: text(&found["node_id"]),
        run_at: at("run_at"),
        enqueued_at: at("enqueued_at"),
        started_at: at("started_at"),
        finished_at: at("finished_at"),
        attempts: list("attempts").iter().map(attempt).collect(),
    }
}

fn attempt(found: &Value) -> Attempt {
    Attempt {
        attempt: count(&found["attempt"]),
        node_id: text(&found["node_id"]),
        outcome: text(&found["outcome"]),
        error: text(&found["error"]),
        started_at: timestamp(&found["started_at"]),
        finished_at: timestamp(&found["finished_at"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_present_is_an_option() {
        let request = EnqueueRequest {
            kind: "a".into(),
            ..EnqueueRequest::default()
        };
        assert_eq!(options(request, None).unwrap(), json!({}));
        let request = EnqueueRequest {
            queue: Some("mail".into()),
            delay: Some(prost_types::Duration {
                seconds: 1,
                nanos: 500_000_000,
            }),
            max_attempts: Some(2),
            tags: vec!["x".into()],
            ..EnqueueRequest::default()
        };
        let expected = json!({"queue": "mail", "delay": "1.5 seconds", "max_attempts": 2, "tags": ["x"], "traceparent": "t"});
        assert_eq!(options(request, Some("t".into())).unwrap(), expected);
    }

    #[test]
    fn a_job_keeps_its_fields() {
        let found = json!({"id": "i", "args": {"a": 1}, "result": null, "progress": 12.5, "tags": ["x"], "attempt": 2,
            "enqueued_at": "2026-01-01T00:00:00+00:00", "attempts": [{"attempt": 1, "outcome": "failed", "error": "e"}]});
        let job = job(&found);
        assert_eq!(
            (job.args_json.as_str(), job.result_json.as_str()),
            (r#"{"a":1}"#, "")
        );
        assert_eq!((job.attempt, job.progress, job.tags.len()), (2, 12.5, 1));
        assert_eq!(job.enqueued_at.unwrap().seconds, 1_767_225_600);
        assert_eq!(job.attempts[0].outcome, "failed");
    }
}
