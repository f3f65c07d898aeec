//! Bad input is told what is wrong with it, whatever it is; nothing of it is an internal error.

use std::{io::Write, net::SocketAddr};

use flate2::{Compression, write::GzEncoder};
use forge_tests::http::{self, Answer};

use super::{node, problem, socket::Socket};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn post(address: SocketAddr, key: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut all = vec![("x-api-key", key)];
    all.extend_from_slice(headers);
    http::request(address, "POST", "/v1/jobs", &all, body).unwrap()
}

const JSON: (&str, &str) = ("content-type", "application/json");
const GZIP: (&str, &str) = ("content-encoding", "gzip");

#[test]
fn packed_bodies_are_read_within_the_limit() {
    let (stage, key) = node(&[]);
    let address = stage.nodes[0].http();
    let good = post(
        address,
        &key,
        &[JSON, GZIP],
        &gzip(br#"{"kind": "parked"}"#),
    );
    assert_eq!(good.status, 201, "{}", good.text());
    let bomb = gzip(&vec![b' '; 256 << 20]);
    assert!(bomb.len() < 1 << 20);
    let refused = post(address, &key, &[JSON, GZIP], &bomb);
    assert_eq!(problem(&refused, 413)["code"], "ZF009");
    let twice = gzip(&bomb);
    problem(&post(address, &key, &[JSON, GZIP], &twice), 400);
    let mut broken = gzip(br#"{"kind": "parked"}"#);
    let middle = broken.len() / 2;
    broken.truncate(middle);
    problem(&post(address, &key, &[JSON, GZIP], &broken), 400);
    problem(&post(address, &key, &[JSON, GZIP], b"not gzip"), 400);
    for encoding in ["br", "gzip, gzip", "nonsense"] {
        let refused = post(
            address,
            &key,
            &[JSON, ("content-encoding", encoding)],
            b"{}",
        );
        problem(&refused, 415);
        assert_eq!(
            refused.header("accept-encoding"),
            Some("gzip"),
            "{encoding}"
        );
    }
    assert_eq!(
        stage
            .value::<i64>("SELECT count(*) FROM forge.jobs")
            .unwrap(),
        1
    );
}

#[test]
fn oversized_bodies_are_413_however_they_are_sent() {
    let (stage, key) = node(&[("FORGE_HTTP__BODY_LIMIT", "64KiB")]);
    let address = stage.nodes[0].http();
    let large = vec![b' '; 4 << 20];
    let announced = post(address, &key, &[JSON], &large);
    assert_eq!(problem(&announced, 413)["code"], "ZF009");
    let mut socket = Socket::open(address);
    socket.send(format!(
        "POST /v1/jobs HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    ));
    for piece in large.chunks(64 << 10) {
        socket.send(format!("{:x}\r\n", piece.len()));
        socket.send(piece).send("\r\n");
    }
    assert_eq!(problem(&socket.last_answer(), 413)["code"], "ZF009");
}

#[test]
fn heads_are_screened() {
    let (stage, key) = node(&[]);
    let address = stage.nodes[0].http();
    let get = |path: &str, headers: &[(&str, &str)]| {
        http::request(address, "GET", path, headers, b"").unwrap()
    };
    let long = "x".repeat(40_000);
    assert_eq!(
        problem(&get("/v1/jobs", &[("a", &long)]), 431)["code"],
        "ZF009"
    );
    problem(&get(&format!("/{long}"), &[]), 414);
    assert_eq!(get("/v1/jobs", &[("a", &"x".repeat(100_000))]).status, 431);
    for name in [
        "authorization",
        "x-api-key",
        "idempotency-key",
        "content-type",
    ] {
        let twice = get("/v1/jobs", &[(name, "Bearer a"), (name, "Bearer b")]);
        let detail = problem(&twice, 400)["detail"].to_string();
        assert!(detail.contains(name), "{detail}");
    }
    for path in ["/v1/jobs/%ff", "/v1/jobs?kind=%C3%28", "/%C0%AE%C0%AE/"] {
        problem(&get(path, &[("x-api-key", &key)]), 400);
    }
    let zero = get("/v1/jobs/%00", &[("x-api-key", &key)]);
    assert!((400..500).contains(&zero.status), "{}", zero.text());
    problem(&get("/v1/jobs?kind=%00", &[("x-api-key", &key)]), 422);
}

#[test]
fn what_is_no_http_is_refused() {
    let (stage, key) = node(&[]);
    let address = stage.nodes[0].http();
    let requests: [&[u8]; 9] = [
        b"\x00\x01\x02\x03\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /v1/jobs HTTP/1.1\r\nbad header\r\n\r\n",
        b"GET /v1/jobs HTTP/1.1\r\nx y: z\r\n\r\n",
        b"POST /v1/jobs HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcdef",
        b"POST /v1/jobs HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/jobs HTTP/1.1\r\nhost: x\r\ntransfer-encoding: nonsense\r\n\r\n",
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03",
    ];
    for request in requests {
        let mut socket = Socket::open(address);
        socket.send(request);
        let answer = socket.last_answer();
        assert_eq!(answer.status, 400, "{request:?}");
    }
    let mut socket = Socket::open(address);
    socket.send(b"GET /v1/jobs HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer \xff\xfe\r\n\r\n");
    problem(&socket.last_answer(), 401);
    let mut socket = Socket::open(address);
    socket.send(b"FROBNICATE /v1/jobs HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let answer = socket.last_answer();
    problem(&answer, 405);
    assert!(answer.header("allow").unwrap().contains("POST"));
    for body in [
        &b"{\"kind\": \"\xff\"}"[..],
        "[".repeat(100_000).as_bytes(),
        b"{\"kind\": \"parked\"} trailing",
        b"",
    ] {
        problem(&post(address, &key, &[JSON], body), 400);
    }
    let zero = post(address, &key, &[JSON], br#"{"kind": "a\u0000b"}"#);
    assert!((400..500).contains(&zero.status), "{}", zero.text());
    assert_eq!(http::get(address, "/healthz").unwrap().status, 200);
}
