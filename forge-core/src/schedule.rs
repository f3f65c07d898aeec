//! Schedules: which instants a text such as `0 2 * * *`, `@hourly` or `every 10s` names in a time zone.
//!
//! Accepted: five cron fields (minute, hour, day of month, month, day of week), six with seconds in front,
//! `@yearly @annually @monthly @weekly @daily @midnight @hourly`, and `every DURATION`. Names of months and
//! weekdays, and the modifiers `L`, `W`, `#` of the day fields work. When day of month and day of week are both
//! restricted either may match; a `+` before the day of week asks for both.
//!
//! Daylight saving. A schedule is a *wildcard* schedule when its minute or its hour has a `*` or a step
//! (`*/15`, `0-30/10`); otherwise it is *fixed*.
//! - A fixed time that the clock skips fires once, at the first instant after the gap, together with
//!   everything else that falls there; a fixed time that the clock repeats fires at its first occurrence only.
//! - A wildcard schedule follows elapsed time: it fires whenever the clock shows a matching time, so in both
//!   repeated hours and not in the missing one.
//! - `every` ignores clocks: its instants are the multiples of the period since 1970-01-01 00:00:00 UTC.
//!
//! Invariants: instants are strictly increasing; the same question has the same answer on every machine
//! (zone rules are compiled in); every search ends, and dates that never come are refused by the parser.

mod daylight;
mod fields;
mod zone;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;

use crate::duration;
use crate::invalid::Invalid;
use fields::Fields;
pub use zone::Zone;

/// Longest text read, in bytes.
const MAX_TEXT: usize = 512;

/// The shortest period of `every`.
const MIN_PERIOD: Duration = Duration::from_secs(1);

const HINT: &str = "use five cron fields (\"30 2 * * *\"), six with seconds in front, a name (@yearly, @annually, \
                    @monthly, @weekly, @daily, @midnight, @hourly), or \"every 10s\"";

/// A parsed schedule. It knows no zone and no present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    text: String,
    rule: Rule,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    Cron(Box<Fields>),
    /// Nanoseconds between instants.
    Every(i128),
}

impl Schedule {
    /// Reads a schedule.
    ///
    /// # Errors
    /// [`Invalid`] naming the text: not one of the forms, a field out of range, a date that never comes, a
    /// period below one second.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let fail = |problem: String| Invalid::new("schedule", text, problem, HINT);
        let trimmed = text.trim();
        if trimmed.len() > MAX_TEXT {
            return Err(fail(format!("longer than {MAX_TEXT} characters")));
        }
        let rule = match period_of(trimmed) {
            Some(period) => Rule::Every(every(period).map_err(fail)?),
            None => {
                let cron = if trimmed.starts_with('@') {
                    named(trimmed).map_err(fail)?
                } else {
                    trimmed
                };
                Rule::Cron(Box::new(Fields::parse(cron).map_err(fail)?))
            }
        };
        Ok(Self {
            text: trimmed.to_owned(),
            rule,
        })
    }

    /// The text it was parsed from, without spaces around it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The first instant strictly after `after`; `None` when there is none before the calendar ends.
    pub fn next_after(&self, zone: &Zone, after: Timestamp) -> Option<Timestamp> {
        match &self.rule {
            Rule::Cron(fields) => daylight::next_after(fields, zone.rules(), after),
            Rule::Every(period) => {
                let steps = after.as_nanosecond().div_euclid(*period) + 1;
                Timestamp::from_nanosecond(steps * period).ok()
            }
        }
    }

    /// The last instant at or before `until`; `None` when there is none since the calendar began.
    pub fn last_until(&self, zone: &Zone, until: Timestamp) -> Option<Timestamp> {
        match &self.rule {
            Rule::Cron(fields) => daylight::last_until(fields, zone.rules(), until),
            Rule::Every(period) => {
                let steps = until.as_nanosecond().div_euclid(*period);
                Timestamp::from_nanosecond(steps * period).ok()
            }
        }
    }

    /// The instants after `after` up to and including `until`, ascending: the **oldest** `limit` of them.
    pub fn due_between(
        &self,
        zone: &Zone,
        after: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Vec<Timestamp> {
        let next = |at: &Timestamp| self.next_after(zone, *at).filter(|next| *next <= until);
        std::iter::successors(next(&after), next)
            .take(limit)
            .collect()
    }

    /// The instants after `after` up to and including `until`, ascending: the **newest** `limit` of them.
    /// Its cost does not depend on how long ago `after` is.
    pub fn newest_between(
        &self,
        zone: &Zone,
        after: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Vec<Timestamp> {
        let previous = |at: Timestamp| self.last_until(zone, at).filter(|at| *at > after);
        let before = |at: &Timestamp| previous(at.checked_sub(Duration::from_nanos(1)).ok()?);
        let mut instants: Vec<_> = std::iter::successors(previous(until), before)
            .take(limit)
            .collect();
        instants.reverse();
        instants
    }
}

/// The text after `every`, if it is that form.
fn period_of(text: &str) -> Option<&str> {
    let (word, rest) = text.split_once(char::is_whitespace)?;
    word.eq_ignore_ascii_case("every").then_some(rest)
}

fn every(text: &str) -> Result<i128, String> {
    let period = duration::parse(text).map_err(|error| error.to_string())?;
    if period < MIN_PERIOD {
        return Err(format!(
            "the period is shorter than {}",
            duration::format(MIN_PERIOD)
        ));
    }
    if period.subsec_nanos() % 1_000 != 0 {
        return Err("the period is finer than a microsecond".into());
    }
    i128::try_from(period.as_nanos()).map_err(|error| error.to_string())
}

/// The fields a name stands for.
fn named(name: &str) -> Result<&'static str, String> {
    match name.to_ascii_lowercase().as_str() {
        "@yearly" | "@annually" => Ok("0 0 1 1 *"),
        "@monthly" => Ok("0 0 1 * *"),
        "@weekly" => Ok("0 0 * * 0"),
        "@daily" | "@midnight" => Ok("0 0 * * *"),
        "@hourly" => Ok("0 * * * *"),
        _ => Err("there is no such name".into()),
    }
}

impl FromStr for Schedule {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::parse(text)
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests;
