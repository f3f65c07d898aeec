//! Standard Webhooks: `webhook-id`, `webhook-timestamp` and one or more `v1,` signatures.

use super::scheme::{Delivery, Refusal, any_fits, from_base64, mac};

pub(super) const ID: &str = "webhook-id";
const TIMESTAMP: &str = "webhook-timestamp";
const SIGNATURE: &str = "webhook-signature";

pub(super) fn verify(delivery: &Delivery<'_>) -> Result<(), Refusal> {
    let id = delivery.header(ID)?;
    let timestamp = delivery.header(TIMESTAMP)?;
    let signatures = delivery.header(SIGNATURE)?;
    let seconds = timestamp
        .parse()
        .map_err(|_| Refusal::Malformed(TIMESTAMP, "it must be seconds since 1970"))?;
    delivery.check_time(seconds)?;
    let mac = mac(
        &key(delivery.secret),
        &[
            id.as_bytes(),
            b".",
            timestamp.as_bytes(),
            b".",
            delivery.body,
        ],
    );
    any_fits(
        &mac,
        signatures
            .split(' ')
            .filter_map(|signature| from_base64(signature.strip_prefix("v1,")?)),
    )
}

/// `whsec_` marks base64; other secrets are taken as they are.
fn key(secret: &str) -> Vec<u8> {
    secret
        .strip_prefix("whsec_")
        .and_then(from_base64)
        .unwrap_or_else(|| secret.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::{
        super::scheme::{Refusal, Scheme, tests::verify},
        *,
    };

    // The example of the Standard Webhooks reference libraries.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const BODY: &str = r#"{"test": 2432232314}"#;
    const NOW: u64 = 1_614_265_330;
    const GOOD: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn check(timestamp: &str, signature: &str, now: u64) -> Result<(), Refusal> {
        let headers = [
            (ID, "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            (TIMESTAMP, timestamp),
            (SIGNATURE, signature),
        ];
        verify(Scheme::Standard, SECRET, &headers, BODY, now)
    }

    #[test]
    fn accepts_the_reference_vector_among_several_signatures() {
        check("1614265330", GOOD, NOW).unwrap();
        let several = format!("v1,bm9uZQ== v1a,xyz v2,x {GOOD}");
        check("1614265330", &several, NOW + 299).unwrap();
    }

    #[test]
    fn refuses_forgeries() {
        assert_eq!(check("1614265331", GOOD, NOW), Err(Refusal::Mismatch));
        assert_eq!(
            check("1614265330", &GOOD.replace("v1,", "v2,"), NOW),
            Err(Refusal::Mismatch)
        );
        assert_eq!(check("1614265330", "", NOW), Err(Refusal::Mismatch));
        let mut unsigned = vec![(ID, "x"), (TIMESTAMP, "1614265330")];
        assert_eq!(
            verify(Scheme::Standard, SECRET, &unsigned, BODY, NOW),
            Err(Refusal::Missing(SIGNATURE))
        );
        unsigned.pop();
        assert_eq!(
            verify(Scheme::Standard, SECRET, &unsigned, BODY, NOW),
            Err(Refusal::Missing(TIMESTAMP))
        );
    }

    #[test]
    fn names_the_age_of_stale_and_early_deliveries() {
        assert_eq!(
            check("1614265330", GOOD, NOW + 301),
            Err(Refusal::Stale {
                age: 301,
                tolerance: 300
            })
        );
        assert_eq!(
            check("1614265330", GOOD, NOW - 301),
            Err(Refusal::Future {
                ahead: 301,
                tolerance: 300
            })
        );
        assert!(matches!(
            check("soon", GOOD, NOW),
            Err(Refusal::Malformed(TIMESTAMP, _))
        ));
        assert!(matches!(
            check("-9223372036854775808", GOOD, NOW),
            Err(Refusal::Stale { .. })
        ));
    }
}
