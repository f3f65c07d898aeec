//! Every zone's changes of offset against a slow reading of the rules: look at each minute of a few days.

use std::collections::BTreeMap;

use jiff::civil::DateTime;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp, ToSpan};
use proptest::prelude::*;

use super::super::{Schedule, Zone};

/// A field as text, and the values it stands for, found without the parser under test.
#[derive(Debug, Clone)]
struct Field {
    text: String,
    values: Vec<i8>,
    wildcard: bool,
}

/// A field over `0..size`.
fn field(size: i8) -> impl Strategy<Value = Field> {
    let star = Just(Field {
        text: "*".into(),
        values: (0..size).collect(),
        wildcard: true,
    });
    let step = (1..=size / 2).prop_map(move |step| Field {
        text: format!("*/{step}"),
        values: (0..size).step_by(step as usize).collect(),
        wildcard: true,
    });
    let range = (0..size, 0..size).prop_map(|(a, b)| Field {
        text: format!("{}-{}", a.min(b), a.max(b)),
        values: (a.min(b)..=a.max(b)).collect(),
        wildcard: false,
    });
    let stepped = (0..size, 0..size, 1..6i8).prop_map(|(a, b, step)| Field {
        text: format!("{}-{}/{step}", a.min(b), a.max(b)),
        values: (a.min(b)..=a.max(b)).step_by(step as usize).collect(),
        wildcard: true,
    });
    let list = proptest::collection::vec(0..size, 1..4).prop_map(|values| Field {
        text: values
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(","),
        values,
        wildcard: false,
    });
    // Most changes are in the small hours, so look there more often.
    let early = (0..4i8).prop_map(|value| Field {
        text: value.to_string(),
        values: vec![value],
        wildcard: false,
    });
    prop_oneof![1 => star, 1 => step, 1 => range, 1 => stepped, 2 => list, 2 => early]
}

/// A zone and one of its changes, by index among those since 1970.
fn change() -> impl Strategy<Value = (Zone, Timestamp)> {
    let names: Vec<String> = TimeZoneDatabase::bundled()
        .available()
        .map(|name| name.to_string())
        .collect();
    (
        proptest::sample::select(names),
        any::<prop::sample::Index>(),
    )
        .prop_filter_map("a zone that never changed", |(name, index)| {
            let zone = Zone::parse(&name).ok()?;
            let until: Timestamp = "2045-01-01T00:00:00Z".parse().ok()?;
            let changes: Vec<_> = zone
                .rules()
                .following(Timestamp::UNIX_EPOCH)
                .map(|change| change.timestamp())
                .take_while(|at| *at < until)
                .collect();
            let at = *(!changes.is_empty()).then(|| index.get(&changes))?;
            // The reading below looks at whole minutes.
            let offset = |at| zone.rules().to_offset(at).seconds();
            let whole = [
                i64::from(offset(at)),
                i64::from(offset(at - 1.second())),
                at.as_second(),
            ]
            .iter()
            .all(|n| n % 60 == 0);
            whole.then(|| (zone.clone(), at))
        })
}

/// All weekdays, some, or (`None`) that of the change.
fn weekdays() -> impl Strategy<Value = Option<Vec<i8>>> {
    prop_oneof![
        2 => Just(Some((0..7).collect())),
        1 => proptest::collection::vec(0i8..7, 1..4).prop_map(Some),
        2 => Just(None),
    ]
}

/// A moment to ask about, relative to the change: on it, near it, or within two days of it.
fn moment() -> impl Strategy<Value = SignedDuration> {
    prop_oneof![
        1 => Just(SignedDuration::ZERO),
        3 => (-24i64..=24).prop_map(|tenths| SignedDuration::from_mins(tenths * 10)),
        // A fraction of a second, so that questions are asked between two instants as well as on one.
        3 => (-172_800_000i64..=172_800_000).prop_map(SignedDuration::from_millis),
    ]
}

/// The minutes from three days before to three days after, with what the clock shows.
fn minutes(zone: &TimeZone, around: Timestamp) -> Vec<(Timestamp, DateTime)> {
    (-4_320..=4_320)
        .map(|minute| around + SignedDuration::from_mins(minute))
        .map(|at| (at, zone.to_datetime(at)))
        .collect()
}

/// All instants of the schedule within the minutes.
fn expected(
    minutes: &[(Timestamp, DateTime)],
    matches: impl Fn(DateTime) -> bool,
    wildcard: bool,
) -> Vec<Timestamp> {
    if wildcard {
        return minutes
            .iter()
            .filter(|(_, clock)| matches(*clock))
            .map(|(at, _)| *at)
            .collect();
    }
    let mut first = BTreeMap::new();
    for (at, clock) in minutes {
        first.entry(*clock).or_insert(*at);
    }
    let mut instants = Vec::new();
    let mut clock = minutes[0].1;
    while clock <= minutes[minutes.len() - 1].1 {
        if matches(clock) {
            // A skipped time belongs to the first minute at which the clock is past it.
            let end_of_gap = || {
                minutes
                    .iter()
                    .find(|(_, shown)| *shown > clock)
                    .map(|(at, _)| *at)
            };
            instants.extend(first.get(&clock).copied().or_else(end_of_gap));
        }
        clock += 1.minute();
    }
    instants.dedup();
    instants
}

proptest! {
    #[test]
    fn agrees_with_looking_at_every_minute(
        (zone, around) in change(),
        minute in field(60),
        hour in field(24),
        weekdays in weekdays(),
        (after, until) in (moment(), moment()),
        limit in 1usize..20,
    ) {
        let weekdays = weekdays.unwrap_or_else(|| {
            // The day of the change: the nearest other match is then days away.
            vec![zone.rules().to_datetime(around - 1.hour()).weekday().to_sunday_zero_offset()]
        });
        let days = if weekdays.len() == 7 { "*".to_owned() } else {
            weekdays.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        };
        let schedule = Schedule::parse(&format!("{} {} * * {days}", minute.text, hour.text)).unwrap();
        let matches = |clock: DateTime| {
            minute.values.contains(&clock.minute())
                && hour.values.contains(&clock.hour())
                && weekdays.contains(&clock.weekday().to_sunday_zero_offset())
        };
        let minutes = minutes(zone.rules(), around);
        let all = expected(&minutes, matches, minute.wildcard || hour.wildcard);
        let (after, until) = (around + after.min(until), around + after.max(until));
        let all: Vec<_> = all.into_iter().filter(|at| after < *at && *at <= until).collect();

        prop_assert_eq!(&schedule.due_between(&zone, after, until, usize::MAX), &all, "{} {}", schedule, zone);
        prop_assert_eq!(&schedule.newest_between(&zone, after, until, usize::MAX), &all, "{} {}", schedule, zone);
        let oldest: Vec<_> = all.iter().take(limit).copied().collect();
        prop_assert_eq!(schedule.due_between(&zone, after, until, limit), oldest);
        let newest = all[all.len().saturating_sub(limit)..].to_vec();
        prop_assert_eq!(schedule.newest_between(&zone, after, until, limit), newest);
    }

    /// Forwards and backwards agree everywhere, not only near changes.
    #[test]
    fn backwards_is_the_inverse_of_forwards(
        (zone, around) in change(),
        minute in field(60),
        hour in field(24),
        day in prop_oneof![Just("*".to_owned()), (1u8..=28).prop_map(|day| day.to_string())],
        offset in -400i64 * 86_400..400 * 86_400,
    ) {
        let schedule = Schedule::parse(&format!("{} {} {day} * *", minute.text, hour.text)).unwrap();
        let after = around + offset.seconds();
        let next = schedule.next_after(&zone, after).unwrap();
        prop_assert!(next > after);
        prop_assert_eq!(schedule.last_until(&zone, next), Some(next));
        let last = schedule.last_until(&zone, next - 1.nanosecond()).unwrap();
        prop_assert!(last <= after);
        prop_assert_eq!(schedule.next_after(&zone, last), Some(next));
    }
}
