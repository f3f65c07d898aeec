//! Pauses between repetitions of a mutation that lost against another transaction.

use std::time::Duration;

use rand::RngExt;

const FIRST: Duration = Duration::from_millis(2);
const LONGEST: Duration = Duration::from_millis(250);

/// Whether the server rolled the transaction back because of others, so that repeating it may succeed.
pub(super) fn is_conflict(sqlstate: Option<&str>) -> bool {
    matches!(sqlstate, Some("40001" | "40P01"))
}

/// How long to wait before attempt `attempt` (1 is the first repetition): full jitter below 2 ms doubling to 250 ms, so
/// that losers of one conflict do not meet again.
pub(super) fn pause(attempt: u32) -> Duration {
    let ceiling = FIRST
        .saturating_mul(1 << attempt.clamp(1, 16))
        .min(LONGEST)
        .as_micros();
    let ceiling = u64::try_from(ceiling).unwrap_or(u64::MAX);
    Duration::from_micros(rand::rng().random_range(0..=ceiling))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit() {
        for attempt in [1, 5, 40, u32::MAX] {
            assert!(pause(attempt) <= LONGEST);
        }
        assert!(pause(1) <= FIRST * 2);
    }

    #[test]
    fn only_conflicts_are_repeated() {
        assert!(is_conflict(Some("40001")) && is_conflict(Some("40P01")));
        assert!(!is_conflict(Some("23505")) && !is_conflict(Some("57014")) && !is_conflict(None));
    }
}
