//! What no handler should have to think about: heads that are too large, headers sent twice, paths that are no text.

use axum::{
    extract::Request,
    http::{HeaderName, StatusCode, header},
};

use super::problem::Problem;

/// Headers of which two would mean two things, one to a proxy and one to us.
static SINGLE: [HeaderName; 8] = [
    header::HOST,
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::ORIGIN,
    header::UPGRADE,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("idempotency-key"),
];

/// Refuses a request whose head is larger than `limit` bytes, ambiguous or not text.
pub(super) fn screen(request: &Request, limit: usize) -> Result<(), Problem> {
    let uri = request.uri();
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    if target.len() > limit {
        let detail = format!(
            "the path has {} bytes; at most {limit} are taken",
            target.len()
        );
        return Err(Problem::request(StatusCode::URI_TOO_LONG, detail));
    }
    let headers = request.headers();
    let size: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    if size > limit {
        let detail = format!("the headers have {size} bytes; at most {limit} are taken");
        return Err(Problem::request(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            detail,
        ));
    }
    if let Some(name) = SINGLE
        .iter()
        .find(|name| headers.get_all(*name).iter().nth(1).is_some())
    {
        let detail = format!("header {name} was sent more than once; send it once");
        return Err(Problem::request(StatusCode::BAD_REQUEST, detail));
    }
    if target.contains('%') && !is_text(target) {
        let detail = "the path or query string is not UTF-8 once its %-escapes are read";
        return Err(Problem::request(StatusCode::BAD_REQUEST, detail));
    }
    Ok(())
}

/// Whether the escapes in `target` are of UTF-8; one that is no escape stands for itself.
fn is_text(target: &str) -> bool {
    let mut decoded = Vec::with_capacity(target.len());
    let mut rest = target.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = (*first == b'%')
            .then(|| after.get(..2).and_then(|two| std::str::from_utf8(two).ok()))
            .flatten()
            .and_then(|two| u8::from_str_radix(two, 16).ok());
        match escaped {
            Some(byte) => {
                decoded.push(byte);
                rest = &after[2..];
            }
            None => {
                decoded.push(*first);
                rest = after;
            }
        }
    }
    std::str::from_utf8(&decoded).is_ok()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn refused(path: &str, headers: &[(&str, &str)]) -> Option<u16> {
        let mut request = Request::get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        screen(&request.body(Body::empty()).unwrap(), 4096)
            .err()
            .map(|problem| problem.status.as_u16())
    }

    #[test]
    fn heads_are_bounded() {
        let long = "x".repeat(4096);
        assert_eq!(refused("/", &[("a", "b")]), None);
        assert_eq!(refused("/", &[("a", &long)]), Some(431));
        assert_eq!(refused(&format!("/{long}"), &[]), Some(414));
    }

    #[test]
    fn what_must_be_one_is_one() {
        for name in [
            "authorization",
            "Content-Type",
            "x-api-key",
            "idempotency-key",
        ] {
            assert_eq!(
                refused("/", &[(name, "a"), (name, "a")]),
                Some(400),
                "{name}"
            );
        }
        assert_eq!(refused("/", &[("accept", "a"), ("accept", "b")]), None);
    }

    #[test]
    fn paths_are_text() {
        for good in ["/a%20b", "/%C3%A9?x=%F0%9F%98%80", "/100%", "/%zz?%"] {
            assert_eq!(refused(good, &[]), None, "{good}");
        }
        for bad in ["/%ff", "/a?x=%C3", "/%C0%AF"] {
            assert_eq!(refused(bad, &[]), Some(400), "{bad}");
        }
    }
}
