//! Durations as people write them: `30s`, `5m`, `1h30m`, `250ms`, `2d`.
//!
//! Invariants: whole numbers with a unit each, largest unit first, no unit twice; at most [`MAX`];
//! printing gives the shortest such text and parsing it gives the same duration back.
//! In configuration: `#[serde(with = "forge_core::duration")]`.

use std::time::Duration;

use crate::invalid::Invalid;

/// The longest duration accepted: a hundred years of 365 days. Far beyond any use, far below any overflow.
pub const MAX: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Longest text read, in bytes.
const MAX_TEXT: usize = 64;

const HINT: &str = "write whole numbers with a unit, the largest unit first: d, h, m, s, ms, us, ns; \
                    for example \"30s\", \"1h30m\", \"250ms\", \"2d\"";

/// Units from large to small, in nanoseconds.
const UNITS: [(&str, u128); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Reads a duration. Spaces around it and between its parts are allowed; `0` needs no unit.
///
/// # Errors
/// [`Invalid`] naming the text: empty, a number without a unit, an unknown unit, a sign or a fraction,
/// units out of order, or more than [`MAX`].
pub fn parse(text: &str) -> Result<Duration, Invalid> {
    let fail = |problem: String| Invalid::new("duration", text, problem, HINT);
    let trimmed = text.trim();
    if trimmed.len() > MAX_TEXT {
        return Err(fail(format!("longer than {MAX_TEXT} characters")));
    }
    match trimmed.chars().next() {
        None => return Err(fail("it is empty".into())),
        Some('-') => return Err(fail("it is negative".into())),
        _ if trimmed == "0" => return Ok(Duration::ZERO),
        _ => {}
    }
    let mut nanos: u128 = 0;
    let mut next_unit = 0;
    let mut rest = trimmed;
    while !rest.is_empty() {
        let (number, unit, after) = part(rest).map_err(fail)?;
        let index = UNITS.iter().position(|(name, _)| *name == unit);
        let index = index.ok_or_else(|| fail(format!("unknown unit \"{unit}\"")))?;
        if index < next_unit {
            return Err(fail(format!(
                "\"{unit}\" is repeated or comes after a smaller unit"
            )));
        }
        next_unit = index + 1;
        nanos = nanos.saturating_add(u128::from(number) * UNITS[index].1);
        rest = after.trim_start();
    }
    if nanos > MAX.as_nanos() {
        return Err(fail(format!("it is longer than {}", format(MAX))));
    }
    Ok(from_nanos(nanos))
}

/// Splits `text` into its first number, that number's unit, and the rest.
fn part(text: &str) -> Result<(u64, &str, &str), String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at(digits);
    if number.is_empty() {
        return Err(format!("a number was expected before \"{text}\""));
    }
    if rest.starts_with(['.', ',']) {
        return Err("fractions are not accepted, use a smaller unit".into());
    }
    let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
    let (unit, after) = rest.split_at(letters);
    if unit.is_empty() {
        return Err(format!("the number {number} has no unit"));
    }
    let number = number
        .parse()
        .map_err(|_| format!("the number {number} is too large"))?;
    Ok((number, unit, after))
}

/// `nanos` is at most [`MAX`], so the seconds fit.
fn from_nanos(nanos: u128) -> Duration {
    const SECOND: u128 = 1_000_000_000;
    Duration::new((nanos / SECOND) as u64, (nanos % SECOND) as u32)
}

/// Prints a duration as [`parse`] reads it; zero is `0s`.
pub fn format(duration: Duration) -> String {
    let mut nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".into();
    }
    let mut text = String::new();
    for (name, size) in UNITS {
        let count = nanos / size;
        if count > 0 {
            text.push_str(&format!("{count}{name}"));
            nanos %= size;
        }
    }
    text
}

/// Whole microseconds, the unit of the database's clock; parts below are cut off.
pub fn as_micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// For `#[serde(with = "forge_core::duration")]`.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: serde::Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&format(*duration))
}

/// For `#[serde(with = "forge_core::duration")]`.
///
/// # Errors
/// Those of [`parse`], with its hint, and those of the deserializer.
pub fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(from)?;
    parse(&text).map_err(|error| serde::de::Error::custom(format!("{error}; {}", error.hint())))
}

#[cfg(test)]
mod tests;
