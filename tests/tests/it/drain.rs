//! Stopping in order.

use std::time::{Duration, Instant};

use forge_tests::{http, until};

use crate::{
    session::SOON,
    stage::{Stage, native_program},
};

fn native_stage(drain: &str) -> Stage<'static> {
    let mut stage = Stage::new();
    stage.start_nodes(1, |mut node| {
        node.program = native_program();
        node.set("FORGE_WORKER__DRAIN_TIMEOUT", drain)
    });
    stage
        .run("SELECT forge.register_job('patient', 'native:patient', max_attempts => 2)")
        .unwrap();
    stage
}

#[test]
fn running_jobs_finish_and_no_new_ones_start() {
    let mut stage = native_stage("30s");
    stage
        .run("SELECT forge.enqueue('patient', '{\"ms\": 1500}')")
        .unwrap();
    stage
        .until("SELECT state = 'running' FROM forge.jobs")
        .unwrap();
    let http = stage.nodes[0].http();
    stage.nodes[0].ask_to_stop().unwrap();
    until(SOON, "/readyz to say 503", || {
        Ok(http::get(http, "/readyz").map_or(true, |answer| answer.status == 503))
    })
    .unwrap();
    stage
        .run("SELECT forge.enqueue('patient', '{\"ms\": 1}')")
        .unwrap();
    assert_eq!(stage.nodes[0].wait_end(Duration::from_secs(30)).unwrap(), 0);
    let states: String = stage
        .value(
            "SELECT string_agg(state || ' ' || attempt, ', ' ORDER BY enqueued_at) FROM forge.jobs",
        )
        .unwrap();
    assert_eq!(states, "completed 1, ready 0");
    assert_eq!(
        stage
            .value::<i64>("SELECT count(*) FROM forge.nodes")
            .unwrap(),
        0
    );
}

#[test]
fn what_does_not_finish_returns_without_using_an_attempt() {
    let mut stage = native_stage("500ms");
    stage.run("SELECT forge.enqueue('patient')").unwrap();
    stage
        .until("SELECT state = 'running' AND attempt = 1 FROM forge.jobs")
        .unwrap();
    assert_eq!(stage.nodes[0].stop().unwrap(), 0);
    assert_eq!(
        stage
            .value::<String>("SELECT state FROM forge.jobs")
            .unwrap(),
        "ready"
    );
    let mut options = stage.node_options("n2");
    options.program = native_program();
    stage.start_node(options);
    stage
        .until("SELECT state = 'running' AND attempt = 1 FROM forge.jobs")
        .unwrap();
}

#[test]
fn a_second_signal_forces() {
    let mut stage = native_stage("60s");
    stage.run("SELECT forge.enqueue('patient')").unwrap();
    stage
        .until("SELECT state = 'running' FROM forge.jobs")
        .unwrap();
    let start = Instant::now();
    stage.nodes[0].ask_to_stop().unwrap();
    let http = stage.nodes[0].http();
    until(SOON, "/readyz to say 503", || {
        Ok(http::get(http, "/readyz").map_or(true, |answer| answer.status == 503))
    })
    .unwrap();
    stage.nodes[0].ask_to_stop().unwrap();
    stage.nodes[0].wait_end(Duration::from_secs(20)).unwrap();
    assert!(start.elapsed() < Duration::from_secs(20));
    stage
        .until("SELECT state = 'ready' FROM forge.jobs")
        .unwrap();
}
