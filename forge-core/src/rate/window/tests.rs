//! The window against a log of every single grant.

use proptest::prelude::*;

use super::*;
use std::time::Duration;

const START: i64 = 1_700_000_000_123_457;
const SECOND: i64 = 1_000_000;

fn rate(text: &str) -> Rate {
    Rate::parse(text).unwrap()
}

#[test]
fn the_whole_limit_at_once_then_nothing_for_a_period() {
    let rate = rate("10/second");
    let mut window = Window::EMPTY;
    assert_eq!(window.draw(&rate, START, 25), 10);
    assert_eq!(window.retry_after_us(&rate, START), SECOND);
    assert_eq!(window.draw(&rate, START + SECOND - 1, 1), 0);
    assert_eq!(window.retry_after_us(&rate, START + SECOND - 1), 1);
    assert_eq!(window.draw(&rate, START + SECOND, 25), 10);
}

#[test]
fn what_was_granted_later_comes_back_later() {
    let rate = rate("10/second");
    let mut window = Window::EMPTY;
    assert_eq!(window.draw(&rate, START, 4), 4);
    assert_eq!(window.draw(&rate, START + SECOND / 2, 20), 6);
    assert_eq!(window.draw(&rate, START + SECOND, 20), 4);
    assert_eq!(
        window.retry_after_us(&rate, START + SECOND),
        SECOND / 2,
        "the six of the middle"
    );
    assert_eq!(window.draw(&rate, START + SECOND * 3 / 2, 20), 6);
}

#[test]
fn unused_grants_return_to_their_own_slice() {
    let rate = rate("10/second");
    let mut window = Window::EMPTY;
    assert_eq!(window.draw(&rate, START, 8), 8);
    assert_eq!(window.draw(&rate, START + SECOND / 2, 2), 2);
    window.put_back(START, 5);
    // Five are free; of the rest three leave first, then two.
    assert_eq!(window.draw(&rate, START + SECOND / 2, 9), 5);
    assert_eq!(window.draw(&rate, START + SECOND, 9), 3);
    assert_eq!(window.draw(&rate, START + SECOND * 3 / 2, 9), 7);
    // Too late: that slice is another by now.
    window.put_back(START, 9);
    assert_eq!(window.draw(&rate, START + SECOND * 3 / 2, 9), 0);
}

#[test]
fn a_changed_rate_keeps_what_was_granted() {
    let mut window = Window::EMPTY;
    assert_eq!(window.draw(&rate("10/second"), START, 10), 10);
    let now = START + SECOND / 4;
    assert_eq!(window.draw(&rate("12/second"), now, 99), 2, "raised");
    assert_eq!(window.draw(&rate("3/second"), now, 99), 0, "lowered");
    assert_eq!(
        window.retry_after_us(&rate("3/second"), now),
        SECOND * 3 / 4,
        "two of the later ones leave room for one"
    );
    assert_eq!(window.draw(&rate("15/minute"), now, 99), 3, "longer");
    assert_eq!(window.draw(&rate("15/minute"), now + 50 * SECOND, 99), 0);
    assert_eq!(
        window.draw(&rate("4/100ms"), now + 50 * SECOND, 99),
        4,
        "shorter"
    );
}

#[test]
fn a_clock_set_back_costs_a_period_at_most() {
    let rate = rate("5/minute");
    let mut window = Window::EMPTY;
    assert_eq!(window.draw(&rate, START, 5), 5);
    let earlier = START - 86_400 * SECOND;
    assert_eq!(window.retry_after_us(&rate, earlier), 60 * SECOND);
    assert_eq!(window.draw(&rate, earlier, 5), 0);
    assert_eq!(window.draw(&rate, earlier + 60 * SECOND, 5), 5);
}

#[test]
fn idle_is_a_period_after_the_last_grant() {
    let rate = rate("5/minute");
    let mut window = Window::EMPTY;
    assert!(window.is_idle(START));
    assert_eq!(window.expires_us(), None);
    assert_eq!(window.draw(&rate, START, 1), 1);
    assert_eq!(window.expires_us(), Some(START + 60 * SECOND));
    assert!(!window.is_idle(START + 60 * SECOND - 1));
    assert!(window.is_idle(START + 60 * SECOND));
}

#[test]
fn extremes_do_not_overflow() {
    for text in ["1/366d", "1000000/second", "4294967295/366d", "1/1ms"] {
        let rate = rate(text);
        let instants = [i64::MIN, -1, 0, 1, i64::MAX];
        for first in instants {
            for second in instants {
                let mut window = Window::EMPTY;
                assert!(window.draw(&rate, first, u32::MAX) <= rate.limit);
                assert!(window.draw(&rate, second, u32::MAX) <= rate.limit);
                assert!(window.retry_after_us(&rate, second) <= rate.period_us());
                window.put_back(first, u32::MAX);
                window.put_back(second, u32::MAX);
            }
        }
    }
}

#[test]
fn other_bytes_are_not_a_window() {
    assert_eq!(Window::from_bytes(&[]), None);
    assert_eq!(Window::from_bytes(&[0; 7]), None);
    assert_eq!(Window::from_bytes(&[0; 8]), Some(Window::EMPTY));
    assert_eq!(Window::from_bytes(&[0; 20]), None);
    assert_eq!(Window::from_bytes(&[255; 20]), None);
    assert_eq!(Window::from_bytes(&[1; 8 + 12 * 34]), None);
    assert_eq!(Window::from_bytes(&[1; 8 + 12 * 3 + 1]), None);
}

fn any_rate() -> impl Strategy<Value = Rate> {
    let period = prop_oneof![1_000i64..5_000, 1_000i64..366 * 86_400 * SECOND];
    (period, prop_oneof![1u32..20, 1u32..1_000]).prop_map(|(period, limit)| Rate {
        limit,
        period: Duration::from_micros(period as u64),
        scope: None,
    })
}

/// What happens: parts per thousand of a period that pass, how many ask, how many of those granted are not used,
/// and whether they are put back only after the next draw.
type Step = (i64, u32, u32, bool);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pass = prop_oneof![Just(0i64), 0i64..50, 0i64..500, 0i64..3_000];
    proptest::collection::vec((pass, 0u32..30, 0u32..30, any::<bool>()), 1..60)
}

/// Every grant that was used: when, and how many.
type Log = Vec<(i64, u32)>;

/// Runs the steps; answers the window, the time and the log of it all.
fn run(rate: &Rate, steps: &[Step]) -> (Window, i64, Log) {
    let (mut window, mut now) = (Window::EMPTY, START);
    let mut log = Log::new();
    let mut owed = None;
    for &(pass, want, unused, late) in steps {
        now += (i128::from(rate.period_us()) * i128::from(pass) / 1_000) as i64;
        let granted = window.draw(rate, now, want);
        if let Some((at, count)) = owed.take() {
            window.put_back(at, count);
        }
        let unused = unused.min(granted);
        log.push((now, granted - unused));
        if late {
            owed = Some((now, unused));
        } else {
            window.put_back(now, unused);
        }
    }
    (window, now, log)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn no_interval_of_a_period_holds_more_than_the_limit(rate in any_rate(), steps in steps()) {
        let (_, _, log) = run(&rate, &steps);
        for (from, (start, _)) in log.iter().enumerate() {
            let within = log[from..].iter().take_while(|(at, _)| at - start < rate.period_us());
            let sum: u64 = within.map(|(_, used)| u64::from(*used)).sum();
            prop_assert!(sum <= u64::from(rate.limit), "{sum} in one period");
        }
    }

    #[test]
    fn a_period_without_grants_brings_the_whole_limit_back(rate in any_rate(), steps in steps()) {
        let (mut window, now, _) = run(&rate, &steps);
        let later = now + rate.period_us();
        prop_assert!(window.is_idle(later));
        prop_assert_eq!(window.retry_after_us(&rate, later), 0);
        prop_assert_eq!(window.draw(&rate, later, u32::MAX), rate.limit);
    }

    /// Nothing is withheld for longer than a period and a slice after it was granted.
    #[test]
    fn withholds_a_slice_too_long_at_most(rate in any_rate(), steps in steps(), pass in 0i64..2_000) {
        let (mut window, last, log) = run(&rate, &steps);
        let now = last + rate.period_us() / 1_000 * pass;
        let slice = rate.period_us() / SLICES + 1;
        let recent = log.iter().filter(|(at, _)| now - at <= rate.period_us() + slice);
        let held: u64 = recent.map(|(_, used)| u64::from(*used)).sum();
        // What is not put back yet counts as used: at most one draw of 30.
        let free = u64::from(rate.limit).saturating_sub(held + 30);
        prop_assert!(u64::from(window.draw(&rate, now, u32::MAX)) >= free);
    }

    #[test]
    fn put_back_restores(rate in any_rate(), steps in steps(), want in 1u32..40) {
        let (mut window, now, _) = run(&rate, &steps);
        let granted = window.draw(&rate, now, want);
        window.put_back(now, granted);
        prop_assert_eq!(window.draw(&rate, now, want), granted);
    }

    #[test]
    fn retry_after_is_the_first_moment_that_helps(rate in any_rate(), steps in steps()) {
        let (mut window, now, _) = run(&rate, &steps);
        window.draw(&rate, now, u32::MAX);
        let after = window.retry_after_us(&rate, now);
        prop_assert!(after > 0 && after <= rate.period_us());
        let (mut early, mut just) = (window, window);
        prop_assert_eq!(early.draw(&rate, now + after - 1, 1), 0);
        prop_assert_eq!(just.draw(&rate, now + after, 1), 1);
        prop_assert_eq!(window.retry_after_us(&rate, now + after), 0);
    }

    #[test]
    fn together_or_one_by_one_is_the_same(rate in any_rate(), steps in steps(), want in 0u32..40) {
        let (mut together, now, _) = run(&rate, &steps);
        let mut single = together;
        let ones: u32 = (0..want).map(|_| single.draw(&rate, now, 1)).sum();
        prop_assert_eq!(together.draw(&rate, now, want), ones);
        prop_assert_eq!(together, single);
    }

    /// Bytes leave out empty slices, so it is what the two grant from then on that is compared.
    #[test]
    fn bytes_keep_everything(rate in any_rate(), steps in steps(), more in steps()) {
        let (mut window, mut now, _) = run(&rate, &steps);
        let mut copy = Window::from_bytes(&window.to_bytes()).unwrap();
        for (pass, want, _, _) in more {
            now += (i128::from(rate.period_us()) * i128::from(pass) / 1_000) as i64;
            prop_assert_eq!(copy.draw(&rate, now, want), window.draw(&rate, now, want));
            prop_assert_eq!(copy.retry_after_us(&rate, now), window.retry_after_us(&rate, now));
            prop_assert_eq!(copy.expires_us(), window.expires_us());
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..500), rate in any_rate()) {
        if let Some(mut window) = Window::from_bytes(&bytes) {
            prop_assert!(window.draw(&rate, START, u32::MAX) <= rate.limit);
            prop_assert!(window.retry_after_us(&rate, START) <= rate.period_us());
        }
    }
}
