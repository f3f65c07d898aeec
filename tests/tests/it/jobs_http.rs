//! `/v1/jobs` as clients see it.

use std::{net::SocketAddr, time::Duration};

use forge_tests::http::{self, Answer};
use serde_json::{Value, json};

use crate::stage::Stage;

struct Client {
    address: SocketAddr,
    key: String,
}

impl Client {
    fn send(&self, method: &str, path: &str, body: &str) -> Answer {
        let authorization = format!("Bearer {}", self.key);
        let headers = [
            ("content-type", "application/json"),
            ("authorization", authorization.as_str()),
        ];
        http::request(self.address, method, path, &headers, body.as_bytes()).unwrap()
    }

    fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &body.to_string())
    }

    fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "")
    }
}

fn stage() -> (Stage<'static>, Client) {
    let stage = Stage::with_nodes(1);
    stage
        .run(
            "CREATE FUNCTION public.ok(n int DEFAULT 0) RETURNS int LANGUAGE sql AS 'SELECT n';
             SELECT forge.register_job('ok', 'sql:public.ok');
             SELECT forge.register_job('parked', 'worker', queue => 'parked', capability => 'nobody');",
        )
        .unwrap();
    let client = Client {
        address: stage.nodes[0].http(),
        key: stage.key("forge_service"),
    };
    (stage, client)
}

/// A problem document with these.
fn assert_problem(answer: &Answer, status: u16, code: &str, names: &str) {
    let text = answer.text();
    assert_eq!(answer.status, status, "{text}");
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json"),
        "{text}"
    );
    let problem = answer.json().unwrap();
    for field in [
        "type",
        "title",
        "status",
        "detail",
        "code",
        "request_id",
        "retryable",
    ] {
        assert!(
            problem.get(field).is_some(),
            "{field} is missing from {text}"
        );
    }
    assert_eq!(
        (&problem["code"], &problem["status"]),
        (&json!(code), &json!(status)),
        "{text}"
    );
    assert!(text.contains(names), "`{names}` is not named by {text}");
}

#[test]
fn a_job_from_post_to_result() {
    let (stage, client) = stage();
    let answer = client.post(
        "/v1/jobs",
        &json!({"kind": "ok", "args": {"n": 42}, "tags": ["a"]}),
    );
    assert_eq!(answer.status, 201, "{}", answer.text());
    let id = answer.json().unwrap()["job_id"]
        .as_str()
        .unwrap()
        .to_owned();
    stage
        .until("SELECT state = 'completed' FROM forge.jobs")
        .unwrap();
    let job = client.get(&format!("/v1/jobs/{id}")).json().unwrap();
    assert_eq!(
        (&job["state"], &job["result"], &job["args"]["n"]),
        (&json!("completed"), &json!(42), &json!(42))
    );
    assert_eq!(job["attempts"].as_array().unwrap().len(), 1);
}

#[test]
fn lists_are_filtered_and_paged() {
    let (_stage, client) = stage();
    let batch: Vec<Value> = (0..25)
        .map(|n| json!({"kind": "parked", "args": {"n": n}}))
        .collect();
    let answer = client.post("/v1/jobs", &json!(batch));
    assert_eq!(
        answer.json().unwrap()["job_ids"].as_array().unwrap().len(),
        25
    );
    let mut seen = Vec::new();
    let mut path = "/v1/jobs?queue=parked&state=ready&limit=10".to_owned();
    loop {
        let page = client.get(&path);
        assert_eq!(page.status, 200, "{}", page.text());
        let page = page.json().unwrap();
        seen.extend(
            page["jobs"]
                .as_array()
                .unwrap()
                .iter()
                .map(|job| job["args"]["n"].as_i64().unwrap()),
        );
        match page["cursor"].as_str().or(page["next_cursor"].as_str()) {
            Some(cursor) => {
                path = format!("/v1/jobs?queue=parked&state=ready&limit=10&cursor={cursor}")
            }
            None => break,
        }
    }
    assert_eq!(
        seen,
        (0..25).rev().collect::<Vec<i64>>(),
        "newest first, each once"
    );
    assert!(
        client.get("/v1/jobs?kind=ok").json().unwrap()["jobs"]
            .as_array()
            .unwrap()
            .is_empty()
    );
}

#[test]
fn jobs_are_cancelled_and_retried() {
    let (stage, client) = stage();
    let id: uuid::Uuid = stage.value("SELECT forge.enqueue('parked')").unwrap();
    assert_eq!(
        client
            .post(&format!("/v1/jobs/{id}/cancel"), &json!({}))
            .status,
        200
    );
    assert_eq!(
        stage
            .value::<String>("SELECT state FROM forge.jobs")
            .unwrap(),
        "cancelled"
    );
    let missing = "/v1/jobs/00000000-0000-7000-8000-000000000000";
    assert_problem(
        &client.post(&format!("{missing}/cancel"), &json!({})),
        404,
        "ZF001",
        "00000000-0000-7000-8000-000000000000",
    );
    assert_problem(
        &client.get(missing),
        404,
        "ZF001",
        "00000000-0000-7000-8000-000000000000",
    );
}

#[test]
fn the_idempotency_key_makes_one_job() {
    let (stage, client) = stage();
    let authorization = format!("Bearer {}", client.key);
    let headers = [
        ("content-type", "application/json"),
        ("authorization", authorization.as_str()),
        ("idempotency-key", "order-7"),
    ];
    let body = br#"{"kind": "parked"}"#;
    let ids: Vec<Value> = (0..3)
        .map(|_| {
            http::request(client.address, "POST", "/v1/jobs", &headers, body)
                .unwrap()
                .json()
                .unwrap()["job_id"]
                .clone()
        })
        .collect();
    assert!(
        ids[0].is_string() && ids.iter().all(|id| *id == ids[0]),
        "{ids:?}"
    );
    assert_eq!(
        stage
            .value::<i64>("SELECT count(*) FROM forge.jobs")
            .unwrap(),
        1
    );
}

#[test]
fn bad_requests_are_named() {
    let (stage, client) = stage();
    let post = |body: Value| client.post("/v1/jobs", &body);
    assert_problem(&post(json!({"kind": "unknown"})), 404, "ZF001", "unknown");
    assert_problem(
        &post(json!({"kind": "ok", "queue": "nowhere"})),
        404,
        "ZF001",
        "nowhere",
    );
    assert_problem(
        &post(json!({"kind": "ok", "priority": "urgent"})),
        422,
        "ZF002",
        "urgent",
    );
    assert_problem(
        &post(json!({"kind": "ok", "delay": "-5s"})),
        422,
        "ZF002",
        "delay",
    );
    assert_problem(
        &post(json!({"kind": "ok", "run_at": "tomorrow-ish"})),
        422,
        "ZF002",
        "run_at",
    );
    assert_problem(
        &post(json!({"kind": "ok", "max_attempts": 0})),
        422,
        "ZF002",
        "max_attempts",
    );
    assert_problem(
        &post(json!({"kind": "ok", "colour": "red"})),
        422,
        "ZF002",
        "colour",
    );
    assert_problem(&post(json!({"args": {}})), 422, "ZF002", "kind");
    assert_problem(&post(json!([])), 422, "ZF002", "empty");
    assert_problem(
        &post(json!([{"kind": "ok"}, {"kind": "unknown"}])),
        404,
        "ZF001",
        "unknown",
    );
    assert_problem(
        &client.send("POST", "/v1/jobs", "{\"kind\": \"ok\""),
        400,
        "ZF002",
        "",
    );
    assert_problem(
        &client.send(
            "POST",
            "/v1/jobs",
            &json!({"kind": "ok", "args": "x".repeat(2 << 20)}).to_string(),
        ),
        413,
        "ZF009",
        "",
    );
    assert_problem(
        &client.send(
            "POST",
            "/v1/jobs",
            &json!({"kind": "ok", "args": {"x": "y".repeat(9 << 20)}}).to_string(),
        ),
        413,
        "ZF009",
        "",
    );
    assert_problem(
        &client.get("/v1/jobs/not-a-uuid"),
        422,
        "ZF002",
        "not-a-uuid",
    );
    assert_problem(&client.get("/v1/jobs?state=asleep"), 422, "ZF002", "asleep");
    assert_problem(&client.get("/v1/jobs?limit=0"), 422, "ZF002", "limit");
    assert_problem(&client.get("/v1/nothing"), 404, "ZF001", "/v1/nothing");
    let wrong = client.send("DELETE", "/v1/jobs", "");
    assert_eq!(
        (wrong.status, wrong.header("allow").is_some()),
        (405, true),
        "{}",
        wrong.text()
    );
    let plain = [
        ("content-type", "text/plain"),
        ("authorization", "Bearer x"),
    ];
    let authorization = format!("Bearer {}", client.key);
    let media = http::request(
        client.address,
        "POST",
        "/v1/jobs",
        &[plain[0], ("authorization", &authorization)],
        b"kind=ok",
    )
    .unwrap();
    assert_eq!(media.status, 415, "{}", media.text());
    assert_eq!(
        stage
            .value::<i64>("SELECT count(*) FROM forge.jobs")
            .unwrap(),
        0,
        "nothing half-done"
    );
}

#[test]
fn credentials_decide() {
    let (stage, client) = stage();
    let anonymous = http::request(
        client.address,
        "POST",
        "/v1/jobs",
        &[("content-type", "application/json")],
        br#"{"kind": "ok"}"#,
    )
    .unwrap();
    assert_problem(&anonymous, 403, "ZF003", "forge_anon");
    let wrong = Client {
        address: client.address,
        key: "fk_nonsense".into(),
    };
    assert_problem(&wrong.get("/v1/jobs"), 401, "ZF004", "");
    let user = Client {
        address: client.address,
        key: stage.key("forge_user"),
    };
    assert_eq!(user.post("/v1/jobs", &json!({"kind": "ok"})).status, 201);
    assert_problem(&user.get("/v1/jobs"), 403, "ZF003", "forge_user");
    let header = http::request(
        client.address,
        "GET",
        "/v1/jobs",
        &[("x-api-key", &client.key)],
        b"",
    )
    .unwrap();
    assert_eq!(header.status, 200);
    let revoked = Client {
        address: client.address,
        key: stage.key("forge_admin"),
    };
    assert_eq!(revoked.get("/v1/jobs").status, 200);
    stage
        .run("SELECT forge.revoke_api_key('forge_admin-key')")
        .unwrap();
    let mut last = None;
    forge_tests::until(
        Duration::from_secs(10),
        "the revoked key to be refused",
        || {
            let answer = last.insert(revoked.get("/v1/jobs"));
            Ok(answer.status == 401)
        },
    )
    .map_err(|error| format!("{error}; the last answer was {}", last.unwrap().text()))
    .unwrap();
}

#[test]
fn health_readiness_and_metrics_need_no_credential() {
    let (stage, client) = stage();
    for path in ["/healthz", "/readyz"] {
        assert_eq!(
            http::get(client.address, path).unwrap().status,
            200,
            "{path}"
        );
    }
    client.post("/v1/jobs", &json!({"kind": "ok"}));
    stage
        .until("SELECT state = 'completed' FROM forge.jobs")
        .unwrap();
    let metrics = http::get(client.address, "/metrics").unwrap().text();
    for name in [
        "forge_http_requests_total",
        "forge_http_request_duration_seconds",
        "forge_jobs_enqueued_total",
        "forge_jobs_completed_total",
        "forge_job_duration_seconds",
        "forge_queue_depth",
        "forge_cluster_nodes",
        "forge_leader",
        "forge_db_pool_connections",
    ] {
        assert!(metrics.contains(name), "{name} is missing from\n{metrics}");
    }
}
