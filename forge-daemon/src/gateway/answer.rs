//! From what a function answered to an HTTP response, and from what went wrong to a problem.

use std::time::Duration;

use axum::{
    Json,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use forge_core::Code;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{identity::Identity, problem::Problem};
use crate::executor::{Answer, Error, Freshness, Reply};

/// Headers that belong to the connection or to this program, not to a function.
const OURS: [&str; 10] = [
    "connection",
    "content-length",
    "date",
    "keep-alive",
    "proxy-authenticate",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-request-id",
];

/// The response to a call by `method` with these request headers.
pub(super) fn respond(answer: Answer, method: &Method, headers: &HeaderMap) -> Response {
    let (reply, freshness) = match answer {
        Answer::Accepted(job) => return accepted(job),
        Answer::Done(reply, freshness) => (reply, freshness),
    };
    let status = reply
        .status
        .and_then(|status| StatusCode::from_u16(status).ok())
        .unwrap_or(StatusCode::OK);
    let safe = method == Method::GET || method == Method::HEAD;
    let tag = (safe && status == StatusCode::OK).then(|| tag(&reply.body));
    let unchanged = tag.as_ref().is_some_and(|tag| matches(headers, tag));
    let mut response = if unchanged {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        body(&reply, status)
    };
    let out = response.headers_mut();
    if !unchanged {
        set(out, &reply);
    }
    if let Some(tag) = tag {
        out.insert(header::ETAG, tag);
        // What one caller may see is not for others: browsers may keep it, and must ask whether it still holds.
        out.entry(header::CACHE_CONTROL)
            .or_insert(HeaderValue::from_static("private, no-cache"));
        out.append(
            header::VARY,
            HeaderValue::from_static("Authorization, X-Api-Key, Cookie"),
        );
    }
    if reply.replayed {
        out.insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    mark(out, freshness);
    response
}

fn accepted(job: uuid::Uuid) -> Response {
    let location = [
        ("location", format!("/v1/jobs/{job}")),
        ("preference-applied", "respond-async".into()),
    ];
    (
        StatusCode::ACCEPTED,
        location,
        Json(json!({ "job_id": job })),
    )
        .into_response()
}

fn body(reply: &Reply, status: StatusCode) -> Response {
    let none = status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
        || status.is_informational()
        || reply.body.is_empty();
    if none {
        return status.into_response();
    }
    let given = content_type(reply);
    if given.is_none_or(super::body::is_json_value) {
        return (
            status,
            [(header::CONTENT_TYPE, "application/json")],
            reply.body.clone(),
        )
            .into_response();
    }
    // A function that answers with HTML or text has it in a JSON string.
    let text = serde_json::from_slice::<String>(&reply.body);
    let bytes = text.map_or_else(|_| reply.body.clone(), Bytes::from);
    (status, bytes).into_response()
}

fn content_type(reply: &Reply) -> Option<&str> {
    let (_, value) = reply
        .headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("content-type"))?;
    value.as_str()
}

/// The headers that the function set, as far as they are its own.
fn set(out: &mut HeaderMap, reply: &Reply) {
    for (name, value) in &reply.headers {
        let Ok(name) = HeaderName::try_from(name.as_str()) else {
            tracing::warn!(
                header = name,
                "a function's header was left out: no name of a header"
            );
            continue;
        };
        if OURS.contains(&name.as_str()) {
            continue;
        }
        let texts: Vec<String> = match value {
            Value::Array(several) => several.iter().filter_map(text).collect(),
            one => text(one).into_iter().collect(),
        };
        for (index, text) in texts.into_iter().enumerate() {
            let Ok(value) = HeaderValue::try_from(text) else {
                tracing::warn!(header = %name, "a function's header was left out: no value of a header");
                continue;
            };
            if index == 0 {
                out.insert(&name, value);
            } else {
                out.append(&name, value);
            }
        }
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

/// Weak: what lies between may compress the body.
fn tag(body: &[u8]) -> HeaderValue {
    let digest = Sha256::digest(body);
    let hex: String = digest[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    HeaderValue::try_from(format!("W/\"{hex}\"")).unwrap_or(HeaderValue::from_static("W/\"\""))
}

/// RFC 9110, 13.1.2: weak comparison.
fn matches(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let opaque = |text: &str| text.trim().trim_start_matches("W/").to_owned();
    let Ok(tag) = tag.to_str().map(opaque) else {
        return false;
    };
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|given| given.trim() == "*" || opaque(given) == tag)
}

/// RFC 9211 says where an answer comes from; a negative ttl is one past its time.
fn mark(out: &mut HeaderMap, freshness: Freshness) {
    let status = match freshness {
        Freshness::New => return,
        Freshness::Kept(left) => format!("forge; hit; ttl={}", left.as_secs()),
        Freshness::Stale(over) => {
            out.insert(
                header::WARNING,
                HeaderValue::from_static("110 forge \"Response is Stale\""),
            );
            format!("forge; hit; ttl=-{}; detail=stale", over.as_secs().max(1))
        }
    };
    if let Ok(value) = HeaderValue::try_from(status) {
        out.insert("cache-status", value);
    }
}

/// The problem that a failed call is to `identity`.
pub(crate) fn problem(error: &Error, identity: &Identity) -> Problem {
    match error {
        Error::Database(error) => Problem::from(&**error),
        Error::NotAQuery(..) => Problem::method(error.to_string(), "POST"),
        Error::NotAnAction(..) => Problem::new(Code::InvalidInput, error.to_string()),
        Error::StillRunning { .. } => Problem::new(Code::TimedOut, error.to_string()),
        Error::ActionFailed {
            state, error: said, ..
        } => {
            let code = if state == "cancelled" {
                Code::Conflict
            } else {
                Code::OutsideFailed
            };
            // What the outside said may be about the inside: only services hear it.
            let detail = match said.as_deref().and_then(|said| said.lines().next()) {
                Some(said) if identity.is_service() => format!("{error}: {said:.500}"),
                _ => error.to_string(),
            };
            Problem::new(code, detail)
        }
        Error::Strange => Problem::internal(),
    }
}

/// Longest that a header may ask to wait.
pub(crate) fn patience(limit: Duration) -> Duration {
    // The request's own limit must not come first: its answer would not name the job.
    limit
        .saturating_sub(Duration::from_millis(500))
        .max(limit / 2)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn done(body: &str, status: Option<u16>, headers: Value) -> Answer {
        let reply = Reply {
            body: Bytes::copy_from_slice(body.as_bytes()),
            status,
            headers: headers.as_object().cloned().unwrap_or_default(),
            replayed: false,
        };
        Answer::Done(reply, Freshness::New)
    }

    async fn text(response: Response) -> String {
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn what_has_not_changed_is_not_sent_again() {
        let first = respond(
            done("[1]", None, Value::Null),
            &Method::GET,
            &HeaderMap::new(),
        );
        let tag = first.headers()[header::ETAG].clone();
        assert_eq!(text(first).await, "[1]");
        for given in [
            tag.to_str().unwrap().to_owned(),
            format!("\"x\", {}", tag.to_str().unwrap()),
            "*".into(),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, given.parse().unwrap());
            let second = respond(done("[1]", None, Value::Null), &Method::GET, &headers);
            assert_eq!(second.status(), 304, "{given}");
            assert_eq!(second.headers()[header::ETAG], tag);
            assert_eq!(text(second).await, "");
            let changed = respond(done("[2]", None, Value::Null), &Method::GET, &headers);
            assert_eq!(
                changed.status().as_u16(),
                if given == "*" { 304 } else { 200 }
            );
            let posted = respond(done("[1]", None, Value::Null), &Method::POST, &headers);
            assert_eq!(posted.status(), 200);
        }
    }

    #[tokio::test]
    async fn a_function_sets_status_and_headers() {
        let headers = json!({"Location": "/x/1", "Set-Cookie": ["a=1", "b=2"], "X-N": 7, "Content-Length": "9", "bad name": "x", "X-Bad": "a\nb"});
        let response = respond(
            done(r#"{"id":1}"#, Some(201), headers),
            &Method::POST,
            &HeaderMap::new(),
        );
        assert_eq!(response.status(), 201);
        let given = response.headers();
        assert_eq!(given["location"], "/x/1");
        assert_eq!(given.get_all("set-cookie").iter().count(), 2);
        assert_eq!(given["x-n"], "7");
        assert!(!given.contains_key("x-bad"));
        assert_eq!(given["content-type"], "application/json");
        assert_eq!(text(response).await, r#"{"id":1}"#);
        let page = done(
            r#""<p>hi</p>""#,
            Some(200),
            json!({"content-type": "text/html"}),
        );
        let response = respond(page, &Method::POST, &HeaderMap::new());
        assert_eq!(response.headers()["content-type"], "text/html");
        assert_eq!(text(response).await, "<p>hi</p>");
        let empty = respond(
            done("", Some(204), Value::Null),
            &Method::DELETE,
            &HeaderMap::new(),
        );
        assert!(!empty.headers().contains_key("content-type"));
    }

    #[test]
    fn stale_answers_say_so() {
        let answer = Answer::Done(Reply::default(), Freshness::Stale(Duration::from_secs(7)));
        let response = respond(answer, &Method::POST, &HeaderMap::new());
        assert_eq!(
            response.headers()["cache-status"],
            "forge; hit; ttl=-7; detail=stale"
        );
        assert!(response.headers().contains_key("warning"));
    }
}
