//! What all sessions share: the registrations, and what they have seen of the jobs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use uuid::Uuid;

use super::dice::Dice;

/// Kinds: `few` at most 3 at once, `keyed` 2 for each `k`, `alone` 1 for each concurrency key, `once` by unique key.
pub const SETUP: &str = "
    CREATE TABLE public.effect (id uuid NOT NULL, by text NOT NULL);
    CREATE FUNCTION public.work(n int DEFAULT 0) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO public.effect VALUES ((forge.current_job() ->> 'id')::uuid, 'sql');
        IF n % 5 = 0 THEN RAISE EXCEPTION 'as it happens'; END IF;
    END $$;
    SELECT forge.register_job('plain', 'worker', max_attempts => 4, backoff => 'fixed(50ms)');
    SELECT forge.register_job('few', 'worker', max_attempts => 4, backoff => 'fixed(50ms)', max_concurrency => 3);
    SELECT forge.register_job('keyed', 'worker', max_attempts => 4, backoff => 'fixed(50ms)', max_concurrency => 2, concurrency_by => 'k');
    SELECT forge.register_job('alone', 'worker', max_attempts => 4, backoff => 'fixed(50ms)', queue => 'other');
    SELECT forge.register_job('once', 'worker', max_attempts => 4, backoff => 'fixed(50ms)', queue => 'other');
    SELECT forge.register_job('scratch', 'worker', max_attempts => 4, backoff => 'fixed(50ms)', queue => 'scratch');
    SELECT forge.register_job('inside', 'sql:public.work', max_attempts => 4, backoff => 'fixed(50ms)', queue => 'other');
    SELECT forge.enqueue('plain', queue => 'scratch', priority => p) FROM unnest('{critical,background}'::text[]) p;";

pub const KINDS: [&str; 7] = [
    "plain", "few", "keyed", "alone", "once", "scratch", "inside",
];

/// What became of the transaction that enqueued a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Committed,
    RolledBack,
    /// The connection broke at the commit, or it is prepared.
    Unknown,
}

#[derive(Default)]
pub struct World {
    jobs: Mutex<BTreeMap<Uuid, Fate>>,
    completed: Mutex<BTreeSet<Uuid>>,
    /// Prepared transactions with the jobs they enqueue.
    pub prepared: Mutex<BTreeMap<String, Vec<Uuid>>>,
    violations: Mutex<Vec<String>>,
    over: AtomicBool,
    /// The server crashes now and then, and with it goes what was committed without waiting for the disk.
    pub crashes: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub fn new(crashes: bool) -> Self {
        Self {
            crashes,
            ..Self::default()
        }
    }

    pub fn settle(&self, ids: &[Uuid], fate: Fate) {
        let mut jobs = lock(&self.jobs);
        for id in ids {
            // Keys give the same job to many: who committed it knows best.
            let known = jobs.entry(*id).or_insert(fate);
            if fate == Fate::Committed || *known == Fate::RolledBack {
                *known = fate;
            }
        }
    }

    pub fn complete(&self, ids: &[Uuid]) {
        lock(&self.completed).extend(ids);
    }

    pub fn completed(&self) -> BTreeSet<Uuid> {
        lock(&self.completed).clone()
    }

    pub fn fates(&self) -> BTreeMap<Uuid, Fate> {
        lock(&self.jobs).clone()
    }

    /// Any job, rather a young one.
    pub fn any_job(&self, dice: &mut Dice) -> Option<Uuid> {
        let jobs = lock(&self.jobs);
        let back = dice.below(400).min(jobs.len() as u64) as usize;
        jobs.keys().rev().nth(back.saturating_sub(1)).copied()
    }

    /// Notes that something which must never happen did.
    pub fn violation(&self, what: String) {
        let mut violations = lock(&self.violations);
        if violations.len() < 20 {
            eprintln!("VIOLATION: {what}");
            violations.push(what);
        }
        self.end();
    }

    pub fn violations(&self) -> Vec<String> {
        lock(&self.violations).clone()
    }

    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    pub fn prepare(&self, name: String, ids: Vec<Uuid>) {
        lock(&self.prepared).insert(name, ids);
    }

    pub fn take_prepared(&self) -> Option<(String, Vec<Uuid>)> {
        lock(&self.prepared).pop_first()
    }
}
