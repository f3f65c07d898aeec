//! Connections to the database under test: one program, one session.

use anyhow::Context;
use std::time::Duration;
use tokio_postgres::{Client, Config, NoTls};

/// The longest any one statement of a benchmark may take.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(300);

/// Opens a session for `url`, with full durability and a bound on every statement.
///
/// # Errors
/// The server cannot be reached within ten seconds or refuses the session.
pub async fn open(url: &str) -> anyhow::Result<Client> {
    let mut config: Config = url.parse().with_context(|| {
        format!("`{url}` is not a database URL; give one like postgres://user@host:5432/database")
    })?;
    config
        .connect_timeout(Duration::from_secs(10))
        .application_name("forge-bench")
        .options(format!(
            "-c statement_timeout={} -c synchronous_commit=on -c client_min_messages=warning",
            STATEMENT_TIMEOUT.as_millis()
        ));
    let (client, connection) = config
        .connect(NoTls)
        .await
        .with_context(|| format!("no session with {}", address(&config)))?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            eprintln!("a session ended: {error}");
        }
    });
    Ok(client)
}

/// Host, port and database of a configuration, without its password.
fn address(config: &Config) -> String {
    format!(
        "{:?}, port {:?}, database {}",
        config.get_hosts(),
        config.get_ports(),
        config.get_dbname().unwrap_or("(default)")
    )
}
