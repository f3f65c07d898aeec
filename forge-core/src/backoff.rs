//! Backoff: how long a failed job waits before its next attempt.
//!
//! Invariants: for one random number the delay never shrinks with the attempt, never exceeds the cap and
//! never overflows. Jitter of a fraction j spreads a delay d evenly over [d·(1−j), min(d·(1+j), cap)], so
//! that jobs which failed together do not return together, also once they all wait for the cap.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::duration;
use crate::invalid::Invalid;

/// Jitter of `exponential` and `linear` when none is written.
pub const DEFAULT_JITTER_PERCENT: u8 = 20;

/// Longest text read, in bytes.
const MAX_TEXT: usize = 256;

const HINT: &str = "write exponential(base,cap), linear(step,cap), constant(delay) or none, with durations such \
                    as 1s or 1h, and optionally the jitter as last argument: exponential(1s,1h,20%)";

/// The growth of the delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Growth {
    /// base, 2·base, 4·base, … up to cap.
    Exponential { base: Duration, cap: Duration },
    /// step, 2·step, 3·step, … up to cap.
    Linear { step: Duration, cap: Duration },
    /// The same delay every time.
    Constant { delay: Duration },
    /// No delay.
    None,
}

/// A backoff: growth and jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// How the delay grows.
    pub growth: Growth,
    /// The spread around it in percent, 0 to 100. `constant` and `none` have none unless it is written.
    pub jitter_percent: u8,
}

impl Backoff {
    /// Reads `exponential(base,cap)`, `linear(step,cap)`, `constant(delay)` (also `fixed(delay)`) or `none`;
    /// each but `none` takes a jitter such as `10%` as a last argument.
    ///
    /// # Errors
    /// [`Invalid`] naming the text and what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let fail = |problem: String| Invalid::new("backoff", text, problem, HINT);
        if text.len() > MAX_TEXT {
            return Err(fail(format!("longer than {MAX_TEXT} characters")));
        }
        let (name, arguments) = split(text.trim()).map_err(fail)?;
        let (jitter, arguments) = take_jitter(arguments).map_err(fail)?;
        let mut durations = Vec::with_capacity(2);
        for argument in &arguments {
            durations.push(duration::parse(argument).map_err(|error| fail(error.to_string()))?);
        }
        let growth = growth(&name, &durations).map_err(fail)?;
        if growth == Growth::None && jitter.is_some() {
            return Err(fail("none takes no arguments".into()));
        }
        let default = match growth {
            Growth::Exponential { .. } | Growth::Linear { .. } => DEFAULT_JITTER_PERCENT,
            Growth::Constant { .. } | Growth::None => 0,
        };
        Ok(Self {
            growth,
            jitter_percent: jitter.unwrap_or(default),
        })
    }

    /// The delay after attempt number `attempt` (from 1; 0 counts as 1) failed. `random` is uniform in
    /// 0..1; anything outside is brought inside, so a bad source costs spread, not correctness.
    pub fn delay(&self, attempt: u32, random: f64) -> Duration {
        let (plain, cap) = self.plain(attempt.max(1));
        if self.jitter_percent == 0 {
            return plain;
        }
        let percent = u128::from(self.jitter_percent.min(100));
        let spread = plain.as_nanos() * percent / 100;
        let low = plain.as_nanos() - spread;
        let high = (plain.as_nanos() + spread).min(cap.as_nanos());
        let random = if random.is_nan() {
            0.5
        } else {
            random.clamp(0.0, 1.0)
        };
        // Thousandths of a millionth are finer than anything that schedules on this delay, and integers
        // keep the result monotone where floating point would round.
        let part = (random * 1e9) as u128;
        nanos(low + (high - low) * part / 1_000_000_000)
    }

    /// The delay without jitter, and the most that jitter may make of it.
    fn plain(&self, attempt: u32) -> (Duration, Duration) {
        match self.growth {
            Growth::Exponential { base, cap } => {
                let factor = 2u32.checked_pow(attempt - 1);
                let delay = factor.and_then(|factor| base.checked_mul(factor));
                // A base of zero stays zero however large the factor.
                let delay = if base.is_zero() { Some(base) } else { delay };
                (delay.unwrap_or(cap).min(cap), cap)
            }
            Growth::Linear { step, cap } => {
                (step.checked_mul(attempt).unwrap_or(cap).min(cap), cap)
            }
            Growth::Constant { delay } => (delay, delay.saturating_mul(2)),
            Growth::None => (Duration::ZERO, Duration::ZERO),
        }
    }
}

/// Durations here are at most twice [`duration::MAX`], so the seconds fit.
fn nanos(nanos: u128) -> Duration {
    Duration::new(
        (nanos / 1_000_000_000) as u64,
        (nanos % 1_000_000_000) as u32,
    )
}

/// Splits `name(a, b)` into its lower-case name and its arguments.
fn split(text: &str) -> Result<(String, Vec<&str>), String> {
    let Some((name, rest)) = text.split_once('(') else {
        return Ok((text.to_ascii_lowercase(), Vec::new()));
    };
    let inside = rest
        .strip_suffix(')')
        .ok_or("the closing parenthesis is missing")?;
    let arguments: Vec<&str> = match inside.trim() {
        "" => Vec::new(),
        inside => inside.split(',').map(str::trim).collect(),
    };
    if arguments.len() > 3 {
        return Err(format!("{} arguments are too many", arguments.len()));
    }
    Ok((name.trim_end().to_ascii_lowercase(), arguments))
}

/// Takes the jitter off the end of the arguments.
fn take_jitter(mut arguments: Vec<&str>) -> Result<(Option<u8>, Vec<&str>), String> {
    let Some(number) = arguments.last().and_then(|last| last.strip_suffix('%')) else {
        return Ok((None, arguments));
    };
    let percent = number
        .trim_end()
        .parse::<u8>()
        .ok()
        .filter(|percent| *percent <= 100);
    let percent = percent
        .ok_or_else(|| format!("the jitter {number}% is not a whole number from 0% to 100%"))?;
    arguments.pop();
    Ok((Some(percent), arguments))
}

fn growth(name: &str, durations: &[Duration]) -> Result<Growth, String> {
    let growth = match (name, durations) {
        ("exponential", &[base, cap]) => Growth::Exponential { base, cap },
        ("linear", &[step, cap]) => Growth::Linear { step, cap },
        ("constant" | "fixed", &[delay]) => Growth::Constant { delay },
        ("none", []) => Growth::None,
        ("exponential" | "linear", _) => return Err(format!("{name} takes two durations")),
        ("constant" | "fixed", _) => return Err(format!("{name} takes one duration")),
        ("none", _) => return Err("none takes no arguments".into()),
        _ => return Err(format!("unknown backoff \"{name}\"")),
    };
    match growth {
        Growth::Exponential { base: first, cap } | Growth::Linear { step: first, cap }
            if first > cap =>
        {
            Err(format!(
                "the cap {} is shorter than the first delay {}",
                duration::format(cap),
                duration::format(first)
            ))
        }
        growth => Ok(growth),
    }
}

impl Default for Backoff {
    /// `exponential(1s,1h)`, the default of `forge.register_job`.
    fn default() -> Self {
        Self {
            growth: Growth::Exponential {
                base: Duration::from_secs(1),
                cap: Duration::from_secs(3600),
            },
            jitter_percent: DEFAULT_JITTER_PERCENT,
        }
    }
}

impl FromStr for Backoff {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::parse(text)
    }
}

impl fmt::Display for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let print = duration::format;
        let default = match self.growth {
            Growth::Exponential { base, cap } => {
                write!(f, "exponential({},{}", print(base), print(cap))?;
                DEFAULT_JITTER_PERCENT
            }
            Growth::Linear { step, cap } => {
                write!(f, "linear({},{}", print(step), print(cap))?;
                DEFAULT_JITTER_PERCENT
            }
            Growth::Constant { delay } => {
                write!(f, "constant({}", print(delay))?;
                0
            }
            Growth::None => return f.write_str("none"),
        };
        if self.jitter_percent != default {
            write!(f, ",{}%", self.jitter_percent)?;
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests;
