//! For whom a call runs, in the form the database takes it.
//!
//! Invariants: the JSON text is made once per credential; it holds no credential but a session's token, which
//! `forge.auth_token()` gives back to its owner, and is never logged.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// How a caller proved who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// No credential.
    Anonymous,
    /// A verified JSON Web Token.
    Jwt,
    /// An API key.
    Key,
    /// A session, by header or cookie.
    Session,
}

/// A part of an identity that a function can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Subject = 1,
    Claims = 2,
    Token = 4,
}

/// Every part.
pub(super) const EVERYTHING: u8 = Part::Subject as u8 | Part::Claims as u8 | Part::Token as u8;

/// An identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The database role the call runs as.
    pub role: String,
    /// Who it is, where that is known.
    pub subject: Option<String>,
    /// How it was proven.
    pub kind: Kind,
    /// Name of the API key.
    pub name: Option<String>,
    /// What the key is limited to; `None` is no limit.
    pub scopes: Option<Vec<String>>,
    /// What else is claimed.
    pub claims: Map<String, Value>,
}

#[derive(Serialize)]
struct Document<'a> {
    role: &'a str,
    subject: Option<&'a str>,
    claims: &'a Map<String, Value>,
    kind: Kind,
    name: Option<&'a str>,
    scopes: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
}

/// A caller with its JSON text and the digests of its parts.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    administrator: bool,
    pub(super) text: String,
    /// By mask of parts.
    digests: [[u8; 32]; EVERYTHING as usize + 1],
}

impl Caller {
    /// Nobody in particular.
    pub fn anonymous() -> Self {
        Self {
            role: "forge_anon".into(),
            subject: None,
            kind: Kind::Anonymous,
            name: None,
            scopes: None,
            claims: Map::new(),
        }
    }

    /// The form that calls take; `token` is the session's, if it is one.
    pub fn seal(&self, token: Option<&str>) -> Arc<Sealed> {
        let document = Document {
            role: &self.role,
            subject: self.subject.as_deref(),
            claims: &self.claims,
            kind: self.kind,
            name: self.name.as_deref(),
            scopes: self.scopes.as_deref(),
            token,
        };
        let digests = std::array::from_fn(|mask| {
            self.digest(u8::try_from(mask).unwrap_or(EVERYTHING), token)
        });
        // A document of text, lists and JSON values has no way to fail.
        let text = serde_json::to_string(&document).unwrap_or_default();
        Arc::new(Sealed {
            administrator: self.role == "forge_admin",
            text,
            digests,
        })
    }

    /// Role and scopes always count: they decide whether the function may be called at all.
    fn digest(&self, mask: u8, token: Option<&str>) -> [u8; 32] {
        let mut parts = vec![
            Value::from(self.role.as_str()),
            serde_json::json!(self.kind),
            serde_json::json!(self.scopes),
        ];
        if mask & Part::Subject as u8 != 0 {
            parts.push(serde_json::json!(self.subject));
        }
        if mask & Part::Claims as u8 != 0 {
            parts.push(Value::Object(self.claims.clone()));
            // An API key's name can stand in for its claims.
            parts.push(serde_json::json!(self.name));
        }
        if mask & Part::Token as u8 != 0 {
            parts.push(serde_json::json!(token));
        }
        Sha256::digest(Value::Array(parts).to_string()).into()
    }
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealed").finish_non_exhaustive()
    }
}

impl Sealed {
    /// Whether every call is noted in the audit log.
    pub(super) fn is_administrator(&self) -> bool {
        self.administrator
    }

    /// What the database takes.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The digest of the parts in `mask`.
    pub(super) fn digest(&self, mask: u8) -> &[u8; 32] {
        &self.digests[usize::from(mask & EVERYTHING)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(subject: &str, tenant: &str) -> Caller {
        Caller {
            subject: Some(subject.into()),
            claims: serde_json::json!({ "tenant": tenant })
                .as_object()
                .unwrap()
                .clone(),
            kind: Kind::Jwt,
            role: "forge_user".into(),
            ..Caller::anonymous()
        }
    }

    #[test]
    fn a_digest_tells_exactly_its_parts_apart() {
        let (a, b) = (caller("u1", "t").seal(None), caller("u2", "t").seal(None));
        assert_eq!(a.digest(0), b.digest(0));
        assert_eq!(a.digest(Part::Claims as u8), b.digest(Part::Claims as u8));
        assert_ne!(a.digest(Part::Subject as u8), b.digest(Part::Subject as u8));
        assert_ne!(a.digest(EVERYTHING), b.digest(EVERYTHING));
        let (one, other) = (
            caller("u1", "t").seal(Some("s1")),
            caller("u1", "t").seal(Some("s2")),
        );
        assert_eq!(
            one.digest(Part::Claims as u8),
            other.digest(Part::Claims as u8)
        );
        assert_ne!(
            one.digest(Part::Token as u8),
            other.digest(Part::Token as u8)
        );
        let admin = Caller {
            role: "forge_admin".into(),
            ..caller("u1", "t")
        }
        .seal(None);
        assert_ne!(a.digest(0), admin.digest(0), "the role always counts");
        let limited = Caller {
            scopes: Some(vec!["x".into()]),
            ..caller("u1", "t")
        }
        .seal(None);
        assert_ne!(a.digest(0), limited.digest(0), "scopes always count");
    }

    #[test]
    fn the_text_is_what_the_database_takes() {
        let text: Value = serde_json::from_str(&caller("u1", "t").seal(None).text).unwrap();
        assert_eq!(
            text,
            serde_json::json!({"role": "forge_user", "subject": "u1", "claims": {"tenant": "t"}, "kind": "jwt", "name": null, "scopes": null})
        );
    }
}
