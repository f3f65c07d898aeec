//! Smaller answers for clients that can read them, and bodies that clients made smaller.
//!
//! Invariants: a stream of events is never held back by a compressor; what is small or compressed already is left alone;
//! a body is unpacked piece by piece as it is read, so the limit on its size is one on what it unpacks to.

use std::io;

use async_compression::tokio::bufread::GzipDecoder;
use axum::{
    body::Body,
    extract::Request,
    http::{
        Extensions, HeaderMap, HeaderValue, StatusCode, Version,
        header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG},
    },
    response::{IntoResponse, Response},
};
use futures::TryStreamExt;
use tokio_util::io::{ReaderStream, StreamReader};
use tower_http::{
    CompressionLevel,
    compression::{
        CompressionLayer,
        predicate::{And, Predicate, SizeAbove},
    },
};

use super::problem::Problem;

/// Below this a packet is a packet.
const WORTHWHILE: u16 = 1024;
/// Most of the gain for little time, in both formats.
const EFFORT: i32 = 4;
const PIECE: usize = 16 * 1024;

type Worthwhile = And<SizeAbove, fn(StatusCode, Version, &HeaderMap, &Extensions) -> bool>;

/// Compresses answers that are worth it.
pub(super) fn layer() -> CompressionLayer<Worthwhile> {
    let text: fn(StatusCode, Version, &HeaderMap, &Extensions) -> bool =
        |_, _, headers, _| is_text(headers);
    CompressionLayer::new()
        .gzip(true)
        .br(true)
        .quality(CompressionLevel::Precise(EFFORT))
        .compress_when(SizeAbove::new(WORTHWHILE).and(text))
}

/// Media types that shrink and may be held back for a moment.
fn is_text(headers: &HeaderMap) -> bool {
    let media = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    match media.as_str() {
        "text/event-stream" => false,
        "application/json" | "application/javascript" | "application/wasm" | "image/svg+xml" => {
            true
        }
        other => other.starts_with("text/") || other.ends_with("+json") || other.ends_with("+xml"),
    }
}

/// A compressed answer is another sequence of bytes than its tag was made for: equal in meaning only.
pub(super) async fn weaken_etag(mut response: Response) -> Response {
    if response.headers().contains_key(CONTENT_ENCODING)
        && let Some(strong) = response.headers().get(ETAG)
        && strong.as_bytes().starts_with(b"\"")
        && let Ok(weak) = HeaderValue::from_bytes(&[b"W/", strong.as_bytes()].concat())
    {
        response.headers_mut().insert(ETAG, weak);
    }
    response
}

/// Unpacks a gzip body while it is read. 415 for other encodings.
pub(super) fn unpack(request: Request) -> Result<Request, Box<Response>> {
    let mut given = request.headers().get_all(CONTENT_ENCODING).iter();
    let encoding = match (given.next(), given.next()) {
        (None, _) => return Ok(request),
        (Some(one), None) => one.to_str().unwrap_or("?").trim().to_ascii_lowercase(),
        (Some(_), Some(_)) => "several".into(),
    };
    // A signature is over the bytes sent: nobody signs what a proxy might have packed.
    let signed = request.uri().path().starts_with("/v1/hooks/");
    match encoding.as_str() {
        "identity" | "" => Ok(request),
        "gzip" | "x-gzip" if !signed => Ok(gunzip(request)),
        _ => Err(Box::new(refuse(&encoding, signed))),
    }
}

fn gunzip(request: Request) -> Request {
    let (mut parts, body) = request.into_parts();
    parts.headers.remove(CONTENT_ENCODING);
    parts.headers.remove(CONTENT_LENGTH);
    let packed = StreamReader::new(body.into_data_stream().map_err(io::Error::other));
    let mut decoder = GzipDecoder::new(packed);
    decoder.multiple_members(true);
    let body = Body::from_stream(ReaderStream::with_capacity(decoder, PIECE));
    Request::from_parts(parts, body)
}

fn refuse(encoding: &str, signed: bool) -> Response {
    let accepted = if signed { "identity" } else { "gzip" };
    let detail = format!("content encoding `{encoding}` is not taken here; send {accepted}");
    let mut response = Problem::request(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail).into_response();
    response
        .headers_mut()
        .insert(ACCEPT_ENCODING, HeaderValue::from_static(accepted));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_compressed_and_events_are_not() {
        for (media, good) in [
            ("application/json", true),
            ("application/problem+json", true),
            ("text/html; charset=utf-8", true),
            ("text/event-stream", false),
            ("image/png", false),
            ("application/gzip", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, media.parse().unwrap());
            assert_eq!(is_text(&headers), good, "{media}");
        }
    }

    #[test]
    fn unknown_encodings_are_refused() {
        let request = |path: &str, encoding: &str| {
            Request::post(path)
                .header(CONTENT_ENCODING, encoding)
                .body(Body::empty())
                .unwrap()
        };
        assert!(unpack(request("/v1/jobs", "gzip")).is_ok());
        assert!(unpack(request("/v1/jobs", "identity")).is_ok());
        for (path, encoding) in [
            ("/v1/jobs", "br"),
            ("/v1/jobs", "gzip, gzip"),
            ("/v1/hooks/x", "gzip"),
        ] {
            let refused = unpack(request(path, encoding)).unwrap_err();
            assert_eq!(refused.status(), 415, "{path} {encoding}");
            assert!(refused.headers().contains_key(ACCEPT_ENCODING));
        }
    }
}
