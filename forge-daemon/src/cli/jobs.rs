//! `jobs ls | show | enqueue | retry | cancel | redrive`.

use postgres_types::{ToSql, Type};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    arguments::{Enqueue, Jobs, List, Target},
    console::Console,
    failure::Failure,
    table,
};

const COLUMNS: [&str; 8] = [
    "id",
    "kind",
    "queue",
    "priority",
    "state",
    "attempt",
    "enqueued_at",
    "error",
];
const ATTEMPTS: [&str; 6] = [
    "attempt",
    "outcome",
    "node_id",
    "started_at",
    "finished_at",
    "error",
];
const SHOW: &str = "SELECT (to_jsonb(j) || jsonb_build_object('attempts', (SELECT coalesce(jsonb_agg(to_jsonb(a) - 'job_id' \
    ORDER BY a.attempt, a.started_at), '[]') FROM forge.job_attempts a WHERE a.job_id = j.id)))::text FROM forge.jobs j WHERE j.id = $1";
const ENQUEUE: &str = "SELECT to_jsonb(forge.enqueue(kind => $1, args => $2::text::jsonb, queue => $3, priority => $4, \
    run_at => $5::text::timestamptz, delay => $6::text::interval, max_attempts => $7, unique_key => $8, \
    on_conflict => coalesce($9, 'keep'), idempotency_key => $10, concurrency_key => $11, tags => $12))::text";
const LONGEST_ERROR: usize = 60;

pub(super) async fn run(target: &Target, what: Jobs) -> Result<(), Failure> {
    let mut console = Console::open(target).await?;
    match what {
        Jobs::Ls(list) => ls(&mut console, &list).await,
        Jobs::Show { id } => show(&mut console, id).await,
        Jobs::Enqueue(job) => enqueue(&mut console, &job).await,
        Jobs::Retry { ids } => each(&mut console, &ids, "retry").await,
        Jobs::Cancel { ids } => each(&mut console, &ids, "cancel").await,
        Jobs::Redrive { kind, queue } => redrive(&mut console, kind, queue).await,
    }
}

async fn ls(console: &mut Console, list: &List) -> Result<(), Failure> {
    let state = list.state.map(forge_core::State::name);
    // Only the conditions asked for, so that the server plans for them.
    let mut conditions = String::new();
    let mut params: Vec<(&(dyn ToSql + Sync), Type)> = vec![(&list.limit, Type::INT8)];
    let given: [(&str, Option<&(dyn ToSql + Sync)>, Type); 4] = [
        (
            "state =",
            state.as_ref().map(|value| value as _),
            Type::TEXT,
        ),
        (
            "kind =",
            list.kind.as_ref().map(|value| value as _),
            Type::TEXT,
        ),
        (
            "queue =",
            list.queue.as_ref().map(|value| value as _),
            Type::TEXT,
        ),
        (
            "id <",
            list.before.as_ref().map(|value| value as _),
            Type::UUID,
        ),
    ];
    for (condition, value, kind) in given {
        if let Some(value) = value {
            params.push((value, kind));
            conditions.push_str(&format!(" AND {condition} ${}", params.len()));
        }
    }
    let sql = format!(
        "SELECT to_jsonb(j)::text FROM forge.jobs j WHERE true{conditions} ORDER BY id DESC LIMIT $1"
    );
    let mut jobs = console.rows("jobs", &sql, &params).await?;
    if !console.json {
        jobs.iter_mut()
            .for_each(|job| job["error"] = first_line(&job["error"]));
    }
    table::print(console.json, &jobs, &COLUMNS);
    Ok(())
}

fn first_line(error: &Value) -> Value {
    match error.as_str().and_then(|text| text.lines().next()) {
        Some(line) => line.chars().take(LONGEST_ERROR).collect::<String>().into(),
        None => Value::Null,
    }
}

async fn show(console: &mut Console, id: Uuid) -> Result<(), Failure> {
    let job = console.row("job", SHOW, &[(&id, Type::UUID)]).await?;
    let Some(fields) = job.as_object() else {
        return Err(Failure::Refused(format!(
            "there is no job {id}; it may have passed its retention"
        )));
    };
    if console.json {
        table::print_json(&job);
        return Ok(());
    }
    for (name, value) in fields
        .iter()
        .filter(|(name, value)| *name != "attempts" && !value.is_null())
    {
        say!("{name:<17} {}", table::cell(value));
    }
    let attempts = job["attempts"].as_array().cloned().unwrap_or_default();
    if !attempts.is_empty() {
        say!("\n{}", table::render(&attempts, &ATTEMPTS));
    }
    Ok(())
}

async fn enqueue(console: &mut Console, job: &Enqueue) -> Result<(), Failure> {
    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(&job.args) {
        return Err(Failure::Refused(format!(
            "the arguments are not JSON: {error}"
        )));
    }
    let tags = (!job.tags.is_empty()).then_some(&job.tags);
    let id = console
        .row(
            "enqueue",
            ENQUEUE,
            &[
                (&job.kind, Type::TEXT),
                (&job.args, Type::TEXT),
                (&job.queue, Type::TEXT),
                (&job.priority, Type::TEXT),
                (&job.run_at, Type::TEXT),
                (&job.delay, Type::TEXT),
                (&job.max_attempts, Type::INT4),
                (&job.unique_key, Type::TEXT),
                (&job.on_conflict, Type::TEXT),
                (&job.idempotency_key, Type::TEXT),
                (&job.concurrency_key, Type::TEXT),
                (&tags, Type::TEXT_ARRAY),
            ],
        )
        .await?;
    if console.json {
        table::print_json(&json!({ "job_id": id }));
    } else {
        say!("{}", table::cell(&id));
    }
    Ok(())
}

/// Does `action` to each job and says which ones it could not be done to.
async fn each(console: &mut Console, ids: &[Uuid], action: &str) -> Result<(), Failure> {
    let sql = format!("SELECT to_jsonb(forge.{action}($1))::text");
    let mut results = Vec::new();
    for id in ids {
        let done = console.row("job_action", &sql, &[(id, Type::UUID)]).await?;
        results.push(json!({ "job_id": id, "done": done }));
    }
    let refused = results
        .iter()
        .filter(|result| result["done"] != true)
        .count();
    table::print(console.json, &results, &["job_id", "done"]);
    if refused == 0 {
        return Ok(());
    }
    let (participle, why) = match action {
        "retry" => ("retried", "unknown, or neither dead nor waiting"),
        _ => ("cancelled", "unknown, or ended already"),
    };
    Err(Failure::Refused(format!(
        "{refused} of {} jobs could not be {participle}: {why}",
        ids.len()
    )))
}

async fn redrive(
    console: &mut Console,
    kind: Option<String>,
    queue: Option<String>,
) -> Result<(), Failure> {
    let sql = "SELECT to_jsonb(forge.redrive(kind => $1, queue => $2))::text";
    let count = console
        .row("redrive", sql, &[(&kind, Type::TEXT), (&queue, Type::TEXT)])
        .await?;
    if console.json {
        table::print_json(&json!({ "redriven": count }));
    } else {
        say!("{count} jobs are ready again");
    }
    Ok(())
}
