//! The keys of one issuer.
//!
//! Invariant: a key is here only when it fits the issuer's algorithm, so that none is ever used with another.

use std::sync::Arc;

use jsonwebtoken::{
    DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;

use crate::config::Algorithm;

/// Keys looked at in one set.
const MOST: usize = 64;
/// Keys tried for a token that names none.
const TRIED: usize = 8;

/// Keys with the names their issuer gave them. Cloning is cheap.
#[derive(Clone, Default)]
pub(super) struct Keys {
    keys: Arc<Vec<(Option<String>, DecodingKey)>>,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

impl Keys {
    /// The key of an HS algorithm.
    pub fn secret(secret: &[u8]) -> Self {
        Self::of(vec![(None, DecodingKey::from_secret(secret))])
    }

    /// PEM, or a key set as JSON.
    pub fn read(text: &str, algorithm: Algorithm) -> Result<Self, String> {
        let text = text.trim();
        if text.starts_with('{') {
            let keys = Self::set(text.as_bytes(), algorithm)?;
            return if keys.is_empty() {
                Err(format!("public_key has no key for {algorithm:?}"))
            } else {
                Ok(keys)
            };
        }
        let pem = text.as_bytes();
        let key = match algorithm {
            Algorithm::ES256 | Algorithm::ES384 => DecodingKey::from_ec_pem(pem),
            Algorithm::EdDSA => DecodingKey::from_ed_pem(pem),
            _ => DecodingKey::from_rsa_pem(pem),
        };
        let key = key.map_err(|error| {
            format!("public_key is neither a key set nor a PEM of {algorithm:?}: {error}")
        })?;
        Ok(Self::of(vec![(None, key)]))
    }

    /// The keys of a set (RFC 7517) that fit; others are passed over.
    pub fn set(json: &[u8], algorithm: Algorithm) -> Result<Self, String> {
        let set: Set =
            serde_json::from_slice(json).map_err(|error| format!("no key set: {error}"))?;
        let keys = set.keys.into_iter().take(MOST).filter_map(|key| {
            let jwk: Jwk = serde_json::from_value(key).ok()?;
            fits(&jwk, algorithm).then_some(())?;
            Some((jwk.common.key_id.clone(), DecodingKey::from_jwk(&jwk).ok()?))
        });
        Ok(Self::of(keys.collect()))
    }

    fn of(keys: Vec<(Option<String>, DecodingKey)>) -> Self {
        Self {
            keys: Arc::new(keys),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether there is a key for tokens that name `kid`.
    pub fn knows(&self, kid: Option<&str>) -> bool {
        self.candidates(kid).next().is_some()
    }

    /// The keys a token that names `kid` may be signed with: that key; every key when it names none; and keys that have
    /// no name themselves.
    pub fn candidates<'a>(&'a self, kid: Option<&'a str>) -> impl Iterator<Item = &'a DecodingKey> {
        self.keys
            .iter()
            .filter(move |(name, _)| match (kid, name) {
                (Some(kid), Some(name)) => kid == name,
                _ => true,
            })
            .take(TRIED)
            .map(|(_, key)| key)
    }
}

fn fits(jwk: &Jwk, algorithm: Algorithm) -> bool {
    let signs = matches!(
        jwk.common.public_key_use,
        None | Some(PublicKeyUse::Signature)
    );
    let named = jwk
        .common
        .key_algorithm
        .is_none_or(|named| named.to_string() == format!("{algorithm:?}"));
    let kind = match (&jwk.algorithm, algorithm) {
        (AlgorithmParameters::EllipticCurve(key), Algorithm::ES256) => {
            key.curve == EllipticCurve::P256
        }
        (AlgorithmParameters::EllipticCurve(key), Algorithm::ES384) => {
            key.curve == EllipticCurve::P384
        }
        (AlgorithmParameters::OctetKeyPair(key), Algorithm::EdDSA) => {
            key.curve == EllipticCurve::Ed25519
        }
        (AlgorithmParameters::RSA(_), _) => matches!(
            algorithm,
            Algorithm::RS256
                | Algorithm::RS384
                | Algorithm::RS512
                | Algorithm::PS256
                | Algorithm::PS384
                | Algorithm::PS512
        ),
        // A shared secret in a public set is none.
        _ => false,
    };
    signs && named && kind
}
