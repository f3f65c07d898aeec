//! Who sends a request: the identity behind its credential.
//!
//! Invariants: a revoked key or session is let in at most the configured seconds after its revocation, and no longer at
//! all once the notification of it came, whatever look-ups were under way; credentials are kept only as digests; a JSON
//! Web Token is judged without the database; no credential at all is `forge_anon`, a wrong one is refused.

use std::{sync::Arc, time::Duration};

use axum::http::{HeaderMap, HeaderValue, Uri, header};
use forge_core::Code;
use postgres_types::Type;
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{
    cache::Cache,
    jwt::{self, Verifier},
    origin,
    problem::Problem,
};
use crate::{
    app::Context,
    db::{Db, Query, Wakeup},
    executor::{Caller, CallerKind, Sealed},
};

const KEY: Query = Query::new(
    "authenticate_key",
    "SELECT forge_private.authenticate_key($1)::text",
    &[Type::TEXT],
);
const SESSION: Query = Query::new(
    "authenticate_session",
    "SELECT forge_private.authenticate_session($1)::text",
    &[Type::TEXT],
);
/// How API keys begin.
const KEY_PREFIX: &str = "forge_";
/// How session tokens begin.
const SESSION_PREFIX: &str = "fs_";
const REMEMBERED: usize = 10_000;
const UNKNOWN_TTL: Duration = Duration::from_secs(1);
const LONGEST_KEY: usize = 512;

/// The identity a request acts with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The database role.
    pub role: String,
    /// Whether a credential proved it.
    pub proven: bool,
    /// Whether the credential came as a cookie.
    pub cookie: bool,
    /// All of it.
    pub caller: Arc<Caller>,
    /// The form that calls take.
    pub sealed: Arc<Sealed>,
}

impl Identity {
    fn new(caller: Caller, token: Option<&str>) -> Self {
        Self {
            role: caller.role.clone(),
            proven: caller.kind != CallerKind::Anonymous,
            cookie: false,
            sealed: caller.seal(token),
            caller: Arc::new(caller),
        }
    }

    /// Whether this is a service or an administrator.
    pub fn is_service(&self) -> bool {
        matches!(self.role.as_str(), "forge_service" | "forge_admin")
    }
}

/// Turns credentials into identities. Shared by all doors of a node.
pub struct Identities {
    db: Db,
    ttl: Duration,
    cookie: String,
    trusted: Vec<String>,
    anonymous: Identity,
    verifier: Verifier,
    known: Cache<[u8; 32], Identity>,
    /// Kept apart, so that guesses cannot push good ones out.
    unknown: Cache<[u8; 32], ()>,
}

/// What was sent to prove an identity.
#[derive(Debug, PartialEq, Eq)]
struct Credential<'a> {
    token: &'a str,
    cookie: bool,
}

impl Identities {
    /// As configured; the message says which issuer's key cannot be read.
    pub fn new(context: &Context) -> Result<Self, String> {
        let auth = &context.config.auth;
        Ok(Self {
            db: context.db.clone(),
            ttl: context.config.http.credential_ttl.get(),
            cookie: auth.cookie.clone(),
            trusted: auth.trusted_origins.clone(),
            anonymous: Identity::new(Caller::anonymous(), None),
            verifier: Verifier::new(auth)?,
            known: Cache::new(REMEMBERED),
            unknown: Cache::new(REMEMBERED),
        })
    }

    /// Forgets what may have been revoked whenever something was, until the node stops.
    pub fn follow(self: &Arc<Self>, context: &Context) {
        let identities = self.clone();
        let mut hints = context.wakeups.subscribe();
        context.tasks.spawn("credentials", |stop| async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    _ = hints.next_of(&[Wakeup::Control]) => identities.forget(),
                }
            }
        });
    }

    /// Forgets everything: a key or session may have been revoked.
    pub fn forget(&self) {
        self.known.clear();
        self.unknown.clear();
    }

    /// The identity of a request with these headers that changes nothing. ZF004 when its credential proves none.
    pub async fn of(&self, headers: &HeaderMap) -> Result<Identity, Problem> {
        let Some(credential) = self.credential(headers)? else {
            return Ok(self.anonymous.clone());
        };
        let identity = self.prove(credential.token).await?;
        Ok(Identity {
            cookie: credential.cookie,
            ..identity
        })
    }

    /// The identity of a request that may change something: with a cookie it must come from the same origin.
    pub async fn to_change(&self, headers: &HeaderMap) -> Result<Identity, Problem> {
        let identity = self.of(headers).await?;
        self.require_same_origin(&identity, headers, None)?;
        Ok(identity)
    }

    /// ZF003 when the identity came with a cookie that another site may have made the browser send.
    pub fn require_same_origin(
        &self,
        identity: &Identity,
        headers: &HeaderMap,
        uri: Option<&Uri>,
    ) -> Result<(), Problem> {
        if identity.cookie {
            origin::require_same(headers, uri, &self.trusted)?;
        }
        Ok(())
    }

    /// Who sends no credential.
    pub(super) fn anonymous(&self) -> &Identity {
        &self.anonymous
    }

    /// The session or key token sent, whatever it proves.
    pub(super) fn token<'a>(&self, headers: &'a HeaderMap) -> Result<Option<&'a str>, Problem> {
        Ok(self.credential(headers)?.map(|credential| credential.token))
    }

    async fn prove(&self, token: &str) -> Result<Identity, Problem> {
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(known) = self.known.get(&digest) {
            return Ok(known);
        }
        if jwt::is_shaped(token) {
            let asked = self.known.ask();
            let verified = self.verifier.verify(token).await?;
            let identity = Identity::new(verified.caller, None);
            self.known
                .put(digest, identity.clone(), asked, self.ttl.min(verified.left));
            return Ok(identity);
        }
        if self.unknown.get(&digest).is_some() {
            return Err(unknown());
        }
        let (known_asked, unknown_asked) = (self.known.ask(), self.unknown.ask());
        match self.ask(token).await? {
            Some((identity, left)) => {
                self.known
                    .put(digest, identity.clone(), known_asked, self.ttl.min(left));
                Ok(identity)
            }
            None => {
                self.unknown.put(digest, (), unknown_asked, UNKNOWN_TTL);
                Err(unknown())
            }
        }
    }

    /// What the database knows of a key or session, and how long it is good for. What looks like neither is not asked
    /// for.
    async fn ask(&self, token: &str) -> Result<Option<(Identity, Duration)>, Problem> {
        #[derive(Deserialize)]
        struct Known {
            #[serde(default)]
            name: Option<String>,
            #[serde(default)]
            subject: Option<String>,
            role: String,
            #[serde(default)]
            scopes: Option<Vec<String>>,
            #[serde(default)]
            claims: Option<Map<String, Value>>,
            #[serde(default)]
            expires_at: Option<jiff::Timestamp>,
        }
        let (query, kind) = if token.starts_with(SESSION_PREFIX) {
            (&SESSION, CallerKind::Session)
        } else if token.starts_with(KEY_PREFIX) {
            (&KEY, CallerKind::Key)
        } else {
            return Ok(None);
        };
        let answer: Option<String> = self.db.scalar(query, &[&token]).await?;
        let Some(text) = answer else {
            return Ok(None);
        };
        let known: Known = serde_json::from_str(&text).map_err(|error| {
            tracing::error!(query = query.name, %error, "the database answered something else; do the versions fit?");
            Problem::internal()
        })?;
        let claims = known.claims.unwrap_or_default();
        let claimed = claims.get("sub").and_then(Value::as_str);
        let caller = Caller {
            role: known.role,
            subject: known.subject.or_else(|| claimed.map(str::to_owned)),
            kind,
            name: known.name,
            scopes: known.scopes,
            claims,
        };
        let left = known.expires_at.map_or(Duration::MAX, |at| {
            Duration::try_from(at.duration_since(jiff::Timestamp::now())).unwrap_or_default()
        });
        let session = (kind == CallerKind::Session).then_some(token);
        Ok(Some((Identity::new(caller, session), left)))
    }

    /// What was sent, if anything: `Authorization: Bearer|Token …`, else `X-Api-Key: …`, else the session cookie.
    fn credential<'a>(&self, headers: &'a HeaderMap) -> Result<Option<Credential<'a>>, Problem> {
        let (token, cookie) = if let Some(value) = single(headers, "authorization")? {
            let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
            if !scheme.eq_ignore_ascii_case("bearer") && !scheme.eq_ignore_ascii_case("token") {
                return Err(refuse(
                    "the Authorization header must be `Bearer TOKEN` or `Token TOKEN`",
                ));
            }
            (token.trim(), false)
        } else if let Some(value) = single(headers, "x-api-key")? {
            (value, false)
        } else if let Some(value) = self.cookie(headers)? {
            (value, true)
        } else {
            return Ok(None);
        };
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(refuse(
                "the credential is empty or malformed; send a JSON Web Token, a session token, or an API key made by forge.create_api_key",
            ));
        }
        if !jwt::is_shaped(token) && token.len() > LONGEST_KEY {
            return Err(refuse(format!(
                "the credential has {} bytes; neither keys nor session tokens have more than {LONGEST_KEY}",
                token.len()
            )));
        }
        Ok(Some(Credential { token, cookie }))
    }

    /// The session cookie. Two different ones are none: nobody can say which is the right one.
    fn cookie<'a>(&self, headers: &'a HeaderMap) -> Result<Option<&'a str>, Problem> {
        let mut found: Option<&str> = None;
        let values = headers.get_all(header::COOKIE).iter();
        for pair in values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
        {
            let Some((name, value)) = pair.trim().split_once('=') else {
                continue;
            };
            if name != self.cookie || value.is_empty() {
                continue;
            }
            if found.is_some_and(|known| known != value) {
                return Err(refuse(format!("there are two cookies {name}")));
            }
            found = Some(value);
        }
        Ok(found)
    }
}

/// The value of a header that must not be there twice.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(refuse(format!("the header {name} is there twice")));
    }
    value
        .to_str()
        .map(|text| Some(text.trim()))
        .map_err(|_| refuse(format!("the header {name} is not ASCII")))
}

fn refuse(detail: impl Into<String>) -> Problem {
    Problem::new(Code::Unauthenticated, detail)
}

fn unknown() -> Problem {
    refuse(
        "the credential is unknown, expired or revoked; log in again, or use an API key made by forge.create_api_key",
    )
}

/// `Set-Cookie` with a session's token for `seconds`; without a token it takes the cookie away.
pub(super) fn set_cookie(
    name: &str,
    token: Option<&str>,
    seconds: i64,
    secure: bool,
) -> Option<HeaderValue> {
    let secure = if secure { "; Secure" } else { "" };
    let text = match token {
        Some(token) => {
            format!("{name}={token}; Path=/; Max-Age={seconds}; HttpOnly{secure}; SameSite=Lax")
        }
        None => format!("{name}=; Path=/; Max-Age=0; HttpOnly{secure}; SameSite=Lax"),
    };
    HeaderValue::try_from(text).ok()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(
                HeaderName::try_from(*name).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        headers
    }

    fn identities() -> Identities {
        Identities::new(&Context::unconnected()).unwrap()
    }

    #[tokio::test]
    async fn finds_the_credential() {
        let identities = identities();
        let found = |pairs: &[(&str, &str)]| {
            let headers = headers(pairs);
            identities
                .credential(&headers)
                .unwrap()
                .map(|credential| (credential.token.to_owned(), credential.cookie))
        };
        assert_eq!(found(&[]), None);
        for pair in [
            ("authorization", "Bearer k1"),
            ("authorization", "token  k1 "),
            ("x-api-key", "k1"),
        ] {
            assert_eq!(found(&[pair]), Some(("k1".into(), false)));
        }
        assert_eq!(
            found(&[("x-api-key", "k2"), ("authorization", "Bearer k1")]),
            Some(("k1".into(), false))
        );
        assert_eq!(
            found(&[("cookie", "a=b; forge_session=s1"), ("cookie", "c=d")]),
            Some(("s1".into(), true))
        );
        assert_eq!(
            found(&[("cookie", "forge_session=s1"), ("x-api-key", "k2")]),
            Some(("k2".into(), false))
        );
        assert_eq!(
            found(&[("cookie", "xforge_session=s1; forge_session=")]),
            None
        );
    }

    #[tokio::test]
    async fn refuses_what_is_no_credential() {
        let identities = identities();
        let long = "x".repeat(LONGEST_KEY + 1);
        for pairs in [
            &[("authorization", "Basic dTpw")][..],
            &[("authorization", "Bearer")],
            &[("x-api-key", "")],
            &[("x-api-key", &long)],
            &[("authorization", "Bearer a b")],
            &[("authorization", "Bearer a"), ("authorization", "Bearer b")],
            &[("cookie", "forge_session=a; forge_session=b")],
        ] {
            let refused = identities.credential(&headers(pairs)).unwrap_err();
            assert_eq!(refused.status.as_u16(), 401, "{pairs:?}");
        }
    }

    #[tokio::test]
    async fn a_token_of_another_kind_never_touches_the_database() {
        // The database of this context is away: asking it would be 503.
        let headers = headers(&[("authorization", "Bearer eyJhbGciOiJub25lIn0.e30.")]);
        let problem = identities().of(&headers).await.unwrap_err();
        assert_eq!(problem.status.as_u16(), 401);
    }

    #[test]
    fn cookies_are_kept_from_scripts_and_other_sites() {
        let value = set_cookie("s", Some("t"), 60, true).unwrap();
        assert_eq!(
            value.to_str().unwrap(),
            "s=t; Path=/; Max-Age=60; HttpOnly; Secure; SameSite=Lax"
        );
        let gone = set_cookie("s", None, 60, false).unwrap();
        assert_eq!(
            gone.to_str().unwrap(),
            "s=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"
        );
    }
}
