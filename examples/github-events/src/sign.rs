//! The two signatures of the example: GitHub's on the way in, Standard Webhooks' on the way out.
//!
//! Invariant: signatures are compared in constant time, over the bytes as they came.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// How far a signed timestamp may be from this machine's clock, as Standard Webhooks recommends.
const TOLERANCE: Duration = Duration::from_secs(300);

fn hmac(key: &[u8]) -> Hmac<Sha256> {
    // HMAC takes keys of every length.
    Hmac::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC-SHA256 takes any key"))
}

/// The value of `X-Hub-Signature-256`: `sha256=` and the HMAC-SHA256 of the body in lower-case hex.
pub fn github(secret: &str, body: &[u8]) -> String {
    let mut mac = hmac(secret.as_bytes());
    mac.update(body);
    let mut header = String::from("sha256=");
    for byte in mac.finalize().into_bytes() {
        header.push_str(&format!("{byte:02x}"));
    }
    header
}

/// Why a call was not believed.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A header is missing or does not parse.
    Header(&'static str),
    /// Signed too long ago, or in the future.
    Stale,
    /// No signature fits.
    Signature,
}

/// A Standard Webhooks secret, ready to check calls.
#[derive(Clone)]
pub struct Standard {
    key: Vec<u8>,
}

impl Standard {
    /// `secret` is `whsec_` and base64.
    ///
    /// # Errors
    /// When it is not.
    pub fn new(secret: &str) -> anyhow::Result<Self> {
        let encoded = secret
            .strip_prefix("whsec_")
            .ok_or_else(|| anyhow::anyhow!("the receiver's secret must start with whsec_"))?;
        Ok(Self {
            key: BASE64_STANDARD.decode(encoded)?,
        })
    }

    /// Checks the headers `webhook-id`, `webhook-timestamp` and `webhook-signature` against the body, and
    /// returns the id. Several signatures, parted by spaces, may be given; one must fit.
    ///
    /// # Errors
    /// What is wrong with the call.
    pub fn verify<'h>(
        &self,
        header: impl Fn(&str) -> Option<&'h str>,
        body: &[u8],
        now: SystemTime,
    ) -> Result<&'h str, Refusal> {
        let id = header("webhook-id").ok_or(Refusal::Header("webhook-id"))?;
        let stamp = header("webhook-timestamp").ok_or(Refusal::Header("webhook-timestamp"))?;
        let signatures = header("webhook-signature").ok_or(Refusal::Header("webhook-signature"))?;
        let seconds: u64 = stamp
            .parse()
            .map_err(|_| Refusal::Header("webhook-timestamp"))?;
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        if now.abs_diff(Duration::from_secs(seconds)) > TOLERANCE {
            return Err(Refusal::Stale);
        }
        let fits = signatures
            .split(' ')
            .filter_map(|signature| signature.strip_prefix("v1,"))
            .filter_map(|encoded| BASE64_STANDARD.decode(encoded).ok())
            .any(|tag| self.mac(id, stamp, body).verify_slice(&tag).is_ok());
        if fits {
            Ok(id)
        } else {
            Err(Refusal::Signature)
        }
    }

    fn mac(&self, id: &str, stamp: &str, body: &[u8]) -> Hmac<Sha256> {
        let mut mac = hmac(&self.key);
        for part in [id.as_bytes(), b".", stamp.as_bytes(), b".", body] {
            mac.update(part);
        }
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // From GitHub's page "Validating webhook deliveries".
    #[test]
    fn github_signs_as_documented() {
        assert_eq!(
            github("It's a Secret to Everybody", b"Hello, World!"),
            "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
        );
    }

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const STAMP: &str = "1614265330";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    // From the Standard Webhooks reference libraries.
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn check(signature: &str, body: &[u8], at: u64) -> Result<String, Refusal> {
        let header = |name: &str| match name {
            "webhook-id" => Some(ID),
            "webhook-timestamp" => Some(STAMP),
            "webhook-signature" => Some(signature),
            _ => None,
        };
        let now = UNIX_EPOCH + Duration::from_secs(at);
        Standard::new(SECRET)
            .unwrap()
            .verify(header, body, now)
            .map(str::to_owned)
    }

    #[test]
    fn standard_accepts_its_test_vector() {
        assert_eq!(check(SIGNATURE, BODY, 1_614_265_330), Ok(ID.to_owned()));
        let rotated = format!("v1,AAAA v2,{SIGNATURE} {SIGNATURE}");
        assert_eq!(check(&rotated, BODY, 1_614_265_330), Ok(ID.to_owned()));
    }

    #[test]
    fn standard_refuses_changed_and_stale_calls() {
        let at = 1_614_265_330;
        assert_eq!(
            check(SIGNATURE, br#"{"test": 1}"#, at),
            Err(Refusal::Signature)
        );
        assert_eq!(check("v1,AAAA", BODY, at), Err(Refusal::Signature));
        assert_eq!(check(SIGNATURE, BODY, at + 301), Err(Refusal::Stale));
        assert_eq!(check(SIGNATURE, BODY, at - 301), Err(Refusal::Stale));
    }

    #[test]
    fn a_secret_must_say_what_it_is() {
        assert!(Standard::new("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").is_err());
    }
}
