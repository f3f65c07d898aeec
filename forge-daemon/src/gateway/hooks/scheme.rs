//! The signature schemes of inbound webhooks.
//!
//! Invariants: signatures are compared in constant time; nothing of a delivery is believed before its signature holds;
//! where a scheme signs the time, a delivery outside the tolerance is refused however good its signature is.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::HeaderMap;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use forge_core::Code;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;

use super::{github, plain, slack, standard, stripe};
use crate::gateway::problem::Problem;

/// How deliveries of a webhook are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// Standard Webhooks.
    Standard,
    /// GitHub.
    Github,
    /// Stripe.
    Stripe,
    /// Slack.
    Slack,
    /// `X-Signature` over the body.
    HmacSha256,
}

/// A delivery as it came in.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its body, byte for byte.
    pub body: &'a [u8],
    /// The secret it must be signed with.
    pub secret: &'a str,
    /// How far its time may be from now.
    pub tolerance: Duration,
    /// Now.
    pub now: SystemTime,
}

/// Why a delivery is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A header is not there.
    #[error("the {0} header is missing")]
    Missing(&'static str),
    /// A header cannot be read.
    #[error("the {0} header is malformed; {1}")]
    Malformed(&'static str, &'static str),
    /// Signed too long ago.
    #[error("the delivery is {age} s old; at most {tolerance} s are tolerated")]
    Stale {
        /// Seconds.
        age: u64,
        /// Seconds.
        tolerance: u64,
    },
    /// Signed in the future.
    #[error(
        "the delivery's time is {ahead} s in the future; at most {tolerance} s are tolerated, check the sender's clock"
    )]
    Future {
        /// Seconds.
        ahead: u64,
        /// Seconds.
        tolerance: u64,
    },
    /// No signature fits.
    #[error(
        "the signature does not fit the body; check the secret on both sides and that no proxy changes the body"
    )]
    Mismatch,
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Problem::new(Code::Unauthenticated, refusal.to_string())
    }
}

impl Scheme {
    /// Checks signature and time.
    pub fn verify(self, delivery: &Delivery<'_>) -> Result<(), Refusal> {
        match self {
            Scheme::Standard => standard::verify(delivery),
            Scheme::Github => github::verify(delivery),
            Scheme::Stripe => stripe::verify(delivery),
            Scheme::Slack => slack::verify(delivery),
            Scheme::HmacSha256 => plain::verify(delivery),
        }
    }
}

impl<'a> Delivery<'a> {
    /// The text of a header.
    pub(super) fn header(&self, name: &'static str) -> Result<&'a str, Refusal> {
        let value = self.headers.get(name).ok_or(Refusal::Missing(name))?;
        value
            .to_str()
            .map_err(|_| Refusal::Malformed(name, "it is not ASCII"))
    }

    /// Refuses a delivery signed at `seconds` since 1970 when that is too far from now.
    pub(super) fn check_time(&self, seconds: i64) -> Result<(), Refusal> {
        let now = self.now.duration_since(UNIX_EPOCH).map_or(0, |since| {
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        });
        let tolerance = self.tolerance.as_secs();
        let distance = now.abs_diff(seconds);
        match distance > tolerance {
            true if seconds > now => Err(Refusal::Future {
                ahead: distance,
                tolerance,
            }),
            true => Err(Refusal::Stale {
                age: distance,
                tolerance,
            }),
            false => Ok(()),
        }
    }
}

/// HMAC-SHA256 over parts, one after the other.
pub(super) fn mac(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key)
        .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    parts.iter().for_each(|part| mac.update(part));
    mac
}

/// Whether one of `candidates` is the signature, in constant time each.
pub(super) fn any_fits(
    mac: &Hmac<Sha256>,
    candidates: impl Iterator<Item = Vec<u8>>,
) -> Result<(), Refusal> {
    let mut fits = false;
    for candidate in candidates.take(MOST_SIGNATURES) {
        fits |= mac.clone().verify_slice(&candidate).is_ok();
    }
    if fits { Ok(()) } else { Err(Refusal::Mismatch) }
}

/// Senders rotate among a few secrets; a longer list is an attempt to make work.
const MOST_SIGNATURES: usize = 16;

/// Bytes from hexadecimal text.
pub(super) fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect()
}

/// Bytes from base64 text, padded or not.
pub(super) fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD
        .decode(text)
        .or_else(|_| STANDARD_NO_PAD.decode(text))
        .ok()
}

#[cfg(test)]
pub(super) mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    /// A delivery with these headers, checked at `now` seconds since 1970.
    pub fn verify(
        scheme: Scheme,
        secret: &str,
        headers: &[(&str, &str)],
        body: &str,
        now: u64,
    ) -> Result<(), Refusal> {
        let headers = headers
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::try_from(*name).unwrap(),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect();
        scheme.verify(&Delivery {
            headers: &headers,
            body: body.as_bytes(),
            secret,
            tolerance: Duration::from_secs(300),
            now: UNIX_EPOCH + Duration::from_secs(now),
        })
    }

    #[test]
    fn hex_is_strict() {
        assert_eq!(from_hex("00ff"), Some(vec![0, 255]));
        for bad in ["0", "zz", "é0", "+1"] {
            assert_eq!(from_hex(bad), None, "{bad}");
        }
    }
}
