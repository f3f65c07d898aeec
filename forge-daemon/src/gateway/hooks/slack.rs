//! Slack: `X-Slack-Signature: v0=HEX` over `v0:SECONDS:BODY`, and the challenge that proves an address.

use super::scheme::{Delivery, Refusal, any_fits, from_hex, mac};

const TIMESTAMP: &str = "x-slack-request-timestamp";
const SIGNATURE: &str = "x-slack-signature";

pub(super) fn verify(delivery: &Delivery<'_>) -> Result<(), Refusal> {
    let timestamp = delivery.header(TIMESTAMP)?;
    let signature = delivery.header(SIGNATURE)?;
    let seconds = timestamp
        .parse()
        .map_err(|_| Refusal::Malformed(TIMESTAMP, "it must be seconds since 1970"))?;
    delivery.check_time(seconds)?;
    let hex = signature
        .strip_prefix("v0=")
        .ok_or(Refusal::Malformed(SIGNATURE, "it must begin with v0="))?;
    let mac = mac(
        delivery.secret.as_bytes(),
        &[b"v0:", timestamp.as_bytes(), b":", delivery.body],
    );
    any_fits(&mac, from_hex(hex).into_iter())
}

#[cfg(test)]
mod tests {
    use super::{
        super::scheme::{Refusal, Scheme, tests::verify},
        *,
    };

    // The example of Slack's documentation on verifying requests.
    const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
    const NOW: u64 = 1_531_420_618;
    const BODY: &str = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow\
        &channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner\
        &command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F\
        397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    const GOOD: &str = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";

    fn check(timestamp: &str, signature: &str, now: u64) -> Result<(), Refusal> {
        verify(
            Scheme::Slack,
            SECRET,
            &[(TIMESTAMP, timestamp), (SIGNATURE, signature)],
            BODY,
            now,
        )
    }

    #[test]
    fn accepts_the_documented_vector_and_nothing_else() {
        check("1531420618", GOOD, NOW).unwrap();
        assert_eq!(check("1531420619", GOOD, NOW), Err(Refusal::Mismatch));
        assert_eq!(
            check("1531420618", GOOD, NOW + 301),
            Err(Refusal::Stale {
                age: 301,
                tolerance: 300
            })
        );
        assert!(matches!(
            check("1531420618", "v1=00", NOW),
            Err(Refusal::Malformed(SIGNATURE, _))
        ));
    }
}
