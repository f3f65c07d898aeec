//! The looks themselves, each one independent of the others where it can be.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::finding::Finding;
use crate::{
    config::Config,
    db::{Db, Error, Listener, Query, Readiness, Wakeups},
};

const CLOCK: Query = Query::new(
    "clock",
    "SELECT extract(epoch FROM clock_timestamp())::float8",
    &[],
);
const LIMITS: Query = Query::new(
    "limits",
    "SELECT current_setting('server_version_num')::int4, current_setting('max_connections')::int4",
    &[],
);
const ROLES: Query = Query::new(
    "roles",
    "SELECT r FROM unnest(ARRAY['forge_anon', 'forge_user', 'forge_service', 'forge_admin']) r WHERE to_regrole(r) IS NULL",
    &[],
);
const STATUS: Query = Query::new("status", "SELECT forge.status()::text", &[]);
const SKEW: f64 = 2.0;

/// Everything, in the order in which it has to work.
pub(super) async fn all(config: &Config, db: &Db) -> Vec<Finding> {
    let mut findings = vec![Finding::ok("config", "no mistakes")];
    let asked = Instant::now();
    let readiness = match db.readiness().await {
        Ok(readiness) => readiness,
        Err(error) => {
            findings.push(unreachable(&error));
            return findings;
        }
    };
    findings.push(Finding::ok(
        "database",
        format!("answers within {:.0?}", asked.elapsed()),
    ));
    findings.extend(server(config, db).await);
    findings.extend(role(config, &readiness));
    findings.extend(clock(db).await);
    findings.push(listening(config).await);
    findings.push(extension(&readiness));
    if readiness.extension.is_some() {
        findings.extend(roles(db).await);
        findings.extend(status(db).await);
    }
    findings
}

fn unreachable(error: &Error) -> Finding {
    let hint = match error.sqlstate() {
        Some("28P01" | "28000") => {
            "check user and password in database.url, and pg_hba.conf on the server"
        }
        Some("08P01") => {
            "this looks like a pooler in transaction mode: set database.prepared_statements = false and database.listen_url"
        }
        Some("3D000") => "create the database, or correct its name in database.url",
        _ => {
            "check host and port in database.url, and that the server accepts connections from here"
        }
    };
    Finding::fail("database", error.to_string(), hint)
}

async fn server(config: &Config, db: &Db) -> Vec<Finding> {
    let rows = match db.rows(&LIMITS, &[]).await {
        Ok(rows) => rows,
        Err(error) => {
            return vec![Finding::fail(
                "server",
                error.to_string(),
                "see the server's log",
            )];
        }
    };
    let Some(row) = rows.first() else {
        return Vec::new();
    };
    let (version, connections): (i32, i32) = (row.get(0), row.get(1));
    let mut findings = vec![match version / 10_000 {
        15..=18 => Finding::ok("server", format!("PostgreSQL {}", version / 10_000)),
        other => Finding::fail(
            "server",
            format!("PostgreSQL {other}"),
            "use PostgreSQL 15, 16, 17 or 18",
        ),
    }];
    let wanted = config.database.pool_size + 1;
    if usize::try_from(connections).unwrap_or(0) < wanted + 5 {
        let found =
            format!("max_connections is {connections}, this node alone uses up to {wanted}");
        findings.push(Finding::warn(
            "connections",
            found,
            "raise max_connections or lower database.pool_size",
        ));
    }
    findings
}

fn role(config: &Config, found: &Readiness) -> Vec<Finding> {
    let name = &found.role;
    let mut findings = Vec::new();
    if found.standby {
        findings.push(Finding::fail(
            "primary",
            "the server is a standby",
            "point database.url at the primary",
        ));
    }
    let bypassing = &found.unrestricted;
    findings.push(match (!bypassing.is_empty(), config.database.allow_superuser) {
        (false, _) => Finding::ok("role", format!("{name} is held by row-level security")),
        (true, true) => Finding::warn(
            "role",
            format!("{name} is or may become {bypassing}, a superuser or BYPASSRLS, allowed by database.allow_superuser"),
            "for production make a role of its own: CREATE ROLE forge_daemon LOGIN; SELECT forge.setup_daemon_role('forge_daemon')",
        ),
        (true, false) => Finding::fail(
            "role",
            format!("{name} is or may become {bypassing}, a superuser or BYPASSRLS; serve refuses it"),
            "CREATE ROLE forge_daemon LOGIN PASSWORD '…'; SELECT forge.setup_daemon_role('forge_daemon')",
        ),
    });
    if found.extension.is_some() {
        findings.push(if found.granted {
            Finding::ok("rights", format!("{name} may call the daemon's functions"))
        } else {
            let hint = format!("SELECT forge.setup_daemon_role('{name}') as a superuser");
            Finding::fail(
                "rights",
                format!("{name} may not call the daemon's functions"),
                hint,
            )
        });
    }
    findings
}

/// Compares clocks: webhook tolerances and log times use this machine's, everything else the database's.
async fn clock(db: &Db) -> Option<Finding> {
    let before = SystemTime::now();
    let theirs: f64 = db.scalar(&CLOCK, &[]).await.ok()?;
    let middle = before + before.elapsed().unwrap_or_default() / 2;
    let ours = middle
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64());
    let skew = ours - theirs;
    Some(if skew.abs() < SKEW {
        Finding::ok(
            "clock",
            format!(
                "{:+.0} ms from the database's",
                (skew * 1000.0).round() + 0.0
            ),
        )
    } else {
        Finding::warn(
            "clock",
            format!("{skew:+.1} s from the database's"),
            "run a time service (NTP) on both machines",
        )
    })
}

async fn listening(config: &Config) -> Finding {
    let heard = match Listener::new(&config.database, Wakeups::default()) {
        Ok(listener) => listener.hears().await.map_err(|error| error.to_string()),
        Err(message) => Err(message),
    };
    match heard {
        Ok(took) => Finding::ok(
            "listen",
            format!(
                "a notification arrives within {:.0?}",
                took.max(Duration::from_millis(1))
            ),
        ),
        Err(message) => Finding::warn(
            "listen",
            message,
            "behind a pooler set database.listen_url to the server; polling works without",
        ),
    }
}

fn extension(found: &Readiness) -> Finding {
    let ours = env!("CARGO_PKG_VERSION");
    match &found.extension {
        None => Finding::fail(
            "extension",
            "forge is not in this database",
            "CREATE EXTENSION forge, as the database's owner or a superuser",
        ),
        Some(version) if version == ours => Finding::ok("extension", format!("forge {version}")),
        Some(version) => Finding::warn(
            "extension",
            format!("forge {version}, this daemon is {ours}"),
            "ALTER EXTENSION forge UPDATE, or run the daemon of the same version",
        ),
    }
}

async fn roles(db: &Db) -> Option<Finding> {
    let missing: Vec<String> = db.column(&ROLES, &[]).await.ok()?;
    Some(if missing.is_empty() {
        Finding::ok(
            "groups",
            "forge_anon, forge_user, forge_service, forge_admin exist",
        )
    } else {
        let hint = format!(
            "CREATE ROLE {} NOLOGIN",
            missing.join(" NOLOGIN; CREATE ROLE ")
        );
        Finding::fail("groups", format!("{} missing", missing.join(", ")), hint)
    })
}

/// The extension's own warnings.
async fn status(db: &Db) -> Vec<Finding> {
    let text: String = match db.scalar(&STATUS, &[]).await {
        Ok(text) => text,
        Err(error) => {
            return vec![Finding::warn(
                "status",
                error.to_string(),
                "see forge.status()",
            )];
        }
    };
    let status: Value = serde_json::from_str(&text).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let warnings = status["warnings"].as_array().cloned().unwrap_or_default();
    let nodes = status["nodes"].as_array().map_or(0, Vec::len);
    let mut findings: Vec<Finding> = warnings
        .iter()
        .map(|warning| Finding::warn("status", text(&warning["message"]), text(&warning["hint"])))
        .collect();
    if status["preload"] == true {
        findings.push(Finding::ok(
            "preload",
            "forge is in shared_preload_libraries",
        ));
    }
    if nodes > 0 {
        findings.push(Finding::ok("nodes", format!("{nodes} registered")));
    }
    findings
}
