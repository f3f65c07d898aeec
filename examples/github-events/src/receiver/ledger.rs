//! What the receiver remembers of each webhook id: how often it was failed, and whether it had its effect.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::fate::{self, Failing, Fate};

/// More ids than any run of the example has; beyond it calls are refused with 507.
const LIMIT: usize = 1_000_000;

/// What to do with one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// First success: the effect happens now.
    Effect,
    /// A success again: nothing happens.
    Repeat,
    /// No effect, and an answer that says so, or none.
    Fail(Failing),
    /// No room for another id.
    Full,
}

/// What the receiver tells about itself.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Believed calls.
    pub requests: u64,
    /// Calls that were not believed or made no sense.
    pub refused: u64,
    /// Calls failed on purpose, by how.
    pub failed: BTreeMap<String, u64>,
    /// Successes after the first.
    pub repeats: u64,
    /// Ids that failed until they were pardoned.
    pub condemned: u64,
    /// The delivery of every effect, in no order. Twice the same would be two webhook ids for one delivery.
    pub effects: Vec<Uuid>,
}

#[derive(Debug)]
struct Entry {
    delivery: Uuid,
    fate: Fate,
    failed: u32,
    done: bool,
}

/// All webhook ids seen.
#[derive(Debug)]
pub struct Ledger {
    seed: u64,
    entries: HashMap<String, Entry>,
    report: Report,
    pardoned: bool,
}

impl Ledger {
    /// Fates follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            entries: HashMap::new(),
            report: Report::default(),
            pardoned: false,
        }
    }

    /// Rules on a call of the webhook `id` about `delivery`.
    pub fn rule(&mut self, id: &str, delivery: Uuid) -> Ruling {
        self.report.requests += 1;
        if !self.entries.contains_key(id) && self.entries.len() >= LIMIT {
            return Ruling::Full;
        }
        let (seed, pardoned) = (self.seed, self.pardoned);
        let entry = self.entries.entry(id.to_owned()).or_insert_with(|| Entry {
            delivery,
            fate: if pardoned {
                Fate::Fails(0)
            } else {
                fate::of(seed, id)
            },
            failed: 0,
            done: false,
        });
        if entry.done {
            self.report.repeats += 1;
            return Ruling::Repeat;
        }
        let fails = match entry.fate {
            Fate::Fails(times) => entry.failed < times,
            Fate::Condemned => true,
        };
        if fails {
            let failing = fate::failing(seed, id, entry.failed);
            entry.failed += 1;
            *self
                .report
                .failed
                .entry(format!("{failing:?}"))
                .or_default() += 1;
            return Ruling::Fail(failing);
        }
        entry.done = true;
        Ruling::Effect
    }

    /// Counts a call that was not believed.
    pub fn refuse(&mut self) {
        self.report.refused += 1;
    }

    /// From now on nothing fails any more. Returns how many condemned ids that frees.
    pub fn pardon(&mut self) -> u64 {
        self.pardoned = true;
        let mut freed = 0;
        for entry in self.entries.values_mut() {
            freed += u64::from(entry.fate == Fate::Condemned);
            entry.fate = Fate::Fails(0);
        }
        self.report.condemned += freed;
        freed
    }

    /// Everything counted so far.
    pub fn report(&self) -> Report {
        let condemned = self
            .entries
            .values()
            .filter(|entry| entry.fate == Fate::Condemned)
            .count() as u64;
        Report {
            requests: self.report.requests,
            refused: self.report.refused,
            failed: self.report.failed.clone(),
            repeats: self.report.repeats,
            condemned: self.report.condemned + condemned,
            effects: self
                .entries
                .values()
                .filter(|entry| entry.done)
                .map(|entry| entry.delivery)
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_with(wanted: Fate) -> String {
        (0..)
            .map(|n| format!("msg_{n}"))
            .find(|id| fate::of(1, id) == wanted)
            .unwrap_or_default()
    }

    #[test]
    fn an_effect_happens_once_after_the_planned_failures() {
        let mut ledger = Ledger::new(1);
        let id = id_with(Fate::Fails(2));
        let delivery = Uuid::from_u128(7);
        assert!(matches!(ledger.rule(&id, delivery), Ruling::Fail(_)));
        assert!(matches!(ledger.rule(&id, delivery), Ruling::Fail(_)));
        assert!(ledger.report().effects.is_empty());
        assert_eq!(ledger.rule(&id, delivery), Ruling::Effect);
        assert_eq!(ledger.rule(&id, delivery), Ruling::Repeat);
        let report = ledger.report();
        assert_eq!(report.effects, [delivery]);
        assert_eq!((report.requests, report.repeats), (4, 1));
        assert_eq!(report.failed.values().sum::<u64>(), 2);
    }

    #[test]
    fn the_condemned_fail_until_they_are_pardoned() {
        let mut ledger = Ledger::new(1);
        let id = id_with(Fate::Condemned);
        let delivery = Uuid::from_u128(8);
        for _ in 0..20 {
            assert!(matches!(ledger.rule(&id, delivery), Ruling::Fail(_)));
        }
        assert_eq!(ledger.report().condemned, 1);
        assert_eq!(ledger.pardon(), 1);
        assert_eq!(ledger.rule(&id, delivery), Ruling::Effect);
        assert_eq!(ledger.report().condemned, 1);
    }
}
