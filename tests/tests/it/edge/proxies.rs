//! Who the client is said to be, and by whom it is believed.

use forge_tests::{http, until};

use super::node;
use crate::{session::SOON, stage::Stage};

/// The client that the node saw in a request with these headers.
fn seen(stage: &Stage, headers: &[(&str, &str)]) -> String {
    let path = format!("/seen/{}", uuid::Uuid::new_v4());
    http::request(stage.nodes[0].http(), "GET", &path, headers, b"").unwrap();
    let mut found = None;
    until(SOON, "the request in the log", || {
        let log = stage.nodes[0].log()?;
        found = log
            .lines()
            .find(|line| line.contains(&path))
            .and_then(|line| line.split("client=").nth(1))
            .and_then(|rest| rest.split_whitespace().next())
            .map(str::to_owned);
        Ok(found.is_some())
    })
    .unwrap();
    found.unwrap()
}

const DEBUG: (&str, &str) = ("FORGE_LOG__LEVEL", "debug");

#[test]
fn strangers_are_not_believed() {
    let (stage, _) = node(&[DEBUG, ("FORGE_HTTP__TRUSTED_PROXIES", "10.0.0.0/8")]);
    let spoofed = [
        ("x-forwarded-for", "10.0.0.1"),
        ("forwarded", "for=10.0.0.1"),
    ];
    assert_eq!(seen(&stage, &spoofed), "127.0.0.1");
}

#[test]
fn proxies_are_believed_in_what_they_wrote() {
    let (stage, _) = node(&[
        DEBUG,
        ("FORGE_HTTP__TRUSTED_PROXIES", "127.0.0.0/8, 10.0.0.0/8"),
    ]);
    let seen = |headers: &[(&str, &str)]| seen(&stage, headers);
    assert_eq!(
        seen(&[("x-forwarded-for", "1.1.1.1, 192.0.2.7, 10.0.0.9")]),
        "192.0.2.7"
    );
    assert_eq!(seen(&[("x-forwarded-for", "nonsense")]), "127.0.0.1");
    assert_eq!(seen(&[("forwarded", "for=192.0.2.7")]), "127.0.0.1");
}

#[test]
fn the_header_is_a_setting() {
    let (stage, _) = node(&[
        DEBUG,
        ("FORGE_HTTP__TRUSTED_PROXIES", "127.0.0.1"),
        ("FORGE_HTTP__FORWARDED_HEADER", "forwarded"),
    ]);
    let both = [
        ("x-forwarded-for", "192.0.2.9"),
        ("forwarded", "for=\"[2001:db8::7]:99\";proto=https"),
    ];
    assert_eq!(seen(&stage, &both), "2001:db8::7");
}
