//! Rust handlers linked with the daemon.

use crate::stage::{Stage, native_program};

fn stage() -> Stage<'static> {
    let mut stage = Stage::new();
    stage.start_nodes(1, |mut node| {
        node.program = native_program();
        node
    });
    stage
        .run(
            "SELECT forge.register_job(k, 'native:' || k, max_attempts => 3, backoff => 'fixed(50ms)')
             FROM unnest('{echo,flaky,hopeless,panic,patient,snooze}'::text[]) k",
        )
        .unwrap();
    stage
}

#[test]
fn results_retries_failures_and_panics() {
    let stage = stage();
    stage
        .run(
            r#"SELECT forge.enqueue('echo', '{"a": [1, "ü"]}'), forge.enqueue('flaky', '{"at": 3}'),
                      forge.enqueue('hopeless'), forge.enqueue('panic');"#,
        )
        .unwrap();
    stage
        .until("SELECT count(*) = 4 FROM forge.jobs WHERE state IN ('completed', 'dead')")
        .unwrap();
    let outcomes: String = stage
        .value("SELECT string_agg(format('%s %s %s', kind, state, attempt), ', ' ORDER BY kind) FROM forge.jobs")
        .unwrap();
    assert_eq!(
        outcomes,
        "echo completed 1, flaky completed 3, hopeless dead 1, panic dead 3"
    );
    assert!(
        stage
            .value::<bool>(
                r#"SELECT result = '{"a": [1, "ü"]}' FROM forge.jobs WHERE kind = 'echo'"#
            )
            .unwrap()
    );
    let error: String = stage
        .value("SELECT error FROM forge.jobs WHERE kind = 'panic'")
        .unwrap();
    assert!(error.contains("a handler's mistake"), "{error}");
}

#[test]
fn a_running_job_is_told_to_stop() {
    let stage = stage();
    stage.run("SELECT forge.enqueue('patient')").unwrap();
    stage
        .until("SELECT state = 'running' AND progress = 50 FROM forge.jobs")
        .unwrap();
    assert!(
        stage
            .value::<bool>("SELECT forge.cancel(id) FROM forge.jobs")
            .unwrap()
    );
    stage
        .until("SELECT state = 'cancelled' FROM forge.jobs")
        .unwrap();
}

#[test]
fn timeouts_end_attempts() {
    let stage = stage();
    stage
        .run(
            "SELECT forge.register_job('patient', 'native:patient', max_attempts => 1, timeout => '300 ms');
             SELECT forge.enqueue('patient')",
        )
        .unwrap();
    let error: String = stage
        .eventual("SELECT error FROM forge.jobs WHERE state = 'dead'")
        .unwrap();
    assert!(error.contains("time"), "{error}");
}

#[test]
fn a_snooze_uses_no_attempt() {
    let stage = stage();
    stage
        .run(
            "SELECT forge.enqueue('snooze', jsonb_build_object('until_unix_ms',
                 (extract(epoch FROM clock_timestamp()) * 1000)::bigint + 800))",
        )
        .unwrap();
    stage
        .until("SELECT state = 'completed' AND attempt = 1 FROM forge.jobs")
        .unwrap();
}

#[test]
fn an_unknown_handler_waits_for_a_node_that_has_it() {
    let mut stage = Stage::with_nodes(1);
    stage
        .run("SELECT forge.register_job('echo', 'native:echo'); SELECT forge.enqueue('echo')")
        .unwrap();
    // The plain node proves that it works, and leaves alone what it cannot do.
    stage
        .run(
            "CREATE FUNCTION public.ok() RETURNS void LANGUAGE sql AS '';
             SELECT forge.register_job('ok', 'sql:public.ok'); SELECT forge.enqueue('ok')",
        )
        .unwrap();
    stage
        .until("SELECT state = 'completed' FROM forge.jobs WHERE kind = 'ok'")
        .unwrap();
    assert_eq!(
        stage
            .value::<String>("SELECT state FROM forge.jobs WHERE kind = 'echo'")
            .unwrap(),
        "ready"
    );
    let mut options = stage.node_options("native");
    options.program = native_program();
    stage.start_node(options);
    stage
        .until("SELECT state = 'completed' FROM forge.jobs WHERE kind = 'echo'")
        .unwrap();
}
