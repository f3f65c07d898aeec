//! `schedules ls | trigger`.

use postgres_types::Type;
use serde_json::json;

use super::{
    arguments::{Schedules, Target},
    console::Console,
    failure::Failure,
    table,
};

const COLUMNS: [&str; 7] = [
    "name",
    "cron",
    "timezone",
    "kind",
    "enabled",
    "next_run_at",
    "last_run_at",
];
const LS: &str = "SELECT to_jsonb(s)::text FROM forge.schedules s ORDER BY name";
const TRIGGER: &str = "SELECT to_jsonb(forge.trigger($1))::text";

pub(super) async fn run(target: &Target, what: Schedules) -> Result<(), Failure> {
    let mut console = Console::open(target).await?;
    match what {
        Schedules::Ls => {
            let schedules = console.rows("schedules", LS, &[]).await?;
            table::print(console.json, &schedules, &COLUMNS);
        }
        Schedules::Trigger { name } => {
            let id = console
                .row("trigger", TRIGGER, &[(&name, Type::TEXT)])
                .await?;
            if console.json {
                table::print_json(&json!({ "job_id": id }));
            } else {
                say!("{}", table::cell(&id));
            }
        }
    }
    Ok(())
}
