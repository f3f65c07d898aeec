//! Inbound webhooks of every scheme.

use std::net::SocketAddr;

use forge_tests::http::{self, Answer};

use crate::{sign, stage::Stage};

const SECRET: &str = "It's a Secret to Everybody";
const STANDARD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn stage() -> (Stage<'static>, SocketAddr) {
    let stage = Stage::with_nodes(1);
    stage
        .run(&format!(
            "SELECT forge.register_job(k, 'worker', capability => 'nobody')
             FROM unnest('{{github.push,paid,message,plain,standard.user.created}}'::text[]) k;
             SELECT forge.register_webhook('github', 'github.{{event}}', 'github', $${SECRET}$$);
             SELECT forge.register_webhook('stripe', 'paid', 'stripe', $${SECRET}$$);
             SELECT forge.register_webhook('slack', 'message', 'slack', $${SECRET}$$);
             SELECT forge.register_webhook('plain', 'plain', 'hmac-sha256', $${SECRET}$$);
             SELECT forge.register_webhook('standard', 'standard.{{event}}', 'standard', '{STANDARD}');"
        ))
        .unwrap();
    let address = stage.nodes[0].http();
    (stage, address)
}

fn deliver(address: SocketAddr, name: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut all = vec![("content-type", "application/json")];
    all.extend_from_slice(headers);
    http::request(
        address,
        "POST",
        &format!("/v1/hooks/{name}"),
        &all,
        body.as_bytes(),
    )
    .unwrap()
}

fn github(address: SocketAddr, id: &str, body: &str, signature: &str) -> Answer {
    let headers = [
        ("x-github-delivery", id),
        ("x-github-event", "push"),
        ("x-hub-signature-256", signature),
    ];
    deliver(address, "github", &headers, body)
}

#[test]
fn a_delivery_is_one_job_however_often_it_comes() {
    let (stage, address) = stage();
    let body = r#"{"ref": "refs/heads/main"}"#;
    let signature = sign::github(SECRET, body.as_bytes());
    let first = github(address, "d-1", body, &signature);
    assert_eq!(first.status, 202, "{}", first.text());
    assert_eq!(first.json().unwrap()["duplicate"], false);
    let again = github(address, "d-1", body, &signature);
    assert_eq!(
        (again.status, &again.json().unwrap()["duplicate"]),
        (200, &true.into())
    );
    assert_eq!(
        first.json().unwrap()["job_id"],
        again.json().unwrap()["job_id"]
    );
    // At once, from several senders.
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert!(github(address, "d-2", body, &signature).status < 300));
        }
    });
    assert_eq!(
        stage
            .value::<i64>("SELECT count(*) FROM forge.jobs")
            .unwrap(),
        2
    );
    let fits = "SELECT bool_and(kind = 'github.push' AND args ->> 'event' = 'push' AND args -> 'payload' ->> 'ref' = 'refs/heads/main') FROM forge.jobs";
    assert!(stage.value::<bool>(fits).unwrap());
}

#[test]
fn what_cannot_be_believed_is_refused() {
    let (stage, address) = stage();
    let body = r#"{"a": 1}"#;
    let good = sign::github(SECRET, body.as_bytes());
    let code = |answer: Answer| {
        (
            answer.status,
            answer.json().unwrap()["code"].as_str().unwrap().to_owned(),
        )
    };
    let unauthenticated = (401, "ZF004".to_owned());
    assert_eq!(
        code(github(
            address,
            "d",
            body,
            &sign::github("wrong", body.as_bytes())
        )),
        unauthenticated
    );
    assert_eq!(
        code(github(address, "d", r#"{"a": 2}"#, &good)),
        unauthenticated
    );
    assert_eq!(code(github(address, "d", body, "sha256=")), unauthenticated);
    assert_eq!(
        code(github(address, "d", body, "nonsense")),
        unauthenticated
    );
    assert_eq!(code(deliver(address, "github", &[], body)), unauthenticated);
    let broken = "{\"a\": ";
    assert_eq!(
        github(
            address,
            "d",
            broken,
            &sign::github(SECRET, broken.as_bytes())
        )
        .status,
        400
    );
    assert_eq!(
        code(deliver(address, "nobody", &[], body)),
        (404, "ZF001".to_owned())
    );
    let other = [
        ("x-github-delivery", "d"),
        ("x-github-event", "star"),
        ("x-hub-signature-256", good.as_str()),
    ];
    assert_eq!(code(deliver(address, "github", &other, body)).0, 404);
    let big = format!("\"{}\"", "x".repeat(2 << 20));
    assert_eq!(
        github(address, "d", &big, &sign::github(SECRET, big.as_bytes())).status,
        413
    );
    assert_eq!(
        stage
            .value::<i64>("SELECT count(*) FROM forge.jobs")
            .unwrap(),
        0
    );
}

#[test]
fn every_scheme_and_its_tolerance() {
    let (stage, address) = stage();
    let body = r#"{"id": "evt_1", "event_id": "Ev1", "type": "user.created"}"#;
    let bytes = body.as_bytes();
    let (now, stale) = (sign::now(), sign::now() - 3600);
    let stripe = |at| {
        deliver(
            address,
            "stripe",
            &[("stripe-signature", &sign::stripe(SECRET, at, bytes))],
            body,
        )
    };
    assert_eq!((stripe(now).status, stripe(stale).status), (202, 401));
    let slack = |at: u64| {
        let headers = [
            ("x-slack-request-timestamp", at.to_string()),
            ("x-slack-signature", sign::slack(SECRET, at, bytes)),
        ];
        deliver(
            address,
            "slack",
            &headers
                .each_ref()
                .map(|(name, value)| (*name, value.as_str())),
            body,
        )
    };
    assert_eq!((slack(now).status, slack(stale).status), (202, 401));
    let standard = |at: u64| {
        let headers = [
            ("webhook-id", "msg_1".to_owned()),
            ("webhook-timestamp", at.to_string()),
            (
                "webhook-signature",
                sign::standard(STANDARD, "msg_1", at, bytes),
            ),
        ];
        deliver(
            address,
            "standard",
            &headers
                .each_ref()
                .map(|(name, value)| (*name, value.as_str())),
            body,
        )
    };
    assert_eq!(
        (
            standard(now).status,
            standard(stale).status,
            standard(now + 3600).status
        ),
        (202, 401, 401)
    );
    let plain = [("x-signature", sign::plain(SECRET, bytes))];
    let plain = deliver(
        address,
        "plain",
        &[("x-signature", plain[0].1.as_str())],
        body,
    );
    assert_eq!(plain.status, 202, "{}", plain.text());
    let kinds: String = stage
        .value("SELECT string_agg(kind, ' ' ORDER BY kind) FROM forge.jobs")
        .unwrap();
    assert_eq!(kinds, "message paid plain standard.user.created");
}

#[test]
fn a_registration_is_seen_by_running_nodes() {
    let (stage, address) = stage();
    let body = "{}";
    let new = sign::github("new secret", body.as_bytes());
    assert_eq!(github(address, "d", body, &new).status, 401);
    stage
        .run("SELECT forge.register_webhook('github', 'github.{event}', 'github', 'new secret')")
        .unwrap();
    forge_tests::until(
        crate::session::SOON,
        "the new secret to be accepted",
        || Ok(github(address, "d", body, &new).status < 300),
    )
    .unwrap();
}
