//! Whether a browser sent a request from this site itself.
//!
//! A cookie comes along with requests that other sites make a browser send, so a request that changes something counts
//! as its owner's only when the browser says that it came from here: `Sec-Fetch-Site`, else `Origin`. Source: OWASP
//! CSRF prevention, Fetch Metadata.

use axum::http::{HeaderMap, Uri, header};
use forge_core::Code;

use super::problem::Problem;

/// ZF003 unless the browser says that the request came from this site or one of `trusted`.
pub(super) fn require_same(
    headers: &HeaderMap,
    uri: Option<&Uri>,
    trusted: &[String],
) -> Result<(), Problem> {
    let origin = text(headers, "origin");
    if origin.is_some_and(|origin| trusted.iter().any(|known| known == origin)) {
        return Ok(());
    }
    let same = match text(headers, "sec-fetch-site") {
        Some(site) => site == "same-origin" || site == "none",
        None => origin.is_some_and(|origin| is_host(origin, host(headers, uri))),
    };
    if same {
        return Ok(());
    }
    Err(Problem::new(
        Code::Forbidden,
        "a request that changes something with the session cookie must come from the same origin (Sec-Fetch-Site or \
         Origin header); send the session's token as Authorization: Bearer instead, or add the site to auth.trusted_origins",
    ))
}

/// The value of a header that is there exactly once.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// HTTP/1 has the host in a header, HTTP/2 in the URI.
fn host<'a>(headers: &'a HeaderMap, uri: Option<&'a Uri>) -> Option<&'a str> {
    let authority = uri.and_then(|uri| Some(uri.authority()?.as_str()));
    authority.or_else(|| text(headers, header::HOST.as_str()))
}

fn is_host(origin: &str, host: Option<&str>) -> bool {
    let authority = origin
        .strip_prefix("https://")
        .or_else(|| origin.strip_prefix("http://"));
    match (authority, host) {
        (Some(authority), Some(host)) => authority.eq_ignore_ascii_case(host),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn check(pairs: &[(&str, &str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in [("host", "app.example:8080")].iter().chain(pairs) {
            headers.append(
                HeaderName::try_from(*name).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        require_same(&headers, None, &["https://other.example".into()]).is_ok()
    }

    #[test]
    fn only_this_site_counts() {
        assert!(check(&[("sec-fetch-site", "same-origin")]));
        assert!(check(&[("origin", "https://app.example:8080")]));
        assert!(check(&[("origin", "https://other.example")]));
        assert!(
            !check(&[]),
            "a client that says nothing may be an old browser"
        );
        assert!(!check(&[("origin", "https://evil.example")]));
        assert!(!check(&[("origin", "null")]));
        assert!(!check(&[("origin", "https://app.example:8080.evil")]));
        assert!(!check(&[("sec-fetch-site", "same-site")]));
        assert!(!check(&[
            ("sec-fetch-site", "cross-site"),
            ("origin", "https://app.example:8080")
        ]));
        assert!(!check(&[
            ("origin", "https://app.example:8080"),
            ("origin", "https://evil.example")
        ]));
    }
}
