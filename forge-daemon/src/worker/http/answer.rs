//! What an HTTP answer, or the lack of one, means for the job.
//!
//! | answer | outcome |
//! |---|---|
//! | 2xx | completed; a JSON body is the result |
//! | 3xx that was not followed | dead: the registration names the wrong URL |
//! | 408, 425 | retried |
//! | 429, 503 | retried, not before `Retry-After` |
//! | 410 | dead, always: the receiver is gone for good |
//! | other 4xx | dead, unless the kind's `retry_client_errors` is set |
//! | 5xx, no answer | retried |

use std::time::Duration;

use jiff::{Timestamp, fmt::rfc2822::DateTimeParser};
use reqwest::StatusCode;

/// A receiver cannot put a job off for longer than this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What follows from a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The job is done.
    Completed,
    /// The attempt failed; another one may succeed, after the given time when the receiver named one.
    Retry(Option<Duration>),
    /// No attempt can succeed.
    Dead,
}

/// Judges a status. `retry_after` is the header's text; `retry_client_errors` is the kind's option.
pub fn judge(
    status: StatusCode,
    retry_after: Option<&str>,
    retry_client_errors: bool,
    now: Timestamp,
) -> Verdict {
    match status.as_u16() {
        200..=299 => Verdict::Completed,
        429 | 503 => Verdict::Retry(retry_after.and_then(|text| parse_retry_after(text, now))),
        408 | 425 => Verdict::Retry(None),
        410 => Verdict::Dead,
        400..=499 if retry_client_errors => Verdict::Retry(None),
        300..=499 => Verdict::Dead,
        _ => Verdict::Retry(None),
    }
}

/// Whether an answer is the host's failure rather than this call's: only those open its circuit.
pub fn counts_against_host(status: StatusCode) -> bool {
    status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
}

/// Reads `Retry-After`: seconds, or an HTTP date (RFC 9110, section 10.2.3). A date in the past is zero.
fn parse_retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let delay = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = DateTimeParser::new().parse_timestamp(text).ok()?;
            Duration::try_from(at.duration_since(now)).unwrap_or_default()
        }
    };
    Some(delay.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(status: u16, retry_after: Option<&str>, retry_client_errors: bool) -> Verdict {
        let now = "1994-11-06T08:49:07Z".parse().unwrap();
        judge(
            StatusCode::from_u16(status).unwrap(),
            retry_after,
            retry_client_errors,
            now,
        )
    }

    #[test]
    fn judges_every_class() {
        for (status, expected) in [
            (200, Verdict::Completed),
            (202, Verdict::Completed),
            (204, Verdict::Completed),
            (302, Verdict::Dead),
            (400, Verdict::Dead),
            (404, Verdict::Dead),
            (408, Verdict::Retry(None)),
            (410, Verdict::Dead),
            (422, Verdict::Dead),
            (425, Verdict::Retry(None)),
            (429, Verdict::Retry(None)),
            (500, Verdict::Retry(None)),
            (502, Verdict::Retry(None)),
            (503, Verdict::Retry(None)),
        ] {
            assert_eq!(verdict(status, None, false), expected, "{status}");
        }
    }

    #[test]
    fn client_errors_can_be_retried_but_gone_is_gone() {
        assert_eq!(verdict(404, None, true), Verdict::Retry(None));
        assert_eq!(verdict(410, None, true), Verdict::Dead);
        assert_eq!(verdict(302, None, true), Verdict::Dead);
    }

    #[test]
    fn honours_retry_after_in_both_forms() {
        let seconds = |n| Verdict::Retry(Some(Duration::from_secs(n)));
        assert_eq!(verdict(429, Some("120"), false), seconds(120));
        assert_eq!(verdict(503, Some(" 0 "), false), seconds(0));
        assert_eq!(
            verdict(503, Some("Sun, 06 Nov 1994 08:49:37 GMT"), false),
            seconds(30)
        );
        assert_eq!(
            verdict(503, Some("Sun, 06 Nov 1994 08:00:00 GMT"), false),
            seconds(0)
        );
        assert_eq!(verdict(503, Some("soon"), false), Verdict::Retry(None));
        assert_eq!(
            verdict(429, Some("99999999999"), false),
            Verdict::Retry(Some(RETRY_AFTER_MAX))
        );
        assert_eq!(verdict(500, Some("120"), false), Verdict::Retry(None));
    }

    #[test]
    fn only_server_errors_count_against_the_host() {
        for (status, counts) in [
            (200, false),
            (404, false),
            (429, false),
            (500, true),
            (501, false),
            (503, true),
        ] {
            assert_eq!(
                counts_against_host(StatusCode::from_u16(status).unwrap()),
                counts,
                "{status}"
            );
        }
    }
}
