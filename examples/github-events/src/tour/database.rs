//! The example's database: its tables, handlers and registrations.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio_postgres::{Client, NoTls};

/// Tables first, then the functions every handler needs, then the handlers.
pub const SCHEMA: [(&str, &str); 7] = [
    ("schema.sql", include_str!("../../sql/schema.sql")),
    (
        "handlers/arrival.sql",
        include_str!("../../sql/handlers/arrival.sql"),
    ),
    (
        "handlers/code.sql",
        include_str!("../../sql/handlers/code.sql"),
    ),
    (
        "handlers/conversation.sql",
        include_str!("../../sql/handlers/conversation.sql"),
    ),
    (
        "handlers/people.sql",
        include_str!("../../sql/handlers/people.sql"),
    ),
    (
        "handlers/project.sql",
        include_str!("../../sql/handlers/project.sql"),
    ),
    (
        "handlers/digest.sql",
        include_str!("../../sql/handlers/digest.sql"),
    ),
];

const REGISTER: &str = include_str!("../../sql/register.sql");
const STATEMENT_TIMEOUT: &str = "-c statement_timeout=60s -c client_min_messages=warning";

/// Opens a connection; it ends when the client is dropped.
///
/// # Errors
/// When the database cannot be reached.
pub async fn connect(url: &str) -> Result<Client> {
    let mut config: tokio_postgres::Config = url
        .parse()
        .context("--database-url is not a connection string")?;
    config
        .application_name("github-events tour")
        .connect_timeout(Duration::from_secs(10))
        .options(STATEMENT_TIMEOUT);
    let (client, connection) = config
        .connect(NoTls)
        .await
        .context("connecting to the database")?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            eprintln!("the tour's database connection ended: {error}");
        }
    });
    Ok(client)
}

/// Makes the tables and handlers. Running it again changes nothing.
///
/// # Errors
/// The statement file that failed.
pub async fn load_schema(client: &Client) -> Result<()> {
    for (name, sql) in SCHEMA {
        client
            .batch_execute(sql)
            .await
            .with_context(|| format!("running sql/{name}"))?;
    }
    Ok(())
}

/// Registers the webhook, every kind of job and the schedule. Running it again changes nothing.
///
/// # Errors
/// When Forge refuses a registration.
pub async fn register(client: &Client, secret: &str, receiver: &str) -> Result<()> {
    let settings = "SELECT set_config('github_events.secret', $1, false),
                           set_config('github_events.receiver', $2, false)";
    client.query_one(settings, &[&secret, &receiver]).await?;
    client
        .batch_execute(REGISTER)
        .await
        .context("running sql/register.sql")
}

/// A fresh key for the remote worker.
///
/// # Errors
/// When Forge refuses it.
pub async fn create_worker_key(client: &Client, name: &str) -> Result<String> {
    let statement = "SELECT forge.create_api_key($1, role => 'forge_service')";
    let row = client
        .query_one(statement, &[&name])
        .await
        .with_context(|| format!("creating the API key `{name}`"))?;
    Ok(row.get(0))
}

/// Makes the worker's key useless.
///
/// # Errors
/// When Forge refuses.
pub async fn revoke_worker_key(client: &Client, name: &str) -> Result<()> {
    client
        .query_one("SELECT forge.revoke_api_key($1)", &[&name])
        .await
        .with_context(|| format!("revoking the API key `{name}`"))?;
    Ok(())
}
