//! The doors as the outside world finds them: protocols, certificates, crowds, proxies, browsers and bad input.

mod authority;
mod browsers;
mod certificates;
mod crowds;
mod input;
mod protocols;
mod proxies;
mod revocation;
mod socket;

use forge_tests::http::Answer;
use serde_json::Value;

use crate::stage::Stage;

/// A node with these settings, and an API key for it.
fn node(settings: &[(&str, &str)]) -> (Stage<'static>, String) {
    let mut stage = Stage::new();
    stage.start_nodes(1, |node| {
        settings
            .iter()
            .fold(node, |node, (name, value)| node.set(name, value))
    });
    stage
        .run("SELECT forge.register_job('parked', 'worker', queue => 'parked', capability => 'nobody')")
        .unwrap();
    let key = stage.key("forge_service");
    (stage, key)
}

/// The problem document of an answer with this status.
#[track_caller]
fn problem(answer: &Answer, status: u16) -> Value {
    let text = answer.text();
    assert_eq!(answer.status, status, "{text}");
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json"),
        "{text}"
    );
    let problem = answer.json().unwrap();
    assert_eq!(problem["status"], status, "{text}");
    assert_eq!(
        problem["request_id"].as_str(),
        answer.header("x-request-id"),
        "{text}"
    );
    problem
}
