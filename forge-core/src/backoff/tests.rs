//! Backoff: growth, cap and jitter.

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn delays(text: &str, random: f64) -> Vec<Duration> {
    let backoff = Backoff::parse(text).unwrap();
    (1..=5)
        .map(|attempt| backoff.delay(attempt, random))
        .collect()
}

#[test]
fn grows_as_it_says() {
    let secs = |list: [u64; 5]| list.map(Duration::from_secs).to_vec();
    assert_eq!(
        delays("exponential(1s,10s,0%)", 0.9),
        secs([1, 2, 4, 8, 10])
    );
    assert_eq!(delays("linear(2s,7s,0%)", 0.9), secs([2, 4, 6, 7, 7]));
    assert_eq!(delays("constant(3s)", 0.9), secs([3; 5]));
    assert_eq!(delays("fixed(3s)", 0.1), secs([3; 5]));
    assert_eq!(delays("none", 0.5), secs([0; 5]));
    assert_eq!(delays("exponential(0s,1h)", 0.5), secs([0; 5]));
}

#[test]
fn jitter_spreads_around_the_delay_and_stays_below_the_cap() {
    let backoff = Backoff::parse("exponential(1s,8s)").unwrap();
    assert_eq!(backoff.jitter_percent, DEFAULT_JITTER_PERCENT);
    assert_eq!(backoff.delay(1, 0.0), Duration::from_millis(800));
    assert_eq!(backoff.delay(1, 0.5), SECOND);
    assert_eq!(backoff.delay(1, 1.0), Duration::from_millis(1_200));
    // At the cap the whole spread lies below it, so jobs still come back one by one.
    assert_eq!(backoff.delay(9, 0.0), Duration::from_millis(6_400));
    assert_eq!(backoff.delay(9, 1.0), Duration::from_secs(8));
    let constant = Backoff::parse("constant(10s, 50%)").unwrap();
    assert_eq!(constant.delay(7, 0.0), Duration::from_secs(5));
    assert_eq!(constant.delay(7, 1.0), Duration::from_secs(15));
}

#[test]
fn extremes_do_not_overflow() {
    let backoff = Backoff::parse("exponential(36500d,36500d,100%)").unwrap();
    assert_eq!(backoff.delay(u32::MAX, 1.0), crate::duration::MAX);
    let tiny = Backoff::parse("exponential(1ns,36500d,0%)").unwrap();
    assert_eq!(tiny.delay(u32::MAX, 0.0), crate::duration::MAX);
    let zero = Backoff::parse("exponential(0s,1h)").unwrap();
    assert_eq!(zero.delay(u32::MAX, 1.0), Duration::ZERO);
    let linear = Backoff::parse("linear(1d,36500d)").unwrap();
    assert_eq!(linear.delay(u32::MAX, 1.0), crate::duration::MAX);
    let constant = Backoff::parse("constant(36500d,100%)").unwrap();
    assert_eq!(constant.delay(3, 1.0), crate::duration::MAX * 2);
    assert_eq!(Backoff::default().delay(0, 0.5), SECOND);
    assert_eq!(Backoff::default().delay(1, f64::NAN), SECOND);
    assert_eq!(
        Backoff::default().delay(1, -7.0),
        Duration::from_millis(800)
    );
    assert_eq!(
        Backoff::default().delay(1, f64::INFINITY),
        Duration::from_millis(1_200)
    );
}

#[test]
fn refuses_and_says_why() {
    let cases = [
        ("", "unknown backoff \"\""),
        ("quadratic(1s,1h)", "unknown backoff \"quadratic\""),
        ("exponential", "two durations"),
        ("exponential(1s)", "two durations"),
        ("exponential(1s,1h,1d)", "two durations"),
        ("exponential(1s,1h,1d,2d)", "4 arguments"),
        (
            "exponential(1h,1s)",
            "the cap 1s is shorter than the first delay 1h",
        ),
        ("exponential(1s,1h", "closing parenthesis"),
        ("exponential(1s,soon)", "soon"),
        ("exponential(1s,1h,101%)", "101%"),
        ("exponential(1s,1h,-1%)", "-1%"),
        ("constant()", "one duration"),
        ("none(1s)", "no arguments"),
        ("none(5%)", "no arguments"),
    ];
    for (text, expected) in cases {
        let error = Backoff::parse(text).unwrap_err();
        assert!(error.to_string().contains(expected), "{text}: {error}");
        assert!(error.hint().contains("exponential(base,cap)"), "{text}");
    }
    assert!(Backoff::parse(&"(".repeat(1_000_000)).is_err());
}

#[test]
fn the_default_is_that_of_register_job() {
    assert_eq!(
        Backoff::default(),
        Backoff::parse("exponential(1s,1h)").unwrap()
    );
}

fn any_backoff() -> impl Strategy<Value = Backoff> {
    let duration = || (0u64..=crate::duration::MAX.as_secs()).prop_map(Duration::from_secs);
    let growth = prop_oneof![
        (duration(), duration()).prop_map(|(a, b)| Growth::Exponential {
            base: a.min(b),
            cap: a.max(b)
        }),
        (duration(), duration()).prop_map(|(a, b)| Growth::Linear {
            step: a.min(b),
            cap: a.max(b)
        }),
        duration().prop_map(|delay| Growth::Constant { delay }),
    ];
    (growth, 0u8..=100).prop_map(|(growth, jitter_percent)| Backoff {
        growth,
        jitter_percent,
    })
}

proptest! {
    #[test]
    fn printing_is_the_inverse_of_reading(backoff in any_backoff()) {
        prop_assert_eq!(Backoff::parse(&backoff.to_string()).unwrap(), backoff);
    }

    #[test]
    fn never_shrinks_and_never_exceeds_the_cap(
        backoff in any_backoff(),
        attempt in prop_oneof![0u32..100, any::<u32>()],
        random in 0.0..1.0,
    ) {
        let delay = backoff.delay(attempt, random);
        prop_assert!(delay <= backoff.delay(attempt.saturating_add(1), random));
        match backoff.growth {
            Growth::Exponential { cap, .. } | Growth::Linear { cap, .. } => prop_assert!(delay <= cap),
            Growth::Constant { delay: plain } => prop_assert!(delay <= plain * 2),
            Growth::None => prop_assert!(delay.is_zero()),
        }
    }

    #[test]
    fn jitter_stays_in_its_range(backoff in any_backoff(), attempt in 1u32..100, random in 0.0..1.0) {
        let plain = Backoff { jitter_percent: 0, ..backoff }.delay(attempt, random).as_nanos();
        let delay = backoff.delay(attempt, random).as_nanos();
        let spread = plain * u128::from(backoff.jitter_percent) / 100;
        prop_assert!(delay >= plain - spread && delay <= plain + spread);
    }
}
