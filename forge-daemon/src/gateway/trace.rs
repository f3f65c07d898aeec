//! W3C trace context: taken from the request, or begun here.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use rand::RngExt;

pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Makes the request's headers have exactly one valid `traceparent`, and returns it: whoever asks later gets the same.
pub(super) fn adopt(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let value = HeaderValue::try_from(traceparent(headers)).ok()?;
    headers.insert(TRACEPARENT, value.clone());
    Some(value)
}

/// The caller's `traceparent`, or a new one when there is none or it is malformed.
pub(super) fn traceparent(headers: &HeaderMap) -> String {
    let mut given = headers.get_all("traceparent").iter();
    match (
        given.next().and_then(|value| value.to_str().ok()),
        given.next(),
    ) {
        (Some(value), None) if is_valid(value) => value.to_owned(),
        _ => begin(),
    }
}

fn begin() -> String {
    let mut random = rand::rng();
    // Zero is not an id.
    let trace: u128 = random.random_range(1..=u128::MAX);
    let span: u64 = random.random_range(1..=u64::MAX);
    format!("00-{trace:032x}-{span:016x}-01")
}

/// Version 00 exactly; later versions may add fields at the end.
fn is_valid(value: &str) -> bool {
    let parts: Vec<&str> = value.split('-').collect();
    let [version, trace, span, flags, rest @ ..] = parts.as_slice() else {
        return false;
    };
    let hex = |text: &str, length: usize| {
        text.len() == length
            && text
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let zero = |text: &str| text.bytes().all(|b| b == b'0');
    value.len() <= 128
        && hex(version, 2)
        && *version != "ff"
        && hex(trace, 32)
        && !zero(trace)
        && hex(span, 16)
        && !zero(span)
        && hex(flags, 2)
        && (*version != "00" || rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_good_ones_and_replaces_bad_ones() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", good.parse().unwrap());
        assert_eq!(traceparent(&headers), good);
        for bad in [
            "",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        ] {
            headers.insert("traceparent", bad.parse().unwrap());
            let made = traceparent(&headers);
            assert_ne!(made, bad);
            assert!(is_valid(&made), "{made}");
        }
    }

    #[test]
    fn what_was_begun_stays() {
        let mut headers = HeaderMap::new();
        headers.append("traceparent", "a".parse().unwrap());
        headers.append("traceparent", "b".parse().unwrap());
        let adopted = adopt(&mut headers).unwrap();
        assert_eq!(headers.get_all("traceparent").iter().count(), 1);
        assert_eq!(traceparent(&headers), adopted.to_str().unwrap());
    }
}
