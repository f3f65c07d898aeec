//! Waiting for a state, never for a time.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Pause between two looks at a state. Short, because most states in tests come within 100 ms.
const LOOK_EVERY: Duration = Duration::from_millis(15);

/// Calls `look` until it answers `Some`, at most for `limit`.
///
/// `what` completes the sentence "waited … for" in the error.
///
/// # Errors
/// The first error of `look`, or the deadline.
pub fn eventually<T>(
    limit: Duration,
    what: &str,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if start.elapsed() >= limit {
            bail!("waited {limit:?} for {what}, in vain");
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Like [`eventually`] for a condition without a value.
///
/// # Errors
/// The first error of `look`, or the deadline.
pub fn until(limit: Duration, what: &str, mut look: impl FnMut() -> Result<bool>) -> Result<()> {
    eventually(limit, what, || Ok(look()?.then_some(())))
}
