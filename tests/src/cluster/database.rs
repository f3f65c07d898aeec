//! Databases of a cluster, each with the extension installed.
//!
//! The first one asked for makes a template that the others are cloned from. Where a clone is
//! refused, because a background worker is looking at the template just then, the extension is
//! installed anew.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

use super::{Cluster, DAEMON_ROLE};

const TEMPLATE: &str = "forge_template";

static SEQUENCE: AtomicU32 = AtomicU32::new(0);

/// A database of one test, dropped with this value.
#[derive(Debug)]
pub struct Database<'c> {
    cluster: &'c Cluster,
    name: String,
}

impl Cluster {
    /// A fresh database with the extension and the daemons' login role.
    ///
    /// # Errors
    /// When the extension does not install.
    pub fn database(&self) -> Result<Database<'_>> {
        let sequence = SEQUENCE.fetch_add(1, Ordering::Relaxed);
        let name = format!("t{}_{sequence}", std::process::id());
        self.make_template()?;
        if self.clone_template(&name).is_err() {
            self.create_database(&name)?;
        }
        Ok(Database {
            cluster: self,
            name,
        })
    }

    /// A fresh database without the extension.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn bare_database(&self) -> Result<Database<'_>> {
        let sequence = SEQUENCE.fetch_add(1, Ordering::Relaxed);
        let name = format!("t{}_{sequence}", std::process::id());
        self.sql(
            "postgres",
            &format!("CREATE DATABASE {name} TEMPLATE template0;"),
        )?;
        Ok(Database {
            cluster: self,
            name,
        })
    }

    /// Makes a database that stays, with the extension and the daemons' login role.
    ///
    /// # Errors
    /// When it exists already, or the extension does not install.
    pub fn create_database(&self, name: &str) -> Result<()> {
        self.make_daemon_role()?;
        self.sql(
            "postgres",
            &format!("CREATE DATABASE {name} TEMPLATE template0;"),
        )?;
        self.install_into(name)
    }

    /// `CREATE EXTENSION` in an existing database, and the rights of the daemons' login role.
    ///
    /// # Errors
    /// When the extension does not install.
    pub fn install_into(&self, name: &str) -> Result<()> {
        let script = format!(
            "CREATE EXTENSION forge;
             SELECT forge.setup_daemon_role('{DAEMON_ROLE}');"
        );
        self.sql(name, &script)
            .map(drop)
            .with_context(|| format!("installing into {name}"))
    }

    /// Makes the template that test databases are cloned from, once.
    ///
    /// # Errors
    /// When the extension does not install.
    pub fn make_template(&self) -> Result<()> {
        let mut made = self
            .template
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if !*made {
            self.create_database(TEMPLATE)?;
            // Sessions end with the right to connect; a background worker may take a moment.
            self.sql(
                "postgres",
                &format!(
                    "ALTER DATABASE {TEMPLATE} IS_TEMPLATE true ALLOW_CONNECTIONS false;
                     SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                     WHERE datname = '{TEMPLATE}';"
                ),
            )?;
            *made = true;
        }
        Ok(())
    }

    fn clone_template(&self, name: &str) -> Result<()> {
        // Copying files beats logging pages only for large templates.
        let script = format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY wal_log;");
        self.sql("postgres", &script).map(drop)
    }

    /// The daemons' login role, with the cluster's password. Made without a race between
    /// processes: the loser of two finds it made.
    fn make_daemon_role(&self) -> Result<()> {
        let script = format!(
            "DO $$ BEGIN
               CREATE ROLE {DAEMON_ROLE} LOGIN NOINHERIT PASSWORD '{}';
             EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
             END $$;",
            self.info.password
        );
        self.sql("postgres", &script).map(drop)
    }
}

impl Database<'_> {
    /// Name of the database.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The cluster it is in.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        self.cluster
    }

    /// Connection URL of the superuser.
    #[must_use]
    pub fn url(&self) -> String {
        self.cluster.url(&self.name)
    }

    /// Connection URL of the daemons' login role.
    #[must_use]
    pub fn daemon_url(&self) -> String {
        self.cluster.url_as(DAEMON_ROLE, &self.name)
    }

    /// See [`Cluster::sql`].
    ///
    /// # Errors
    /// The first error of the script.
    pub fn sql(&self, script: &str) -> Result<String> {
        self.cluster.sql(&self.name, script)
    }
}

impl Drop for Database<'_> {
    fn drop(&mut self) {
        if std::env::var_os("FORGE_KEEP_CLUSTERS").is_none() {
            let script = format!("DROP DATABASE IF EXISTS {} WITH (FORCE);", self.name);
            let _ = self.cluster.sql("postgres", &script);
        }
    }
}
