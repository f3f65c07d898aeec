//! Who sends a request: the role behind its credential.
//!
//! Invariants: a revoked key is let in at most the configured seconds after its revocation, and no longer at all once
//! the notification of it came, whatever look-ups were under way; keys are kept only as digests; no credential at all is `forge_anon`, a wrong one is refused.

use std::time::Duration;

use axum::http::HeaderMap;
use forge_core::Code;
use postgres_types::Type;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{cache::Cache, problem::Problem};
use crate::db::{Db, Query};

const AUTHENTICATE: Query = Query::new(
    "authenticate_key",
    "SELECT forge_private.authenticate_key($1)::text",
    &[Type::TEXT],
);
const REMEMBERED: usize = 10_000;
const UNKNOWN_TTL: Duration = Duration::from_secs(1);
const LONGEST_KEY: usize = 512;

/// The role a request acts as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The database role.
    pub role: String,
    /// Whether a credential proved it.
    pub proven: bool,
}

impl Identity {
    fn anonymous() -> Self {
        Self {
            role: "forge_anon".into(),
            proven: false,
        }
    }

    /// Whether this is a service or an administrator.
    pub fn is_service(&self) -> bool {
        matches!(self.role.as_str(), "forge_service" | "forge_admin")
    }
}

/// Turns credentials into identities.
pub struct Identities {
    db: Db,
    ttl: Duration,
    known: Cache<[u8; 32], Option<Identity>>,
}

impl Identities {
    /// Believes a good key for `ttl`.
    pub fn new(db: Db, ttl: Duration) -> Self {
        Self {
            db,
            ttl,
            known: Cache::new(REMEMBERED),
        }
    }

    /// Forgets everything: a key may have been revoked.
    pub fn forget(&self) {
        self.known.clear();
    }

    /// The identity of a request with these headers. ZF004 when its credential is unknown.
    pub async fn of(&self, headers: &HeaderMap) -> Result<Identity, Problem> {
        let Some(key) = credential(headers)? else {
            return Ok(Identity::anonymous());
        };
        let digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        let identity = match self.known.get(&digest) {
            Some(known) => known,
            None => {
                let asked = self.known.ask();
                let found = self.ask(key).await?;
                let ttl = if found.is_some() {
                    self.ttl
                } else {
                    UNKNOWN_TTL
                };
                self.known.put(digest, found.clone(), asked, ttl);
                found
            }
        };
        identity.ok_or_else(|| {
            Problem::new(
                Code::Unauthenticated,
                "the API key is unknown, expired or revoked; use one made by forge.create_api_key",
            )
        })
    }

    async fn ask(&self, key: &str) -> Result<Option<Identity>, Problem> {
        #[derive(Deserialize)]
        struct Answer {
            role: String,
        }
        let answer: Option<String> = self.db.scalar(&AUTHENTICATE, &[&key]).await?;
        let Some(text) = answer else {
            return Ok(None);
        };
        let answer: Answer = serde_json::from_str(&text).map_err(|error| {
            tracing::error!(%error, "authenticate_key answered something else");
            Problem::internal()
        })?;
        Ok(Some(Identity {
            role: answer.role,
            proven: true,
        }))
    }
}

/// The key sent, if any: `Authorization: Bearer|Token KEY`, else `X-Api-Key: KEY`.
fn credential(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let refuse = |detail: &str| Err(Problem::new(Code::Unauthenticated, detail));
    let key = if let Some(value) = headers.get("authorization") {
        let text = value.to_str().unwrap_or_default().trim();
        let (scheme, key) = text.split_once(' ').unwrap_or((text, ""));
        if !scheme.eq_ignore_ascii_case("bearer") && !scheme.eq_ignore_ascii_case("token") {
            return refuse("the Authorization header must be `Bearer KEY` or `Token KEY`");
        }
        key.trim()
    } else if let Some(value) = headers.get("x-api-key") {
        value.to_str().unwrap_or_default().trim()
    } else {
        return Ok(None);
    };
    if key.is_empty() || key.len() > LONGEST_KEY || key.contains('\0') {
        return refuse(
            "the credential is empty or malformed; send an API key made by forge.create_api_key",
        );
    }
    Ok(Some(key))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::try_from(*name).unwrap(),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect()
    }

    #[test]
    fn finds_the_key() {
        assert_eq!(credential(&headers(&[])).unwrap(), None);
        for pair in [
            ("authorization", "Bearer k1"),
            ("authorization", "token k1"),
            ("x-api-key", "k1"),
        ] {
            assert_eq!(credential(&headers(&[pair])).unwrap(), Some("k1"));
        }
        let both = headers(&[("x-api-key", "k2"), ("authorization", "Bearer k1")]);
        assert_eq!(credential(&both).unwrap(), Some("k1"));
    }

    #[test]
    fn refuses_what_is_no_key() {
        let long = "x".repeat(LONGEST_KEY + 1);
        for pair in [
            ("authorization", "Basic dTpw"),
            ("authorization", "Bearer"),
            ("x-api-key", ""),
            ("x-api-key", &long),
        ] {
            assert_eq!(
                credential(&headers(&[pair])).unwrap_err().status.as_u16(),
                401
            );
        }
    }
}
