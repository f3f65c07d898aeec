//! Seeded chance: what happens to a thing follows from a seed and its name alone.
//!
//! Invariant: the same seed and name give the same draw, in any process and any order.

use std::time::Duration;

use sha2::{Digest, Sha256};

/// A number in `0.0..1.0`, the same for the same three inputs.
pub fn draw(seed: u64, what: &str, name: &str) -> f64 {
    let mut hash = Sha256::new();
    hash.update(seed.to_be_bytes());
    hash.update(what.as_bytes());
    hash.update([0]);
    hash.update(name.as_bytes());
    let digest = hash.finalize();
    let mut head = [0; 8];
    head.copy_from_slice(&digest[..8]);
    // 53 bits are what a double holds exactly.
    (u64::from_be_bytes(head) >> 11) as f64 / (1_u64 << 53) as f64
}

/// How one request is failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Failing {
    /// 500.
    Error,
    /// 503 without a Retry-After.
    Unavailable,
    /// 429 with `Retry-After: 1`.
    TooMany,
    /// No answer for [`STALL`].
    Stall,
}

/// Longer than the two seconds the calls are given.
pub const STALL: Duration = Duration::from_secs(4);

/// What the receiver has in store for one webhook id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Fails this many times, then succeeds. Never more than attempts allow.
    Fails(u32),
    /// Fails until it is pardoned: its job runs out of attempts.
    Condemned,
}

/// Share of ids that fail at least once before they succeed.
const UNLUCKY: f64 = 0.12;
/// Share of ids that fail until pardoned.
const CONDEMNED: f64 = 0.01;

/// The fate of the webhook `id`.
pub fn of(seed: u64, id: &str) -> Fate {
    let luck = draw(seed, "fate", id);
    if luck < CONDEMNED {
        Fate::Condemned
    } else if luck < CONDEMNED + UNLUCKY {
        Fate::Fails(1 + (draw(seed, "times", id) * 3.0) as u32)
    } else {
        Fate::Fails(0)
    }
}

/// How the `nth` request of `id` fails.
pub fn failing(seed: u64, id: &str, nth: u32) -> Failing {
    match draw(seed, &format!("failing {nth}"), id) {
        kind if kind < 0.50 => Failing::Error,
        kind if kind < 0.70 => Failing::Unavailable,
        kind if kind < 0.90 => Failing::TooMany,
        _ => Failing::Stall,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_repeat_and_spread() {
        assert_eq!(draw(7, "a", "x"), draw(7, "a", "x"));
        assert_ne!(draw(7, "a", "x"), draw(8, "a", "x"));
        assert_ne!(draw(7, "a", "x"), draw(7, "b", "x"));
        let mean = (0..10_000)
            .map(|n| draw(1, "mean", &n.to_string()))
            .sum::<f64>()
            / 10_000.0;
        assert!((0.48..0.52).contains(&mean), "{mean}");
    }

    #[test]
    fn shares_are_as_written() {
        let fates: Vec<Fate> = (0..20_000).map(|n| of(1, &n.to_string())).collect();
        let share = |wanted: fn(&Fate) -> bool| {
            fates.iter().filter(|fate| wanted(fate)).count() as f64 / fates.len() as f64
        };
        assert!((0.007..0.013).contains(&share(|fate| *fate == Fate::Condemned)));
        assert!((0.10..0.14).contains(&share(|fate| matches!(fate, Fate::Fails(1..)))));
        // Five attempts are allowed: four failures and a success still fit.
        assert!(fates.iter().all(|fate| !matches!(fate, Fate::Fails(4..))));
    }
}
