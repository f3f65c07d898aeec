//! `drain`: asks a node to finish what it runs and stop, and waits until it has.

use std::time::Duration;

use postgres_types::Type;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{
    arguments::{Drain, Target},
    console::Console,
    failure::Failure,
    table,
};

const REQUEST: &str = "SELECT to_jsonb(forge_private.node_request_drain($1))::text";
const PRESENT: &str = "SELECT to_jsonb(count(*))::text FROM forge.nodes WHERE id = $1::text::uuid AND state <> 'dead'";
const LOOK: Duration = Duration::from_millis(250);

pub(super) async fn run(target: &Target, drain: Drain) -> Result<(), Failure> {
    let wait = Duration::from_secs(drain.wait);
    let stopped = match (&drain.which.node, drain.which.pid) {
        (Some(node), _) => by_name(target, node, wait).await?,
        (None, Some(pid)) => by_pid(pid, wait).await?,
        (None, None) => return Err(Failure::Refused("name a node or a process".into())),
    };
    let which = drain
        .which
        .node
        .map_or_else(|| json!(drain.which.pid), Value::from);
    if target.json {
        table::print_json(&json!({ "drained": which, "stopped": stopped }));
    } else if stopped {
        say!("{} has stopped", table::cell(&which));
    } else {
        say!("{} was asked to drain", table::cell(&which));
    }
    if stopped || wait.is_zero() {
        Ok(())
    } else {
        Err(Failure::Refused(format!(
            "it still runs after {wait:?}; it stops when its requests and jobs have ended"
        )))
    }
}

async fn by_name(target: &Target, node: &str, wait: Duration) -> Result<bool, Failure> {
    let mut console = Console::open_as_login(target).await?;
    let id = console
        .row("node_request_drain", REQUEST, &[(&node, Type::TEXT)])
        .await?;
    let id = table::cell(&id);
    let deadline = Instant::now() + wait;
    loop {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        if console
            .row("node_present", PRESENT, &[(&id, Type::TEXT)])
            .await?
            == 0
        {
            return Ok(true);
        }
        sleep(LOOK).await;
    }
}

async fn by_pid(pid: i32, wait: Duration) -> Result<bool, Failure> {
    let process =
        Pid::from_raw(pid).ok_or_else(|| Failure::Refused(format!("{pid} is no process id")))?;
    kill_process(process, Signal::TERM)
        .map_err(|error| Failure::Refused(format!("process {pid} cannot be signalled: {error}")))?;
    let deadline = Instant::now() + wait;
    loop {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        if test_kill_process(process).is_err() {
            return Ok(true);
        }
        sleep(LOOK).await;
    }
}
