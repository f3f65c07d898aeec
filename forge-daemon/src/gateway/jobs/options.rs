//! What a caller may say of a job to be enqueued, checked field by field before the database is asked.
//!
//! Values go on as the JSON text they came as: no number loses a digit.

use std::collections::BTreeMap;

use forge_core::{Invalid, Priority, duration, limits};
use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::gateway::problem::FieldError;

/// Mistakes reported at most.
const MOST_ERRORS: usize = 100;

/// A job as it goes to the database.
#[derive(Debug, Serialize)]
pub(super) struct Order<'a> {
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args: Option<&'a RawValue>,
    pub options: BTreeMap<String, &'a RawValue>,
}

/// Collects mistakes under a prefix such as `[3].`.
pub(super) struct Mistakes {
    pub prefix: String,
    pub errors: Vec<FieldError>,
}

impl Mistakes {
    fn add(&mut self, field: &str, message: String) {
        if self.errors.len() < MOST_ERRORS {
            self.errors.push(FieldError {
                field: format!("{}{field}", self.prefix),
                message,
            });
        }
    }
}

/// Reads one job from the members of its object. `None` when something was wrong with it.
pub(super) fn order<'a>(
    object: BTreeMap<String, &'a RawValue>,
    mistakes: &mut Mistakes,
) -> Option<Order<'a>> {
    let before = mistakes.errors.len();
    let mut kind = None;
    let mut args = None;
    let mut options = BTreeMap::new();
    for (field, value) in object {
        match field.as_str() {
            "kind" => {
                kind = checked(mistakes, "kind", value, "a text", |text: String| {
                    limits::check_name("job kind", &text)
                        .map(|()| text)
                        .map_err(|error| said(&error))
                })
            }
            // Null stands for the default, as in SQL.
            _ if value.get() == "null" && is_known(&field) => {}
            "args" => args = Some(value),
            _ => {
                option(&field, value, mistakes);
                options.insert(field, value);
            }
        }
    }
    if kind.is_none() && mistakes.errors.len() == before {
        mistakes.add(
            "kind",
            "is missing; name a kind registered with forge.register_job".into(),
        );
    }
    let kind = kind.filter(|_| mistakes.errors.len() == before)?;
    Some(Order {
        kind,
        args,
        options,
    })
}

fn is_known(field: &str) -> bool {
    OPTIONS.contains(&field) || matches!(field, "kind" | "args" | "tags")
}

/// The refusal with its remedy.
fn said(error: &Invalid) -> String {
    format!("{error}; {}", error.hint())
}

const OPTIONS: [&str; 9] = [
    "queue",
    "priority",
    "run_at",
    "delay",
    "max_attempts",
    "unique_key",
    "on_conflict",
    "idempotency_key",
    "concurrency_key",
];

fn option(field: &str, value: &RawValue, mistakes: &mut Mistakes) {
    let text = "a text";
    match field {
        "queue" => accept(mistakes, field, value, text, |text: String| {
            limits::check_name("queue", &text).map_err(|error| said(&error))
        }),
        "priority" => accept(mistakes, field, value, text, |text: String| {
            Priority::parse(&text)
                .map(drop)
                .map_err(|error| said(&error))
        }),
        "run_at" => accept(mistakes, field, value, text, |text: String| match text
            .parse::<Timestamp>()
        {
            Ok(_) => Ok(()),
            Err(_) => Err(format!(
                "`{text}` is no time; write RFC 3339: 2030-01-31T08:00:00Z"
            )),
        }),
        "delay" => accept(
            mistakes,
            field,
            value,
            "a text such as \"30s\"",
            |text: String| {
                duration::parse(&text)
                    .map(drop)
                    .map_err(|error| said(&error))
            },
        ),
        "max_attempts" => accept(mistakes, field, value, "a whole number", |count: i64| {
            if count >= 1 {
                Ok(())
            } else {
                Err(format!("{count} is out of range; at least 1"))
            }
        }),
        "unique_key" | "idempotency_key" | "concurrency_key" => {
            accept(mistakes, field, value, text, |text: String| {
                match text.len() {
                    1..=limits::MAX_KEY => Ok(()),
                    length => Err(format!("has {length} bytes; from 1 to {}", limits::MAX_KEY)),
                }
            });
        }
        "on_conflict" => accept(mistakes, field, value, text, |text: String| {
            match text.as_str() {
                "keep" | "replace" | "reject" => Ok(()),
                _ => Err(format!("`{text}` is unknown; use keep, replace or reject")),
            }
        }),
        "tags" => accept(
            mistakes,
            field,
            value,
            "a list of texts",
            |tags: Vec<String>| limits::check_tags(&tags).map_err(|error| said(&error)),
        ),
        _ => mistakes.add(
            field,
            format!(
                "is unknown; known are kind, args, tags, {}",
                OPTIONS.join(", ")
            ),
        ),
    }
}

/// [`checked`] for a value that goes on as the text it is.
fn accept<T: DeserializeOwned>(
    mistakes: &mut Mistakes,
    field: &str,
    value: &RawValue,
    expected: &str,
    check: impl FnOnce(T) -> Result<(), String>,
) {
    let _: Option<()> = checked(mistakes, field, value, expected, check);
}

/// Reads `value` as a `T` and checks it; what is wrong goes to `mistakes`.
fn checked<T: DeserializeOwned, R>(
    mistakes: &mut Mistakes,
    field: &str,
    value: &RawValue,
    expected: &str,
    check: impl FnOnce(T) -> Result<R, String>,
) -> Option<R> {
    let read = serde_json::from_str::<T>(value.get()).map_err(|_| format!("must be {expected}"));
    match read.and_then(check) {
        Ok(result) => Some(result),
        Err(message) => {
            mistakes.add(field, message);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Vec<String> {
        let mut mistakes = Mistakes {
            prefix: String::new(),
            errors: Vec::new(),
        };
        let ordered = order(serde_json::from_str(text).unwrap(), &mut mistakes);
        assert_eq!(ordered.is_some(), mistakes.errors.is_empty());
        mistakes
            .errors
            .into_iter()
            .map(|error| error.field)
            .collect()
    }

    #[test]
    fn takes_every_option() {
        let text = r#"{"kind":"mail","args":{"n":12345678901234567890.10},"queue":"q","priority":"high","run_at":"2030-01-01T00:00:00Z",
            "delay":"1h30m","max_attempts":3,"unique_key":"u","on_conflict":"replace","idempotency_key":"i","concurrency_key":"c",
            "tags":["a","b"]}"#;
        assert_eq!(fields(text), Vec::<String>::new());
        assert_eq!(
            fields(r#"{"kind":"mail","queue":null}"#),
            Vec::<String>::new()
        );
    }

    #[test]
    fn names_every_mistake() {
        let text = r#"{"kind":7,"queue":"","priority":"urgent","run_at":"tomorrow","delay":"-5s","max_attempts":0,"unique_key":"",
            "on_conflict":"ignore","tags":"a","colour":"red"}"#;
        let mut found = fields(text);
        found.sort();
        let expected = [
            "colour",
            "delay",
            "kind",
            "max_attempts",
            "on_conflict",
            "priority",
            "queue",
            "run_at",
            "tags",
            "unique_key",
        ];
        assert_eq!(found, expected);
        assert_eq!(fields("{}"), ["kind"]);
    }
}
