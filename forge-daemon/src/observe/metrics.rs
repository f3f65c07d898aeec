//! The metrics recorder: names as the contract has them, Prometheus text on demand.

use std::sync::OnceLock;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::{
    db::Error,
    service::{Periodic, Tasks, every},
};

/// Half a millisecond to a minute: requests, functions and jobs alike.
const SECONDS: [f64; 16] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0,
];
const UPKEEP: std::time::Duration = std::time::Duration::from_secs(5);

static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Installs the recorder of this process, unless the program brought its own.
pub fn install() {
    RECORDER.get_or_init(|| {
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_duration_seconds".into()), &SECONDS)
            .unwrap_or_else(|_| PrometheusBuilder::new());
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).ok()?;
        describe();
        Some(handle)
    });
}

/// Every metric in Prometheus' text format.
pub fn render() -> String {
    RECORDER
        .get()
        .and_then(Option::as_ref)
        .map(PrometheusHandle::render)
        .unwrap_or_default()
}

/// Keeps histograms small while nobody scrapes.
pub fn spawn_upkeep(tasks: &Tasks) {
    every(tasks, "metrics upkeep", UPKEEP, UPKEEP, Upkeep);
}

struct Upkeep;

impl Periodic for Upkeep {
    type Summary = ();
    type Error = Error;

    async fn run_once(&mut self) -> Result<(), Error> {
        if let Some(Some(handle)) = RECORDER.get() {
            handle.run_upkeep();
        }
        Ok(())
    }
}

fn describe() {
    describe_counter!(
        "forge_http_requests_total",
        "HTTP requests answered, by method, route and status"
    );
    describe_histogram!(
        "forge_http_request_duration_seconds",
        Unit::Seconds,
        "Time to answer an HTTP request"
    );
    describe_counter!(
        "forge_jobs_enqueued_total",
        "Jobs enqueued through this node, by kind"
    );
    describe_counter!(
        "forge_jobs_completed_total",
        "Jobs completed on this node, by kind"
    );
    describe_counter!(
        "forge_jobs_failed_total",
        "Failed attempts on this node, by kind"
    );
    describe_counter!(
        "forge_jobs_dead_total",
        "Jobs that died on this node, by kind"
    );
    describe_histogram!(
        "forge_job_duration_seconds",
        Unit::Seconds,
        "Run time of a job's attempt, by kind"
    );
    describe_gauge!(
        "forge_http_requests_in_progress",
        "Requests let in and not answered yet, without health and metrics"
    );
    describe_gauge!("forge_queue_depth", "Jobs in a queue, by queue and state");
    describe_gauge!(
        "forge_queue_oldest_ready_seconds",
        Unit::Seconds,
        "Age of the oldest ready job of a queue"
    );
    describe_gauge!("forge_cluster_nodes", "Nodes of the cluster, by state");
    describe_gauge!(
        "forge_leader",
        "1 for the node that holds a duty, by duty and node"
    );
    describe_gauge!(
        "forge_db_pool_connections",
        "Database connections of this node's pool, by state"
    );
    describe_counter!(
        "forge_schedule_runs_total",
        "Jobs made by schedules on this node"
    );
    describe_counter!(
        "forge_webhook_deliveries_total",
        "Verified webhook deliveries, by webhook and whether they were duplicates"
    );
}
