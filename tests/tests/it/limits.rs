//! Rate limits hold over every interval of their period, whoever claims, and are used up.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use forge_tests::{Cluster, ClusterOptions};

use crate::{
    session::Session,
    stage::{Stage, cluster, own_cluster},
};

/// Pullers that claim as fast as they can, and how long the queue takes at 20 in 2 seconds.
const PULLERS: usize = 3;
const JOBS: i64 = 70;

/// What a claim got, and when it was asked for and answered.
struct Grant {
    asked: Instant,
    answered: Instant,
    jobs: i64,
}

fn claim_everything(cluster: &Cluster) -> Vec<Grant> {
    let stage = Stage::on(cluster);
    stage
        .run(&format!(
            "SELECT forge.register_job('slow', 'worker', queue => 'slow', rate_limit => '20/2s');
             SELECT count(*) FROM forge.enqueue_many('slow', ARRAY(SELECT '{{}}'::jsonb FROM generate_series(1, {JOBS})))"
        ))
        .unwrap();
    let url = stage.database().url();
    let grants = Mutex::new(Vec::new());
    let left = std::sync::atomic::AtomicI64::new(JOBS);
    std::thread::scope(|scope| {
        for _ in 0..PULLERS {
            scope.spawn(|| {
                let session = Session::open(&url).unwrap();
                while left.load(std::sync::atomic::Ordering::Relaxed) > 0 {
                    let asked = Instant::now();
                    let jobs: i64 = session
                        .value("SELECT count(*) FROM forge.claim('w', '{slow}', max_jobs => 7)")
                        .unwrap();
                    left.fetch_sub(jobs, std::sync::atomic::Ordering::Relaxed);
                    if jobs > 0 {
                        grants.lock().unwrap().push(Grant {
                            asked,
                            answered: Instant::now(),
                            jobs,
                        });
                    }
                }
            });
        }
    });
    grants.into_inner().unwrap()
}

/// Jobs that were certainly granted within one period: asked for after its begin and answered before its end.
fn most_in_a_period(grants: &[Grant]) -> i64 {
    let period = Duration::from_secs(2);
    let within = |from: Instant| -> i64 {
        let inside = grants
            .iter()
            .filter(|g| g.asked >= from && g.answered < from + period);
        inside.map(|g| g.jobs).sum()
    };
    grants.iter().map(|g| within(g.asked)).max().unwrap_or(0)
}

fn holds_and_is_used_up(cluster: &Cluster) {
    let begun = Instant::now();
    let grants = claim_everything(cluster);
    assert_eq!(grants.iter().map(|g| g.jobs).sum::<i64>(), JOBS);
    let most = most_in_a_period(&grants);
    assert!(most <= 20, "{most} of at most 20 in one period");
    // Four periods' worth: not before six seconds are over.
    assert!(begun.elapsed() >= Duration::from_secs(6));
}

#[test]
fn no_interval_sees_more_than_the_limit() {
    holds_and_is_used_up(cluster());
}

#[test]
fn no_interval_sees_more_than_the_limit_without_preload() {
    let cluster = own_cluster(ClusterOptions {
        preload: false,
        ..ClusterOptions::default()
    });
    holds_and_is_used_up(&cluster);
}

#[test]
fn a_node_goes_on_when_the_period_is_over() {
    let mut stage = Stage::new();
    stage.start_nodes(1, |node| node);
    stage
        .run(
            "CREATE TABLE public.effect (at timestamptz);
             CREATE FUNCTION public.work() RETURNS void LANGUAGE sql AS 'INSERT INTO public.effect VALUES (clock_timestamp())';
             SELECT forge.register_job('work', 'sql:public.work', rate_limit => '5/2200ms');
             SELECT count(*) FROM forge.enqueue_many('work', ARRAY(SELECT '{}'::jsonb FROM generate_series(1, 20)));",
        )
        .unwrap();
    stage
        .until("SELECT count(*) = 20 FROM public.effect")
        .unwrap();
    let took: f64 = stage
        .value("SELECT extract(epoch FROM max(at) - min(at))::float8 FROM public.effect")
        .unwrap();
    // Three periods lie between the first five and the last. A node that only polled would look 2.0 s and 4.1 s after it
    // found nothing, and take twice that.
    assert!((6.5..10.0).contains(&took), "took {took} s");
}
