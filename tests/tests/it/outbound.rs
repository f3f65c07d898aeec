//! Calls out go to public addresses only, unless configuration says otherwise; a failing host gets
//! a rest.

use crate::{
    receiver::{Receiver, Reply},
    stage::Stage,
};

#[test]
fn private_addresses_are_refused() {
    let receiver = Receiver::start(|_, _| Reply::json(200, "{}"));
    let mut stage = Stage::new();
    stage.start_nodes(1, |node| node.set("FORGE_OUTBOUND__ALLOW_PRIVATE", false));
    stage
        .run(&format!(
            "SELECT forge.register_job('literal', '{}', max_attempts => 3);
             SELECT forge.register_job('named', '{}', max_attempts => 3);
             SELECT forge.enqueue('literal'), forge.enqueue('named');",
            receiver.url("/"),
            receiver.url("/").replace("127.0.0.1", "localhost")
        ))
        .unwrap();
    stage
        .until("SELECT count(*) = 2 FROM forge.jobs WHERE state = 'dead'")
        .unwrap();
    assert!(receiver.requests().is_empty());
    for row in stage.rows("SELECT error, attempt FROM forge.jobs").unwrap() {
        let error: String = row.get(0);
        assert!(
            error.contains("private") || error.contains("loopback"),
            "{error}"
        );
        assert_eq!(row.get::<_, i32>(1), 1, "retrying cannot help");
    }
}

#[test]
fn redirects_are_not_followed_into_the_inside() {
    let inside = Receiver::start(|_, _| Reply::json(200, "{}"));
    let target = inside.url("/secret");
    let outside = Receiver::start(move |_, _| {
        Reply(
            302,
            vec![("location".into(), target.clone())],
            String::new(),
        )
    });
    let mut stage = Stage::new();
    stage.start_nodes(1, |node| node.set("FORGE_OUTBOUND__ALLOW_PRIVATE", false));
    stage
        .run(&format!(
            "SELECT forge.register_job('call', '{}', max_attempts => 1); SELECT forge.enqueue('call');",
            outside.url("/")
        ))
        .unwrap();
    stage
        .until("SELECT state = 'dead' FROM forge.jobs")
        .unwrap();
    assert!(inside.requests().is_empty());
}

#[test]
fn a_failing_host_opens_its_circuit_and_others_go_on() {
    let broken = Receiver::start(|_, _| Reply::json(500, "{}"));
    let healthy = Receiver::start(|_, _| Reply::json(200, "{}"));
    let stage = Stage::with_nodes(1);
    stage
        .run(&format!(
            "SELECT forge.register_job('broken', '{}', max_attempts => 20, backoff => 'fixed(10ms)');
             SELECT forge.register_job('healthy', '{}');
             SELECT count(*) FROM forge.enqueue_many('broken', ARRAY(SELECT '{{}}'::jsonb FROM generate_series(1, 200)));
             SELECT count(*) FROM forge.enqueue_many('healthy', ARRAY(SELECT '{{}}'::jsonb FROM generate_series(1, 50)));",
            broken.url("/"),
            healthy.url("/")
        ))
        .unwrap();
    stage
        .until(
            "SELECT count(*) = 50 FROM forge.jobs WHERE kind = 'healthy' AND state = 'completed'",
        )
        .unwrap();
    // Without the breaker there would be thousands of calls by the time everything is dead.
    stage
        .until("SELECT bool_or(state = 'scheduled') FROM forge.jobs WHERE kind = 'broken'")
        .unwrap();
    assert!(
        broken.requests().len() < 2000,
        "{}",
        broken.requests().len()
    );
}
