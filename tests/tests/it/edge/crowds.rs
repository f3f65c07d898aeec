//! Health and metrics are answered whatever the load.

use forge_tests::{http, until};

use super::{node, problem, socket::Socket};
use crate::session::SOON;

const ALWAYS: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

#[test]
fn when_all_connections_are_taken() {
    let (stage, key) = node(&[("FORGE_HTTP__MAX_CONNECTIONS", "4")]);
    let address = stage.nodes[0].http();
    let idle: Vec<Socket> = (0..4)
        .map(|_| {
            let mut socket = Socket::open(address);
            socket.send("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n");
            assert_eq!(socket.answer().status, 200);
            socket
        })
        .collect();
    for path in ALWAYS {
        let mut socket = Socket::open(address);
        socket.send(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n"));
        let answer = socket.last_answer();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert_eq!(answer.header("connection"), Some("close"));
    }
    let refused = http::request(address, "GET", "/v1/jobs", &[("x-api-key", &key)], b"").unwrap();
    assert_eq!(problem(&refused, 503)["code"], "ZF007");
    assert!(refused.header("retry-after").is_some());
    drop(idle);
    until(SOON, "a place", || {
        let answer = http::request(address, "GET", "/v1/jobs", &[("x-api-key", &key)], b"")?;
        Ok(answer.status == 200)
    })
    .unwrap();
}

#[test]
fn when_all_requests_are_taken() {
    let (stage, key) = node(&[("FORGE_HTTP__MAX_REQUESTS", "1")]);
    let address = stage.nodes[0].http();
    let mut slow = Socket::open(address);
    slow.send(format!(
        "POST /v1/jobs HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{{"
    ));
    until(SOON, "the only request to be taken", || {
        let metrics = http::get(address, "/metrics")?.text();
        Ok(metrics
            .lines()
            .any(|line| line == "forge_http_requests_in_progress 1"))
    })
    .unwrap();
    let refused = http::request(address, "GET", "/v1/jobs", &[("x-api-key", &key)], b"").unwrap();
    assert_eq!(problem(&refused, 503)["code"], "ZF007");
    assert!(refused.header("retry-after").is_some());
    for path in ALWAYS {
        assert_eq!(http::get(address, path).unwrap().status, 200, "{path}");
    }
}
