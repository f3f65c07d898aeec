//! HTTP/1.1 and HTTP/2: time limits for slow and silent clients, and the end in order.

use std::time::Duration;

use forge_tests::{http, until};
use tokio::runtime::Runtime;
use tokio_stream::wrappers::ReceiverStream;

use super::{node, problem, socket::Socket};
use crate::session::SOON;

/// How a client of HTTP/2 begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const EMPTY_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

const HURRY: [(&str, &str); 3] = [
    ("FORGE_HTTP__HEADER_TIMEOUT", "1s"),
    ("FORGE_HTTP__IDLE_TIMEOUT", "1500ms"),
    ("FORGE_HTTP__BODY_IDLE_TIMEOUT", "1s"),
];

fn http2() -> reqwest::Client {
    let config = super::authority::Authority::new().client(&[], None);
    reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .http2_prior_knowledge()
        .timeout(super::socket::LIMIT)
        .build()
        .unwrap()
}

#[test]
fn http2_by_prior_knowledge() {
    let (stage, key) = node(&[]);
    let base = format!("http://{}", stage.nodes[0].http());
    Runtime::new().unwrap().block_on(async {
        let client = http2();
        let answer = client.get(format!("{base}/healthz")).send().await.unwrap();
        assert_eq!(
            (answer.version(), answer.status().as_u16()),
            (reqwest::Version::HTTP_2, 200)
        );
        // Many at once on one connection.
        let requests = (0..200).map(|_| {
            let request = client
                .post(format!("{base}/v1/jobs"))
                .header("content-type", "application/json")
                .header("x-api-key", &key)
                .body(r#"{"kind": "parked"}"#);
            tokio::spawn(async move { request.send().await.unwrap().status().as_u16() })
        });
        for request in requests.collect::<Vec<_>>() {
            assert_eq!(request.await.unwrap(), 201);
        }
        let refused = client.get(format!("{base}/nope")).send().await.unwrap();
        assert_eq!(refused.status().as_u16(), 404);
        assert_eq!(
            refused.headers()["content-type"],
            "application/problem+json"
        );
        assert!(refused.headers().contains_key("x-request-id"));
        let trace = refused.headers()["traceparent"].to_str().unwrap();
        assert_eq!((trace.len(), &trace[..3]), (55, "00-"));
    });
}

#[test]
fn slow_and_silent_clients_are_cut_off() {
    let (stage, _) = node(&HURRY);
    let address = stage.nodes[0].http();
    let mut silent = Socket::open(address);
    let mut halfway = Socket::open(address);
    halfway.send("GET /healthz HTTP/1.1\r\nhost: x\r\n");
    let mut undecided = Socket::open(address);
    undecided.send(&PREFACE[..10]);
    let mut speechless = Socket::open(address);
    speechless.send(PREFACE).send(EMPTY_SETTINGS);
    let mut idle = Socket::open(address);
    idle.send("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_eq!(idle.answer().status, 200);
    for socket in [&mut silent, &mut halfway, &mut undecided, &mut idle] {
        assert_eq!(socket.rest(), b"");
    }
    // The server has begun HTTP/2 with its own settings.
    speechless.rest();
    Socket::open(address).trickle(b"GET /healthz HTTP/1.1\r\nhost: x\r\na: b\r\n");
    assert_eq!(http::get(address, "/healthz").unwrap().status, 200);
}

#[test]
fn a_request_resets_the_clock() {
    let (stage, _) = node(&HURRY);
    let mut socket = Socket::open(stage.nodes[0].http());
    let began = std::time::Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        socket.send("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n");
        assert_eq!(socket.answer().status, 200);
    }
    assert_eq!(socket.rest(), b"", "idle in the end");
}

#[test]
fn a_body_that_stalls_is_408() {
    let (stage, key) = node(&HURRY);
    let mut socket = Socket::open(stage.nodes[0].http());
    socket.send(format!(
        "POST /v1/jobs HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{{"
    ));
    assert_eq!(problem(&socket.last_answer(), 408)["code"], "ZF008");
}

#[test]
fn a_drain_lets_requests_of_both_protocols_finish() {
    let (mut stage, key) = node(&[]);
    let address = stage.nodes[0].http();
    let body = r#"{"kind": "parked"}"#;
    let (first, second) = body.split_at(5);

    let mut old = Socket::open(address);
    old.send(format!(
        "POST /v1/jobs HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{first}",
        body.len()
    ));
    let runtime = Runtime::new().unwrap();
    let (sender, pieces) = tokio::sync::mpsc::channel::<Result<String, std::io::Error>>(2);
    sender.blocking_send(Ok(first.to_owned())).unwrap();
    let client = http2();
    // A connection that is known to be of HTTP/2.
    let health = client.get(format!("http://{address}/healthz"));
    let healthy = runtime.block_on(async { health.send().await }).unwrap();
    assert_eq!(healthy.status().as_u16(), 200);
    let request = client
        .post(format!("http://{address}/v1/jobs"))
        .header("x-api-key", &key)
        .header("content-type", "application/json")
        .body(reqwest::Body::wrap_stream(ReceiverStream::new(pieces)));
    let new = runtime.spawn(async move { request.send().await });
    until(SOON, "both requests to be in progress", || {
        let metrics = http::get(address, "/metrics")?.text();
        Ok(metrics
            .lines()
            .any(|line| line == "forge_http_requests_in_progress 2"))
    })
    .unwrap();

    stage.nodes[0].ask_to_stop().unwrap();
    until(SOON, "/readyz to say 503", || {
        Ok(http::get(address, "/readyz")?.status == 503)
    })
    .unwrap();
    let refused = http::get(address, "/v1/jobs").unwrap();
    assert_eq!(problem(&refused, 503)["retryable"], true);
    assert!(refused.header("retry-after").is_some());
    sender.blocking_send(Ok(second.to_owned())).unwrap();
    drop(sender);
    old.send(second);
    assert_eq!(old.answer().status, 201);
    let new = runtime.block_on(new).unwrap().unwrap();
    assert_eq!(new.status().as_u16(), 201);
    assert_eq!(stage.nodes[0].wait_end(SOON).unwrap(), 0);
}
