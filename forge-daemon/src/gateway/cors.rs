//! Which pages of other origins may call, and what they may read of an answer.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::config::Http;

/// How long a browser need not ask again.
const REMEMBERED: Duration = Duration::from_secs(600);

const METHODS: [Method; 6] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
];

/// Answers preflights and marks answers; `None` when no other origin may call.
pub(super) fn layer(config: &Http) -> Option<CorsLayer> {
    if config.cors_origins.is_empty() {
        return None;
    }
    let origins = config.cors_origins.clone();
    let origin = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::predicate(move |origin: &HeaderValue, _| allows(&origins, origin))
    };
    let expose = [
        header::ETAG,
        header::LOCATION,
        header::RETRY_AFTER,
        HeaderName::from_static("x-request-id"),
        HeaderName::from_static("traceparent"),
    ];
    let layer = CorsLayer::new()
        .allow_origin(origin)
        .allow_methods(METHODS)
        .allow_headers(AllowHeaders::mirror_request())
        .allow_credentials(config.cors_credentials)
        .expose_headers(expose)
        .max_age(REMEMBERED);
    Some(layer)
}

fn allows(origins: &[String], origin: &HeaderValue) -> bool {
    let Ok(origin) = origin.to_str() else {
        return false;
    };
    origins
        .iter()
        .any(|allowed| match allowed.split_once("*.") {
            None => allowed == origin,
            // `https://*.example.com` is any host below example.com.
            Some((scheme, domain)) => origin
                .strip_prefix(scheme)
                .and_then(|host| host.strip_suffix(domain)?.strip_suffix('.'))
                .is_some_and(|sub| !sub.is_empty() && sub.bytes().all(is_host)),
        })
}

fn is_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_configured_origins_are_allowed() {
        let origins = ["https://app.example.com", "https://*.example.org"].map(String::from);
        let ok = |origin: &str| allows(&origins, &HeaderValue::from_str(origin).unwrap());
        for good in [
            "https://app.example.com",
            "https://a.example.org",
            "https://a.b.example.org",
        ] {
            assert!(ok(good), "{good}");
        }
        for bad in [
            "http://app.example.com",
            "https://app.example.com.evil.net",
            "https://evil.net",
            "https://example.org",
            "https://evilexample.org",
            "https://evil.net/.example.org",
            "https://a.example.org:8443",
            "null",
        ] {
            assert!(!ok(bad), "{bad}");
        }
    }
}
