//! Waiting for the database: exponential backoff with full jitter, and the checks that a database must pass.

use std::time::Duration;

use backon::BackoffBuilder;
use postgres_types::Type;
use tokio_util::sync::CancellationToken;

use super::{Db, Error, Query};

const PROBE: Query = Query::new(
    "probe",
    "SELECT current_user::text, \
            (SELECT string_agg(b.rolname, ', ' ORDER BY b.rolname) FROM pg_roles b \
             WHERE (b.rolsuper OR b.rolbypassrls) AND (r.rolsuper OR pg_has_role(r.oid, b.oid, 'MEMBER')) \
               AND (NOT r.rolsuper OR b.oid = r.oid)), \
            current_setting('server_version'), \
            (SELECT extversion FROM pg_extension WHERE extname = 'forge'), \
            to_regprocedure('forge_private.node_heartbeat(uuid,text,jsonb)') IS NOT NULL, \
            pg_is_in_recovery() \
     FROM pg_roles r WHERE r.rolname = current_user",
    &[],
);
const EXECUTABLE: Query = Query::new(
    "probe_rights",
    "SELECT coalesce(has_function_privilege(current_user, to_regprocedure($1), 'EXECUTE'), false)",
    &[Type::TEXT],
);

/// Pauses between attempts: 100 ms doubling to 10 s, each stretched by a random part, without end.
pub fn backoff() -> impl Iterator<Item = Duration> + Send {
    backon::ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(10))
        .with_factor(2.0)
        .with_jitter()
        .without_max_times()
        .build()
}

/// What a look at the database found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// The login role.
    pub role: String,
    /// Roles it is, or may become, that are superuser or have BYPASSRLS; empty when no policy can be got around.
    pub unrestricted: String,
    /// Version of the server.
    pub server: String,
    /// Version of the extension, when it is created.
    pub extension: Option<String>,
    /// Whether the role may call the daemon's functions.
    pub granted: bool,
    /// Whether this is a standby.
    pub standby: bool,
}

impl Db {
    /// Looks at role, extension and rights in one go.
    pub async fn readiness(&self) -> Result<Readiness, Error> {
        let mut session = self.session().await?;
        let rows = session.rows(&PROBE, &[]).await?;
        let answer = |message: &str| Error::Answer {
            name: PROBE.name,
            message: message.into(),
        };
        let row = rows
            .first()
            .ok_or_else(|| answer("the role is not in pg_roles"))?;
        let text = |error: tokio_postgres::Error| answer(&error.to_string());
        let exists: bool = row.try_get(4).map_err(text)?;
        let unrestricted: Option<String> = row.try_get(1).map_err(text)?;
        let mut readiness = Readiness {
            role: row.try_get(0).map_err(text)?,
            unrestricted: unrestricted.unwrap_or_default(),
            server: row.try_get(2).map_err(text)?,
            extension: row.try_get(3).map_err(text)?,
            granted: false,
            standby: row.try_get(5).map_err(text)?,
        };
        if exists {
            readiness.granted = session
                .scalar(
                    &EXECUTABLE,
                    &[&"forge_private.node_heartbeat(uuid,text,jsonb)"],
                )
                .await?;
        }
        Ok(readiness)
    }

    /// Waits until the database answers and holds the extension with rights for this role, saying in the log what is
    /// missing; `None` when `stop` came first.
    pub async fn wait_ready(&self, stop: &CancellationToken) -> Option<Readiness> {
        let mut pauses = backoff();
        let mut said = String::new();
        loop {
            let missing = match self.readiness().await {
                Ok(found) => match found.missing() {
                    None => return Some(found),
                    Some(missing) => missing,
                },
                Err(error) => format!("database not reachable: {error}"),
            };
            let pause = pauses.next().unwrap_or(Duration::from_secs(10));
            if missing == said {
                tracing::debug!(reason = missing, retry_in = ?pause, "still waiting for the database");
            } else {
                tracing::warn!(reason = missing, retry_in = ?pause, "waiting for the database");
                said = missing;
            }
            tokio::select! {
                () = stop.cancelled() => return None,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}

impl Readiness {
    /// What keeps a node from serving, with the remedy; `None` when nothing does.
    pub fn missing(&self) -> Option<String> {
        if self.standby {
            return Some("the server is a standby; point database.url at the primary".into());
        }
        if self.extension.is_none() {
            return Some(
                "extension forge is not in this database; run CREATE EXTENSION forge as its owner"
                    .into(),
            );
        }
        if !self.granted {
            let role = &self.role;
            return Some(format!(
                "role {role} may not call Forge's functions; run SELECT forge.setup_daemon_role('{role}') as a superuser"
            ));
        }
        None
    }
}
