//! A backend killed with -9 makes the server end every session and start anew with fresh shared
//! memory: the background worker, the nodes and the jobs come back.

use forge_tests::{ClusterOptions, eventually};

use crate::{
    session::SOON,
    stage::{Stage, own_cluster},
};

fn worker_pids(stage: &Stage) -> i64 {
    stage
        .value("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type LIKE '%forge%'")
        .unwrap()
}

#[test]
fn worker_nodes_and_jobs_come_back() {
    let cluster = own_cluster(ClusterOptions {
        durable: true,
        ..ClusterOptions::default()
    });
    let mut stage = Stage::on(&cluster);
    stage.start_nodes(2, |node| node);
    stage
        .run(
            "CREATE TABLE public.effect (n int);
             CREATE FUNCTION public.work(n int) RETURNS void LANGUAGE sql AS
                 'SELECT pg_sleep(0.005); INSERT INTO public.effect VALUES (n)';
             SELECT forge.register_job('work', 'sql:public.work');
             SELECT count(*) FROM forge.enqueue_many('work', ARRAY(SELECT jsonb_build_object('n', n) FROM generate_series(1, 1500) n));",
        )
        .unwrap();
    stage
        .until("SELECT count(*) > 50 FROM public.effect")
        .unwrap();
    stage.until("SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database() AND backend_type LIKE '%forge%'").unwrap();
    for _ in 0..2 {
        let victim: i32 = stage.value("SELECT pg_backend_pid()").unwrap();
        cluster.kill_backend(victim).unwrap();
        eventually(SOON, "the server to take connections again", || {
            Ok(stage.reconnect().ok())
        })
        .unwrap();
    }
    stage
        .until("SELECT count(*) = 1500 FROM forge.jobs WHERE state = 'completed'")
        .unwrap();
    assert_eq!(
        stage
            .value::<i64>("SELECT count(*) FROM public.effect")
            .unwrap(),
        1500
    );
    assert_eq!(
        stage
            .value::<i64>("SELECT count(DISTINCT n) FROM public.effect")
            .unwrap(),
        1500
    );
    eventually(SOON, "the background worker", || {
        Ok((worker_pids(&stage) == 1).then_some(()))
    })
    .unwrap();
    let log = cluster.log().unwrap();
    assert!(
        log.contains("was terminated by signal 9"),
        "the crash was one"
    );
    let own = log.lines().filter(|line| {
        line.contains("PANIC") || line.contains("signal 11") || line.contains("signal 6")
    });
    assert_eq!(own.count(), 0, "{log}");
}
