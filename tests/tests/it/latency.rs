//! How soon an enqueued job starts on idle nodes: a wake-up, not a poll. The benchmark has the
//! gate; this finds a wake-up that does not come.

use std::time::Duration;

use crate::stage::Stage;

#[test]
fn an_idle_node_is_woken() {
    let stage = Stage::with_nodes(1);
    stage
        .run(
            "CREATE FUNCTION public.ok() RETURNS void LANGUAGE sql AS '';
             SELECT forge.register_job('ok', 'sql:public.ok');",
        )
        .unwrap();
    for n in 1..=20 {
        stage.run("SELECT forge.enqueue('ok')").unwrap();
        let done = format!("SELECT count(*) = {n} FROM forge.jobs WHERE state = 'completed'");
        stage.until_within(Duration::from_secs(10), &done).unwrap();
    }
    let median: f64 = stage
        .value("SELECT extract(epoch FROM percentile_disc(0.5) WITHIN GROUP (ORDER BY started_at - enqueued_at))::float8 FROM forge.jobs")
        .unwrap();
    assert!(
        median < 0.1,
        "the median job started {median} s after it was enqueued"
    );
}

#[test]
fn delayed_and_retried_jobs_start_when_they_are_due() {
    let stage = Stage::with_nodes(2);
    stage
        .run(
            "CREATE FUNCTION public.ok() RETURNS void LANGUAGE sql AS '';
             SELECT forge.register_job('ok', 'sql:public.ok');
             SELECT forge.enqueue('ok', delay => d * interval '150 ms') FROM generate_series(1, 20) d;",
        )
        .unwrap();
    stage
        .until("SELECT count(*) = 20 FROM forge.jobs WHERE state = 'completed'")
        .unwrap();
    let late: f64 = stage
        .value("SELECT extract(epoch FROM max(started_at - run_at))::float8 FROM forge.jobs")
        .unwrap();
    let early: f64 = stage
        .value("SELECT extract(epoch FROM min(started_at - run_at))::float8 FROM forge.jobs")
        .unwrap();
    assert!(
        late < 1.0 && early >= 0.0,
        "late by {late} s, early by {early} s"
    );
}
