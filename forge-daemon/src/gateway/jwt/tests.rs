//! Tokens that are good, and every way known to make one look good.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;

use super::*;
use crate::config::Secret;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const RSA: &[u8] = include_bytes!("fixtures/rsa.pem");
const RSA_PUBLIC: &str = include_str!("fixtures/rsa.pub.pem");
const EC: &[u8] = include_bytes!("fixtures/ec.pem");
const EC_PUBLIC: &str = include_str!("fixtures/ec.pub.pem");
const ED: &[u8] = include_bytes!("fixtures/ed.pem");
const ED_PUBLIC: &str = include_str!("fixtures/ed.pub.pem");
const NAME: &str = "https://id.example";

fn issuer(algorithm: Algorithm) -> Issuer {
    let public = |text: &str| Some(text.to_owned());
    Issuer {
        issuer: NAME.into(),
        audiences: vec!["app".into()],
        algorithm,
        jwks_url: None,
        public_key: match algorithm {
            Algorithm::RS256 | Algorithm::PS256 => public(RSA_PUBLIC),
            Algorithm::ES256 => public(EC_PUBLIC),
            Algorithm::EdDSA => public(ED_PUBLIC),
            _ => None,
        },
        secret: algorithm.is_symmetric().then(|| Secret::new(SECRET)),
        private_key: None,
        role_claim: "role".into(),
        default_role: "forge_user".into(),
        roles: vec![],
    }
}

fn verifier(issuers: Vec<Issuer>) -> Verifier {
    let auth = Auth {
        issuers,
        ..Auth::default()
    };
    Verifier::new(&auth).unwrap()
}

fn in_seconds(seconds: i64) -> i64 {
    i64::try_from(jsonwebtoken::get_current_timestamp()).unwrap() + seconds
}

fn claims() -> Value {
    json!({"iss": NAME, "aud": "app", "sub": "u1", "exp": in_seconds(60)})
}

fn with(changes: Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

fn key(algorithm: Signature) -> EncodingKey {
    match algorithm {
        Signature::RS256 | Signature::PS256 => EncodingKey::from_rsa_pem(RSA).unwrap(),
        Signature::ES256 => EncodingKey::from_ec_pem(EC).unwrap(),
        Signature::EdDSA => EncodingKey::from_ed_pem(ED).unwrap(),
        _ => EncodingKey::from_secret(SECRET.as_bytes()),
    }
}

fn signed(algorithm: Signature, claims: &Value) -> String {
    encode(&Header::new(algorithm), claims, &key(algorithm)).unwrap()
}

async fn refusal(verifier: &Verifier, token: &str) -> String {
    match verifier.verify(token).await {
        Ok(_) => panic!("taken: {token}"),
        Err(problem) => {
            assert_eq!(problem.status.as_u16(), 401, "{}", problem.detail);
            problem.detail
        }
    }
}

#[tokio::test]
async fn every_algorithm_is_verified() {
    for algorithm in [
        Algorithm::HS256,
        Algorithm::RS256,
        Algorithm::PS256,
        Algorithm::ES256,
        Algorithm::EdDSA,
    ] {
        let verifier = verifier(vec![issuer(algorithm)]);
        let token = signed(signature(algorithm), &claims());
        let verified = verifier
            .verify(&token)
            .await
            .map_err(|problem| problem.detail)
            .unwrap();
        assert_eq!(
            verified.caller.subject.as_deref(),
            Some("u1"),
            "{algorithm:?}"
        );
        assert_eq!(verified.caller.role, "forge_user");
        assert!(verified.left <= Duration::from_secs(91));
        // Another signature over the same content.
        let (content, _) = token.rsplit_once('.').unwrap();
        let other = signed(signature(algorithm), &with(json!({"sub": "u2"})));
        let forged = format!("{content}.{}", other.rsplit_once('.').unwrap().1);
        assert_eq!(
            refusal(&verifier, &forged).await,
            "the token's signature is wrong",
            "{algorithm:?}"
        );
    }
}

#[tokio::test]
async fn the_token_does_not_choose_the_algorithm() {
    // The public key as an HMAC secret: the classic confusion.
    let verifier = verifier(vec![issuer(Algorithm::RS256)]);
    let confused = encode(
        &Header::new(Signature::HS256),
        &claims(),
        &EncodingKey::from_secret(RSA_PUBLIC.as_bytes()),
    )
    .unwrap();
    assert!(
        refusal(&verifier, &confused)
            .await
            .contains("must be signed with RS256")
    );
    let weaker = encode(
        &Header::new(Signature::PS256),
        &claims(),
        &key(Signature::PS256),
    )
    .unwrap();
    assert!(
        refusal(&verifier, &weaker)
            .await
            .contains("must be signed with RS256")
    );
}

#[tokio::test]
async fn unsigned_tokens_are_none() {
    let verifier = verifier(vec![issuer(Algorithm::HS256)]);
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    for alg in ["none", "None", "NONE", ""] {
        let content = format!(
            "{}.{}",
            part(&json!({"alg": alg, "typ": "JWT"})),
            part(&claims())
        );
        refusal(&verifier, &format!("{content}.")).await;
        refusal(&verifier, &content).await;
    }
    let good = signed(Signature::HS256, &claims());
    let (content, _) = good.rsplit_once('.').unwrap();
    refusal(&verifier, &format!("{content}.")).await;
    for nonsense in [
        ".",
        "..",
        "a.b.c",
        "a.b",
        "....",
        &format!("{good}.x"),
        &"x.".repeat(100),
    ] {
        refusal(&verifier, nonsense).await;
    }
    let oversized = signed(Signature::HS256, &with(json!({"x": "y".repeat(LONGEST)})));
    assert!(refusal(&verifier, &oversized).await.contains("bytes"));
}

#[tokio::test]
async fn claims_must_be_there_and_right() {
    let verifier = verifier(vec![issuer(Algorithm::HS256)]);
    let says = |changes: Value| signed(Signature::HS256, &with(changes));
    for (changes, why) in [
        (json!({"exp": in_seconds(-31)}), "expired"),
        (json!({"exp": null}), "claim exp"),
        (json!({"exp": "tomorrow"}), "claim exp"),
        (json!({"nbf": in_seconds(90)}), "not valid yet"),
        (json!({"aud": "other"}), "audience"),
        (json!({"aud": null}), "claim aud"),
        (json!({"iss": "https://evil.example"}), "issuer"),
        (json!({"iss": [NAME, "x"]}), "issuer"),
        (json!({"iss": null}), "issuer"),
        (json!({"sub": 7}), "sub"),
        (json!({"role": 7}), "role"),
        (json!({"role": ""}), "role"),
        (json!({"role": "a\u{0}b"}), "role"),
    ] {
        let detail = refusal(&verifier, &says(changes.clone())).await;
        assert!(detail.contains(why), "{changes}: {detail}");
    }
    // Within the leeway; one audience of several.
    for changes in [
        json!({"exp": in_seconds(-10)}),
        json!({"nbf": in_seconds(10)}),
        json!({"aud": ["other", "app"]}),
    ] {
        assert!(verifier.verify(&says(changes)).await.is_ok());
    }
    let mut header = Header::new(Signature::HS256);
    header.crit = Some(vec!["exp".into()]);
    let critical = encode(&header, &claims(), &key(Signature::HS256)).unwrap();
    refusal(&verifier, &critical).await;
}

#[tokio::test]
async fn the_role_is_where_the_issuer_says() {
    let mut nested = issuer(Algorithm::HS256);
    nested.role_claim = "app.role".into();
    nested.roles = vec!["forge_user".into(), "editor".into()];
    let verifier = verifier(vec![nested]);
    let says = |changes: Value| signed(Signature::HS256, &with(changes));
    let role = |token: String| {
        let verifier = &verifier;
        async move {
            verifier
                .verify(&token)
                .await
                .map(|verified| verified.caller.role)
        }
    };
    assert_eq!(
        role(says(json!({"app": {"role": "editor"}})))
            .await
            .unwrap(),
        "editor"
    );
    assert_eq!(
        role(says(json!({"role": "forge_admin"}))).await.unwrap(),
        "forge_user"
    );
    let refused = role(says(json!({"app": {"role": "forge_admin"}})))
        .await
        .unwrap_err();
    assert_eq!(refused.status.as_u16(), 403);
}

#[test]
fn sets_keep_only_keys_that_fit() {
    let set = json!({"keys": [
        {"kty": "oct", "k": "AAAA", "kid": "secret", "alg": "HS256"},
        {"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA", "kid": "curve"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "other use", "use": "enc"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "good", "use": "sig", "alg": "ES256"},
        {"kty": "nonsense"}, 7
    ]});
    let keys = Keys::set(set.to_string().as_bytes(), Algorithm::ES256).unwrap();
    assert!(keys.knows(Some("good")) && keys.knows(None));
    for kid in ["secret", "curve", "other use"] {
        assert!(!keys.knows(Some(kid)), "{kid}");
    }
    assert!(Keys::set(b"[]", Algorithm::ES256).is_err());
    assert!(Keys::read("{\"keys\":[]}", Algorithm::ES256).is_err());
    assert!(Keys::read(EC_PUBLIC, Algorithm::RS256).is_err());
}
