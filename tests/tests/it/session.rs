//! A connection that answers with values and waits for conditions.

use std::{cell::RefCell, time::Duration};

use anyhow::{Context, Result};
use forge_tests::eventually;
use postgres::{
    Client, NoTls, Row,
    types::{FromSqlOwned, ToSql},
};

/// Deadline of what should take a second or two: generous, for a busy machine.
pub const SOON: Duration = Duration::from_secs(60);

pub struct Session {
    client: RefCell<Client>,
}

impl Session {
    pub fn open(url: &str) -> Result<Self> {
        let client = Client::connect(url, NoTls).with_context(|| format!("connecting to {url}"))?;
        Ok(Self {
            client: RefCell::new(client),
        })
    }

    /// Runs statements.
    pub fn run(&self, script: &str) -> Result<()> {
        self.client
            .borrow_mut()
            .batch_execute(script)
            .with_context(|| script.to_owned())
    }

    /// The only value of the only row.
    pub fn value<T: FromSqlOwned>(&self, query: &str) -> Result<T> {
        self.value_of(query, &[])
    }

    pub fn value_of<T: FromSqlOwned>(
        &self,
        query: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<T> {
        let row = self.client.borrow_mut().query_one(query, params);
        Ok(row.with_context(|| query.to_owned())?.try_get(0)?)
    }

    pub fn rows(&self, query: &str) -> Result<Vec<Row>> {
        self.client
            .borrow_mut()
            .query(query, &[])
            .with_context(|| query.to_owned())
    }

    /// Waits until `condition` holds.
    pub fn until(&self, condition: &str) -> Result<()> {
        self.until_within(SOON, condition)
    }

    pub fn until_within(&self, limit: Duration, condition: &str) -> Result<()> {
        let query = format!("SELECT coalesce(({condition}), false)");
        eventually(limit, condition, || {
            Ok(self.value::<bool>(&query)?.then_some(()))
        })
    }

    /// Waits for the value that a query answers with, once it has a row.
    pub fn eventual<T: FromSqlOwned>(&self, query: &str) -> Result<T> {
        eventually(SOON, query, || {
            let row = self.client.borrow_mut().query_opt(query, &[])?;
            Ok(row.map(|row| row.get(0)))
        })
    }
}
