//! The daylight-saving rules on real changes of real zones, written out.

use super::super::Zone;
use super::{at, next, schedule};

#[test]
fn a_fixed_time_in_a_gap_fires_once_at_its_end() {
    // Schedule, zone, after, the next instants.
    let cases: [(&str, &str, &str, &[&str]); 10] = [
        // Europe: 02:00 becomes 03:00.
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2024-03-30T12:00:00Z",
            &["2024-03-31 03:00:00+02:00", "2024-04-01 02:30:00+02:00"],
        ),
        // America: 02:00 becomes 03:00.
        (
            "15 2 * * *",
            "America/New_York",
            "2024-03-09T12:00:00Z",
            &["2024-03-10 03:00:00-04:00", "2024-03-11 02:15:00-04:00"],
        ),
        // Half an hour: 02:00 becomes 02:30.
        (
            "10 2 * * *",
            "Australia/Lord_Howe",
            "2024-10-05T12:00:00Z",
            &["2024-10-06 02:30:00+11:00", "2024-10-07 02:10:00+11:00"],
        ),
        (
            "30 2 * * *",
            "Australia/Lord_Howe",
            "2024-10-05T12:00:00Z",
            &["2024-10-06 02:30:00+11:00", "2024-10-07 02:30:00+11:00"],
        ),
        // South: 02:00 becomes 03:00 in October.
        (
            "30 2 * * *",
            "Australia/Sydney",
            "2024-10-05T12:00:00Z",
            &["2024-10-06 03:00:00+11:00", "2024-10-07 02:30:00+11:00"],
        ),
        // At midnight: 00:00 becomes 01:00.
        (
            "0 0 * * *",
            "America/Sao_Paulo",
            "2018-11-03T12:00:00Z",
            &["2018-11-04 01:00:00-02:00", "2018-11-05 00:00:00-02:00"],
        ),
        (
            "@daily",
            "Africa/Cairo",
            "2023-04-27T12:00:00Z",
            &["2023-04-28 01:00:00+03:00", "2023-04-29 00:00:00+03:00"],
        ),
        // A whole day: 2011-12-30 did not happen.
        (
            "0 12 * * *",
            "Pacific/Apia",
            "2011-12-29T12:00:00Z",
            &[
                "2011-12-29 12:00:00-10:00",
                "2011-12-31 00:00:00+14:00",
                "2011-12-31 12:00:00+14:00",
            ],
        ),
        (
            "0 12 30 12 *",
            "Pacific/Apia",
            "2011-01-01T00:00:00Z",
            &["2011-12-31 00:00:00+14:00", "2012-12-30 12:00:00+14:00"],
        ),
        // Two hours.
        (
            "30 1,2 * * *",
            "Antarctica/Troll",
            "2024-03-30T12:00:00Z",
            &["2024-03-31 03:00:00+02:00", "2024-04-01 01:30:00+02:00"],
        ),
    ];
    for (text, zone, after, expected) in cases {
        assert_eq!(
            next(text, zone, after, expected.len()),
            expected,
            "{text} {zone}"
        );
    }
}

#[test]
fn what_falls_on_the_end_of_a_gap_fires_once() {
    let got = next("0 2,3 * * *", "Europe/Berlin", "2024-03-30T12:00:00Z", 2);
    assert_eq!(
        got,
        ["2024-03-31 03:00:00+02:00", "2024-04-01 02:00:00+02:00"]
    );
    let got = next(
        "*/20 15,45 2 * * *",
        "Europe/Berlin",
        "2024-03-30T12:00:00Z",
        2,
    );
    assert_eq!(
        got,
        ["2024-03-31 03:00:00+02:00", "2024-04-01 02:15:00+02:00"]
    );
    let got = next(
        "0 0,1 * * *",
        "America/Sao_Paulo",
        "2018-11-03T12:00:00Z",
        2,
    );
    assert_eq!(
        got,
        ["2018-11-04 01:00:00-02:00", "2018-11-05 00:00:00-02:00"]
    );
}

#[test]
fn a_time_beside_a_gap_is_left_alone() {
    let got = next("59 1 * * *", "Europe/Berlin", "2024-03-30T12:00:00Z", 2);
    assert_eq!(
        got,
        ["2024-03-31 01:59:00+01:00", "2024-04-01 01:59:00+02:00"]
    );
    let got = next("0 3 * * *", "Europe/Berlin", "2024-03-30T12:00:00Z", 2);
    assert_eq!(
        got,
        ["2024-03-31 03:00:00+02:00", "2024-04-01 03:00:00+02:00"]
    );
}

#[test]
fn a_fixed_time_in_an_overlap_fires_at_its_first() {
    let cases: [(&str, &str, &str, &[&str]); 8] = [
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2024-10-26T12:00:00Z",
            &["2024-10-27 02:30:00+02:00", "2024-10-28 02:30:00+01:00"],
        ),
        (
            "30 1 * * *",
            "America/New_York",
            "2024-11-02T12:00:00Z",
            &["2024-11-03 01:30:00-04:00", "2024-11-04 01:30:00-05:00"],
        ),
        (
            "45 1 * * *",
            "Australia/Lord_Howe",
            "2024-04-06T00:00:00Z",
            &["2024-04-07 01:45:00+11:00", "2024-04-08 01:45:00+10:30"],
        ),
        (
            "30 2 * * *",
            "Australia/Sydney",
            "2024-04-06T00:00:00Z",
            &["2024-04-07 02:30:00+11:00", "2024-04-08 02:30:00+10:00"],
        ),
        // The evening is repeated: 24:00 becomes 23:00.
        (
            "30 23 * * *",
            "America/Sao_Paulo",
            "2018-02-17T12:00:00Z",
            &["2018-02-17 23:30:00-02:00", "2018-02-18 23:30:00-03:00"],
        ),
        (
            "0 0 * * *",
            "America/Sao_Paulo",
            "2018-02-17T12:00:00Z",
            &["2018-02-18 00:00:00-03:00", "2018-02-19 00:00:00-03:00"],
        ),
        (
            "30 23 * * *",
            "Africa/Cairo",
            "2023-10-26T12:00:00Z",
            &["2023-10-26 23:30:00+03:00", "2023-10-27 23:30:00+02:00"],
        ),
        // A list is fixed as well, and the first time of the pass decides.
        (
            "0,30 1-2 * * *",
            "Europe/Berlin",
            "2024-10-26T22:30:00Z",
            &[
                "2024-10-27 01:00:00+02:00",
                "2024-10-27 01:30:00+02:00",
                "2024-10-27 02:00:00+02:00",
                "2024-10-27 02:30:00+02:00",
                "2024-10-28 01:00:00+01:00",
            ],
        ),
    ];
    for (text, zone, after, expected) in cases {
        assert_eq!(
            next(text, zone, after, expected.len()),
            expected,
            "{text} {zone}"
        );
    }
}

#[test]
fn asking_during_the_second_pass_does_not_repeat_a_fixed_time() {
    // 02:10 for the second time.
    let got = next("30 2 * * *", "Europe/Berlin", "2024-10-27T01:10:00Z", 1);
    assert_eq!(got, ["2024-10-28 02:30:00+01:00"]);
    let got = next("0 3 * * *", "Europe/Berlin", "2024-10-27T01:10:00Z", 1);
    assert_eq!(got, ["2024-10-27 03:00:00+01:00"]);
}

#[test]
fn a_wildcard_schedule_follows_elapsed_time() {
    let cases: [(&str, &str, &str, &[&str]); 9] = [
        (
            "30 * * * *",
            "Europe/Berlin",
            "2024-03-31T00:00:00Z",
            &["2024-03-31 01:30:00+01:00", "2024-03-31 03:30:00+02:00"],
        ),
        (
            "*/30 * * * *",
            "Europe/Berlin",
            "2024-03-31T00:15:00Z",
            &["2024-03-31 01:30:00+01:00", "2024-03-31 03:00:00+02:00"],
        ),
        (
            "30 * * * *",
            "Europe/Berlin",
            "2024-10-26T23:45:00Z",
            &[
                "2024-10-27 02:30:00+02:00",
                "2024-10-27 02:30:00+01:00",
                "2024-10-27 03:30:00+01:00",
            ],
        ),
        (
            "@hourly",
            "America/New_York",
            "2024-11-03T04:30:00Z",
            &[
                "2024-11-03 01:00:00-04:00",
                "2024-11-03 01:00:00-05:00",
                "2024-11-03 02:00:00-05:00",
            ],
        ),
        // Half an hour is repeated: only what the clock shows again fires again.
        (
            "*/15 * * * *",
            "Australia/Lord_Howe",
            "2024-04-06T14:20:00Z",
            &[
                "2024-04-07 01:30:00+11:00",
                "2024-04-07 01:45:00+11:00",
                "2024-04-07 01:30:00+10:30",
                "2024-04-07 01:45:00+10:30",
                "2024-04-07 02:00:00+10:30",
            ],
        ),
        (
            "@hourly",
            "Australia/Lord_Howe",
            "2024-10-05T14:45:00Z",
            &["2024-10-06 03:00:00+11:00"],
        ),
        // The missing hour does not fire at all, the repeated one twice, whatever else restricts them.
        (
            "0-30/15 2 * * *",
            "Europe/Berlin",
            "2024-03-30T12:00:00Z",
            &["2024-04-01 02:00:00+02:00"],
        ),
        (
            "*/30 2 27 10 *",
            "Europe/Berlin",
            "2024-01-01T00:00:00Z",
            &[
                "2024-10-27 02:00:00+02:00",
                "2024-10-27 02:30:00+02:00",
                "2024-10-27 02:00:00+01:00",
                "2024-10-27 02:30:00+01:00",
                "2025-10-27 02:00:00+01:00",
            ],
        ),
        (
            "0 */2 * * *",
            "America/Sao_Paulo",
            "2018-11-04T02:00:00Z",
            &["2018-11-04 02:00:00-02:00", "2018-11-04 04:00:00-02:00"],
        ),
    ];
    for (text, zone, after, expected) in cases {
        assert_eq!(
            next(text, zone, after, expected.len()),
            expected,
            "{text} {zone}"
        );
    }
}

#[test]
fn looking_back_sees_both_passes() {
    let berlin = Zone::parse("Europe/Berlin").unwrap();
    let last = |text: &str, until: &str| schedule(text).last_until(&berlin, at(until)).unwrap();
    // From 02:10 of the second pass: 02:50 of the first, not last year's.
    assert_eq!(
        last("30-50/10 2 27 10 *", "2024-10-27T01:10:00Z"),
        at("2024-10-27T00:50:00Z")
    );
    assert_eq!(
        last("30,50 2 27 10 *", "2024-10-27T01:10:00Z"),
        at("2024-10-27T00:50:00Z")
    );
    // From the change itself, at which the clock shows 02:00 again.
    assert_eq!(
        last("30 * * * *", "2024-10-27T01:00:00Z"),
        at("2024-10-27T00:30:00Z")
    );
    assert_eq!(
        last("30 2 * * *", "2024-10-27T01:00:00Z"),
        at("2024-10-27T00:30:00Z")
    );
    assert_eq!(
        last("30 2 * * *", "2024-03-31T01:00:00Z"),
        at("2024-03-31T01:00:00Z")
    );
    assert_eq!(
        last("30 2 * * *", "2024-03-31T00:59:59Z"),
        at("2024-03-30T01:30:00Z")
    );
}
