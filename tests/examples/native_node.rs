//! A node with native handlers that do what the tests ask of them.

use std::{process::ExitCode, time::Duration};

use forge_daemon::{Failure, Forge, Job};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> ExitCode {
    Forge::builder()
        .native("echo", |job: Job| async move { Ok(job.args) })
        .native("flaky", flaky)
        .native("hopeless", |_: Job| async {
            Err(Failure::permanent("never works"))
        })
        .native("panic", |_: Job| async { panic!("a handler's mistake") })
        .native("patient", patient)
        .native("snooze", snooze)
        .run()
        .await
}

/// Works at the attempt that `at` names.
async fn flaky(job: Job) -> Result<Value, Failure> {
    let at = job.args["at"].as_u64().unwrap_or(2);
    if u64::from(job.attempt) < at {
        return Err(Failure::retry(format!("attempt {} of {at}", job.attempt)));
    }
    Ok(json!({ "attempt": job.attempt }))
}

/// Reports progress, then waits for `ms` or until it is told to stop.
async fn patient(job: Job) -> Result<Value, Failure> {
    job.progress(50.0, "half way");
    let stop = job.cancelled();
    let ms = job.args["ms"].as_u64().unwrap_or(60_000);
    tokio::select! {
        () = tokio::time::sleep(Duration::from_millis(ms)) => Ok(json!({ "waited": ms })),
        () = stop.cancelled() => Err(Failure::cancelled()),
    }
}

/// Puts itself off once: the marker is how long ago it was enqueued.
async fn snooze(job: Job) -> Result<Value, Failure> {
    let due = job.args["until_unix_ms"].as_u64().unwrap_or_default();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis());
    if now < u128::from(due) {
        return Err(Failure::snooze(Duration::from_millis(200)));
    }
    Ok(json!({ "attempt": job.attempt }))
}
