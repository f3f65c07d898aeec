//! The counts that must agree afterwards.

use std::time::Duration;

use crate::stage::Stage;

const DRAIN: Duration = Duration::from_secs(240);

/// Waits until every job has ended.
pub fn wait(stage: &Stage, jobs: u64) {
    let done = format!("SELECT count(*) >= {jobs} FROM public.effect");
    let waited = stage.until_within(DRAIN, &done).and_then(|()| {
        stage.until_within(
            Duration::from_secs(60),
            "SELECT sum(ready + scheduled + running + retrying) = 0 FROM forge.queues WHERE queue = 'default'",
        )
    });
    if let Err(error) = waited {
        let states = "SELECT string_agg(format('%s %s: %s', kind, state, n), ', ') FROM
            (SELECT kind, state, count(*) AS n FROM forge.jobs GROUP BY 1, 2) c";
        let effects: i64 = stage.value("SELECT count(*) FROM public.effect").unwrap();
        let errors =
            "SELECT coalesce(string_agg(DISTINCT kind || ': ' || error, E'\n'), 'no errors')
            FROM forge.jobs WHERE error IS NOT NULL AND state <> 'completed'";
        eprintln!("{}", stage.value::<String>(errors).unwrap());
        panic!(
            "{error:#}\njobs are {}; {effects} effects",
            stage.value::<String>(states).unwrap()
        );
    }
}

/// None lost, none twice, every instant once.
pub fn check(stage: &Stage, jobs: u64) {
    let count = |query: &str| stage.value::<i64>(query).unwrap();
    let jobs = i64::try_from(jobs).unwrap();
    assert_eq!(count("SELECT count(*) FROM public.sent"), jobs, "sent");
    let lost = "SELECT count(*) FROM public.sent s WHERE NOT EXISTS (SELECT FROM public.effect e WHERE e.n = s.n)";
    assert_eq!(count(lost), 0, "lost");
    assert_eq!(
        count("SELECT count(*) - count(DISTINCT n) FROM public.effect"),
        0,
        "done twice"
    );
    let unfinished = "SELECT count(*) FROM public.sent s JOIN forge.jobs j ON j.id = s.id WHERE j.state <> 'completed'";
    assert_eq!(count(unfinished), 0, "effect without completion");
    assert_eq!(
        count("SELECT count(*) FROM public.sent s JOIN forge.jobs j ON j.id = s.id"),
        jobs,
        "jobs"
    );
    stage.run("SELECT forge.unschedule('second')").unwrap();
    let gaps = "SELECT count(*) FROM (SELECT generate_series(min(scheduled_for), max(scheduled_for), '1 s') AS at FROM forge.schedule_runs) i
        WHERE (SELECT count(*) FROM forge.schedule_runs r WHERE r.scheduled_for = i.at AND r.outcome = 'fired') <> 1";
    assert_eq!(count(gaps), 0, "instants without exactly one run");
    stage
        .until("SELECT count(*) = (SELECT count(*) FROM forge.schedule_runs) FROM public.tick")
        .unwrap();
    assert!(
        count("SELECT count(*) FROM forge.schedule_runs") > 20,
        "ticks"
    );
}
