//! Schedules: the parser and the period form here; daylight saving in files of its own.

mod changes;
mod oracle;

use proptest::prelude::*;

use super::*;

fn schedule(text: &str) -> Schedule {
    Schedule::parse(text).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The next `count` instants, as the clock of the zone shows them.
fn next(text: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let zone = Zone::parse(zone).unwrap();
    let found = schedule(text).due_between(&zone, at(after), Timestamp::MAX, count);
    let show = |at: &Timestamp| {
        at.to_zoned(zone.rules().clone())
            .strftime("%F %T%:z")
            .to_string()
    };
    found.iter().map(show).collect()
}

#[test]
fn names_are_their_fields() {
    let names = [
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
        ("@monthly", "0 0 1 * *"),
        ("@weekly", "0 0 * * SUN"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@Hourly", "0 * * * *"),
    ];
    for (name, fields) in names {
        let after = "2024-02-28T23:59:30Z";
        assert_eq!(
            next(name, "UTC", after, 5),
            next(fields, "UTC", after, 5),
            "{name}"
        );
    }
}

#[test]
fn five_and_six_fields() {
    let after = "2024-02-28T23:59:30Z";
    assert_eq!(
        next("*/20 * * * * *", "UTC", after, 2),
        ["2024-02-28 23:59:40+00:00", "2024-02-29 00:00:00+00:00"]
    );
    assert_eq!(
        next("0 9 * * MON-FRI", "UTC", after, 3)[1..],
        ["2024-03-01 09:00:00+00:00", "2024-03-04 09:00:00+00:00"]
    );
    assert_eq!(
        next("0 0 29 2 *", "UTC", after, 2),
        ["2024-02-29 00:00:00+00:00", "2028-02-29 00:00:00+00:00"]
    );
    assert_eq!(
        next("0 0 29 2 *", "UTC", "2097-01-01T00:00:00Z", 1),
        ["2104-02-29 00:00:00+00:00"]
    );
    assert_eq!(
        next("0 0 L * *", "UTC", after, 2),
        ["2024-02-29 00:00:00+00:00", "2024-03-31 00:00:00+00:00"]
    );
    assert_eq!(
        next("0 0 * * 5#2", "UTC", after, 1),
        ["2024-03-08 00:00:00+00:00"]
    );
    assert_eq!(
        next("  0  0 * * 7 ", "UTC", after, 1),
        ["2024-03-03 00:00:00+00:00"]
    );
    // Either day field, or both with a plus.
    assert_eq!(
        next("0 0 13 * FRI", "UTC", after, 1),
        ["2024-03-01 00:00:00+00:00"]
    );
    assert_eq!(
        next("0 0 13 * +FRI", "UTC", after, 1),
        ["2024-09-13 00:00:00+00:00"]
    );
}

#[test]
fn every_is_aligned_to_the_epoch_and_blind_to_clocks() {
    assert_eq!(
        next("every 10s", "UTC", "2024-01-01T00:00:03.5Z", 2),
        ["2024-01-01 00:00:10+00:00", "2024-01-01 00:00:20+00:00"]
    );
    assert_eq!(
        next("EVERY  1h 30m", "UTC", "2024-01-01T00:00:00Z", 1),
        ["2024-01-01 01:30:00+00:00"]
    );
    let night = next("every 1h", "Europe/Berlin", "2024-10-26T23:30:00Z", 3);
    assert_eq!(
        night,
        [
            "2024-10-27 02:00:00+02:00",
            "2024-10-27 02:00:00+01:00",
            "2024-10-27 03:00:00+01:00"
        ]
    );
    let before_epoch = schedule("every 7s").next_after(&Zone::UTC, at("1969-12-31T23:59:58.5Z"));
    assert_eq!(before_epoch, Some(Timestamp::UNIX_EPOCH));
}

#[test]
fn refuses_and_says_why() {
    let cases = [
        ("", "it is empty"),
        ("1 2 3", "3 fields"),
        ("* * * * * * *", "7 fields"),
        ("60 * * * *", "the minute \"60\" is not 0-59"),
        ("60 * * * * *", "the second \"60\" is not 0-59"),
        ("0 24 * * *", "the hour \"24\" is not 0-23"),
        ("0 0 0 * *", "the day of month \"0\""),
        ("0 0 * 13 *", "the month \"13\""),
        ("0 0 * * 8", "the day of week \"8\""),
        ("0 0 * * FRI-MON", "the day of week \"FRI-MON\""),
        ("*/0 * * * *", "the minute \"*/0\""),
        ("5/10 * * * *", "the minute \"5/10\""),
        ("é * * * *", "the minute \"é\""),
        ("0 0 30 2 *", "never comes"),
        ("0 0 31 2,4,6,9,11 *", "never comes"),
        ("@reboot", "no such name"),
        ("@", "no such name"),
        ("every", "1 fields"),
        ("every day", "day"),
        ("every 500ms", "shorter than 1s"),
        ("every 0s", "shorter than 1s"),
        ("every -5s", "negative"),
        ("every 1s1ns", "finer than a microsecond"),
    ];
    for (text, expected) in cases {
        let error = Schedule::parse(text).unwrap_err();
        assert!(error.to_string().contains(expected), "{text}: {error}");
        assert!(
            error.hint().contains("every 10s") && error.hint().contains("@hourly"),
            "{text}"
        );
    }
    assert!(Schedule::parse(&"* ".repeat(1_000_000)).is_err());
}

#[test]
fn zones_by_name() {
    for name in [
        "UTC",
        "Etc/UTC",
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "Asia/Kathmandu",
    ] {
        assert_eq!(Zone::parse(name).unwrap().to_string(), name);
    }
    assert_eq!(
        Zone::parse("europe/berlin").unwrap().name(),
        "Europe/Berlin"
    );
    for name in [
        "",
        "Mars/Olympus",
        "+02:00",
        "CET-1CEST",
        "Etc/Unknown",
        "../../etc/passwd",
        &"x".repeat(100_000),
    ] {
        let error = Zone::parse(name).unwrap_err();
        assert!(error.hint().contains("Europe/Berlin"), "{error}");
    }
}

#[test]
fn the_calendar_ends_without_a_panic() {
    let berlin = Zone::parse("Europe/Berlin").unwrap();
    for text in ["* * * * *", "0 2 * * *", "every 10s", "0 0 29 2 *"] {
        let schedule = schedule(text);
        assert_eq!(schedule.next_after(&berlin, Timestamp::MAX), None, "{text}");
        // What comes before is unspecified beyond the years people schedule for, but it comes to an end.
        let _ = schedule.next_after(&berlin, Timestamp::MIN);
        let _ = schedule.last_until(&berlin, Timestamp::MIN);
        let _ = schedule.last_until(&berlin, Timestamp::MAX);
    }
}

#[test]
fn the_newest_are_found_without_walking_the_outage() {
    let schedule = schedule("* * * * * *");
    let (after, until) = (at("1975-01-01T00:00:00Z"), at("2025-01-01T00:00:00Z"));
    let newest = schedule.newest_between(&Zone::UTC, after, until, 3);
    assert_eq!(
        newest,
        [
            at("2024-12-31T23:59:58Z"),
            at("2024-12-31T23:59:59Z"),
            until
        ]
    );
    let oldest = schedule.due_between(&Zone::UTC, after, until, 2);
    assert_eq!(
        oldest,
        [at("1975-01-01T00:00:01Z"), at("1975-01-01T00:00:02Z")]
    );
    assert!(
        schedule
            .due_between(&Zone::UTC, until, after, 10)
            .is_empty()
    );
    assert!(
        schedule
            .newest_between(&Zone::UTC, until, after, 10)
            .is_empty()
    );
    assert!(
        schedule
            .due_between(&Zone::UTC, until, until, 10)
            .is_empty()
    );
    assert!(
        schedule
            .newest_between(&Zone::UTC, after, until, 0)
            .is_empty()
    );
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,30}|([0-9*/,LW#?+A-Z-]{1,4} ){4,6}|@[a-z]{0,8}|every [0-9a-z]{0,6}") {
        if let Ok(schedule) = Schedule::parse(&text) {
            let now = at("2025-06-01T12:00:00Z");
            let next = schedule.next_after(&Zone::UTC, now);
            prop_assert!(next.is_some_and(|next| next > now), "{}", text);
            prop_assert_eq!(schedule.last_until(&Zone::UTC, next.unwrap()), next, "{}", text);
        }
    }

    #[test]
    fn every_steps_by_its_period(seconds in 1i64..1_000_000, after in -10_000_000_000i64..10_000_000_000, nanos in 0i32..1_000_000_000) {
        let schedule = schedule(&format!("every {seconds}s"));
        let after = Timestamp::new(after, nanos).unwrap();
        let next = schedule.next_after(&Zone::UTC, after).unwrap();
        let last = schedule.last_until(&Zone::UTC, after).unwrap();
        prop_assert!(last <= after && after < next);
        prop_assert_eq!(next.as_second() - last.as_second(), seconds);
        prop_assert_eq!((next.as_second().rem_euclid(seconds), next.subsec_nanosecond()), (0, 0));
    }
}
