//! How an attempt ended, as the database is told.

use std::time::Duration;

use super::json::JsonText;

/// Longest error text kept, in bytes.
const ERROR_MAX: usize = 8 * 1024;

/// The end of one attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Done, perhaps with a result.
    Completed(Option<JsonText>),
    /// Failed; the database decides by the attempts left what becomes of the job.
    Failed {
        /// For people.
        error: String,
        /// False: no attempt can succeed, the job is dead.
        retry: bool,
        /// Not before this long; by the kind's backoff when absent.
        retry_in: Option<Duration>,
    },
    /// Obeyed a cancel request.
    Cancelled,
    /// Not run, or cut short by this node's stop: ready again, no attempt used.
    Released,
    /// Put off by this long, no attempt used.
    Snoozed(Duration),
}

impl Outcome {
    /// A failure that is tried again by the kind's backoff.
    pub fn retry(error: impl Into<String>) -> Self {
        Outcome::Failed {
            error: presentable(error.into()),
            retry: true,
            retry_in: None,
        }
    }

    /// A failure that is tried again after `delay`.
    pub fn retry_in(error: impl Into<String>, delay: Option<Duration>) -> Self {
        Outcome::Failed {
            error: presentable(error.into()),
            retry: true,
            retry_in: delay,
        }
    }

    /// A failure that no other attempt can mend.
    pub fn dead(error: impl Into<String>) -> Self {
        Outcome::Failed {
            error: presentable(error.into()),
            retry: false,
            retry_in: None,
        }
    }

    /// A finished job with `result`, dead when that is longer than `limit` bytes.
    pub fn completed(result: Option<JsonText>, limit: usize) -> Self {
        match result {
            Some(text) if text.as_str().len() > limit => {
                let len = text.as_str().len();
                Self::dead(format!(
                    "the result has {len} bytes, more than worker.result_limit = {limit}; return less or raise the limit"
                ))
            }
            result => Outcome::Completed(result.filter(|text| text.as_str() != "null")),
        }
    }

    /// A word for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Outcome::Completed(_) => "completed",
            Outcome::Failed { .. } => "failed",
            Outcome::Cancelled => "cancelled",
            Outcome::Released => "released",
            Outcome::Snoozed(_) => "snoozed",
        }
    }
}

/// Makes a text fit for the database: no null characters, not longer than is useful.
fn presentable(mut text: String) -> String {
    if text.contains('\0') {
        text = text.replace('\0', "\u{fffd}");
    }
    if text.len() > ERROR_MAX {
        let mut end = ERROR_MAX;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

/// A delay in milliseconds as the database takes it: at least 0, at most about 24 days.
pub fn millis(delay: Duration) -> i32 {
    i32::try_from(delay.as_millis()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_made_presentable() {
        let Outcome::Failed { error, .. } =
            Outcome::retry(format!("a\0b{}", "é".repeat(ERROR_MAX)))
        else {
            panic!("not a failure");
        };
        assert!(
            error.starts_with("a\u{fffd}b") && error.ends_with('…') && error.len() <= ERROR_MAX + 8
        );
    }

    #[test]
    fn results_are_limited_and_null_is_none() {
        let text = |text: &str| Some(JsonText::parse(text.into()).unwrap());
        assert_eq!(
            Outcome::completed(text("null"), 10),
            Outcome::Completed(None)
        );
        assert_eq!(
            Outcome::completed(text("\"12345678\""), 10),
            Outcome::Completed(text("\"12345678\""))
        );
        assert!(matches!(
            Outcome::completed(text("\"123456789\""), 10),
            Outcome::Failed { retry: false, .. }
        ));
    }

    #[test]
    fn long_delays_saturate() {
        assert_eq!(millis(Duration::from_millis(1500)), 1500);
        assert_eq!(millis(Duration::MAX), i32::MAX);
    }
}
