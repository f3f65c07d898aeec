//! The database away at start, and later.

use forge_tests::{ClusterOptions, Node, http, until};

use crate::{
    session::SOON,
    stage::{Stage, own_cluster},
};

#[test]
fn a_node_waits_for_its_database_and_survives_its_absence() {
    let cluster = own_cluster(ClusterOptions::default());
    let mut stage = Stage::on(&cluster);
    stage
        .run(
            "CREATE FUNCTION public.ok() RETURNS void LANGUAGE sql AS '';
             SELECT forge.register_job('ok', 'sql:public.ok');",
        )
        .unwrap();
    let key = stage.key("forge_service");
    cluster.stop_immediately().unwrap();
    let node = Node::spawn(stage.node_options("n1")).unwrap();
    let address = node.http();
    let status = |path: &str| http::get(address, path).map(|answer| answer.status).ok();
    until(SOON, "/healthz", || Ok(status("/healthz") == Some(200))).unwrap();
    assert_eq!(status("/readyz"), Some(503));
    until(SOON, "the log to say why", || {
        let log = node.log()?.to_lowercase();
        Ok(log.contains("database") && log.contains("warn"))
    })
    .unwrap();
    assert!(node.is_running());

    cluster.start_again().unwrap();
    until(SOON, "readiness", || Ok(status("/readyz") == Some(200))).unwrap();
    stage.nodes.push(node);
    stage.reconnect().unwrap();
    let authorization = format!("Bearer {key}");
    let post = || {
        let headers = [
            ("content-type", "application/json"),
            ("authorization", authorization.as_str()),
        ];
        http::request(address, "POST", "/v1/jobs", &headers, br#"{"kind": "ok"}"#).unwrap()
    };
    assert_eq!(post().status, 201);
    stage
        .until("SELECT count(*) = 1 FROM forge.jobs WHERE state = 'completed'")
        .unwrap();

    cluster.stop_immediately().unwrap();
    until(SOON, "/readyz to say 503", || {
        Ok(status("/readyz") == Some(503))
    })
    .unwrap();
    let refused = post();
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.header("retry-after").is_some());
    assert_eq!(refused.json().unwrap()["code"], "ZF007");
    cluster.start_again().unwrap();
    until(SOON, "readiness", || Ok(status("/readyz") == Some(200))).unwrap();
    stage.reconnect().unwrap();
    // Durably accepted or refused, nothing in between.
    assert_eq!(
        stage
            .value::<i64>("SELECT count(*) FROM forge.jobs")
            .unwrap(),
        1
    );
    assert_eq!(post().status, 201);
    stage
        .until("SELECT count(*) = 2 FROM forge.jobs WHERE state = 'completed'")
        .unwrap();
}
