//! Rates: reading them, and the arithmetic against an exact model.

use proptest::prelude::*;

use super::*;

fn rate(text: &str) -> Rate {
    Rate::parse(text).unwrap()
}

#[test]
fn reads_what_people_write() {
    let cases = [
        ("100/minute per user", 100, 60_000, Some(Scope::User)),
        ("100/minute", 100, 60_000, None),
        ("5/s per ip", 5, 1_000, Some(Scope::Ip)),
        ("5 / second  per  key", 5, 1_000, Some(Scope::Key)),
        ("1000/hour global", 1_000, 3_600_000, Some(Scope::Global)),
        ("7/day per kind", 7, 86_400_000, Some(Scope::Kind)),
        ("100/10s per queue", 100, 10_000, Some(Scope::Queue)),
        ("1/1h30m", 1, 5_400_000, None),
        ("3/250ms", 3, 250, None),
        ("10/MINUTE Per User", 10, 60_000, Some(Scope::User)),
    ];
    for (text, limit, millis, scope) in cases {
        let period = Duration::from_millis(millis);
        assert_eq!(
            rate(text),
            Rate {
                limit,
                period,
                scope
            },
            "{text}"
        );
    }
}

#[test]
fn refuses_and_says_why() {
    let cases = [
        ("", "no \"/\""),
        ("100", "no \"/\""),
        ("0/second", "limit of 0"),
        ("-1/second", "count \"-1\""),
        ("+1/second", "count \"+1\""),
        ("many/second", "count \"many\""),
        ("4294967296/day", "count \"4294967296\""),
        ("1/fortnight", "unknown unit \"fortnight\""),
        ("1/", "unit is missing"),
        ("1/5", "no unit"),
        ("1/0s", "between 1ms and 366d"),
        ("1/367d", "between 1ms and 366d"),
        ("1/1s1ns", "finer than a microsecond"),
        ("1000001/second", "one per microsecond"),
        ("1/second per planet", "unknown scope \"per planet\""),
        ("1/second user", "unknown scope"),
        ("1/second per user per ip", "unknown scope"),
        ("1/second global please", "unknown scope"),
    ];
    for (text, expected) in cases {
        let error = Rate::parse(text).unwrap_err();
        assert!(error.to_string().contains(expected), "{text}: {error}");
        assert!(error.hint().contains("100/minute per user"), "{text}");
    }
    assert!(Rate::parse(&"1".repeat(1_000_000)).is_err());
}

#[test]
fn a_burst_then_one_by_one() {
    let rate = rate("10/second");
    let now = 1_700_000_000_000_000;
    let first = rate.gcra(i64::MIN, now, 25);
    assert_eq!((first.granted, first.retry_after_us), (10, 100_000));
    let refused = rate.gcra(first.new_tat_us, now, 1);
    assert_eq!(
        refused,
        Grant {
            granted: 0,
            new_tat_us: first.new_tat_us,
            retry_after_us: 100_000
        }
    );
    let early = rate.gcra(first.new_tat_us, now + 99_999, 1);
    assert_eq!((early.granted, early.retry_after_us), (0, 1));
    let later = rate.gcra(first.new_tat_us, now + 250_000, 5);
    assert_eq!((later.granted, later.retry_after_us), (2, 50_000));
    // A second of rest after the debt is paid brings the whole burst back.
    assert_eq!(rate.gcra(later.new_tat_us, now + 2_000_000, 99).granted, 10);
}

#[test]
fn a_third_of_a_second_does_not_drift() {
    let rate = rate("3/second");
    let start = 1_700_000_000_000_000;
    let mut tat = rate.gcra(i64::MIN, start, 3).new_tat_us;
    let mut now = start;
    for _ in 0..300_000 {
        now += rate.gcra(tat, now, 1).retry_after_us;
        let grant = rate.gcra(tat, now, 1);
        assert_eq!(grant.granted, 1);
        tat = grant.new_tat_us;
    }
    assert_eq!(now, start + 100_000_000_000);
}

#[test]
fn asking_for_nothing_changes_nothing() {
    let grant = rate("3/second").gcra(42, 1_000, 0);
    assert_eq!(
        grant,
        Grant {
            granted: 0,
            new_tat_us: 42,
            retry_after_us: 0
        }
    );
}

#[test]
fn extremes_do_not_overflow() {
    for text in ["1/366d", "1000000/second", "4294967295/366d", "1/1ms"] {
        let rate = rate(text);
        for state in [i64::MIN, -1, 0, i64::MAX] {
            for now in [i64::MIN, -1, 0, i64::MAX] {
                let grant = rate.gcra(state, now, u32::MAX);
                assert!(grant.granted <= rate.limit, "{text} {state} {now}");
                assert!(grant.retry_after_us >= 0, "{text} {state} {now}");
            }
        }
    }
}

fn any_rate() -> impl Strategy<Value = Rate> {
    let scopes = [
        Scope::User,
        Scope::Ip,
        Scope::Key,
        Scope::Kind,
        Scope::Queue,
        Scope::Global,
    ];
    let period = prop_oneof![1_000i64..5_000, 1_000i64..MAX_PERIOD.as_micros() as i64];
    (
        period,
        prop_oneof![1u32..20, any::<u32>()],
        proptest::option::of(proptest::sample::select(scopes.to_vec())),
    )
        .prop_map(|(period, limit, scope)| Rate {
            limit: limit.clamp(1, u32::try_from(period).unwrap_or(u32::MAX)),
            period: Duration::from_micros(period as u64),
            scope,
        })
}

/// Steps as (parts per thousand of a period that pass, how many ask).
fn steps() -> impl Strategy<Value = Vec<(i64, u32)>> {
    proptest::collection::vec(
        (prop_oneof![Just(0i64), 0i64..50, 0i64..3_000], 0u32..30),
        1..60,
    )
}

/// Runs steps from `start` and returns (time, want, grant) of each.
fn run(rate: Rate, start: i64, steps: &[(i64, u32)]) -> Vec<(i64, u32, Grant)> {
    let (mut tat, mut now) = (i64::MIN, start);
    let mut log = Vec::new();
    for &(pass, want) in steps {
        now += (i128::from(rate.period_us()) * i128::from(pass) / 1_000) as i64;
        let grant = rate.gcra(tat, now, want);
        tat = grant.new_tat_us;
        log.push((now, want, grant));
    }
    log
}

const START: i64 = 1_700_000_000_123_457;

proptest! {
    #[test]
    fn printing_is_the_inverse_of_reading(rate in any_rate()) {
        prop_assert_eq!(Rate::parse(&rate.to_string()).unwrap(), rate);
    }

    /// The model counts tokens in whole numbers and never converts them to time.
    #[test]
    fn agrees_with_counting_tokens(rate in any_rate(), steps in steps()) {
        let (limit, period) = (i128::from(rate.limit), i128::from(rate.period_us()));
        let appeared = |at: i64| i128::from(at) * limit / period;
        let mut used = appeared(START) - limit;
        for (now, want, grant) in run(rate, START, &steps) {
            used = used.max(appeared(now) - limit);
            let expected = i128::from(want).min(appeared(now) - used);
            used += expected;
            prop_assert_eq!(i128::from(grant.granted), expected);
        }
    }

    #[test]
    fn never_more_than_burst_and_rate(rate in any_rate(), steps in steps()) {
        let log = run(rate, START, &steps);
        for from in 0..log.len() {
            let mut sum = 0i128;
            for (now, _, grant) in &log[from..] {
                sum += i128::from(grant.granted);
                let elapsed = i128::from(now - log[from].0);
                let limit = i128::from(rate.limit);
                let bound = limit + limit * elapsed / i128::from(rate.period_us()) + 1;
                prop_assert!(sum <= bound, "{} > {}", sum, bound);
            }
        }
    }

    #[test]
    fn retry_after_is_the_first_moment_that_helps(rate in any_rate(), steps in steps()) {
        for (now, want, grant) in run(rate, START, &steps) {
            prop_assert!(grant.granted <= want);
            prop_assert_eq!(grant.retry_after_us == 0, grant.granted == want);
            if grant.granted < want {
                let retry = now + grant.retry_after_us;
                prop_assert_eq!(rate.gcra(grant.new_tat_us, retry, 1).granted, 1);
                prop_assert_eq!(rate.gcra(grant.new_tat_us, retry - 1, 1).granted, 0);
            }
        }
    }

    #[test]
    fn together_or_one_by_one_is_the_same(rate in any_rate(), state in -5_000_000i64..5_000_000, want in 0u32..40) {
        let together = rate.gcra(START + state, START, want);
        let (mut tat, mut granted) = (START + state, 0);
        for _ in 0..want {
            let one = rate.gcra(tat, START, 1);
            granted += one.granted;
            tat = one.new_tat_us;
        }
        prop_assert_eq!((together.granted, together.new_tat_us), (granted, tat));
    }

    /// Also after the clock stepped back or the limit was lowered: nobody waits longer than a period.
    #[test]
    fn no_state_blocks_longer_than_a_period(rate in any_rate(), state in any::<i64>()) {
        let grant = rate.gcra(state, START, u32::MAX);
        prop_assert!(grant.retry_after_us <= rate.period_us() / i64::from(rate.limit) + 1 || grant.granted == 0);
        prop_assert!(grant.retry_after_us <= rate.period_us());
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,30}|[0-9]{1,5}/[a-z0-9 ]{0,12}") {
        if let Err(error) = Rate::parse(&text) {
            prop_assert!(error.to_string().starts_with("invalid rate limit"));
        }
    }
}
