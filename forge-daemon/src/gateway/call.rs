//! `POST /v1/call/{name}` and `GET /v1/call/{name}?args=…`.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, Uri, request::Parts},
    response::Response,
};
use forge_core::Code;
use serde_json::value::RawValue;

use super::{
    Door, answer, body,
    identity::Identity,
    problem::{FieldError, Problem},
    trace,
};
use crate::executor::{CallerKind, Circumstances, Order};

/// Deepest nesting of arguments.
const DEEPEST: usize = 128;
const LONGEST_NAME: usize = 255;
const LONGEST_KEY: usize = 255;
const PREFIX: &str = "/v1/call/";

/// Calls a function of any kind.
pub(super) async fn post(
    State(door): State<Arc<Door>>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let admitted = admit(&door, &parts).await;
    let ((name, identity), body) = body::or_discard(admitted, body).await?;
    let args = arguments(&door, &parts.headers, body).await?;
    let later = prefers_later(&parts.headers);
    let order = Order {
        later,
        ..order(&door, &parts, &identity, name, args)?
    };
    run(&door, order, &parts, &identity).await
}

/// Calls a query.
pub(super) async fn get(
    State(door): State<Arc<Door>>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let admitted = match name(&parts.uri) {
        Ok(name) => door
            .identities
            .of(&parts.headers)
            .await
            .map(|identity| (name, identity)),
        Err(problem) => Err(problem),
    };
    let ((name, identity), _) = body::or_discard(admitted, body).await?;
    let args = parameter(parts.uri.query().unwrap_or_default())?;
    check(args.as_bytes())?;
    let order = Order {
        only_query: true,
        ..order(&door, &parts, &identity, name, args)?
    };
    run(&door, order, &parts, &identity).await
}

async fn admit(door: &Door, parts: &Parts) -> Result<(String, Identity), Problem> {
    let name = name(&parts.uri)?;
    body::require_json_or_nothing(&parts.headers)?;
    let identity = door.identities.of(&parts.headers).await?;
    door.identities
        .require_same_origin(&identity, &parts.headers, Some(&parts.uri))?;
    Ok((name, identity))
}

/// An order by these request parts, with nothing unusual about it.
pub(super) fn order(
    door: &Door,
    parts: &Parts,
    identity: &Identity,
    name: String,
    args: String,
) -> Result<Order, Problem> {
    Ok(Order {
        name,
        args,
        caller: identity.sealed.clone(),
        only_query: false,
        later: false,
        patience: answer::patience(door.context.config.http.request_timeout.get()),
        circumstances: Circumstances {
            idempotency_key: idempotency_key(&parts.headers)?,
            request_id: super::request_id(parts),
            traceparent: Some(trace::traceparent(&parts.headers)),
            ip: super::client_address(parts),
            key: identity.caller.name.clone(),
            method: Some(parts.method.as_str().to_owned()),
            text_args: Vec::new(),
        },
    })
}

/// An order from another door: JSON text checked as a body is, empty text the empty object.
pub(crate) fn plain_order(
    identity: &Identity,
    name: String,
    args: String,
    circumstances: Circumstances,
) -> Result<Order, Problem> {
    if name.is_empty() || name.len() > LONGEST_NAME || name.contains('\0') {
        return Err(no_name(&name));
    }
    let args = if args.is_empty() { "{}".into() } else { args };
    check(args.as_bytes())?;
    if let Some(key) = &circumstances.idempotency_key
        && (key.is_empty() || key.len() > LONGEST_KEY)
    {
        let message = format!("must have 1 to {LONGEST_KEY} bytes");
        return Err(Problem::field("idempotency_key", message));
    }
    Ok(Order {
        name,
        args,
        caller: identity.sealed.clone(),
        only_query: false,
        later: false,
        patience: std::time::Duration::ZERO,
        circumstances: Circumstances {
            key: identity.caller.name.clone(),
            ..circumstances
        },
    })
}

/// Makes the call and answers.
pub(super) async fn run(
    door: &Door,
    order: Order,
    parts: &Parts,
    identity: &Identity,
) -> Result<Response, Problem> {
    let answer = door
        .executor
        .call(order)
        .await
        .map_err(|error| answer::problem(&error, identity))?;
    Ok(answer::respond(answer, &parts.method, &parts.headers))
}

/// The body as one JSON object; none at all is the empty one.
pub(super) async fn arguments(
    door: &Door,
    headers: &HeaderMap,
    body: axum::body::Body,
) -> Result<String, Problem> {
    let limits = door.limits(door.context.config.http.body_limit.get());
    let bytes = body::read(headers, body, limits).await?;
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok("{}".into());
    }
    body::require_json(headers)?;
    check(&bytes)?;
    // What is JSON is UTF-8.
    String::from_utf8(bytes.into()).map_err(|_| Problem::internal())
}

/// 400 unless this is JSON, ZF002 unless it is an object of bearable depth.
fn check(bytes: &[u8]) -> Result<(), Problem> {
    if depth(bytes) > DEEPEST {
        return Err(Problem::field(
            "body",
            format!("is nested deeper than {DEEPEST} levels"),
        ));
    }
    let raw: &RawValue = serde_json::from_slice(bytes).map_err(|error| body::malformed(&error))?;
    if raw.get().starts_with('{') {
        return Ok(());
    }
    Err(Problem::field(
        "body",
        "must be a JSON object with the arguments by name, such as {\"id\": 7}",
    ))
}

/// How deep brackets nest outside of strings.
fn depth(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for byte in bytes {
        if quoted {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => quoted = true,
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// The function's name in the path.
fn name(uri: &Uri) -> Result<String, Problem> {
    let encoded = uri.path().strip_prefix(PREFIX).unwrap_or_default();
    let name = decode("name", encoded)?;
    if name.is_empty() || name.len() > LONGEST_NAME || name.contains('\0') {
        return Err(no_name(&name));
    }
    Ok(name)
}

fn no_name(name: &str) -> Problem {
    let detail = format!("there is no function `{name:.60}`; names have 1 to {LONGEST_NAME} bytes");
    Problem::new(Code::NotFound, detail)
}

/// Percent-decoded text. 400 when it is not UTF-8.
pub(super) fn decode(field: &str, encoded: &str) -> Result<String, Problem> {
    percent_encoding::percent_decode_str(encoded)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| {
            Problem::request(
                StatusCode::BAD_REQUEST,
                format!("{field} is not UTF-8 once it is percent-decoded"),
            )
        })
}

/// The pairs of a query string. 400 when one is not UTF-8.
pub(super) fn pairs(query: &str) -> Result<Vec<(String, String)>, Problem> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let name = decode("a name in the query string", &name.replace('+', " "))?;
            let value = decode(&name, &value.replace('+', " "))?;
            Ok((name, value))
        })
        .collect()
}

/// `args` of a query string; none is the empty object.
fn parameter(query: &str) -> Result<String, Problem> {
    let mut args = None;
    let mut errors = Vec::new();
    for (name, value) in pairs(query)? {
        if name != "args" {
            errors.push(FieldError {
                message: "is unknown; the arguments go into args as one JSON object".into(),
                field: name,
            });
        } else if args.replace(value).is_some() {
            errors.push(FieldError {
                field: name,
                message: "is there twice".into(),
            });
        }
    }
    if errors.is_empty() {
        Ok(args
            .filter(|args| !args.is_empty())
            .unwrap_or_else(|| "{}".into()))
    } else {
        Err(Problem::invalid(errors))
    }
}

/// RFC 7240.
pub(super) fn prefers_later(headers: &HeaderMap) -> bool {
    headers
        .get_all("prefer")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|preference| {
            preference
                .split(';')
                .next()
                .is_some_and(|name| name.trim().eq_ignore_ascii_case("respond-async"))
        })
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let key = value.to_str().unwrap_or_default().trim();
    if values.next().is_some() || key.is_empty() || key.len() > LONGEST_KEY {
        return Err(Problem::field(
            "Idempotency-Key",
            format!("must be there once, with 1 to {LONGEST_KEY} ASCII characters"),
        ));
    }
    Ok(Some(key.to_owned()))
}

/// Whether a request by this method cannot change anything.
pub(super) fn is_safe(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

/// A caller without a credential who lacks a permission can get it by sending one (RFC 9110, 15.5.2).
pub(super) fn ask_for_credential(problem: Problem, identity: &Identity) -> Problem {
    if problem.status == StatusCode::FORBIDDEN && identity.caller.kind == CallerKind::Anonymous {
        return Problem::new(
            Code::Unauthenticated,
            format!("{}; send a credential", problem.detail),
        );
    }
    problem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_outside_of_strings() {
        assert_eq!(depth(br#"{"a":[1,{"b":"[[[[\"{{"}]}"#), 3);
        assert_eq!(depth(b"]]]["), 1);
        let deep = format!(
            "{{\"a\":{}{}}}",
            "[".repeat(1_000_000),
            "]".repeat(1_000_000)
        );
        assert_eq!(check(deep.as_bytes()).unwrap_err().status.as_u16(), 422);
    }

    #[test]
    fn arguments_are_one_object() {
        assert!(check(b" {\"a\": 1} ").is_ok());
        for (bad, status) in [
            (&b"{"[..], 400),
            (b"{\"a\":\"\xff\"}", 400),
            (b"{}{}", 400),
            (b"[]", 422),
            (b"null", 422),
            (b"{\"a\":01}", 400),
        ] {
            assert_eq!(check(bad).unwrap_err().status.as_u16(), status, "{bad:?}");
        }
    }

    #[test]
    fn names_are_decoded() {
        let name = |path: &str| super::name(&path.parse().unwrap());
        assert_eq!(name("/v1/call/add_project").unwrap(), "add_project");
        assert_eq!(name("/v1/call/a%20b%2Fc").unwrap(), "a b/c");
        assert_eq!(name("/v1/call/%ff").unwrap_err().status.as_u16(), 400);
        assert_eq!(name("/v1/call/%00").unwrap_err().status.as_u16(), 404);
        let long = format!("/v1/call/{}", "x".repeat(300));
        assert_eq!(name(&long).unwrap_err().status.as_u16(), 404);
    }

    #[test]
    fn the_query_string_has_args_only() {
        assert_eq!(parameter("").unwrap(), "{}");
        assert_eq!(
            parameter("args=%7B%22a%22%3A%22b+c%22%7D").unwrap(),
            r#"{"a":"b c"}"#
        );
        let problem = parameter("arg=1&args={}&args={}").unwrap_err();
        assert_eq!(problem.errors.len(), 2);
        assert_eq!(parameter("args=%ff").unwrap_err().status.as_u16(), 400);
    }

    #[test]
    fn preferences_are_read() {
        let mut headers = HeaderMap::new();
        assert!(!prefers_later(&headers));
        headers.insert(
            "prefer",
            "return=minimal, Respond-Async; wait=5".parse().unwrap(),
        );
        assert!(prefers_later(&headers));
    }
}
