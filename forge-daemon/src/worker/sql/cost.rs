//! What a job of each kind takes, learned from those that ran.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

/// A kind whose jobs take longer than this on average is slow …
const SLOW: Duration = Duration::from_millis(50);
/// … until they take less than this.
const QUICK: Duration = Duration::from_millis(20);
/// Weight of the newest observation.
const WEIGHT: f64 = 0.2;

#[derive(Clone, Copy, Debug)]
struct Cost {
    seconds: f64,
    slow: bool,
}

/// Moving averages by kind. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Costs {
    kinds: Arc<Mutex<HashMap<Arc<str>, Cost>>>,
    slowed: Arc<Notify>,
}

impl Costs {
    /// Nothing learned yet; `slowed` is told when a kind has become slow.
    pub fn new(slowed: Arc<Notify>) -> Self {
        Self {
            kinds: Arc::default(),
            slowed,
        }
    }

    /// Whether jobs of `kind` are to run one by one.
    pub fn is_slow(&self, kind: &str) -> bool {
        self.lock().get(kind).is_some_and(|cost| cost.slow)
    }

    /// Notes that a job of `kind` took `took`.
    pub fn observe(&self, kind: &Arc<str>, took: Duration) {
        let seconds = took.as_secs_f64();
        let mut kinds = self.lock();
        let cost = kinds.entry(kind.clone()).or_insert(Cost {
            seconds,
            slow: false,
        });
        cost.seconds += (seconds - cost.seconds) * WEIGHT;
        let was = cost.slow;
        cost.slow = if was {
            cost.seconds > QUICK.as_secs_f64()
        } else {
            cost.seconds > SLOW.as_secs_f64()
        };
        let now = cost.slow;
        drop(kinds);
        if now != was {
            tracing::info!(
                kind = &**kind,
                slow = now,
                "sql: jobs of this kind run one by one when slow"
            );
            self.slowed.notify_one();
        }
    }

    /// How many quick jobs fit into `budget`, by the slowest quick kind.
    pub fn fit(&self, budget: Duration, most: usize) -> usize {
        let slowest = self
            .lock()
            .values()
            .filter(|cost| !cost.slow)
            .map(|cost| cost.seconds)
            .fold(0.0, f64::max);
        let fit = budget.as_secs_f64() / slowest.max(1e-6);
        // Saturates; the bounds make any value good.
        (fit as usize).clamp(1, most.max(1))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Cost>> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_kind_becomes_slow_and_quick_again_with_hysteresis() {
        let costs = Costs::default();
        let kind: Arc<str> = "report".into();
        costs.observe(&kind, 5 * MS);
        assert!(!costs.is_slow(&kind));
        (0..4).for_each(|_| costs.observe(&kind, 200 * MS));
        assert!(costs.is_slow(&kind));
        (0..6).for_each(|_| costs.observe(&kind, 30 * MS));
        assert!(
            costs.is_slow(&kind),
            "between the two limits nothing changes"
        );
        (0..20).for_each(|_| costs.observe(&kind, MS));
        assert!(!costs.is_slow(&kind));
    }

    #[test]
    fn claims_are_as_large_as_fits_the_budget() {
        let costs = Costs::default();
        assert_eq!(costs.fit(250 * MS, 256), 256);
        costs.observe(&"a".into(), 10 * MS);
        assert_eq!(costs.fit(250 * MS, 256), 25);
        costs.observe(&"b".into(), Duration::from_secs(9));
        assert_eq!(costs.fit(250 * MS, 256), 25, "slow kinds do not count");
        costs.observe(&"a".into(), Duration::from_millis(200));
        assert!(costs.fit(MS, 256) == 1);
    }
}
