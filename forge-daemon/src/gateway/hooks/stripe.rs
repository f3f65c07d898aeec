//! Stripe: `Stripe-Signature: t=SECONDS,v1=HEX[,v1=HEX…]` over `SECONDS.BODY`.

use super::scheme::{Delivery, Refusal, any_fits, from_hex, mac};

const SIGNATURE: &str = "stripe-signature";

pub(super) fn verify(delivery: &Delivery<'_>) -> Result<(), Refusal> {
    let header = delivery.header(SIGNATURE)?;
    let fields = || {
        header
            .split(',')
            .filter_map(|field| field.trim().split_once('='))
    };
    let malformed = Refusal::Malformed(SIGNATURE, "it must be t=SECONDS,v1=HEX");
    let (_, timestamp) = fields()
        .find(|(name, _)| *name == "t")
        .ok_or_else(|| malformed.clone())?;
    delivery.check_time(timestamp.parse().map_err(|_| malformed)?)?;
    let mac = mac(
        delivery.secret.as_bytes(),
        &[timestamp.as_bytes(), b".", delivery.body],
    );
    any_fits(
        &mac,
        fields()
            .filter(|(name, _)| *name == "v1")
            .filter_map(|(_, hex)| from_hex(hex)),
    )
}

#[cfg(test)]
mod tests {
    use super::{
        super::scheme::{Refusal, Scheme, tests::verify},
        *,
    };

    // printf '1492774577.{"id":"evt_1","object":"event"}' | openssl dgst -sha256 -hmac whsec_test_secret
    const SECRET: &str = "whsec_test_secret";
    const BODY: &str = r#"{"id":"evt_1","object":"event"}"#;
    const NOW: u64 = 1_492_774_577;
    const HEX: &str = "654b43d3508ecadb3f8cefc4bc7d3d2bdc5ba9e03bf2c89b2d0657a8e24e4543";

    fn check(header: &str, now: u64) -> Result<(), Refusal> {
        verify(Scheme::Stripe, SECRET, &[(SIGNATURE, header)], BODY, now)
    }

    #[test]
    fn accepts_one_good_signature_among_several() {
        check(&format!("t={NOW},v1={HEX}"), NOW).unwrap();
        check(&format!("t={NOW}, v1=00ff, v1={HEX}, v0=zz"), NOW + 300).unwrap();
    }

    #[test]
    fn refuses_forgeries_and_wrong_times() {
        assert_eq!(
            check(&format!("t={NOW},v0={HEX}"), NOW),
            Err(Refusal::Mismatch)
        );
        assert_eq!(
            check(&format!("t={},v1={HEX}", NOW + 1), NOW),
            Err(Refusal::Mismatch)
        );
        assert_eq!(
            check(&format!("t={NOW},v1={HEX}"), NOW + 400),
            Err(Refusal::Stale {
                age: 400,
                tolerance: 300
            })
        );
        assert_eq!(
            check(&format!("t={NOW},v1={HEX}"), NOW - 400),
            Err(Refusal::Future {
                ahead: 400,
                tolerance: 300
            })
        );
        assert!(matches!(
            check(&format!("v1={HEX}"), NOW),
            Err(Refusal::Malformed(..))
        ));
    }
}
