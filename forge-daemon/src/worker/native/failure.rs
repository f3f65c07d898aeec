//! Why a native handler failed, and what follows.

use std::time::Duration;

use super::super::outcome::Outcome;

/// A failed attempt. Every error turns into one that is tried again, by `?`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Kept as the attempt's error.
    pub message: String,
    /// What follows.
    pub then: Then,
}

/// What follows a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Another attempt by the kind's backoff, while there are attempts left.
    Retry,
    /// Another attempt after this long, while there are attempts left.
    RetryIn(Duration),
    /// No other attempt: the job is dead.
    Dead,
    /// Not a failure: the same attempt again after this long.
    Snooze(Duration),
    /// The handler obeyed a cancel request.
    Cancelled,
}

impl Failure {
    /// Tried again by the kind's backoff.
    pub fn retry(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            then: Then::Retry,
        }
    }

    /// Tried again after `delay`.
    pub fn retry_in(message: impl Into<String>, delay: Duration) -> Self {
        Self {
            message: message.into(),
            then: Then::RetryIn(delay),
        }
    }

    /// Never tried again.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            then: Then::Dead,
        }
    }

    /// Put off by `delay` without using an attempt.
    pub fn snooze(delay: Duration) -> Self {
        Self {
            message: String::new(),
            then: Then::Snooze(delay),
        }
    }

    /// Ended because of a cancel request.
    pub fn cancelled() -> Self {
        Self {
            message: "cancelled".into(),
            then: Then::Cancelled,
        }
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        Self::retry(message)
    }
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Self {
        match failure.then {
            Then::Retry => Outcome::retry(failure.message),
            Then::RetryIn(delay) => Outcome::retry_in(failure.message, Some(delay)),
            Then::Dead => Outcome::dead(failure.message),
            Then::Snooze(delay) => Outcome::Snoozed(delay),
            Then::Cancelled => Outcome::Cancelled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_error_is_a_failure_that_is_tried_again() {
        fn read() -> Result<i32, Failure> {
            Ok("x".parse::<i32>()?)
        }
        let failure = read().unwrap_err();
        assert_eq!(failure.then, Then::Retry);
        assert!(failure.message.contains("invalid digit"));
    }

    #[test]
    fn failures_become_outcomes() {
        let delay = Duration::from_secs(2);
        assert_eq!(
            Outcome::from(Failure::snooze(delay)),
            Outcome::Snoozed(delay)
        );
        assert_eq!(Outcome::from(Failure::cancelled()), Outcome::Cancelled);
        assert_eq!(Outcome::from(Failure::permanent("no")), Outcome::dead("no"));
        assert_eq!(
            Outcome::from(Failure::retry_in("later", delay)),
            Outcome::retry_in("later", Some(delay))
        );
    }
}
