//! JSON Web Tokens (RFC 7519): verified here, so that a bad one costs the database nothing.
//!
//! Invariants: the issuer's configuration decides the algorithm and the keys, never the token; issuer, expiry and, where
//! configured, audience must be in the token and right; what is signed with another key, or not at all, is refused.

mod jwks;
mod keys;

use std::time::Duration;

use forge_core::Code;
use jsonwebtoken::{
    Algorithm as Signature, TokenData, Validation, decode, decode_header, errors::ErrorKind,
};
use serde::Deserialize;
use serde_json::{Map, Value};

use self::{jwks::KeySet, keys::Keys};
use super::problem::Problem;
use crate::{
    config::{Algorithm, Auth, Issuer},
    executor::{Caller, CallerKind},
};

/// Longest token looked at.
const LONGEST: usize = 8 * 1024;
/// Longest name of a role in Postgres.
const LONGEST_ROLE: usize = 63;

/// Whose tokens are taken.
pub(super) struct Verifier {
    issuers: Vec<Trusted>,
}

struct Trusted {
    config: Issuer,
    validation: Validation,
    source: Source,
}

enum Source {
    Fixed(Keys),
    Fetched(KeySet),
}

/// A verified token.
pub(super) struct Verified {
    pub caller: Caller,
    /// How long it is good for.
    pub left: Duration,
}

/// Whether this is meant to be a JSON Web Token: neither keys nor session tokens have dots.
pub(super) fn is_shaped(token: &str) -> bool {
    token.contains('.')
}

fn refuse(detail: impl Into<String>) -> Problem {
    Problem::new(Code::Unauthenticated, detail)
}

impl Verifier {
    /// A verifier as configured; the message says which key cannot be read.
    pub fn new(config: &Auth) -> Result<Self, String> {
        let issuers = config.issuers.iter().map(|issuer| {
            Trusted::new(issuer, config)
                .map_err(|error| format!("issuer `{}`: {error}", issuer.issuer))
        });
        Ok(Self {
            issuers: issuers.collect::<Result<_, _>>()?,
        })
    }

    /// The caller that `token` proves. ZF004 when it proves none.
    pub async fn verify(&self, token: &str) -> Result<Verified, Problem> {
        if token.len() > LONGEST {
            return Err(refuse(format!(
                "the token has {} bytes; at most {LONGEST} are taken",
                token.len()
            )));
        }
        if self.issuers.is_empty() {
            return Err(refuse(
                "JSON Web Tokens are not taken here; use an API key or a session, or configure auth.issuers",
            ));
        }
        let header = decode_header(token).map_err(|_| malformed())?;
        #[derive(Deserialize)]
        struct Named {
            iss: String,
        }
        let named: Named = jsonwebtoken::dangerous::insecure_decode_claims(token)
            .map_err(|_| refuse("the token names no issuer (claim iss)"))?;
        let trusted = self
            .issuers
            .iter()
            .find(|trusted| trusted.config.issuer == named.iss)
            .ok_or_else(|| refuse("the token's issuer is not one that is trusted here"))?;
        trusted.verify(token, &header).await
    }
}

impl Trusted {
    fn new(issuer: &Issuer, config: &Auth) -> Result<Self, String> {
        let mut validation = Validation::new(signature(issuer.algorithm));
        validation.leeway = config.leeway.get().as_secs();
        validation.validate_nbf = true;
        validation.set_issuer(&[&issuer.issuer]);
        let mut required = vec!["exp", "iss"];
        if issuer.audiences.is_empty() {
            validation.validate_aud = false;
        } else {
            validation.set_audience(&issuer.audiences);
            required.push("aud");
        }
        validation.set_required_spec_claims(&required);
        let source = match (&issuer.jwks_url, &issuer.public_key, &issuer.secret) {
            (Some(url), ..) => Source::Fetched(KeySet::new(url, issuer.algorithm, config)?),
            (_, Some(text), _) => Source::Fixed(Keys::read(text, issuer.algorithm)?),
            (_, _, Some(secret)) => Source::Fixed(Keys::secret(secret.expose().as_bytes())),
            _ => return Err("no key".into()),
        };
        Ok(Self {
            config: issuer.clone(),
            validation,
            source,
        })
    }

    async fn verify(
        &self,
        token: &str,
        header: &jsonwebtoken::Header,
    ) -> Result<Verified, Problem> {
        if header.alg != signature(self.config.algorithm) {
            return Err(refuse(format!(
                "the token is signed with {:?}; this issuer's tokens must be signed with {:?}",
                header.alg, self.config.algorithm
            )));
        }
        // RFC 7515, 4.1.11: extensions that must be understood are none that are understood here.
        if header.crit.is_some() {
            return Err(refuse(
                "the token's header has critical extensions, which are not taken",
            ));
        }
        let kid = header.kid.as_deref();
        let keys = match &self.source {
            Source::Fixed(keys) => keys.clone(),
            Source::Fetched(set) => set.with(kid).await?,
        };
        let mut outcome = Err(refuse(
            "the token is signed with a key that its issuer does not name (kid)",
        ));
        for key in keys.candidates(kid) {
            outcome = match decode::<Map<String, Value>>(token, key, &self.validation) {
                Ok(data) => return self.caller(data),
                Err(error) => Err(explain(error.kind())),
            };
        }
        outcome
    }

    fn caller(&self, data: TokenData<Map<String, Value>>) -> Result<Verified, Problem> {
        let claims = data.claims;
        let role = match at(&claims, &self.config.role_claim) {
            None | Some(Value::Null) => self.config.default_role.clone(),
            Some(Value::String(role)) if is_role(role) => role.clone(),
            Some(_) => {
                return Err(refuse(format!(
                    "the claim {} is no name of a role",
                    self.config.role_claim
                )));
            }
        };
        if !self.config.roles.is_empty() && !self.config.roles.contains(&role) {
            let detail = format!("this issuer's tokens may not have role {role}");
            return Err(Problem::new(Code::Forbidden, detail));
        }
        let subject = match claims.get("sub") {
            None | Some(Value::Null) => None,
            Some(Value::String(subject)) => Some(subject.clone()),
            Some(_) => return Err(refuse("the claim sub is not text")),
        };
        let now = jsonwebtoken::get_current_timestamp();
        let left = claims
            .get("exp")
            .and_then(|exp| exp.as_u64().or_else(|| exp.as_f64().map(|exp| exp as u64)))
            .map_or(0, |exp| (exp + self.validation.leeway).saturating_sub(now));
        Ok(Verified {
            caller: Caller {
                role,
                subject,
                kind: CallerKind::Jwt,
                name: None,
                scopes: None,
                claims,
            },
            left: Duration::from_secs(left),
        })
    }
}

/// The claim at a path of names with dots between them; a claim whose name has dots itself comes first.
fn at<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    let mut names = path.split('.');
    let first = claims.get(names.next()?)?;
    names.try_fold(first, |value, name| value.get(name))
}

fn is_role(role: &str) -> bool {
    (1..=LONGEST_ROLE).contains(&role.len()) && !role.chars().any(char::is_control)
}

fn malformed() -> Problem {
    refuse("the credential is no JSON Web Token with a signature that is taken here")
}

fn explain(error: &ErrorKind) -> Problem {
    match error {
        ErrorKind::ExpiredSignature => refuse("the token has expired; get a new one"),
        ErrorKind::ImmatureSignature => refuse("the token is not valid yet"),
        ErrorKind::InvalidAudience => refuse("the token is for another audience"),
        ErrorKind::InvalidIssuer => refuse("the token's issuer is not one that is trusted here"),
        ErrorKind::MissingRequiredClaim(claim) => {
            refuse(format!("the token has no usable claim {claim}"))
        }
        ErrorKind::InvalidSignature => refuse("the token's signature is wrong"),
        _ => malformed(),
    }
}

/// The algorithm as the library names it.
pub(crate) fn signature(algorithm: Algorithm) -> Signature {
    match algorithm {
        Algorithm::HS256 => Signature::HS256,
        Algorithm::HS384 => Signature::HS384,
        Algorithm::HS512 => Signature::HS512,
        Algorithm::RS256 => Signature::RS256,
        Algorithm::RS384 => Signature::RS384,
        Algorithm::RS512 => Signature::RS512,
        Algorithm::PS256 => Signature::PS256,
        Algorithm::PS384 => Signature::PS384,
        Algorithm::PS512 => Signature::PS512,
        Algorithm::ES256 => Signature::ES256,
        Algorithm::ES384 => Signature::ES384,
        Algorithm::EdDSA => Signature::EdDSA,
    }
}

#[cfg(test)]
mod tests;
