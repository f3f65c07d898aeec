//! Leadership and dead nodes.

use std::time::{Duration, Instant};

use crate::stage::Stage;

fn other_leads(stage: &Stage, duty: &str, not: &str, within: Duration) {
    stage
        .until_within(
            within,
            &format!(
                "SELECT count(*) = 1 FROM forge.leaders l JOIN forge.nodes n ON n.id = l.node_id
                 WHERE l.duty = '{duty}' AND n.name <> '{not}'"
            ),
        )
        .unwrap();
}

#[test]
fn a_killed_leader_is_replaced_within_five_seconds() {
    let mut stage = Stage::with_nodes(2);
    let leader = stage.leader("rescue");
    let name = stage.nodes[leader].name().to_owned();
    let term: i64 = stage
        .value("SELECT term FROM forge.leaders WHERE duty = 'rescue'")
        .unwrap();
    let start = Instant::now();
    stage.nodes[leader].kill().unwrap();
    other_leads(&stage, "rescue", &name, Duration::from_secs(8));
    eprintln!("leader moved after {:?}", start.elapsed());
    assert!(
        start.elapsed() < Duration::from_secs(6),
        "{:?}",
        start.elapsed()
    );
    assert!(
        stage
            .value::<i64>("SELECT term FROM forge.leaders WHERE duty = 'rescue'")
            .unwrap()
            > term
    );
}

#[test]
fn a_stopped_leader_is_replaced_within_a_second() {
    let mut stage = Stage::with_nodes(2);
    let leader = stage.leader("rescue");
    let name = stage.nodes[leader].name().to_owned();
    assert_eq!(stage.nodes[leader].stop().unwrap(), 0);
    other_leads(&stage, "rescue", &name, Duration::from_secs(2));
}

#[test]
fn jobs_of_a_killed_node_run_elsewhere() {
    let mut stage = Stage::with_nodes(2);
    stage
        .run(
            "CREATE TABLE public.effect (n int);
             CREATE FUNCTION public.work(n int) RETURNS void LANGUAGE sql AS
                 'SELECT pg_sleep(0.02); INSERT INTO public.effect VALUES (n)';
             SELECT forge.register_job('work', 'sql:public.work');
             SELECT count(*) FROM forge.enqueue_many('work', ARRAY(SELECT jsonb_build_object('n', n) FROM generate_series(1, 400) n));",
        )
        .unwrap();
    stage
        .until("SELECT count(*) >= 20 FROM public.effect")
        .unwrap();
    stage.nodes[0].kill().unwrap();
    let start = Instant::now();
    stage
        .until("SELECT count(*) = 400 FROM forge.jobs WHERE state = 'completed'")
        .unwrap();
    eprintln!("all done {:?} after the kill", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(30));
    assert_eq!(
        stage
            .value::<i64>("SELECT count(*) FROM public.effect")
            .unwrap(),
        400
    );
    assert_eq!(
        stage
            .value::<i64>("SELECT count(DISTINCT n) FROM public.effect")
            .unwrap(),
        400
    );
    stage
        .until("SELECT state = 'dead' FROM forge.nodes WHERE name = 'n1'")
        .unwrap();
}

#[test]
fn a_node_frozen_past_its_lease_changes_nothing_and_comes_back_anew() {
    let mut stage = Stage::with_nodes(2);
    stage
        .run(
            "CREATE TABLE public.effect (n int);
             CREATE FUNCTION public.work(n int) RETURNS void LANGUAGE sql AS
                 'SELECT pg_sleep(0.05); INSERT INTO public.effect VALUES (n)';
             SELECT forge.register_job('work', 'sql:public.work');
             SELECT count(*) FROM forge.enqueue_many('work', ARRAY(SELECT jsonb_build_object('n', n) FROM generate_series(1, 300) n));",
        )
        .unwrap();
    stage
        .until("SELECT count(*) >= 10 FROM public.effect")
        .unwrap();
    let id: uuid::Uuid = stage
        .value("SELECT id FROM forge.nodes WHERE name = 'n1'")
        .unwrap();
    stage.nodes[0].freeze().unwrap();
    stage
        .until("SELECT state = 'dead' FROM forge.nodes WHERE name = 'n1'")
        .unwrap();
    stage
        .until("SELECT count(*) = 300 FROM forge.jobs WHERE state = 'completed'")
        .unwrap();
    stage.nodes[0].thaw().unwrap();
    // It learns that it was declared dead and registers under a new id.
    stage
        .until(&format!("SELECT count(*) = 1 FROM forge.nodes WHERE name = 'n1' AND id <> '{id}' AND state = 'active'"))
        .unwrap();
    assert_eq!(
        stage
            .value::<i64>("SELECT count(*) FROM public.effect")
            .unwrap(),
        300
    );
    assert_eq!(
        stage
            .value::<i64>("SELECT count(DISTINCT n) FROM public.effect")
            .unwrap(),
        300
    );
    stage
        .run("SELECT forge.enqueue('work', '{\"n\": 301}')")
        .unwrap();
    stage
        .until("SELECT count(*) = 301 FROM public.effect")
        .unwrap();
    stage.nodes[0].wait_ready().unwrap();
}
