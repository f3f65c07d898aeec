//! The example worker in Python, over gRPC.

use std::{
    io::{self, BufRead, BufReader},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use forge_tests::{checkout, process, reaper::Reaper, until};
use nix::sys::signal::Signal;

use crate::{session::SOON, stage::Stage};

struct Worker {
    child: Child,
    _reaper: Reaper,
}

impl Worker {
    /// Starts the worker and waits for its line "ready".
    fn start(stage: &Stage, key: &str) -> Self {
        let python = std::env::var("FORGE_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
        let mut command = Command::new(python);
        command.arg(checkout::root().join("examples/python-worker/worker.py"));
        for node in &stage.nodes {
            command.args(["--node", &node.grpc().to_string()]);
        }
        let mut child = command
            .args([
                "--api-key",
                key,
                "--kind",
                "github.issue_comment",
                "--capability",
                "python",
                "--max-jobs",
                "8",
            ])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let reaper = Reaper::watch(child.id().cast_signed(), Signal::SIGKILL).unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "ready");
        // It says so again on every node it moves to: read on, else its print fails and it ends.
        thread::spawn(move || io::copy(&mut said, &mut io::sink()));
        Self {
            child,
            _reaper: reaper,
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const COMMENTS: &str = r#"SELECT count(*) FROM forge.enqueue_many('github.issue_comment', ARRAY(
    SELECT jsonb_build_object('event', 'issue_comment', 'delivery_id', 'd-' || n, 'payload', jsonb_build_object(
        'action', 'created', 'comment', jsonb_build_object('body', 'see https://example.com @octocat `code`', 'user', jsonb_build_object('login', 'x'))))
    FROM generate_series(1, 100) n))"#;

#[test]
fn jobs_reach_a_worker_in_another_language_and_move_with_it() {
    let mut stage = Stage::with_nodes(2);
    stage
        .run("SELECT forge.register_job('github.issue_comment', 'worker:python')")
        .unwrap();
    let key = stage.key("forge_service");
    let mut worker = Worker::start(&stage, &key);
    stage.run(COMMENTS).unwrap();
    stage
        .until("SELECT count(*) = 100 FROM forge.jobs WHERE state = 'completed'")
        .unwrap();
    let told = "SELECT bool_and(result ->> 'delivery_id' = args ->> 'delivery_id') FROM forge.jobs";
    assert!(stage.value::<bool>(told).unwrap());

    // The node it is connected to dies: it goes to the other one.
    stage.nodes[0].kill().unwrap();
    stage.run(COMMENTS).unwrap();
    stage
        .until("SELECT count(*) = 200 FROM forge.jobs WHERE state = 'completed'")
        .unwrap();

    // And leaves in order.
    process::send(worker.child.id().cast_signed(), Signal::SIGTERM).unwrap();
    until(SOON, "the worker to end", || {
        Ok(worker.child.try_wait()?.is_some())
    })
    .unwrap();
}

#[test]
fn a_killed_worker_loses_nothing() {
    let stage = Stage::with_nodes(1);
    stage
        .run("SELECT forge.register_job('github.issue_comment', 'worker:python')")
        .unwrap();
    let key = stage.key("forge_service");
    let worker = Worker::start(&stage, &key);
    stage.run(COMMENTS).unwrap();
    stage
        .until("SELECT count(*) > 5 FROM forge.jobs WHERE state = 'completed'")
        .unwrap();
    drop(worker);
    let _second = Worker::start(&stage, &key);
    stage
        .until_within(
            Duration::from_secs(90),
            "SELECT count(*) = 100 FROM forge.jobs WHERE state = 'completed'",
        )
        .unwrap();
}
