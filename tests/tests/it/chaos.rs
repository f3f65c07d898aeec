//! Nothing is lost and nothing done twice, whatever is killed.
//!
//! Run alone, one after the other. `FORGE_CHAOS_JOBS` sets the number of jobs (default 20,000; a
//! full run has 100,000), `FORGE_CHAOS_SECONDS` how long the breaking goes on (default 45).

mod breaking;
mod feed;
mod tally;

use std::time::{Duration, Instant};

use forge_tests::ClusterOptions;

use crate::stage::{Stage, own_cluster};

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .map_or(default, |text| text.parse().unwrap())
}

const SETUP: &str = "
    CREATE TABLE public.sent (n bigint PRIMARY KEY, id uuid NOT NULL);
    CREATE TABLE public.effect (n bigint NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp());
    CREATE FUNCTION public.work(n bigint) RETURNS void LANGUAGE sql AS 'INSERT INTO public.effect VALUES (n)';
    CREATE FUNCTION public.shaky(n bigint) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO public.effect VALUES (n);
        IF random() < 0.3 THEN RAISE EXCEPTION 'shaken'; END IF;
    END $$;
    CREATE FUNCTION public.keyed(n bigint, key int) RETURNS void LANGUAGE sql AS 'INSERT INTO public.effect VALUES (n)';
    CREATE TABLE public.tick (at timestamptz NOT NULL DEFAULT clock_timestamp());
    CREATE FUNCTION public.tick() RETURNS void LANGUAGE sql AS 'INSERT INTO public.tick DEFAULT VALUES';
    SELECT forge.register_job('work', 'sql:public.work', max_attempts => 1000);
    SELECT forge.register_job('shaky', 'sql:public.shaky', max_attempts => 1000, backoff => 'fixed(100ms)');
    SELECT forge.register_job('keyed', 'sql:public.keyed', max_attempts => 1000, max_concurrency => 4, concurrency_by => 'key');
    SELECT forge.register_job('tick', 'sql:public.tick', queue => 'ticks', priority => 'critical', max_attempts => 1000);
    SELECT forge.schedule('second', '* * * * * *', 'tick', misfire => 'all', misfire_limit => 10000);";

#[test]
fn nodes_and_server_die_under_load() {
    let jobs = setting("FORGE_CHAOS_JOBS", 20_000);
    let span = Duration::from_secs(setting("FORGE_CHAOS_SECONDS", 45));
    let cluster = own_cluster(ClusterOptions {
        durable: true,
        ..ClusterOptions::default()
    });
    let mut stage = Stage::on(&cluster);
    stage.run(SETUP).unwrap();
    stage.start_nodes(3, |node| node);
    let url = stage.database().url();
    let start = Instant::now();
    std::thread::scope(|scope| {
        let feeding = scope.spawn(|| feed::all(&url, jobs, span));
        let log = breaking::run(&mut stage, span);
        feeding.join().unwrap().unwrap();
        eprintln!("{log} within {:?}", start.elapsed());
    });
    stage.reconnect().unwrap();
    tally::wait(&stage, jobs);
    eprintln!("{jobs} jobs done after {:?}", start.elapsed());
    tally::check(&stage, jobs);
}
