//! `sql:` and `http:` handlers: effects once, failures retried, what was told kept.

use std::{collections::HashSet, time::Duration};

use forge_tests::until;

use crate::{
    receiver::{Receiver, Reply},
    session::SOON,
    sign,
    stage::Stage,
};

#[test]
fn sql_effects_and_completions_commit_together() {
    let stage = Stage::with_nodes(2);
    stage
        .run(
            "CREATE SCHEMA app;
             CREATE TABLE app.effect (n int);
             CREATE FUNCTION app.apply(n int, fail boolean DEFAULT false) RETURNS int LANGUAGE plpgsql AS $$
             BEGIN
                 INSERT INTO app.effect VALUES (n);
                 IF fail THEN RAISE EXCEPTION 'refused %', n; END IF;
                 RETURN n * 2;
             END $$;
             SELECT forge.register_job('apply', 'sql:app.apply', max_attempts => 2, backoff => 'fixed(100ms)');
             SELECT count(*) FROM forge.enqueue_many('apply', ARRAY(
                 SELECT jsonb_build_object('n', n, 'fail', n % 10 = 0) FROM generate_series(1, 500) n));",
        )
        .unwrap();
    stage
        .until(
            "SELECT count(*) FILTER (WHERE state IN ('completed', 'dead')) = 500 FROM forge.jobs",
        )
        .unwrap();
    assert_eq!(
        stage
            .value::<i64>("SELECT count(*) FROM forge.jobs WHERE state = 'dead'")
            .unwrap(),
        50
    );
    assert_eq!(
        stage
            .value::<i64>("SELECT count(*) FROM app.effect")
            .unwrap(),
        450
    );
    assert_eq!(
        stage
            .value::<i64>("SELECT count(DISTINCT n) FROM app.effect WHERE n % 10 > 0")
            .unwrap(),
        450
    );
    let results = "SELECT count(*) FROM forge.jobs WHERE state = 'completed' AND result = to_jsonb((args ->> 'n')::int * 2)";
    assert_eq!(stage.value::<i64>(results).unwrap(), 450);
    let error: String = stage
        .value("SELECT error FROM forge.jobs WHERE state = 'dead' AND args ->> 'n' = '10'")
        .unwrap();
    assert!(error.contains("refused 10"), "{error}");
    assert_eq!(
        stage
            .value::<i64>("SELECT count(*) FROM forge.job_attempts WHERE outcome = 'failed'")
            .unwrap(),
        100
    );
}

#[test]
fn a_sql_handler_that_vanished_fails_with_its_name() {
    let stage = Stage::with_nodes(1);
    stage
        .run(
            "CREATE FUNCTION public.gone() RETURNS void LANGUAGE sql AS '';
             SELECT forge.register_job('gone', 'sql:public.gone', max_attempts => 1);
             DROP FUNCTION public.gone();
             SELECT forge.enqueue('gone');",
        )
        .unwrap();
    let error: String = stage
        .eventual("SELECT error FROM forge.jobs WHERE state = 'dead'")
        .unwrap();
    assert!(error.contains("public.gone"), "{error}");
    assert!(
        stage
            .value::<bool>("SELECT forge.status()::text LIKE '%gone%'")
            .unwrap()
    );
}

#[test]
fn a_slow_sql_handler_times_out() {
    let stage = Stage::with_nodes(1);
    stage
        .run(
            "CREATE FUNCTION public.slow() RETURNS void LANGUAGE sql AS 'SELECT pg_sleep(60)';
             SELECT forge.register_job('slow', 'sql:public.slow', max_attempts => 1, timeout => '300 ms');
             SELECT forge.enqueue('slow');",
        )
        .unwrap();
    let error: String = stage
        .eventual("SELECT error FROM forge.jobs WHERE state = 'dead'")
        .unwrap();
    assert!(error.contains("time"), "{error}");
}

#[test]
fn http_calls_are_signed_retried_under_one_id_and_their_answers_kept() {
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let receiver = Receiver::start(|_, before| match before {
        0 => Reply::json(500, "{}"),
        1 => Reply(503, vec![("retry-after".into(), "1".into())], String::new()),
        _ => Reply::json(200, r#"{"taken": true}"#),
    });
    let mut stage = Stage::new();
    stage.start_nodes(1, |node| node.set("FORGE_OUTBOUND__SIGNING_SECRET", secret));
    stage
        .run(&format!(
            "SELECT forge.register_job('call', '{}', backoff => 'fixed(50ms)');
             SELECT forge.enqueue('call', '{{\"x\": 7}}');",
            receiver.url("/take?a=b")
        ))
        .unwrap();
    stage
        .until("SELECT state = 'completed' FROM forge.jobs")
        .unwrap();
    let job: uuid::Uuid = stage.value("SELECT id FROM forge.jobs").unwrap();
    assert!(
        stage
            .value::<bool>("SELECT result = '{\"taken\": true}' AND attempt = 3 FROM forge.jobs")
            .unwrap()
    );
    let requests = receiver.requests();
    assert_eq!(requests.len(), 3);
    for request in requests {
        assert_eq!(request.path, "/take?a=b");
        assert_eq!(request.header("webhook-id"), job.to_string());
        let timestamp: u64 = request.header("webhook-timestamp").parse().unwrap();
        assert!(timestamp.abs_diff(sign::now()) < 120);
        let signature = sign::standard(secret, &job.to_string(), timestamp, &request.body);
        assert_eq!(request.header("webhook-signature"), signature);
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(
            (&body["args"]["x"], &body["kind"]),
            (&7.into(), &"call".into())
        );
    }
}

#[test]
fn a_slow_or_refusing_receiver_is_a_failure() {
    let receiver = Receiver::start(|request, _| {
        if request.path == "/slow" {
            std::thread::park_timeout(Duration::from_secs(20));
        }
        Reply::json(404, r#"{"why": "no such thing"}"#)
    });
    let mut stage = Stage::new();
    stage.start_nodes(1, |node| node);
    stage
        .run(&format!(
            "SELECT forge.register_job('slow', '{}', max_attempts => 1, timeout => '500 ms');
             SELECT forge.register_job('missing', '{}', max_attempts => 5);
             SELECT forge.enqueue('slow'), forge.enqueue('missing');",
            receiver.url("/slow"),
            receiver.url("/missing")
        ))
        .unwrap();
    stage
        .until("SELECT count(*) = 2 FROM forge.jobs WHERE state = 'dead'")
        .unwrap();
    let error: String = stage
        .value("SELECT error FROM forge.jobs WHERE kind = 'missing'")
        .unwrap();
    assert!(
        error.contains("404") && error.contains("no such thing"),
        "{error}"
    );
    let error: String = stage
        .value("SELECT error FROM forge.jobs WHERE kind = 'slow'")
        .unwrap();
    assert!(error.contains("time"), "{error}");
}

#[test]
fn a_batch_goes_to_every_node_and_each_job_once() {
    let receiver = Receiver::start(|_, _| Reply::json(200, "{}"));
    let stage = Stage::with_nodes(3);
    stage
        .run(&format!(
            "SELECT forge.register_job('call', '{}');
             SELECT count(*) FROM forge.enqueue_many('call', ARRAY(SELECT jsonb_build_object('n', n) FROM generate_series(1, 600) n));",
            receiver.url("/")
        ))
        .unwrap();
    stage
        .until("SELECT count(*) = 600 FROM forge.jobs WHERE state = 'completed'")
        .unwrap();
    let ids: HashSet<String> = receiver
        .requests()
        .iter()
        .map(|request| request.header("webhook-id").to_owned())
        .collect();
    assert_eq!(ids.len(), 600);
    until(SOON, "no request to be repeated", || {
        Ok(receiver.requests().len() == 600)
    })
    .unwrap();
}
