//! The one refusal every parser of this crate answers with.
//!
//! Invariant: the message names the offending value (escaped and shortened, so that it is safe in a log
//! line) and the hint says what to write instead. It is always code ZF002.

use crate::error::Code;

/// How much of a refused value a message repeats, in characters.
const SHOWN: usize = 80;

/// A value that was refused. `Display` is the error's message; [`Invalid::hint`] is its `HINT`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid {what} \"{value}\": {problem}")]
pub struct Invalid {
    what: &'static str,
    value: String,
    problem: String,
    hint: String,
}

impl Invalid {
    /// `what` is the noun ("duration"), `value` the text as given, `problem` why it was refused, `hint`
    /// what is accepted.
    pub fn new(
        what: &'static str,
        value: &str,
        problem: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self {
            what,
            value: shown(value),
            problem: problem.into(),
            hint: hint.into(),
        }
    }

    /// What kind of value was refused, for example `"duration"`.
    pub fn what(&self) -> &'static str {
        self.what
    }

    /// What to do about it, a sentence for the `HINT` of an SQL error or the detail of an HTTP one.
    pub fn hint(&self) -> &str {
        &self.hint
    }

    /// Always [`Code::InvalidInput`].
    pub fn code(&self) -> Code {
        Code::InvalidInput
    }
}

/// The value as a message may repeat it: control characters escaped, long text shortened.
fn shown(value: &str) -> String {
    let mut chars = value.chars();
    let mut text: String = chars
        .by_ref()
        .take(SHOWN)
        .flat_map(char::escape_debug)
        .collect();
    if chars.next().is_some() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_value_and_the_remedy() {
        let error = Invalid::new(
            "duration",
            "5 parsecs",
            "unknown unit \"parsecs\"",
            "write 5m",
        );
        assert_eq!(
            error.to_string(),
            "invalid duration \"5 parsecs\": unknown unit \"parsecs\""
        );
        assert_eq!(error.hint(), "write 5m");
        assert_eq!(error.code(), Code::InvalidInput);
    }

    #[test]
    fn long_and_unprintable_values_are_made_safe() {
        let error = Invalid::new(
            "name",
            &format!("a\n\u{0}{}", "x".repeat(10_000)),
            "too long",
            "shorten",
        );
        let message = error.to_string();
        assert!(message.len() < 200, "{message}");
        assert!(
            message.contains("a\\n\\0xxx") && message.contains('…'),
            "{message}"
        );
    }
}
