//! A session that runs random transactions, each in a random frame: isolation level, savepoints, time limit, end.

use std::{thread::sleep, time::Duration};

use postgres::{Client, NoTls, error::SqlState};
use uuid::Uuid;

use super::{
    dice::Dice,
    world::{Fate, World},
};

pub type Outcome<T> = Result<T, postgres::Error>;

/// Errors that may happen to anybody at any time.
const EXPECTED: [&str; 10] = [
    "ZF005", "ZF007", "ZF010", "40001", "40P01", "57014", "22012", "57P01", "55P03", "57P03",
];

pub struct Session<'w> {
    pub dice: Dice,
    pub world: &'w World,
    pub name: String,
    url: String,
    client: Option<Client>,
    /// What the current transaction has enqueued, and completed.
    pub enqueued: Vec<Uuid>,
    pub completed: Vec<Uuid>,
    transactions: u64,
    /// The current transaction commits without waiting for the disk.
    lazy: bool,
}

/// How a transaction ended, as far as the session knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Committed,
    Undone,
    Unknown,
}

impl<'w> Session<'w> {
    pub fn new(url: &str, name: String, seed: u64, world: &'w World) -> Self {
        Self {
            dice: Dice::new(seed),
            world,
            name,
            url: format!("{url}?application_name=torture"),
            client: None,
            enqueued: Vec::new(),
            completed: Vec::new(),
            transactions: 0,
            lazy: false,
        }
    }

    /// The connection, made anew when it broke; `None` while the server is away.
    pub fn client(&mut self) -> Option<&mut Client> {
        if self.client.as_ref().is_none_or(Client::is_closed) {
            self.client = Client::connect(&self.url, NoTls).ok();
            if self.client.is_none() {
                sleep(Duration::from_millis(50));
            }
        }
        self.client.as_mut()
    }

    /// Sleeps up to this long: the schedule of the torture, not a wait for a state.
    pub fn dally(&mut self, most_ms: u64) {
        sleep(Duration::from_millis(self.dice.below(most_ms + 1)));
    }

    /// Runs `work` in one transaction.
    pub fn transact<T>(
        &mut self,
        work: impl FnOnce(&mut Self, &mut Client) -> Outcome<T>,
    ) -> (End, Option<T>) {
        self.enqueued.clear();
        self.completed.clear();
        let Some(mut client) = self
            .client()
            .is_some()
            .then(|| self.client.take())
            .flatten()
        else {
            return (End::Undone, None);
        };
        let (end, value) = self.frame(&mut client, work);
        if !client.is_closed() {
            self.client = Some(client);
        }
        // What a crash may take away again is not known to be so.
        let certain = !(self.lazy && self.world.crashes);
        let fate = match end {
            End::Committed if !certain => Fate::Unknown,
            End::Committed => Fate::Committed,
            End::Undone => Fate::RolledBack,
            End::Unknown => Fate::Unknown,
        };
        self.world.settle(&self.enqueued, fate);
        if end == End::Committed && certain {
            self.world.complete(&self.completed);
        }
        (end, value)
    }

    fn frame<T>(
        &mut self,
        client: &mut Client,
        work: impl FnOnce(&mut Self, &mut Client) -> Outcome<T>,
    ) -> (End, Option<T>) {
        let level = self.dice.pick(&[
            "READ COMMITTED",
            "READ COMMITTED",
            "READ COMMITTED",
            "REPEATABLE READ",
            "SERIALIZABLE",
        ]);
        let mut begin = format!("BEGIN ISOLATION LEVEL {level};");
        self.lazy = self.dice.one_in(3);
        if self.lazy {
            begin += "SET LOCAL synchronous_commit = off;";
        }
        if self.dice.one_in(20) {
            begin += &format!("SET LOCAL statement_timeout = {};", 1 + self.dice.below(20));
        }
        // An old snapshot for those levels that keep one.
        begin += "SELECT 1;";
        if let Err(error) = client.batch_execute(&begin) {
            self.judge(&error);
            // Cancelled after its BEGIN, it leaves an open transaction all the same.
            let _ = client.batch_execute("ROLLBACK");
            return (End::Undone, None);
        }
        self.dally(2);
        let value = match work(self, client) {
            Ok(value) => value,
            Err(error) => {
                self.judge(&error);
                if let Err(error) = client.batch_execute("ROLLBACK") {
                    self.judge(&error);
                }
                return (End::Undone, None);
            }
        };
        if self.dice.one_in(6) {
            self.dally(30);
        }
        self.finish(client, value)
    }

    fn finish<T>(&mut self, client: &mut Client, value: T) -> (End, Option<T>) {
        self.transactions += 1;
        if self.dice.one_in(8) {
            if let Err(error) = client.batch_execute("ROLLBACK") {
                self.judge(&error);
            }
            return (End::Undone, None);
        }
        if self.completed.is_empty() && !self.enqueued.is_empty() && self.dice.one_in(15) {
            let name = format!("{}-{}", self.name, self.transactions);
            match client.batch_execute(&format!("PREPARE TRANSACTION '{name}'")) {
                Ok(()) => self.world.prepare(name, self.enqueued.clone()),
                Err(error) => self.judge_prepare(&error),
            }
            return (End::Unknown, None);
        }
        match client.batch_execute("COMMIT") {
            Ok(()) => (End::Committed, Some(value)),
            Err(error) => {
                self.judge(&error);
                let refused = error.as_db_error().is_some_and(|e| {
                    e.code() == &SqlState::T_R_SERIALIZATION_FAILURE
                        || e.code() == &SqlState::QUERY_CANCELED
                });
                let end = if refused { End::Undone } else { End::Unknown };
                (end, None)
            }
        }
    }

    /// Something that can be undone alone: in a savepoint now and then, which is rolled back now and then (then `None`).
    pub fn aside<T>(
        &mut self,
        client: &mut Client,
        work: impl FnOnce(&mut Self, &mut Client) -> Outcome<T>,
    ) -> Outcome<Option<T>> {
        if !self.dice.one_in(3) {
            return work(self, client).map(Some);
        }
        let (enqueued, completed) = (self.enqueued.len(), self.completed.len());
        client.batch_execute("SAVEPOINT aside")?;
        let value = work(self, client)?;
        if self.dice.one_in(2) {
            client.batch_execute("ROLLBACK TO SAVEPOINT aside")?;
            if self.dice.one_in(2) {
                client.batch_execute("RELEASE SAVEPOINT aside")?;
            }
            let undone: Vec<Uuid> = self.enqueued.drain(enqueued..).collect();
            self.world.settle(&undone, Fate::RolledBack);
            self.completed.truncate(completed);
            return Ok(None);
        }
        client.batch_execute("RELEASE SAVEPOINT aside")?;
        Ok(Some(value))
    }

    /// Runs statements of their own, outside any frame.
    pub fn plainly(&mut self, statement: &str) {
        let outcome = self.client().map(|c| c.batch_execute(statement));
        if let Some(Err(error)) = outcome {
            self.judge(&error);
        }
    }

    fn judge_prepare(&self, error: &postgres::Error) {
        let refused = error.as_db_error().is_some_and(|e| {
            // Forge refuses to prepare claims; Postgres refuses what has notified, which enqueueing does where no
            // background worker runs.
            let message = e.message();
            message.contains("cannot be prepared") || message.contains("cannot PREPARE")
        });
        if !refused {
            self.judge(error);
        }
    }

    /// An error that no session may ever see is a violation.
    fn judge(&self, error: &postgres::Error) {
        if let Some(db) = error.as_db_error()
            && !EXPECTED.contains(&db.code().code())
        {
            self.world.violation(format!("{}: {db:?}", self.name));
        }
    }
}
