//! Limits on names and sizes, the same in SQL, HTTP and gRPC.
//!
//! Invariant: what these functions accept can be a path segment, a metric label, a lock key and a log field
//! without quoting.

use crate::invalid::Invalid;

/// Longest name of a kind, queue, schedule, capability or node, in characters.
pub const MAX_NAME: usize = 128;

/// Default for the largest `args` of a job, in bytes of JSON: 1 MiB.
pub const DEFAULT_MAX_ARGS: usize = 1024 * 1024;

/// Most elements of one batch (`enqueue_many`, `claim`, `complete`).
pub const MAX_BATCH: usize = 10_000;

/// Most tags on one job, function or registration.
pub const MAX_TAGS: usize = 32;

/// Longest tag, in characters.
pub const MAX_TAG: usize = 128;

/// Longest unique key, idempotency key or concurrency key, in bytes.
pub const MAX_KEY: usize = 1024;

/// Checks a name: 1 to [`MAX_NAME`] characters of `A–Z a–z 0–9 . _ : / -`. `what` is the noun for the
/// message: "kind", "queue", "schedule".
///
/// # Errors
/// [`Invalid`] naming the value and the first character that is not accepted.
pub fn check_name(what: &'static str, name: &str) -> Result<(), Invalid> {
    let problem = if name.is_empty() {
        "it is empty".to_owned()
    } else if let Some(bad) = name.chars().find(|c| !is_name_char(*c)) {
        format!("the character \"{}\" is not allowed", bad.escape_debug())
    } else if name.len() > MAX_NAME {
        format!("it has {} characters", name.len())
    } else {
        return Ok(());
    };
    let hint = format!("use 1 to {MAX_NAME} characters of A-Z a-z 0-9 . _ : / -");
    Err(Invalid::new(what, name, problem, hint))
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '/' | '-')
}

/// Checks tags: at most [`MAX_TAGS`], each 1 to [`MAX_TAG`] characters, none of them control characters.
///
/// # Errors
/// [`Invalid`] naming the tag, or the number of tags.
pub fn check_tags<T: AsRef<str>>(tags: &[T]) -> Result<(), Invalid> {
    if tags.len() > MAX_TAGS {
        let problem = format!("there are more than {MAX_TAGS}");
        return Err(Invalid::new(
            "tags",
            &tags.len().to_string(),
            problem,
            "use fewer tags",
        ));
    }
    tags.iter().try_for_each(|tag| check_tag(tag.as_ref()))
}

fn check_tag(tag: &str) -> Result<(), Invalid> {
    let problem = if tag.is_empty() {
        "it is empty"
    } else if tag.chars().any(char::is_control) {
        "it contains a control character"
    } else if tag.chars().nth(MAX_TAG).is_some() {
        "it is too long"
    } else {
        return Ok(());
    };
    let hint = format!("use 1 to {MAX_TAG} printable characters");
    Err(Invalid::new("tag", tag, problem, hint))
}

/// Checks a unique, idempotency or concurrency key: 1 to [`MAX_KEY`] bytes of any text. `what` is the noun
/// for the message.
///
/// # Errors
/// [`Invalid`] naming the key.
pub fn check_key(what: &'static str, key: &str) -> Result<(), Invalid> {
    let problem = if key.is_empty() {
        "it is empty".to_owned()
    } else if key.len() > MAX_KEY {
        format!("it has {} bytes", key.len())
    } else {
        return Ok(());
    };
    let hint = format!("use 1 to {MAX_KEY} bytes; for longer keys use a hash of them");
    Err(Invalid::new(what, key, problem, hint))
}

#[cfg(test)]
mod tests;
