//! GitHub: `X-Hub-Signature-256` over the body; delivery and event have headers of their own. No time is signed.

use super::scheme::{Delivery, Refusal, any_fits, from_hex, mac};

pub(super) const ID: &str = "x-github-delivery";
pub(super) const EVENT: &str = "x-github-event";
const SIGNATURE: &str = "x-hub-signature-256";

pub(super) fn verify(delivery: &Delivery<'_>) -> Result<(), Refusal> {
    let signature = delivery.header(SIGNATURE)?;
    let hex = signature
        .strip_prefix("sha256=")
        .ok_or(Refusal::Malformed(SIGNATURE, "it must begin with sha256="))?;
    any_fits(
        &mac(delivery.secret.as_bytes(), &[delivery.body]),
        from_hex(hex).into_iter(),
    )
}

#[cfg(test)]
mod tests {
    use super::{
        super::scheme::{Refusal, Scheme, tests::verify},
        *,
    };

    // The example of GitHub's documentation on validating deliveries.
    const SECRET: &str = "It's a Secret to Everybody";
    const BODY: &str = "Hello, World!";
    const GOOD: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    #[test]
    fn accepts_the_documented_vector_and_nothing_else() {
        verify(Scheme::Github, SECRET, &[(SIGNATURE, GOOD)], BODY, 0).unwrap();
        assert_eq!(
            verify(
                Scheme::Github,
                SECRET,
                &[(SIGNATURE, GOOD)],
                "Hello, World",
                0
            ),
            Err(Refusal::Mismatch)
        );
        assert_eq!(
            verify(Scheme::Github, "other", &[(SIGNATURE, GOOD)], BODY, 0),
            Err(Refusal::Mismatch)
        );
        assert_eq!(
            verify(
                Scheme::Github,
                SECRET,
                &[(SIGNATURE, "sha256=xyz")],
                BODY,
                0
            ),
            Err(Refusal::Mismatch)
        );
        assert_eq!(
            verify(Scheme::Github, SECRET, &[(SIGNATURE, &GOOD[..60])], BODY, 0),
            Err(Refusal::Mismatch)
        );
        assert!(matches!(
            verify(Scheme::Github, SECRET, &[(SIGNATURE, "sha1=00")], BODY, 0),
            Err(Refusal::Malformed(..))
        ));
        assert_eq!(
            verify(Scheme::Github, SECRET, &[], BODY, 0),
            Err(Refusal::Missing(SIGNATURE))
        );
    }
}
