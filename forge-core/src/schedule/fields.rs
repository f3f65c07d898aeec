//! Cron fields over plain clock times, without any zone.
//!
//! The crate croner reads the fields and searches the calendar; it is asked about civil times only, where
//! no time is missing or repeated. What a zone makes of them is decided in `daylight`, because croner's own
//! zone handling differs from ours: a list of hours such as `30 1,2 * * *` counts as wildcard there and fires
//! twice when the clock repeats the hour, and a gap longer than two hours ends its search with an error.
//!
//! Invariant: parsed fields match infinitely many dates, so a search within the calendar ends.

use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use croner::{Cron, Weekday};
use jiff::civil::{self, DateTime};

/// What each field is called and takes, in order.
const FIELDS: [(&str, &str); 6] = [
    ("second", "0-59"),
    ("minute", "0-59"),
    ("hour", "0-23"),
    ("day of month", "1-31, L or W"),
    ("month", "1-12 or JAN-DEC"),
    ("day of week", "0-7 or SUN-SAT, with L or #"),
];

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
            .map_err(|error| refusal(&parser, &parts, &error))?;
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

/// Names the first field that is wrong: croner's own message does not say which it is.
fn refusal(parser: &CronParser, parts: &[&str], error: &CronError) -> String {
    let names = &FIELDS[FIELDS.len() - parts.len()..];
    for (index, (name, accepted)) in names.iter().enumerate() {
        let mut only = vec!["*"; parts.len()];
        only[index] = parts[index];
        if parser.parse(&only.join(" ")).is_err() {
            let field = parts[index];
            return format!(
                "the {name} \"{field}\" is not {accepted}, a range a-b, a list a,b or a step */n or a-b/n"
            );
        }
    }
    error.to_string()
}
