//! Prepared transactions: one that enqueued becomes true at its `COMMIT PREPARED`, which runs in any session and calls
//! nobody.
//!
//! The worker looks once a second while a transaction of this database is prepared. When one has ended, nodes
//! are woken and the jobs are counted again, since its counts went with the session that prepared it. Where nothing is
//! prepared it looks once, when it starts.

use super::{installed, recount};
use crate::job::now;
use crate::pg::{shmem, spi, subtransaction};
use pgrx::FromDatum;
use pgrx::bgworkers::BackgroundWorker;
use std::collections::HashSet;

/// How often prepared transactions are looked at, microseconds.
const EVERY_US: i64 = 1_000_000;
/// Counting takes at most one part in this many of the worker's time.
const COUNTING_SHARE: i64 = 20;

/// What the worker knows of prepared transactions.
pub struct Watch {
    /// Ids that were prepared when it looked last.
    open: HashSet<i64>,
    /// The number of transactions prepared with changes of Forge's when it looked last; `None` before it has.
    prepares: Option<u64>,
    /// Counts are wrong.
    owed: bool,
    look_at: i64,
    count_at: i64,
}

impl Watch {
    pub fn new() -> Self {
        Self {
            open: HashSet::new(),
            prepares: None,
            owed: false,
            look_at: i64::MIN,
            count_at: i64::MIN,
        }
    }

    /// When it has to look again; `None` when nothing is prepared.
    pub fn look_at(&self) -> Option<i64> {
        let counting = self.owed.then_some(self.count_at);
        let looking = (!self.open.is_empty() || self.has_news()).then_some(self.look_at);
        [counting, looking].into_iter().flatten().min()
    }

    /// Finds out which prepared transactions have ended, wakes nodes for them and counts again.
    pub fn look(&mut self) {
        let (first, news) = (self.prepares.is_none(), self.has_news());
        if (first || news || !self.open.is_empty()) && now() >= self.look_at {
            let prepares = shmem::with(shmem::Shared::prepares);
            self.look_at = now() + EVERY_US;
            if self.compare(news) {
                self.prepares = prepares;
            }
        }
        if self.owed && now() >= self.count_at {
            let begun = now();
            self.owed = !recount();
            let spent = now() - begun;
            self.count_at = now() + (spent * COUNTING_SHARE).max(EVERY_US);
        }
    }

    /// Whether a transaction was prepared since the last look.
    fn has_news(&self) -> bool {
        shmem::with(shmem::Shared::prepares).unwrap_or(0) != self.prepares.unwrap_or(0)
    }

    /// With `news` a transaction may have been prepared and ended since the last look. False when it could not look.
    fn compare(&mut self, news: bool) -> bool {
        let Some(open) = open() else { return false };
        if news || !self.open.is_subset(&open) {
            self.owed = true;
            shmem::with(|shared| {
                shared.suspect_lanes();
                shared.wake()
            });
        }
        self.open = open;
        true
    }
}

/// Ids of this database's prepared transactions; `None` when they cannot be read now.
fn open() -> Option<HashSet<i64>> {
    BackgroundWorker::transaction(|| {
        let mut ids = HashSet::new();
        if !installed() {
            return Some(ids);
        }
        let read = subtransaction::attempt(|| {
            spi::query(
                "SELECT transaction::text::bigint FROM pg_catalog.pg_prepared_xacts \
                 WHERE database = pg_catalog.current_database()",
                &[],
                |row| ids.extend(row[0].and_then(|d| unsafe { i64::from_datum(d, false) })),
            );
        });
        read.is_ok().then_some(ids)
    })
}
