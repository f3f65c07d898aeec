//! Schedules: the daylight-saving rules on real changes, the parser, and the searches against each other.

use super::*;

fn next(schedule: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let schedule = Schedule::parse(schedule).unwrap();
    let zone = Zone::parse(zone).unwrap();
    let far = Timestamp::MAX;
    let found = schedule.due_between(&zone, after.parse().unwrap(), far, count);
    found
        .iter()
        .map(|at| {
            at.to_zoned(zone.rules().clone())
                .strftime("%F %T%:z")
                .to_string()
        })
        .collect()
}

#[test]
fn berlin_gap_and_overlap() {
    let got = next("30 2 * * *", "Europe/Berlin", "2024-03-30T12:00:00Z", 2);
    assert_eq!(
        got,
        ["2024-03-31 03:00:00+02:00", "2024-04-01 02:30:00+02:00"]
    );
    let got = next("30 2 * * *", "Europe/Berlin", "2024-10-26T12:00:00Z", 2);
    assert_eq!(
        got,
        ["2024-10-27 02:30:00+02:00", "2024-10-28 02:30:00+01:00"]
    );
    let got = next("30 * * * *", "Europe/Berlin", "2024-10-26T23:00:00Z", 4);
    assert_eq!(got.len(), 4, "{got:?}");
    assert_eq!(got[1], "2024-10-27 02:30:00+02:00", "{got:?}");
    assert_eq!(got[2], "2024-10-27 02:30:00+01:00", "{got:?}");
}
