//! `examples/conduit`: the RealWorld backend as tables, policies and SQL functions, held to the public collection of
//! requests, which lies beside the checkout.

mod answers;
mod policies;

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use forge_tests::{balancer::Balancer, checkout};
use serde_json::Value;

use crate::stage::Stage;

const INSTALL: &str = "examples/conduit/install.sql";

/// The public collection.
fn collection() -> PathBuf {
    let path = checkout::root().join("../shared/realworld/Conduit.postman_collection.json");
    assert!(
        path.is_file(),
        "{} is missing: this test runs the public RealWorld collection, which is expected beside the checkout",
        path.display()
    );
    path
}

/// Runs the collection as `user` against `url`; requests and assertions it made, all of which must have passed.
fn run_collection(url: &str, user: &str, logs: &Path) -> (u64, u64) {
    let newman = std::env::var("FORGE_TEST_NEWMAN")
        .expect("FORGE_TEST_NEWMAN names newman.js; `cargo xtask test integration conduit` installs it and sets it");
    let report = logs.join(format!("newman-{user}.json"));
    let mut command = Command::new("node");
    command
        .arg(newman)
        .arg("run")
        .arg(collection())
        .args(["--color", "off", "--reporters", "cli,json"])
        .args(["--timeout-request", "20000", "--timeout", "120000"])
        .arg("--reporter-json-export")
        .arg(&report);
    for (name, value) in [
        ("APIURL", url),
        ("USERNAME", user),
        ("EMAIL", &format!("{user}@mail.com")),
        ("PASSWORD", "password"),
    ] {
        command.args(["--global-var", &format!("{name}={value}")]);
    }
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "newman: {}\n{said}", output.status);
    let report: Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    let run = &report["run"];
    assert_eq!(run["failures"], Value::Array(Vec::new()), "{said}");
    let total = |what: &str| {
        let stats = &run["stats"][what];
        assert_eq!(stats["failed"], 0, "{what}: {stats}\n{said}");
        stats["total"].as_u64().unwrap()
    };
    (total("requests"), total("assertions"))
}

#[test]
fn the_public_collection_passes_through_a_load_balancer() {
    let mut stage = Stage::new();
    stage.load(INSTALL);
    // Installing again takes nothing away.
    stage.load(INSTALL);
    stage.start_nodes(2, |node| node);
    let balancer = Balancer::start(&stage.nodes, stage.logs()).unwrap();
    let url = format!("http://{}/api", balancer.address());

    let (requests, assertions) = run_collection(&url, "johanna", stage.logs());
    assert!(
        requests >= 30 && assertions >= 250,
        "the collection made {requests} requests and {assertions} assertions only"
    );
    for server in balancer.servers().unwrap() {
        assert!(server.requests >= requests / 3, "{server:?} of {requests}");
    }

    // One node is enough.
    stage.nodes[0].stop().unwrap();
    assert_eq!(
        run_collection(&url, "jacob", stage.logs()),
        (requests, assertions)
    );
}
