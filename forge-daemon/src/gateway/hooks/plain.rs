//! HMAC-SHA256 without ceremony: `X-Signature` over the body, in hexadecimal or base64, `sha256=` in front or not.
//! The delivery's id is `X-Delivery-Id`, or the body's digest: the same body twice is then one delivery.

use sha2::{Digest, Sha256};

use super::scheme::{Delivery, Refusal, any_fits, from_base64, from_hex, mac};

pub(super) const ID: &str = "x-delivery-id";
pub(super) const EVENT: &str = "x-event";
const SIGNATURE: &str = "x-signature";

pub(super) fn verify(delivery: &Delivery<'_>) -> Result<(), Refusal> {
    let signature = delivery.header(SIGNATURE)?.trim();
    let signature = signature.strip_prefix("sha256=").unwrap_or(signature);
    let candidates = from_hex(signature)
        .into_iter()
        .chain(from_base64(signature));
    any_fits(
        &mac(delivery.secret.as_bytes(), &[delivery.body]),
        candidates,
    )
}

/// Stands for the id of a delivery that has none.
pub(super) fn digest(body: &[u8]) -> String {
    Sha256::digest(body)
        .iter()
        .fold(String::from("sha256:"), |mut text, byte| {
            use std::fmt::Write;
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::{
        super::scheme::{Refusal, Scheme, tests::verify},
        *,
    };

    // RFC 4231, test case 2.
    const KEY: &str = "Jefe";
    const BODY: &str = "what do ya want for nothing?";
    const HEX: &str = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";

    #[test]
    fn accepts_hex_and_base64() {
        for good in [
            HEX,
            &format!("sha256={HEX}"),
            &HEX.to_uppercase(),
            "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM=",
        ] {
            verify(Scheme::HmacSha256, KEY, &[(SIGNATURE, good)], BODY, 0).unwrap();
        }
        for bad in [
            "",
            "00",
            &HEX[1..],
            "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEN=",
        ] {
            assert_eq!(
                verify(Scheme::HmacSha256, KEY, &[(SIGNATURE, bad)], BODY, 0),
                Err(Refusal::Mismatch),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_body_has_one_digest() {
        assert_eq!(
            digest(b""),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }
}
