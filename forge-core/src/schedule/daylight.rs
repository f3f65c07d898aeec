//! From clock times to instants: what a zone's changes of offset do to a schedule.
//!
//! A *fixed* schedule is a set of clock times, each mapped to one instant: itself where it exists, the first
//! of its two instants where the clock repeats it, the end of the gap where the clock skips it. That mapping
//! never decreases, so the next instant belongs to the next clock time, once a repeated stretch is left out.
//!
//! A *wildcard* schedule is a set of instants: those at which the clock shows a matching time. Between two
//! changes of offset clock and instants run in step, so the search goes from stretch to stretch.
//!
//! Invariant: every loop here is bounded; running out of its bound answers `None`.

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use super::fields::Fields;

/// More than any search needs: rare dates come within 40 years, and a stretch without a match is left in
/// one step.
const MAX_STEPS: usize = 1_000;

/// Longer than any two offsets in the world are apart.
const MARGIN: SignedDuration = SignedDuration::from_hours(52);

const SECOND: SignedDuration = SignedDuration::from_secs(1);
const NANOSECOND: SignedDuration = SignedDuration::from_nanos(1);

/// The first instant strictly after `after`.
pub(super) fn next_after(fields: &Fields, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    if fields.is_wildcard() {
        next_wildcard(fields, zone, after)
    } else {
        next_fixed(fields, zone, after)
    }
}

/// The last instant at or before `until`.
pub(super) fn last_until(fields: &Fields, zone: &TimeZone, until: Timestamp) -> Option<Timestamp> {
    if fields.is_wildcard() {
        last_wildcard(fields, zone, until)
    } else {
        last_fixed(fields, zone, until)
    }
}

fn next_fixed(fields: &Fields, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    let (mut from, mut inclusive) = match end_of_second_pass(zone, after) {
        // All clock times up to the end of the repeated stretch have had their instant.
        Some(end) => (end, true),
        None => (clock(zone, after), false),
    };
    for _ in 0..MAX_STEPS {
        from = fields.next(from, inclusive)?;
        inclusive = false;
        let instant = fixed_instant(zone, from)?;
        if instant > after {
            return Some(instant);
        }
    }
    None
}

fn last_fixed(fields: &Fields, zone: &TimeZone, until: Timestamp) -> Option<Timestamp> {
    let (mut from, mut inclusive) = match end_of_second_pass(zone, until) {
        Some(end) => (end, false),
        None => (clock(zone, until), true),
    };
    for _ in 0..MAX_STEPS {
        from = fields.previous(from, inclusive)?;
        inclusive = false;
        let instant = fixed_instant(zone, from)?;
        if instant <= until {
            return Some(instant);
        }
    }
    None
}

fn next_wildcard(fields: &Fields, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    let mut from = after;
    let mut inclusive = false;
    for _ in 0..MAX_STEPS {
        let offset = zone.to_offset(from);
        let time = fields.next(whole_second(offset.to_datetime(from)), inclusive)?;
        let instant = offset.to_timestamp(time).ok()?;
        let change = zone.following(from).next().map(|change| change.timestamp());
        let Some(change) = change.filter(|change| *change <= instant) else {
            return Some(instant);
        };
        // Nothing matches on the clock before `time`. Far from the change everything until shortly before
        // `time` can be skipped; near it, the clock may go back to times before `from`.
        let skip = if change.duration_since(from) > MARGIN {
            instant.checked_sub(MARGIN).ok()?
        } else {
            change
        };
        from = change.max(skip);
        inclusive = true;
    }
    None
}

fn last_wildcard(fields: &Fields, zone: &TimeZone, until: Timestamp) -> Option<Timestamp> {
    let mut from = until;
    for _ in 0..MAX_STEPS {
        let offset = zone.to_offset(from);
        let time = fields.previous(whole_second(offset.to_datetime(from)), true)?;
        let instant = offset.to_timestamp(time).ok()?;
        let Some(change) = change_until(zone, from).filter(|change| *change > instant) else {
            return Some(instant);
        };
        let before = change.checked_sub(SECOND).ok()?;
        let skip = if from.duration_since(change) > MARGIN {
            instant.checked_add(MARGIN).ok()?
        } else {
            before
        };
        from = before.min(skip);
    }
    None
}

/// The instant of a clock time of a fixed schedule.
fn fixed_instant(zone: &TimeZone, time: DateTime) -> Option<Timestamp> {
    match zone.to_ambiguous_timestamp(time).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(time).ok(),
        // The offset before the clock went back gives the first of the two.
        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(time).ok(),
        AmbiguousOffset::Gap { after, .. } => {
            // Read with the offset after the gap, a missing time lies shortly before the change.
            let shortly_before = after.to_timestamp(time).ok()?;
            zone.following(shortly_before)
                .next()
                .map(|change| change.timestamp())
        }
    }
}

/// When the clock at `at` shows a time for the second time: the clock time at which the repetition ends.
fn end_of_second_pass(zone: &TimeZone, at: Timestamp) -> Option<DateTime> {
    let offset = zone.to_offset(at);
    match zone.to_ambiguous_timestamp(offset.to_datetime(at)).offset() {
        AmbiguousOffset::Fold { before, after } if after == offset => {
            Some(before.to_datetime(change_until(zone, at)?))
        }
        _ => None,
    }
}

/// The last change of offset at or before `at`.
fn change_until(zone: &TimeZone, at: Timestamp) -> Option<Timestamp> {
    let just_after = at.checked_add(NANOSECOND).ok()?;
    zone.preceding(just_after)
        .next()
        .map(|change| change.timestamp())
}

/// What the clock shows at `at`, without the fraction of a second.
fn clock(zone: &TimeZone, at: Timestamp) -> DateTime {
    whole_second(zone.to_datetime(at))
}

fn whole_second(time: DateTime) -> DateTime {
    // Dropping a fraction cannot leave the range of civil times.
    time.with().subsec_nanosecond(0).build().unwrap_or(time)
}
