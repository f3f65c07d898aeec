//! Rate limits: `100/minute per user`, and the window that decides who may go ([`Window`]).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::duration;
use crate::invalid::Invalid;

pub mod window;

pub use window::Window;

/// Longest text read, in bytes.
const MAX_TEXT: usize = 128;

/// The longest period: a leap year.
const MAX_PERIOD: Duration = Duration::from_secs(366 * 86_400);

const HINT: &str = "write COUNT/UNIT or COUNT/DURATION, optionally with a scope: \"100/minute per user\", \
                    \"5/s per ip\", \"1000/10m global\"; units: second, minute, hour, day; scopes: per user, \
                    per ip, per key, per kind, per queue, global";

/// What shares one budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Each authenticated subject has its own.
    User,
    /// Each client address has its own.
    Ip,
    /// Each API key (of a call) or concurrency key (of a job) has its own.
    Key,
    /// Each job kind has its own.
    Kind,
    /// Each queue has its own.
    Queue,
    /// Everyone shares one.
    Global,
}

impl Scope {
    /// The word after `per`, or `global`.
    pub const fn name(self) -> &'static str {
        match self {
            Scope::User => "user",
            Scope::Ip => "ip",
            Scope::Key => "key",
            Scope::Kind => "kind",
            Scope::Queue => "queue",
            Scope::Global => "global",
        }
    }
}

/// At most `limit` in any interval of one `period`, in one go or spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many; at least 1, at most one per microsecond of the period.
    pub limit: u32,
    /// Per how long; 1 ms to 366 days, a whole number of microseconds.
    pub period: Duration,
    /// What shares the budget; `None` when the text does not say and the place it is used in decides.
    pub scope: Option<Scope>,
}

impl Rate {
    /// Reads a rate.
    ///
    /// # Errors
    /// [`Invalid`] naming the text and what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let fail = |problem: String| Invalid::new("rate limit", text, problem, HINT);
        if text.len() > MAX_TEXT {
            return Err(fail(format!("longer than {MAX_TEXT} characters")));
        }
        let lower = text.to_ascii_lowercase();
        let (count, rest) = lower
            .split_once('/')
            .ok_or_else(|| fail("there is no \"/\" between count and unit".into()))?;
        let rest = rest.trim();
        let (unit, scope) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let rate = Self {
            limit: limit(count.trim()).map_err(fail)?,
            period: period(unit).map_err(fail)?,
            scope: scope_of(scope.trim()).map_err(fail)?,
        };
        if i64::from(rate.limit) > rate.period_us() {
            return Err(fail("it is more than one per microsecond".into()));
        }
        Ok(rate)
    }

    /// The period in microseconds.
    pub fn period_us(&self) -> i64 {
        duration::as_micros(self.period)
    }
}

fn limit(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(0) => {
            Err("a limit of 0 would never let anything through; pause the queue instead".into())
        }
        Ok(limit) if !text.starts_with('+') => Ok(limit),
        _ => Err(format!(
            "the count \"{text}\" is not a whole number from 1 to {}",
            u32::MAX
        )),
    }
}

fn period(text: &str) -> Result<Duration, String> {
    let seconds = match text {
        "s" | "sec" | "second" => 1,
        "m" | "min" | "minute" => 60,
        "h" | "hr" | "hour" => 3_600,
        "d" | "day" => 86_400,
        "" => return Err("the unit is missing".into()),
        _ if text.starts_with(|c: char| c.is_ascii_digit()) => {
            return explicit_period(text);
        }
        _ => return Err(format!("unknown unit \"{text}\"")),
    };
    Ok(Duration::from_secs(seconds))
}

fn explicit_period(text: &str) -> Result<Duration, String> {
    let period = duration::parse(text).map_err(|error| error.to_string())?;
    if period < Duration::from_millis(1) || period > MAX_PERIOD {
        return Err(format!("the period {text} is not between 1ms and 366d"));
    }
    if period.subsec_nanos() % 1_000 != 0 {
        return Err(format!("the period {text} is finer than a microsecond"));
    }
    Ok(period)
}

fn scope_of(text: &str) -> Result<Option<Scope>, String> {
    let mut words = text.split_whitespace();
    let scope = match (words.next(), words.next(), words.next()) {
        (None, ..) => return Ok(None),
        (Some("global"), None, _) => Scope::Global,
        (Some("per"), Some("user"), None) => Scope::User,
        (Some("per"), Some("ip"), None) => Scope::Ip,
        (Some("per"), Some("key"), None) => Scope::Key,
        (Some("per"), Some("kind"), None) => Scope::Kind,
        (Some("per"), Some("queue"), None) => Scope::Queue,
        _ => return Err(format!("unknown scope \"{text}\"")),
    };
    Ok(Some(scope))
}

impl FromStr for Rate {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::parse(text)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.period_us() {
            1_000_000 => write!(f, "{}/second", self.limit)?,
            60_000_000 => write!(f, "{}/minute", self.limit)?,
            3_600_000_000 => write!(f, "{}/hour", self.limit)?,
            86_400_000_000 => write!(f, "{}/day", self.limit)?,
            _ => write!(f, "{}/{}", self.limit, duration::format(self.period))?,
        }
        match self.scope {
            None => Ok(()),
            Some(Scope::Global) => f.write_str(" global"),
            Some(scope) => write!(f, " per {}", scope.name()),
        }
    }
}

#[cfg(test)]
mod tests;
