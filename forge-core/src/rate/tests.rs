//! Rates: reading and printing them.

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

proptest! {
    #[test]
    fn printing_is_the_inverse_of_reading(rate in any_rate()) {
        prop_assert_eq!(Rate::parse(&rate.to_string()).unwrap(), rate);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,30}|[0-9]{1,5}/[a-z0-9 ]{0,12}") {
        if let Err(error) = Rate::parse(&text) {
            prop_assert!(error.to_string().starts_with("invalid rate limit"));
        }
    }
}
