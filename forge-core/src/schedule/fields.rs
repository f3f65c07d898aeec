//! Cron fields over plain clock times, without any zone.
//!
//! The crate croner reads the fields and searches the calendar; it is asked about civil times only, where
//! no time is missing or repeated. What a zone makes of them is decided in `daylight`, because croner's own
//! zone handling differs from ours (a list such as `0 2,3 * * *` counts as wildcard there, and a time
//! moved out of a gap is lost when that changes its date).
//!
//! Invariant: parsed fields match infinitely many dates, so a search within the calendar ends.

use croner::parser::{CronParser, Seconds, Year};
use croner::{Cron, Weekday};
use jiff::civil::{self, DateTime};

/// Parsed fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fields {
    cron: Cron,
    wildcard: bool,
}

impl Fields {
    /// Reads five fields, or six with seconds in front.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split_ascii_whitespace().collect();
        let (minute, hour) = match parts.as_slice() {
            [minute, hour, _, _, _] | [_, minute, hour, _, _, _] => (*minute, *hour),
            [] => return Err("it is empty".into()),
            other => return Err(format!("it has {} fields instead of 5 or 6", other.len())),
        };
        let wildcard = [minute, hour]
            .iter()
            .any(|field| field.contains(['*', '/']));
        let parser = CronParser::builder()
            .seconds(Seconds::Optional)
            .year(Year::Disallowed)
            .build();
        let cron = parser
            .parse(&parts.join(" "))
            .map_err(|error| error.to_string())?;
        let fields = Self { cron, wildcard };
        if fields.has_a_date() {
            Ok(fields)
        } else {
            Err("it names a date that never comes".into())
        }
    }

    /// Whether minute or hour has a `*` or a step.
    pub(super) fn is_wildcard(&self) -> bool {
        self.wildcard
    }

    /// The first matching time after `from`, or at it when `inclusive`. `from` has no fraction of a second.
    pub(super) fn next(&self, from: DateTime, inclusive: bool) -> Option<DateTime> {
        self.cron.find_next_occurrence(&from, inclusive).ok()
    }

    /// The last matching time before `from`, or at it when `inclusive`. `from` has no fraction of a second.
    pub(super) fn previous(&self, from: DateTime, inclusive: bool) -> Option<DateTime> {
        self.cron.find_previous_occurrence(&from, inclusive).ok()
    }

    /// Whether any day matches. Leap years and weekdays repeat every 28 years within a century, so a day
    /// that does not come in 28 of them never comes.
    fn has_a_date(&self) -> bool {
        let first_day = |year, month| civil::Date::new(year, month, 1).ok();
        (2000..2028)
            .flat_map(|year| (1..=12).filter_map(move |month| first_day(year, month)))
            .filter(|first| {
                self.cron
                    .pattern
                    .month_match(first.month() as u32)
                    .unwrap_or(false)
            })
            .flat_map(|first| {
                first
                    .series(jiff::Span::new().days(1))
                    .take(first.days_in_month() as usize)
            })
            .any(|day| self.has_day(day))
    }

    fn has_day(&self, day: civil::Date) -> bool {
        let weekday = Weekday::from_days_from_sunday(day.weekday().to_sunday_zero_offset() as u32);
        self.cron
            .pattern
            .day_match(
                i32::from(day.year()),
                day.month() as u32,
                day.day() as u32,
                weekday,
            )
            .unwrap_or(false)
    }
}
