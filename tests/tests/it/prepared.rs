//! Two-phase commit: what a prepared transaction enqueued counts, and runs, once it is committed.

use std::time::{Duration, Instant};

use crate::stage::Stage;

/// Counts of the queue `pull`: ready, scheduled.
const COUNTS: &str =
    "SELECT format('%s %s', ready, scheduled) FROM forge.queues WHERE queue = 'pull'";

fn with_worker() -> Stage<'static> {
    let stage = Stage::new();
    stage
        .run(
            "SELECT forge.register_job('pull', 'worker', queue => 'pull');
             SELECT forge.enqueue('pull');",
        )
        .unwrap();
    stage
        .until("forge.status() ->> 'worker' = 'running' AND forge_private.counted()")
        .unwrap();
    stage
}

/// Enqueues 10 jobs and a delayed one in a transaction that is prepared.
fn prepare(stage: &Stage, gid: &str) -> String {
    let gid = format!("{gid} of {}", stage.database().name());
    stage
        .run(&format!(
            "BEGIN;
             SELECT count(*) FROM forge.enqueue_many('pull', ARRAY(SELECT '{{}}'::jsonb FROM generate_series(1, 10)));
             SELECT forge.enqueue('pull', delay => '1 hour');
             PREPARE TRANSACTION '{gid}';"
        ))
        .unwrap();
    gid
}

fn until_counts_are(stage: &Stage, counts: &str) {
    stage.until(&format!("({COUNTS}) = '{counts}'")).unwrap();
}

#[test]
fn counts_follow_prepared_transactions() {
    let stage = with_worker();
    let gid = prepare(&stage, "a");
    assert_eq!(stage.value::<String>(COUNTS).unwrap(), "1 0");
    stage.run(&format!("COMMIT PREPARED '{gid}'")).unwrap();
    until_counts_are(&stage, "11 1");

    // Both phases before anybody looks.
    let gid = prepare(&stage, "b");
    stage.run(&format!("COMMIT PREPARED '{gid}'")).unwrap();
    until_counts_are(&stage, "21 2");

    let (kept, given_up) = (prepare(&stage, "c"), prepare(&stage, "d"));
    stage
        .run(&format!("ROLLBACK PREPARED '{given_up}'"))
        .unwrap();
    stage.run(&format!("COMMIT PREPARED '{kept}'")).unwrap();
    until_counts_are(&stage, "31 3");
    let claimed: i64 = stage
        .value("SELECT count(*) FROM forge.claim('w', '{pull}', max_jobs => 100)")
        .unwrap();
    assert_eq!(claimed, 31);
    until_counts_are(&stage, "0 3");
}

#[test]
fn a_node_hears_of_a_commit_prepared() {
    let mut stage = with_worker();
    stage.start_nodes(1, |node| node);
    stage
        .run(
            "CREATE TABLE public.effect (n int);
             CREATE FUNCTION public.work(n int) RETURNS void LANGUAGE sql AS 'INSERT INTO public.effect VALUES (n)';
             SELECT forge.register_job('work', 'sql:public.work');
             SELECT forge.enqueue('work', '{\"n\": 1}');",
        )
        .unwrap();
    stage
        .until("SELECT count(*) = 1 FROM public.effect")
        .unwrap();
    let gid = format!("e of {}", stage.database().name());
    stage
        .run(&format!(
            "BEGIN; SELECT forge.enqueue('work', '{{\"n\": 2}}'); PREPARE TRANSACTION '{gid}'"
        ))
        .unwrap();
    stage.run(&format!("COMMIT PREPARED '{gid}'")).unwrap();
    let committed = Instant::now();
    stage
        .until("SELECT count(*) = 2 FROM public.effect")
        .unwrap();
    // An idle node looks by itself every 30 seconds.
    assert!(committed.elapsed() < Duration::from_secs(10));
}
