//! Request bodies: bounded in size and in patience, JSON or refused.

use std::{fmt::Write, time::Duration};

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header},
};
use bytes::{Bytes, BytesMut};
use forge_core::Code;
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::problem::Problem;

const DISCARDED: usize = 64 * 1024;
const DISCARD_FOR: Duration = Duration::from_millis(250);

/// How much of a body is read and how long a pause in it may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub size: usize,
    pub idle: Duration,
}

/// Reads the whole body. ZF009 when it is larger, 408 when it stalls, 400 when it breaks off.
pub(super) async fn read(
    headers: &HeaderMap,
    mut body: Body,
    limits: Limits,
) -> Result<Bytes, Problem> {
    let too_large = |size: &dyn std::fmt::Display| {
        Problem::new(
            Code::TooLarge,
            format!(
                "the body has {size} bytes; at most {} are taken",
                limits.size
            ),
        )
    };
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if let Some(length) = announced.filter(|length| *length > limits.size as u64) {
        return Err(too_large(&length));
    }
    let mut read = BytesMut::new();
    loop {
        let frame = timeout(limits.idle, body.frame()).await.map_err(|_| {
            let detail = format!(
                "the body stalled for {:?} after {} bytes",
                limits.idle,
                read.len()
            );
            Problem::request(StatusCode::REQUEST_TIMEOUT, detail)
        })?;
        let Some(frame) = frame else {
            return Ok(read.freeze());
        };
        let frame = frame.map_err(|_| {
            Problem::request(
                StatusCode::BAD_REQUEST,
                format!(
                    "the body broke off after {} bytes, or is not what its Content-Encoding says",
                    read.len()
                ),
            )
        })?;
        if let Ok(data) = frame.into_data() {
            if read.len() + data.len() > limits.size {
                return Err(too_large(&format_args!("more than {}", limits.size)));
            }
            read.extend_from_slice(&data);
        }
    }
}

/// Passes `outcome` on with the body. A refused request's body is read away when it is small: a client that has sent half
/// of it when the answer comes keeps its connection.
pub(super) async fn or_discard<T>(
    outcome: Result<T, Problem>,
    body: Body,
) -> Result<(T, Body), Problem> {
    match outcome {
        Ok(value) => Ok((value, body)),
        Err(problem) => {
            discard(body).await;
            Err(problem)
        }
    }
}

/// Reads a small body away; gives a large or slow one up.
pub(super) async fn discard(body: Body) {
    let away = http_body_util::Limited::new(body, DISCARDED).collect();
    let _ = timeout(DISCARD_FOR, away).await;
}

/// 415 unless the body is JSON (`application/json` or `…+json`).
pub(super) fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    match media_type(headers).as_deref() {
        Some(media) if is_json(media) => Ok(()),
        Some(media) => Err(unsupported(media)),
        None => Err(Problem::request(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the Content-Type header is missing; send application/json",
        )),
    }
}

/// 415 when there is a media type and it is not JSON; whether there is a body is seen when it is read.
pub(super) fn require_json_or_nothing(headers: &HeaderMap) -> Result<(), Problem> {
    match media_type(headers).as_deref() {
        Some(media) if !is_json(media) => Err(unsupported(media)),
        _ => Ok(()),
    }
}

/// 415 naming what was sent.
pub(super) fn unsupported(media: &str) -> Problem {
    let detail = format!("media type `{media}` is not taken; send application/json");
    Problem::request(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
}

/// Whether this media type is JSON.
pub(super) fn is_json(media: &str) -> bool {
    media == "application/json" || media.ends_with("+json")
}

/// Whether this value of a Content-Type header is JSON.
pub(super) fn is_json_value(value: &str) -> bool {
    let media = value.split(';').next().unwrap_or_default().trim();
    is_json(&media.to_ascii_lowercase())
}

/// The media type without parameters, in lower case.
pub(super) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(
        value
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase(),
    )
}

/// 400 for a body that is not JSON, saying where.
pub(super) fn malformed(error: &serde_json::Error) -> Problem {
    let mut detail = "the body is not JSON".to_owned();
    if error.line() > 0 {
        let _ = write!(
            detail,
            " (line {}, column {})",
            error.line(),
            error.column()
        );
    }
    let mut problem = Problem::request(StatusCode::BAD_REQUEST, detail);
    problem.title = "malformed JSON".into();
    problem
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        size: 8,
        idle: Duration::from_millis(20),
    };

    #[tokio::test]
    async fn reads_within_the_limit() {
        let body = Body::from_stream(futures::stream::iter([
            Ok::<_, std::io::Error>("1234"),
            Ok("5678"),
        ]));
        assert_eq!(
            read(&HeaderMap::new(), body, LIMITS).await.unwrap(),
            "12345678"
        );
    }

    #[tokio::test]
    async fn refuses_large_stalled_and_broken_bodies() {
        let status = |result: Result<Bytes, Problem>| result.unwrap_err().status.as_u16();
        let large = Body::from_stream(futures::stream::iter([
            Ok::<_, std::io::Error>("1234"),
            Ok("56789"),
        ]));
        assert_eq!(status(read(&HeaderMap::new(), large, LIMITS).await), 413);
        let mut announced = HeaderMap::new();
        announced.insert("content-length", "9".parse().unwrap());
        assert_eq!(status(read(&announced, Body::empty(), LIMITS).await), 413);
        let stalled =
            Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        assert_eq!(status(read(&HeaderMap::new(), stalled, LIMITS).await), 408);
        let broken = Body::from_stream(futures::stream::iter([Err::<Bytes, _>(
            std::io::Error::other("gone"),
        )]));
        assert_eq!(status(read(&HeaderMap::new(), broken, LIMITS).await), 400);
    }

    #[test]
    fn only_json_is_json() {
        for (media, good) in [
            (Some("application/json; charset=utf-8"), true),
            (Some("Application/CloudEvents+JSON"), true),
            (Some("text/plain"), false),
            (None, false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(media) = media {
                headers.insert("content-type", media.parse().unwrap());
            }
            assert_eq!(require_json(&headers).is_ok(), good, "{media:?}");
        }
    }
}
