//! `pg_dump` and `pg_restore` into another server bring back live state.

use forge_tests::{Cluster, ClusterOptions};

use crate::{
    session::Session,
    stage::{Stage, cluster, own_cluster},
};

/// What must be the same on both sides.
const PICTURE: &str = "SELECT jsonb_pretty(jsonb_build_object(
    'jobs', (SELECT jsonb_agg(to_jsonb(j) ORDER BY j.id) FROM (SELECT id, kind, queue, priority, state, args, attempt, max_attempts,
             run_at, enqueued_at, finished_at, result, error, tags FROM forge.jobs) j),
    'attempts', (SELECT jsonb_agg(to_jsonb(a) ORDER BY a.job_id, a.attempt) FROM forge.job_attempts a),
    'queues', (SELECT jsonb_agg(to_jsonb(q) ORDER BY q.queue) FROM (SELECT queue, paused, ready, scheduled, running, retrying, dead FROM forge.queues) q),
    'schedules', (SELECT jsonb_agg(to_jsonb(s) ORDER BY s.name) FROM forge.schedules s),
    'runs', (SELECT jsonb_agg(to_jsonb(r) ORDER BY r.schedule, r.scheduled_for) FROM forge.schedule_runs r),
    'kinds', (SELECT jsonb_agg(to_jsonb(k) ORDER BY k.kind) FROM forge_private.job_kinds() k),
    'keys', (SELECT jsonb_agg(to_jsonb(k) ORDER BY k.name) FROM forge.api_keys k),
    'locks', (SELECT jsonb_agg(to_jsonb(l) ORDER BY l.name) FROM (SELECT name, owner, token FROM forge.locks) l),
    'webhook', forge_private.webhook('hook')))";

/// Each a transaction of its own: nobody claims what they have just enqueued themselves.
const LIVE: &str = r#"
    CREATE TABLE public.effect (n int);
    CREATE FUNCTION public.work(n int) RETURNS void LANGUAGE sql AS 'INSERT INTO public.effect VALUES (n)';
    SELECT forge.register_job('work', 'sql:public.work');
    SELECT forge.register_job('pull', 'worker', queue => 'pull', max_attempts => 3, backoff => 'fixed(1h)', max_concurrency => 40);
    SELECT forge.pause_queue('default');
    SELECT count(*) FROM forge.enqueue_many('work', ARRAY(SELECT jsonb_build_object('n', n) FROM generate_series(1, 300) n));
    SELECT count(*) FROM forge.enqueue_many('pull', ARRAY(SELECT jsonb_build_object('n', n) FROM generate_series(1, 50) n));
    SELECT forge.enqueue('work', '{"n": 301}', delay => '2 s', unique_key => 'u', idempotency_key => 'i', tags => '{x}');
    SELECT forge.complete(lease, ARRAY[id], ARRAY['{"done": 1}']::jsonb[]) FROM forge.claim('w', '{pull}');
    SELECT forge.fail(lease, id, 'once') FROM forge.claim('w', '{pull}');
    SELECT forge.fail(lease, id, 'never', retry => false) FROM forge.claim('w', '{pull}');
    SELECT forge.cancel(id) FROM (SELECT id FROM forge.jobs WHERE kind = 'pull' AND state = 'ready' LIMIT 1) j;
    SELECT count(*) FROM forge.claim('w', '{pull}', max_jobs => 5, lease => '3 s');
    SELECT forge.schedule('nightly', '0 3 * * *', 'work', '{"n": 0}', timezone => 'Europe/Berlin');
    SELECT forge.trigger('nightly');
    SELECT forge.create_api_key('key', role => 'forge_service');
    SELECT forge.register_webhook('hook', 'work', 'github', 'hush hush');
    SELECT forge.try_lock('lock', 'me', '1 hour');
"#;

fn fill(stage: &Stage) {
    for statement in LIVE.split_inclusive(";\n") {
        stage.run(statement).unwrap();
    }
    let states: i64 = stage
        .value("SELECT count(DISTINCT state) FROM forge.jobs WHERE kind = 'pull'")
        .unwrap();
    assert_eq!(states, 6, "a state is missing from the dump");
}

fn dump(cluster: &Cluster, database: &str, format: &str) -> std::path::PathBuf {
    let file = forge_tests::checkout::target_dir().join(format!("{database}.{format}.dump"));
    let mut pg_dump = cluster.client("pg_dump");
    let status = pg_dump
        .args(["-F", format, "-d", database, "-f"])
        .arg(&file)
        .status()
        .unwrap();
    assert!(status.success());
    file
}

#[test]
fn another_server_goes_on_where_the_first_one_was() {
    let source = Stage::new();
    // Its transaction ids are far ahead of those of the other server.
    source
        .run("DO $$ BEGIN FOR i IN 1..5000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$")
        .unwrap();
    fill(&source);
    let file = dump(cluster(), source.database().name(), "c");
    let before: String = source.value(PICTURE).unwrap();

    let other = own_cluster(ClusterOptions::default());
    // Roles are not part of a dump of one database.
    other.database().unwrap();
    let target = other.bare_database().unwrap();
    let restored = other
        .client("pg_restore")
        .args(["--exit-on-error", "-d", target.name()])
        .arg(&file)
        .output()
        .unwrap();
    assert!(
        restored.status.success(),
        "{}",
        String::from_utf8_lossy(&restored.stderr)
    );
    let session = Session::open(&target.url()).unwrap();
    let after: String = session.value(PICTURE).unwrap();
    assert_eq!(after, before);
    assert!(
        session
            .value::<bool>("SELECT forge.status() IS NOT NULL")
            .unwrap()
    );

    // And it is alive: keys still hold, jobs run, old ones and new ones, leases of before are void.
    session
        .run(r#"SELECT forge.enqueue('work', '{"n": 302}')"#)
        .unwrap();
    let kept: bool = session
        .value("SELECT forge.enqueue('work', unique_key => 'u') = (SELECT id FROM forge.jobs WHERE args ->> 'n' = '301')")
        .unwrap();
    assert!(kept, "a unique key was forgotten");
    session
        .run("SELECT forge.setup_daemon_role('forge_daemon'); SELECT forge.resume_queue('default')")
        .unwrap();
    let daemon = other.url_as(forge_tests::cluster::DAEMON_ROLE, target.name());
    let node = forge_tests::Node::start(forge_tests::NodeOptions::new(
        "n1",
        &daemon,
        other.info().dir.parent().unwrap(),
    ))
    .unwrap();
    session
        .until("SELECT count(*) = 302 AND count(DISTINCT n) = 302 FROM public.effect WHERE n > 0")
        .unwrap();
    session
        .until("SELECT running = 0 FROM forge.queues WHERE queue = 'pull'")
        .unwrap();
    let pulled: i64 = session
        .value("SELECT count(*) FROM forge.claim('w', '{pull}', max_jobs => 100)")
        .unwrap();
    assert_eq!(pulled, 40, "46 are left, 40 may run at once");
    drop(node);
    std::fs::remove_file(file).unwrap();
}

#[test]
fn a_plain_dump_restores_into_the_same_server() {
    let source = Stage::new();
    fill(&source);
    let file = dump(cluster(), source.database().name(), "p");
    let before: String = source.value(PICTURE).unwrap();
    let target = cluster().bare_database().unwrap();
    let script = std::fs::read_to_string(&file).unwrap();
    target.sql(&script).unwrap();
    let session = Session::open(&target.url()).unwrap();
    assert_eq!(session.value::<String>(PICTURE).unwrap(), before);
    let claimed: i64 = session
        .value("SELECT count(*) FROM forge.claim('w', '{pull}', max_jobs => 10)")
        .unwrap();
    assert_eq!(claimed, 10);
    // The source is untouched.
    let claimed: i64 = source
        .value("SELECT count(*) FROM forge.claim('w', '{pull}', max_jobs => 10)")
        .unwrap();
    assert_eq!(claimed, 10);
    std::fs::remove_file(file).unwrap();
}
