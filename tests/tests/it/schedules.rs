//! Schedules with real leaders: one job per instant, whoever dies.

use std::time::Duration;

use crate::stage::Stage;

const TICK: &str = "CREATE FUNCTION public.tick() RETURNS void LANGUAGE sql AS '';
    SELECT forge.register_job('tick', 'sql:public.tick');
    SELECT forge.schedule('second', '* * * * * *', 'tick', misfire => 'all', misfire_limit => 1000);";

/// Every instant between the first and the last has one run, which fired, with a job of its own.
fn assert_every_instant_once(stage: &Stage) {
    let gaps: i64 = stage
        .value(
            "SELECT count(*) FROM (SELECT generate_series(min(scheduled_for), max(scheduled_for), '1 s') AS instant
                                   FROM forge.schedule_runs) i
             WHERE (SELECT count(*) FROM forge.schedule_runs r WHERE r.scheduled_for = i.instant AND r.outcome = 'fired') <> 1",
        )
        .unwrap();
    assert_eq!(gaps, 0, "instants without exactly one run");
    let jobs: bool = stage
        .value(
            "SELECT count(*) = count(DISTINCT job_id) AND count(*) = (SELECT count(*) FROM forge.jobs WHERE kind = 'tick')
             FROM forge.schedule_runs",
        )
        .unwrap();
    assert!(jobs, "one job per run");
}

#[test]
fn every_second_once_and_on_time() {
    let stage = Stage::with_nodes(2);
    stage.run(TICK).unwrap();
    stage
        .until("SELECT count(*) >= 5 FROM forge.schedule_runs")
        .unwrap();
    assert_every_instant_once(&stage);
    let late: f64 = stage
        .value("SELECT extract(epoch FROM percentile_disc(0.5) WITHIN GROUP (ORDER BY fired_at - scheduled_for))::float8 FROM forge.schedule_runs")
        .unwrap();
    assert!(late < 0.5, "fired {late} s late");
    stage
        .until("SELECT bool_and(state = 'completed') FROM forge.jobs")
        .unwrap();
}

#[test]
fn instants_survive_killed_and_frozen_leaders() {
    let mut stage = Stage::with_nodes(3);
    stage.run(TICK).unwrap();
    stage
        .until("SELECT count(*) >= 2 FROM forge.schedule_runs")
        .unwrap();
    let killed = stage.leader("schedules");
    stage.nodes[killed].kill().unwrap();
    stage.nodes.remove(killed);
    stage
        .until("SELECT count(*) >= 8 FROM forge.schedule_runs")
        .unwrap();
    let frozen = stage.leader("schedules");
    stage.nodes[frozen].freeze().unwrap();
    let term: i64 = stage
        .value("SELECT term FROM forge_private.leader WHERE duty = 'schedules'")
        .unwrap();
    stage
        .until(&format!(
            "SELECT term > {term} FROM forge.leaders WHERE duty = 'schedules'"
        ))
        .unwrap();
    stage.nodes[frozen].thaw().unwrap();
    let so_far: i64 = stage
        .value("SELECT count(*) FROM forge.schedule_runs")
        .unwrap();
    stage
        .until(&format!(
            "SELECT count(*) >= {} FROM forge.schedule_runs",
            so_far + 5
        ))
        .unwrap();
    assert_every_instant_once(&stage);
}

#[test]
fn a_new_schedule_does_not_wait_for_a_poll() {
    let stage = Stage::with_nodes(1);
    stage.leader("schedules");
    stage.run(TICK).unwrap();
    stage
        .until_within(
            Duration::from_secs(4),
            "SELECT count(*) > 0 FROM forge.schedule_runs",
        )
        .unwrap();
}

#[test]
fn overlap_skip_leaves_out_instants_while_a_job_runs() {
    let stage = Stage::with_nodes(1);
    stage
        .run(
            "CREATE FUNCTION public.long() RETURNS void LANGUAGE sql AS 'SELECT pg_sleep(2.5)';
             SELECT forge.register_job('long', 'sql:public.long');
             SELECT forge.schedule('long', '* * * * * *', 'long', overlap => 'skip');",
        )
        .unwrap();
    stage
        .until("SELECT count(*) FILTER (WHERE outcome = 'overlap') >= 2 FROM forge.schedule_runs")
        .unwrap();
    assert!(
        stage
            .value::<i64>("SELECT count(*) FROM forge.jobs WHERE state = 'running'")
            .unwrap()
            <= 1
    );
}
