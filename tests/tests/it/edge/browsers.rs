//! What pages of other origins may do, and how answers are packed and marked.

use std::io::Read;

use forge_tests::http::{self, Answer};

use super::{node, problem};

const ORIGINS: (&str, &str) = (
    "FORGE_HTTP__CORS_ORIGINS",
    "https://app.example.com, https://*.example.org",
);

#[test]
fn configured_origins_may_call() {
    let (stage, _) = node(&[ORIGINS, ("FORGE_HTTP__CORS_CREDENTIALS", "true")]);
    let address = stage.nodes[0].http();
    let ask = |origin: &str| -> Answer {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            (
                "access-control-request-headers",
                "content-type,authorization",
            ),
        ];
        http::request(address, "OPTIONS", "/v1/jobs", &headers, b"").unwrap()
    };
    for origin in ["https://app.example.com", "https://a.example.org"] {
        let preflight = ask(origin);
        assert_eq!(preflight.status, 200);
        for (name, value) in [
            ("access-control-allow-origin", origin),
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-headers", "content-type,authorization"),
        ] {
            assert_eq!(preflight.header(name), Some(value), "{name}");
        }
        let methods = preflight.header("access-control-allow-methods").unwrap();
        assert!(methods.contains("DELETE"), "{methods}");
        // Errors can be read too.
        let refused =
            http::request(address, "GET", "/v1/nope", &[("origin", origin)], b"").unwrap();
        problem(&refused, 404);
        assert_eq!(refused.header("access-control-allow-origin"), Some(origin));
        let exposed = refused.header("access-control-expose-headers").unwrap();
        assert!(exposed.contains("x-request-id"), "{exposed}");
    }
    for origin in ["https://evil.example.net", "http://app.example.com", "null"] {
        let preflight = ask(origin);
        assert_eq!(preflight.header("access-control-allow-origin"), None);
    }
}

#[test]
fn without_origins_nobody_may() {
    let (stage, _) = node(&[]);
    let headers = [
        ("origin", "https://app.example.com"),
        ("access-control-request-method", "POST"),
    ];
    let answer =
        http::request(stage.nodes[0].http(), "OPTIONS", "/v1/jobs", &headers, b"").unwrap();
    problem(&answer, 405);
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

#[test]
fn large_answers_are_compressed_for_who_asks() {
    let (stage, key) = node(&[]);
    let address = stage.nodes[0].http();
    stage
        .run("SELECT forge.enqueue('parked', '{\"x\": \"some text\"}') FROM generate_series(1, 50)")
        .unwrap();
    let list = |accepted: &str| {
        let headers = [("x-api-key", key.as_str()), ("accept-encoding", accepted)];
        http::request(address, "GET", "/v1/jobs", &headers, b"").unwrap()
    };
    let plain = list("identity");
    assert_eq!(plain.header("content-encoding"), None);
    let packed = list("gzip");
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert!(packed.header("vary").unwrap().contains("accept-encoding"));
    assert!(packed.body.len() * 3 < plain.body.len());
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(packed.body.as_slice())
        .read_to_end(&mut unpacked)
        .unwrap();
    assert_eq!(unpacked, plain.body);
    assert_eq!(
        list("br, gzip;q=0.5").header("content-encoding"),
        Some("br")
    );
    let small = http::request(
        address,
        "GET",
        "/healthz",
        &[("accept-encoding", "gzip")],
        b"",
    );
    assert_eq!(small.unwrap().header("content-encoding"), None);
}

#[test]
fn answers_are_marked() {
    let (stage, _) = node(&[]);
    let address = stage.nodes[0].http();
    let good = http::get(address, "/healthz").unwrap();
    assert_eq!(good.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(good.header("strict-transport-security"), None);
    let bad = http::get(address, "/nope").unwrap();
    assert_eq!(bad.header("cache-control"), Some("no-store"));
    let given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers = [("traceparent", given), ("x-request-id", "mine")];
    let traced = http::request(address, "GET", "/nope", &headers, b"").unwrap();
    assert_eq!(traced.header("traceparent"), Some(given));
    assert_eq!(problem(&traced, 404)["request_id"], "mine");
}
