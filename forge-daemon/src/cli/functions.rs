//! `functions ls | call`.

use std::{sync::Arc, time::Duration};

use serde_json::{Map, Value, json};

use super::{
    arguments::{Call, Functions, Target},
    console::Console,
    failure::Failure,
    table,
};
use crate::{
    config::Mistakes,
    db::Db,
    executor::{Answer, Caller, CallerKind, Circumstances, Error, Executor, Order},
};

const COLUMNS: [&str; 7] = [
    "name",
    "kind",
    "handler",
    "timeout",
    "rate_limit",
    "cache_ttl",
    "description",
];
const LS: &str = "SELECT to_jsonb(f)::text FROM forge.functions f ORDER BY name";
/// How long an action is waited for.
const PATIENCE: Duration = Duration::from_secs(3600);

pub(super) async fn run(target: &Target, what: Functions) -> Result<(), Failure> {
    match what {
        Functions::Ls => {
            let mut console = Console::open(target).await?;
            let functions = console.rows("functions", LS, &[]).await?;
            table::print(console.json, &functions, &COLUMNS);
            Ok(())
        }
        Functions::Call(call) => run_call(target, *call).await,
    }
}

/// Calls as the gateway does: at the function's isolation level, with conflicts repeated.
async fn run_call(target: &Target, call: Call) -> Result<(), Failure> {
    let config = target.configuration()?;
    let db = Db::new(&config.database).map_err(|message| Mistakes::one("database.url", message))?;
    let executor = Executor::new(&db, &config.cache);
    object("arguments", &call.args)?;
    let order = Order {
        name: call.name.clone(),
        args: call.args.clone(),
        caller: caller(&call)?.seal(None),
        only_query: false,
        later: call.no_wait,
        patience: PATIENCE,
        circumstances: Circumstances {
            idempotency_key: call.idempotency_key,
            ..Circumstances::default()
        },
    };
    let waiting = executor.clone();
    let stop = tokio_util::sync::CancellationToken::new();
    let serving = stop.clone();
    let results = tokio::spawn(async move { waiting.serve_results(serving).await });
    let answer = executor.call(order).await;
    stop.cancel();
    let _ = results.await;
    match answer.map_err(failure)? {
        Answer::Accepted(job) if target.json => table::print_json(&json!({ "job_id": job })),
        Answer::Accepted(job) => say!("{job}"),
        Answer::Done(reply, _) => {
            let value: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
            table::print_json(&value);
        }
    }
    Ok(())
}

fn caller(call: &Call) -> Result<Caller, Failure> {
    Ok(Caller {
        role: call.role.clone(),
        subject: call.subject.clone(),
        kind: CallerKind::Key,
        name: Some("command line".into()),
        scopes: None,
        claims: object("claims", &call.claims)?,
    })
}

/// A JSON object from the command line.
pub(super) fn object(what: &str, text: &str) -> Result<Map<String, Value>, Failure> {
    serde_json::from_str(text)
        .map_err(|error| Failure::Refused(format!("the {what} are no JSON object: {error}")))
}

fn failure(error: Error) -> Failure {
    match error {
        Error::Database(error) => match Arc::try_unwrap(error) {
            Ok(error) => Failure::Database(error),
            Err(shared) => Failure::Refused(shared.to_string()),
        },
        Error::ActionFailed {
            error: Some(ref said),
            ..
        } => Failure::Refused(format!("{error}: {said}")),
        other => Failure::Refused(other.to_string()),
    }
}
