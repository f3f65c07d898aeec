//! The tables and `sql:` handlers on a plain PostgreSQL: every payload, in any order, several times, by
//! several sessions at once.

use std::{collections::BTreeMap, sync::Arc};

use forge_tests::{Cluster, ClusterOptions};
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::{Value, json};
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use super::*;
use crate::{payload, tour::database};

const REGISTER: &str = include_str!("../../../sql/register.sql");
const ROUNDS: usize = 4;
const SESSIONS: usize = 4;

/// Event types and their functions, as register.sql lists them: `('push', 'on_push', …)`.
fn handlers() -> BTreeMap<&'static str, &'static str> {
    REGISTER
        .lines()
        .filter_map(|line| {
            let mut words = line.split('\'').skip(1).step_by(2);
            let (event, function) = (words.next()?, words.next()?);
            function.starts_with("on_").then_some((event, function))
        })
        .collect()
}

#[tokio::test]
async fn every_event_type_is_registered_once() {
    let payloads = payload::for_tests().await;
    let events: BTreeSet<&str> = payloads.iter().map(|p| &*p.event).collect();
    assert_eq!(events.len(), 58);
    for event in events {
        let rows = REGISTER.matches(&format!("    ('{event}',")).count();
        let alone = REGISTER.matches(&format!("'github.{event}'")).count();
        assert_eq!(rows + alone, 1, "{event}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tables_hold_what_the_payloads_name() {
    let payloads = payload::for_tests().await;
    let options = ClusterOptions {
        preload: false,
        install_extension: false,
        ..ClusterOptions::default()
    };
    let cluster = Cluster::start(options).unwrap();
    let database = cluster.bare_database().unwrap();
    let client = database::connect(&database.url()).await.unwrap();
    database::load_schema(&client).await.unwrap();
    database::load_schema(&client).await.unwrap();

    let handlers = handlers();
    let mut jobs: Vec<(&str, Value)> = payloads
        .iter()
        .filter_map(|payload| Some((&payload.event, *handlers.get(&*payload.event)?, payload)))
        .flat_map(|(event, function, payload)| {
            let body: Value = serde_json::from_slice(&payload.body).unwrap();
            (0..ROUNDS).map(move |_| {
                let id = Uuid::new_v4();
                (
                    function,
                    json!({ "event": &**event, "delivery_id": id, "payload": body.clone() }),
                )
            })
        })
        .collect();
    jobs.shuffle(&mut StdRng::seed_from_u64(11));
    let jobs: Arc<[(String, Value)]> = jobs
        .into_iter()
        .map(|(function, job)| (format!("SELECT github.{function}($1)"), job))
        .collect();
    let expected = jobs.len();
    let mut sessions = Vec::new();
    for session in 0..SESSIONS {
        let (jobs, url) = (Arc::clone(&jobs), database.url());
        sessions.push(tokio::spawn(async move {
            let client = database::connect(&url).await.unwrap();
            for (statement, job) in jobs.iter().skip(session).step_by(SESSIONS) {
                run(&client, statement, job).await;
            }
        }));
    }
    for session in sessions {
        session.await.unwrap();
    }

    let row = client
        .query_one(
            "SELECT count(*), count(DISTINCT delivery_id) FROM github.effect",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(
        (row.get::<_, i64>(0), row.get::<_, i64>(1)),
        (expected as i64, expected as i64)
    );
    let (_, complaints) = compare(&client, &payloads).await.unwrap();
    // Pipelines are the native handler's, which does not run here.
    let complaints: Vec<_> = complaints
        .iter()
        .filter(|c| !c.contains("github.pipeline"))
        .collect();
    assert_eq!(complaints, [] as [&String; 0]);
}

/// Runs one job in a transaction of its own, again after a deadlock, as a queue would.
async fn run(client: &Client, statement: &str, job: &Value) {
    for _ in 0..5 {
        match client.execute(statement, &[job]).await {
            Ok(_) => return,
            Err(error) if error.code() == Some(&SqlState::T_R_DEADLOCK_DETECTED) => {}
            Err(error) => panic!("{statement}: {error:?}"),
        }
    }
    panic!("{statement}: a deadlock five times in a row");
}
