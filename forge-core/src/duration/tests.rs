//! Durations: the forms people write, refusals, and printing as the inverse of reading.

use proptest::prelude::*;

use super::*;

#[test]
fn reads_what_people_write() {
    let cases = [
        ("30s", Duration::from_secs(30)),
        ("5m", Duration::from_secs(300)),
        ("1h30m", Duration::from_secs(5_400)),
        ("250ms", Duration::from_millis(250)),
        ("2d", Duration::from_secs(172_800)),
        (" 1h 30m ", Duration::from_secs(5_400)),
        ("1d2h3m4s5ms6us7ns", Duration::new(93_784, 5_006_007)),
        ("90m", Duration::from_secs(5_400)),
        ("0s", Duration::ZERO),
        ("0", Duration::ZERO),
        ("36500d", MAX),
    ];
    for (text, expected) in cases {
        assert_eq!(parse(text).unwrap(), expected, "{text}");
    }
}

#[test]
fn refuses_and_says_why() {
    let cases = [
        ("", "empty"),
        ("   ", "empty"),
        ("-5s", "negative"),
        ("5", "no unit"),
        ("s", "number was expected"),
        ("1.5s", "fractions"),
        ("5 parsecs", "no unit"),
        ("5parsecs", "unknown unit \"parsecs\""),
        ("5S", "unknown unit \"S\""),
        ("1m1h", "\"h\" is repeated or comes after"),
        ("1s1s", "\"s\" is repeated"),
        ("36501d", "longer than 36500d"),
        ("36500d1ns", "longer than 36500d"),
        ("99999999999999999999s", "too large"),
        ("18446744073709551615d", "longer than 36500d"),
        ("5µs", "no unit"),
        ("+5s", "number was expected"),
        ("1h-5m", "number was expected"),
    ];
    for (text, expected) in cases {
        let error = parse(text).unwrap_err();
        assert!(error.to_string().contains(expected), "{text}: {error}");
        assert!(error.hint().contains("1h30m"), "{text}: {}", error.hint());
    }
    assert!(parse(&"1".repeat(1_000_000)).is_err());
}

#[test]
fn prints_the_shortest_text() {
    assert_eq!(format(Duration::from_secs(5_400)), "1h30m");
    assert_eq!(format(Duration::from_millis(1_500)), "1s500ms");
    assert_eq!(format(Duration::from_secs(86_400)), "1d");
    assert_eq!(format(Duration::ZERO), "0s");
}

#[test]
fn microseconds_never_overflow() {
    assert_eq!(as_micros(Duration::from_nanos(1_999)), 1);
    assert_eq!(as_micros(MAX), 36_500 * 86_400 * 1_000_000);
    assert_eq!(as_micros(Duration::MAX), i64::MAX);
}

#[test]
fn configuration_reads_and_writes_text() {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Config {
        #[serde(with = "crate::duration")]
        timeout: Duration,
    }
    let config: Config = serde_json::from_str(r#"{"timeout":"1h30m"}"#).unwrap();
    assert_eq!(config.timeout, Duration::from_secs(5_400));
    assert_eq!(
        serde_json::to_string(&config).unwrap(),
        r#"{"timeout":"1h30m"}"#
    );
    let error = serde_json::from_str::<Config>(r#"{"timeout":"5 parsecs"}"#)
        .err()
        .unwrap();
    assert!(error.to_string().contains("5 parsecs"), "{error}");
}

proptest! {
    #[test]
    fn printing_is_the_inverse_of_reading(nanos in 0..=MAX.as_nanos()) {
        let duration = from_nanos(nanos);
        prop_assert_eq!(parse(&format(duration)).unwrap(), duration);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,20}|[0-9dhmsun .-]{0,20}") {
        match parse(&text) {
            Ok(duration) => prop_assert!(duration <= MAX),
            Err(error) => prop_assert!(error.to_string().starts_with("invalid duration")),
        }
    }
}
