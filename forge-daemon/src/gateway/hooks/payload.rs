//! What a verified delivery says: its payload as JSON, its id and its event.

use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Scheme, github, plain, standard};
use crate::gateway::{body, problem::Problem};

const LONGEST_ID: usize = 255;
const LONGEST_EVENT: usize = 100;

/// A delivery understood.
#[derive(Debug)]
pub(super) struct Payload {
    /// JSON text.
    pub json: String,
    /// Unique among the webhook's deliveries.
    pub delivery_id: String,
    /// Its type, `delivery` when it has none.
    pub event: String,
    /// Slack's question whether this address is ours.
    pub challenge: Option<String>,
}

/// The few members of a payload that say what it is.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Peek {
    #[serde(rename = "type")]
    kind: Option<serde_json::Value>,
    id: Option<serde_json::Value>,
    event_id: Option<serde_json::Value>,
    trigger_id: Option<serde_json::Value>,
    event: Option<serde_json::Value>,
    command: Option<serde_json::Value>,
    challenge: Option<serde_json::Value>,
}

impl Payload {
    /// Understands a verified delivery. 400 when it is not JSON or has no id, 415 for other media types.
    pub fn read(scheme: Scheme, headers: &HeaderMap, bytes: &[u8]) -> Result<Self, Problem> {
        let json = json(headers, bytes)?;
        let peek: Peek = serde_json::from_str(&json).unwrap_or_default();
        let header = |name: &str| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned)
        };
        let (id, id_field) = match scheme {
            Scheme::Standard => (header(standard::ID), standard::ID),
            Scheme::Github => (header(github::ID), github::ID),
            Scheme::Stripe => (text(&peek.id), "id"),
            Scheme::Slack => (
                text(&peek.event_id)
                    .or(text(&peek.trigger_id))
                    .or(Some(plain::digest(bytes))),
                "event_id",
            ),
            Scheme::HmacSha256 => (header(plain::ID).or(Some(plain::digest(bytes))), plain::ID),
        };
        let inner = peek
            .event
            .as_ref()
            .and_then(|event| text(&event.get("type").cloned()));
        let event = match scheme {
            Scheme::Github => Some(header(github::EVENT).ok_or_else(|| absent(github::EVENT))?),
            Scheme::Slack => inner.or(text(&peek.command)).or(text(&peek.kind)),
            Scheme::HmacSha256 => header(plain::EVENT)
                .or(text(&peek.kind))
                .or(text(&peek.event)),
            Scheme::Standard | Scheme::Stripe => text(&peek.kind),
        };
        let challenge = match (scheme, text(&peek.kind).as_deref()) {
            (Scheme::Slack, Some("url_verification")) => text(&peek.challenge),
            _ => None,
        };
        let delivery_id = bounded(id.ok_or_else(|| absent(id_field))?, id_field, LONGEST_ID)?;
        let event = bounded(
            event.unwrap_or_else(|| "delivery".into()),
            "event",
            LONGEST_EVENT,
        )?;
        Ok(Self {
            json,
            delivery_id,
            event,
            challenge,
        })
    }
}

fn text(value: &Option<serde_json::Value>) -> Option<String> {
    value.as_ref()?.as_str().map(str::to_owned)
}

/// A delivery without what identifies it is no delivery of this scheme: 400.
fn absent(field: &str) -> Problem {
    Problem::request(
        axum::http::StatusCode::BAD_REQUEST,
        format!("{field} is missing from the delivery"),
    )
}

fn bounded(text: String, field: &str, longest: usize) -> Result<String, Problem> {
    let fits = (1..=longest).contains(&text.len()) && !text.chars().any(char::is_control);
    if fits {
        Ok(text)
    } else {
        Err(Problem::field(
            field,
            format!("must have 1 to {longest} bytes and no control characters"),
        ))
    }
}

/// The payload as JSON text: the body itself, or a form's fields, or the JSON in a form's `payload`.
fn json(headers: &HeaderMap, bytes: &[u8]) -> Result<String, Problem> {
    let media = body::media_type(headers).unwrap_or_else(|| "application/json".into());
    if media == "application/x-www-form-urlencoded" {
        return form(bytes);
    }
    if !body::is_json(&media) {
        return Err(body::unsupported(&media));
    }
    let raw: &RawValue = serde_json::from_slice(bytes).map_err(|error| body::malformed(&error))?;
    Ok(raw.get().to_owned())
}

fn form(bytes: &[u8]) -> Result<String, Problem> {
    let fields: Vec<_> = url::form_urlencoded::parse(bytes).collect();
    if let [(name, value)] = fields.as_slice()
        && name == "payload"
    {
        let raw: &RawValue =
            serde_json::from_str(value).map_err(|error| body::malformed(&error))?;
        return Ok(raw.get().to_owned());
    }
    let object: serde_json::Map<_, _> = fields
        .into_iter()
        .map(|(name, value)| (name.into_owned(), value.into_owned().into()))
        .collect();
    Ok(serde_json::Value::Object(object).to_string())
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn payload(scheme: Scheme, headers: &[(&str, &str)], body: &str) -> Result<Payload, Problem> {
        let headers = headers
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::try_from(*name).unwrap(),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect();
        Payload::read(scheme, &headers, body.as_bytes())
    }

    fn named(payload: &Payload) -> (&str, &str) {
        (&payload.delivery_id, &payload.event)
    }

    #[test]
    fn each_scheme_names_its_deliveries() {
        let github = [("x-github-delivery", "d-1"), ("x-github-event", "push")];
        assert_eq!(
            named(&payload(Scheme::Github, &github, r#"{"ref":"x"}"#).unwrap()),
            ("d-1", "push")
        );
        let stripe = payload(
            Scheme::Stripe,
            &[],
            r#"{"id":"evt_1","type":"charge.paid"}"#,
        )
        .unwrap();
        assert_eq!(named(&stripe), ("evt_1", "charge.paid"));
        let standard = payload(
            Scheme::Standard,
            &[("webhook-id", "msg_1")],
            r#"{"type":"user.created"}"#,
        )
        .unwrap();
        assert_eq!(named(&standard), ("msg_1", "user.created"));
        let slack = payload(
            Scheme::Slack,
            &[],
            r#"{"type":"event_callback","event_id":"Ev1","event":{"type":"message"}}"#,
        );
        assert_eq!(named(&slack.unwrap()), ("Ev1", "message"));
        let plain = payload(Scheme::HmacSha256, &[("x-delivery-id", "9")], "[1]").unwrap();
        assert_eq!(named(&plain), ("9", "delivery"));
        assert!(
            payload(Scheme::HmacSha256, &[], "[1]")
                .unwrap()
                .delivery_id
                .starts_with("sha256:")
        );
    }

    #[test]
    fn forms_become_json() {
        let form = ("content-type", "application/x-www-form-urlencoded");
        let slack = payload(
            Scheme::Slack,
            &[form],
            "command=%2Fdo&trigger_id=7.8&text=a+b",
        )
        .unwrap();
        assert_eq!(named(&slack), ("7.8", "/do"));
        assert_eq!(
            slack.json,
            r#"{"command":"/do","text":"a b","trigger_id":"7.8"}"#
        );
        let github = [form, ("x-github-delivery", "d"), ("x-github-event", "push")];
        assert_eq!(
            payload(Scheme::Github, &github, "payload=%7B%22a%22%3A1%7D")
                .unwrap()
                .json,
            r#"{"a":1}"#
        );
    }

    #[test]
    fn slack_asks_whose_address_this_is() {
        let question = payload(
            Scheme::Slack,
            &[],
            r#"{"type":"url_verification","challenge":"abc"}"#,
        )
        .unwrap();
        assert_eq!(question.challenge.as_deref(), Some("abc"));
    }

    #[test]
    fn numbers_keep_every_digit() {
        let body = r#"{"id":"evt","n":123456789012345678901234567890.10}"#;
        assert_eq!(payload(Scheme::Stripe, &[], body).unwrap().json, body);
    }

    #[test]
    fn refuses_what_is_no_delivery() {
        let status = |result: Result<Payload, Problem>| result.unwrap_err().status.as_u16();
        assert_eq!(status(payload(Scheme::Stripe, &[], "{")), 400);
        assert_eq!(status(payload(Scheme::Stripe, &[], "{}")), 400);
        assert_eq!(
            status(payload(Scheme::Github, &[("x-github-delivery", "d")], "{}")),
            400
        );
        assert_eq!(
            status(payload(Scheme::Github, &[("x-github-event", "push")], "{}")),
            400
        );
        assert_eq!(
            status(payload(
                Scheme::Stripe,
                &[("content-type", "text/xml")],
                "{}"
            )),
            415
        );
        let long = "x".repeat(256);
        assert_eq!(
            status(payload(Scheme::Standard, &[("webhook-id", &long)], "{}")),
            422
        );
    }
}
