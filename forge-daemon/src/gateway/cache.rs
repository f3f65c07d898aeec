//! A small bounded cache with an age limit: what the database said a moment ago.
//!
//! Invariants: never more than `capacity` entries; an entry is not returned after its time, which runs from the moment
//! the database was asked, not from its answer; what was asked before a `clear` is not kept after it, however late the
//! answer comes.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

struct Entries<K, V> {
    values: HashMap<K, (V, Instant, u64)>,
    order: VecDeque<(K, u64)>,
    stamp: u64,
    epoch: u64,
}

/// When the database was asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    at: Instant,
    epoch: u64,
}

/// Maps keys to values for a while.
pub(super) struct Cache<K, V> {
    capacity: usize,
    entries: Mutex<Entries<K, V>>,
}

impl<K: Clone + Eq + Hash, V: Clone> Cache<K, V> {
    pub fn new(capacity: usize) -> Self {
        let entries = Entries {
            values: HashMap::new(),
            order: VecDeque::new(),
            stamp: 0,
            epoch: 0,
        };
        Self {
            capacity,
            entries: Mutex::new(entries),
        }
    }

    pub fn get(&self, key: &K) -> Option<V> {
        let entries = self.lock();
        let (value, until, _) = entries.values.get(key)?;
        (Instant::now() < *until).then(|| value.clone())
    }

    /// To be called before the database is asked for what is to be kept.
    pub fn ask(&self) -> Asked {
        Asked {
            at: Instant::now(),
            epoch: self.lock().epoch,
        }
    }

    /// Keeps `value` until `ttl` after `asked`, unless everything was forgotten since; the oldest entries make room.
    pub fn put(&self, key: K, value: V, asked: Asked, ttl: Duration) {
        let mut entries = self.lock();
        if entries.epoch != asked.epoch {
            return;
        }
        entries.stamp += 1;
        let stamp = entries.stamp;
        entries
            .values
            .insert(key.clone(), (value, asked.at + ttl, stamp));
        entries.order.push_back((key, stamp));
        while entries.order.len() > self.capacity {
            if let Some((oldest, stamp)) = entries.order.pop_front()
                && entries
                    .values
                    .get(&oldest)
                    .is_some_and(|(_, _, current)| *current == stamp)
            {
                entries.values.remove(&oldest);
            }
        }
    }

    /// Forgets everything, answers under way included.
    pub fn clear(&self) {
        let mut entries = self.lock();
        entries.epoch += 1;
        entries.values.clear();
        entries.order.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Entries<K, V>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn is_bounded_and_forgets() {
        let cache = Cache::new(2);
        let asked = cache.ask();
        cache.put("a", 1, asked, LONG);
        cache.put("a", 2, asked, LONG);
        assert_eq!(cache.get(&"a"), Some(2));
        cache.put("b", 3, asked, LONG);
        cache.put("c", 4, asked, LONG);
        assert_eq!(
            (cache.get(&"a"), cache.get(&"b"), cache.get(&"c")),
            (None, Some(3), Some(4))
        );
        cache.put("d", 5, asked, Duration::ZERO);
        assert_eq!(cache.get(&"d"), None);
        cache.clear();
        assert_eq!(cache.get(&"c"), None);
    }
    #[test]
    fn an_answer_asked_for_before_everything_was_forgotten_is_not_kept() {
        let cache = Cache::new(2);
        let asked = cache.ask();
        cache.clear();
        cache.put("a", 1, asked, LONG);
        assert_eq!(cache.get(&"a"), None);
        cache.put("a", 2, cache.ask(), LONG);
        assert_eq!(cache.get(&"a"), Some(2));
    }

    #[test]
    fn age_counts_from_the_question() {
        let cache = Cache::new(2);
        let asked = cache.ask();
        let late = Asked {
            at: asked.at.checked_sub(LONG).unwrap(),
            ..asked
        };
        cache.put("a", 1, late, LONG);
        assert_eq!(cache.get(&"a"), None);
    }
}
