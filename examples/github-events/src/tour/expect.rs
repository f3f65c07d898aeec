//! What the example's tables must hold when every payload has been taken in: worked out from the payloads
//! alone, in Rust, so that it checks the SQL handlers and does not repeat them.
//!
//! A rule names a table and where the keys of its rows are in the payloads. Handlers are idempotent, so the
//! number of rows is the number of different keys, however often and in whatever order payloads came.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::Value;
use tokio_postgres::Client;

use crate::payload::Payload;

/// Tables whose keys are found at fixed places: (table, event types, pointers that make the key).
const RULES: [(&str, &[&str], &[&str]); 31] = [
    ("issue", &["issues"], &["/issue/id"]),
    (
        "pull_request",
        &[
            "pull_request",
            "pull_request_review",
            "pull_request_review_comment",
            "pull_request_review_thread",
        ],
        &["/pull_request/id"],
    ),
    ("review", &["pull_request_review"], &["/review/id"]),
    (
        "review_thread",
        &["pull_request_review_thread"],
        &["/thread/node_id"],
    ),
    (
        "discussion",
        &["discussion", "discussion_comment"],
        &["/discussion/id"],
    ),
    (
        "comment",
        &[
            "commit_comment",
            "pull_request_review_comment",
            "discussion_comment",
        ],
        &["/comment/id"],
    ),
    (
        "push",
        &["push"],
        &["/repository/id", "/ref", "/before", "/after"],
    ),
    (
        "ref",
        &["create", "delete"],
        &["/repository/id", "/ref_type", "/ref"],
    ),
    (
        "merge_group",
        &["merge_group"],
        &["/repository/id", "/merge_group/head_sha"],
    ),
    ("branch_rule", &["branch_protection_rule"], &["/rule/id"]),
    ("deploy_key", &["deploy_key"], &["/key/id"]),
    (
        "deployment_review",
        &["deployment_review"],
        &["/workflow_run/id", "/environment"],
    ),
    ("release", &["release"], &["/release/id"]),
    ("package", &["package"], &["/package/id"]),
    ("page_build", &["page_build"], &["/id"]),
    (
        "wiki_page",
        &["gollum"],
        &["/repository/id", "/pages/0/page_name"],
    ),
    ("star", &["star"], &["/repository/id", "/sender/id"]),
    ("watcher", &["watch"], &["/repository/id", "/sender/id"]),
    (
        "collaborator",
        &["member"],
        &["/repository/id", "/member/id"],
    ),
    ("team", &["team", "team_add", "membership"], &["/team/id"]),
    ("team_member", &["membership"], &["/team/id", "/member/id"]),
    (
        "block",
        &["org_block"],
        &["/organization/id", "/blocked_user/id"],
    ),
    (
        "installation",
        &["installation", "installation_repositories"],
        &["/installation/id"],
    ),
    ("project", &["project"], &["/project/id"]),
    (
        "project_column",
        &["project_column"],
        &["/project_column/id"],
    ),
    ("project_card", &["project_card"], &["/project_card/id"]),
    (
        "project_item",
        &["projects_v2_item"],
        &["/projects_v2_item/id"],
    ),
    (
        "purchase",
        &["marketplace_purchase"],
        &["/marketplace_purchase/account/id"],
    ),
    ("sponsorship", &["sponsorship"], &["/sponsorship/node_id"]),
    ("hook", &["ping"], &["/hook/id"]),
    (
        "pipeline",
        &["workflow_job", "workflow_run", "workflow_dispatch"],
        &["/workflow_job/id", "/workflow_run/id", "/repository/id"],
    ),
];

/// A table with the number of rows it should have.
#[derive(Debug, PartialEq, Eq)]
pub struct Rows {
    /// Name in schema `github`.
    pub table: &'static str,
    /// Different keys in the payloads.
    pub expected: usize,
}

/// Works out the number of rows of every table with a rule.
///
/// # Errors
/// When a payload is no JSON.
pub fn rows(payloads: &[Payload]) -> Result<Vec<Rows>> {
    let values = payloads
        .iter()
        .map(|payload| Ok((&*payload.event, serde_json::from_slice(&payload.body)?)))
        .collect::<Result<Vec<(&str, Value)>>>()
        .context("a payload is no JSON")?;
    let count = |(table, events, pointers): &(&'static str, &[&str], &[&str])| {
        let keys: BTreeSet<String> = values
            .iter()
            .filter(|(event, _)| events.contains(event))
            .filter_map(|(_, value)| key(value, pointers))
            .collect();
        Rows {
            table,
            expected: keys.len(),
        }
    };
    Ok(RULES.iter().map(count).collect())
}

/// The key's parts that are there; none when nothing is.
fn key(value: &Value, pointers: &[&str]) -> Option<String> {
    let parts: Vec<String> = pointers
        .iter()
        .filter_map(|pointer| value.pointer(pointer))
        .map(Value::to_string)
        .collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

/// Compares the tables with the payloads. Returns how many rows fit, and what does not.
///
/// # Errors
/// When the database does not answer.
pub async fn compare(client: &Client, payloads: &[Payload]) -> Result<(usize, Vec<String>)> {
    let mut fitting = 0;
    let mut complaints = Vec::new();
    for Rows { table, expected } in rows(payloads)? {
        // Table names are this module's own.
        let counted = client
            .query_one(&format!("SELECT count(*) FROM github.{table}"), &[])
            .await
            .with_context(|| format!("counting github.{table}"))?;
        let found: i64 = counted.get(0);
        if usize::try_from(found) == Ok(expected) {
            fitting += expected;
        } else {
            complaints.push(format!(
                "github.{table} has {found} rows, the payloads name {expected} different ones"
            ));
        }
    }
    Ok((fitting, complaints))
}

#[cfg(test)]
mod tests;
