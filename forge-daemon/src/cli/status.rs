//! `status`: what `forge.status()` says, in tables.

use serde_json::Value;

use super::{arguments::Target, console::Console, failure::Failure, table};

const NODES: [&str; 7] = [
    "name",
    "state",
    "roles",
    "capabilities",
    "http_address",
    "version",
    "last_heartbeat_at",
];
const LEADERS: [&str; 4] = ["duty", "node_id", "term", "since"];
const QUEUES: [&str; 9] = [
    "queue",
    "paused",
    "ready",
    "scheduled",
    "running",
    "retrying",
    "dead",
    "oldest_ready_age",
    "completed_per_s",
];

pub(super) async fn show(target: &Target) -> Result<(), Failure> {
    let mut console = Console::open(target).await?;
    let status = console
        .row("status", "SELECT forge.status()::text", &[])
        .await?;
    if console.json {
        table::print_json(&status);
        return Ok(());
    }
    say!(
        "forge {} in database {} (PostgreSQL {}, preload {}, background worker {})",
        table::cell(&status["version"]),
        table::cell(&status["database"]),
        table::cell(&status["postgres_version"]),
        table::cell(&status["preload"]),
        table::cell(&status["worker"]),
    );
    section("nodes", &status["nodes"], &NODES);
    section("leaders", &status["leaders"], &LEADERS);
    section("queues", &status["backlog"], &QUEUES);
    for warning in list(&status["warnings"]) {
        say!(
            "\nwarning: {}\n   hint: {}",
            table::cell(&warning["message"]),
            table::cell(&warning["hint"])
        );
    }
    Ok(())
}

fn section(title: &str, rows: &Value, columns: &[&str]) {
    let rows = list(rows);
    if rows.is_empty() {
        say!("\n{title}: none");
    } else {
        say!("\n{title}\n{}", table::render(rows, columns));
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}
