//! One host's circuit breaker: closed → open after failures in a row → one probe at a time → closed or open for longer.
//!
//! Written here because what it answers is what the queue needs: how long the circuit stays open (jobs are put off
//! by that much), and exactly one probe in flight. The clock is a parameter.

use std::time::{Duration, Instant};

/// An open circuit never stays open longer than this many times the configured period.
const LONGEST: u32 = 16;

/// What a call may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// Go on.
    Call,
    /// Go on; the answer decides whether the circuit closes.
    Probe,
    /// Do not call; ask again after this long.
    Wait(Duration),
}

#[derive(Debug)]
enum State {
    Closed { failures: u32 },
    Open { since: Instant, period: Duration },
    Probing { since: Instant, period: Duration },
}

/// A circuit breaker without a clock or a lock of its own.
#[derive(Debug)]
pub struct Breaker {
    threshold: u32,
    period: Duration,
    state: State,
}

impl Breaker {
    /// Opens after `threshold` failures in a row (at least 1), at first for `period`.
    pub fn new(threshold: u32, period: Duration) -> Self {
        Self {
            threshold: threshold.max(1),
            period,
            state: State::Closed { failures: 0 },
        }
    }

    /// Asks to make a call. After [`Permit::Probe`] one of [`succeed`](Self::succeed), [`fail`](Self::fail) or
    /// [`abandon`](Self::abandon) must follow; a probe that is never answered for is forgotten after a period.
    pub fn permit(&mut self, now: Instant) -> Permit {
        let wait = self.wait(now);
        match self.state {
            State::Closed { .. } => Permit::Call,
            State::Open { period, .. } | State::Probing { period, .. } if wait.is_zero() => {
                self.state = State::Probing { since: now, period };
                Permit::Probe
            }
            _ => Permit::Wait(wait),
        }
    }

    /// How long until a call may be made; zero when one may be made now.
    pub fn wait(&self, now: Instant) -> Duration {
        match self.state {
            State::Closed { .. } => Duration::ZERO,
            State::Open { since, period } | State::Probing { since, period } => {
                (since + period).saturating_duration_since(now)
            }
        }
    }

    /// The host answered sensibly.
    pub fn succeed(&mut self) {
        self.state = State::Closed { failures: 0 };
    }

    /// The host failed. Late failures of calls made before the circuit opened change nothing.
    pub fn fail(&mut self, now: Instant) {
        match &mut self.state {
            State::Closed { failures } => {
                *failures += 1;
                if *failures >= self.threshold {
                    self.state = State::Open {
                        since: now,
                        period: self.period,
                    };
                }
            }
            State::Probing { period, .. } => {
                let period = (*period * 2).min(self.period * LONGEST);
                self.state = State::Open { since: now, period };
            }
            State::Open { .. } => {}
        }
    }

    /// A permitted call was given up for a reason that says nothing about the host.
    pub fn abandon(&mut self, now: Instant) {
        if let State::Probing { period, .. } = self.state {
            self.state = State::Open {
                since: now.checked_sub(period).unwrap_or(now),
                period,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(10);

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::new(3, PERIOD);
        (0..3).for_each(|_| breaker.fail(now));
        breaker
    }

    #[test]
    fn opens_after_failures_in_a_row_only() {
        let now = Instant::now();
        let mut breaker = Breaker::new(3, PERIOD);
        breaker.fail(now);
        breaker.fail(now);
        breaker.succeed();
        breaker.fail(now);
        breaker.fail(now);
        assert_eq!(breaker.permit(now), Permit::Call);
        breaker.fail(now);
        assert_eq!(breaker.permit(now), Permit::Wait(PERIOD));
        assert_eq!(breaker.permit(now + PERIOD / 2), Permit::Wait(PERIOD / 2));
    }

    #[test]
    fn lets_one_probe_through_and_closes_on_its_success() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let later = now + PERIOD;
        assert_eq!(breaker.permit(later), Permit::Probe);
        assert_eq!(breaker.permit(later), Permit::Wait(PERIOD));
        breaker.succeed();
        assert_eq!(breaker.permit(later), Permit::Call);
    }

    #[test]
    fn a_failed_probe_opens_for_twice_as_long_up_to_a_bound() {
        let mut now = Instant::now();
        let mut breaker = opened(now);
        for round in 1..8 {
            now += breaker.wait(now);
            assert_eq!(breaker.permit(now), Permit::Probe);
            breaker.fail(now);
            assert_eq!(breaker.wait(now), PERIOD * 2_u32.pow(round).min(LONGEST));
        }
    }

    #[test]
    fn an_abandoned_or_lost_probe_does_not_block_the_next() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let later = now + PERIOD;
        assert_eq!(breaker.permit(later), Permit::Probe);
        breaker.abandon(later);
        assert_eq!(breaker.permit(later), Permit::Probe);
        assert_eq!(breaker.permit(later + PERIOD), Permit::Probe);
    }

    #[test]
    fn late_failures_do_not_prolong_an_open_circuit() {
        let now = Instant::now();
        let mut breaker = opened(now);
        breaker.fail(now + PERIOD / 2);
        assert_eq!(breaker.wait(now + PERIOD), Duration::ZERO);
    }
}
