//! Checks of registered values by the rules of forge-core, each answering ZF002 with the rule's own message and hint.

use crate::pg::function::{Call, Value, text_datum};
use forge_core::{Backoff, Handler, Invalid, Rate, limits};
use pgrx::pg_sys::Datum;

/// A refusal of forge-core as an SQL error.
pub fn or_refuse<T>(parsed: Result<T, Invalid>) -> T {
    parsed.unwrap_or_else(|refusal| crate::error::invalid(&refusal, sentence(refusal.hint())))
}

/// Hints of forge-core are fragments; SQL shows sentences.
fn sentence(hint: &str) -> String {
    let mut chars = hint.chars();
    let first: String = chars
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .collect();
    let end = if hint.ends_with(['.', '?', '!']) {
        ""
    } else {
        "."
    };
    format!("{first}{}{end}", chars.as_str())
}

/// `forge_private.check_name(what text, name text) returns void`.
pub fn check_name(call: &Call) -> Value {
    // Nouns of messages are fixed words.
    let what = match call.need_text(0, "what").as_str() {
        "job kind" => "job kind",
        "queue" => "queue",
        "capability" => "capability",
        "schedule" => "schedule name",
        "node" => "node name",
        "webhook" => "webhook name",
        "API key" => "API key name",
        "function" => "function name",
        "encryption key" => "encryption key name",
        _ => "name",
    };
    or_refuse(limits::check_name(what, &call.need_text(1, what)));
    void()
}

/// `forge_private.check_handler(handler text) returns text`: how it is handled.
pub fn check_handler(call: &Call) -> Value {
    let handler = or_refuse(Handler::parse(&call.need_text(0, "handler")));
    Some(text_datum(handler.transport()))
}

/// `forge_private.check_backoff(backoff text) returns void`.
pub fn check_backoff(call: &Call) -> Value {
    or_refuse(Backoff::parse(&call.need_text(0, "backoff")));
    void()
}

/// `forge_private.check_rate_limit(rate_limit text) returns void`; null means no limit and passes.
pub fn check_rate_limit(call: &Call) -> Value {
    if let Some(rate) = call.text(0) {
        or_refuse(Rate::parse(&rate));
    }
    void()
}

fn void() -> Value {
    Some(Datum::from(0usize))
}
