//! `[auth]`: JSON Web Tokens, sessions, cookies.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Secret, Span};

/// Credentials other than API keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Auth {
    /// Whose JSON Web Tokens are taken; none when empty. As a variable: `FORGE_AUTH__ISSUERS=[{issuer="…", …}]`.
    pub issuers: Vec<Issuer>,
    /// How far the clocks of issuers may be off.
    pub leeway: Span,
    /// How long a key set fetched from `jwks_url` is used before it is fetched again.
    pub jwks_refresh: Span,
    /// Least time between two fetches of a key set, however many tokens name unknown keys.
    pub jwks_min_interval: Span,
    /// Longest a fetch may take.
    pub jwks_timeout: Span,
    /// Name of the session cookie.
    pub cookie: String,
    /// Send the cookie over HTTPS only (browsers make an exception for localhost).
    pub cookie_secure: bool,
    /// Sites other than the node's own that may send unsafe requests with the cookie, such as `https://app.example.com`.
    pub trusted_origins: Vec<String>,
    /// How long sessions made by `POST /v1/auth/session` last.
    pub session_ttl: Span,
    /// Ask for a credential of role forge_service or forge_admin on `/openapi.json`.
    pub protect_openapi: bool,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            issuers: Vec::new(),
            leeway: Span::secs(30),
            jwks_refresh: Span::secs(600),
            jwks_min_interval: Span::secs(10),
            jwks_timeout: Span::secs(5),
            cookie: "forge_session".into(),
            cookie_secure: true,
            trusted_origins: Vec::new(),
            session_ttl: Span::secs(30 * 24 * 3600),
            protect_openapi: false,
        }
    }
}

/// A signature algorithm of RFC 7518 and RFC 8037.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub enum Algorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

impl Algorithm {
    /// Whether it is a keyed hash, whose key signs as well.
    pub fn is_symmetric(self) -> bool {
        matches!(self, Self::HS256 | Self::HS384 | Self::HS512)
    }
}

/// Whose tokens are taken, and how they are checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// The `iss` claim.
    pub issuer: String,
    /// A token must be for one of these (`aud` claim); when empty, any is taken.
    #[serde(default)]
    pub audiences: Vec<String>,
    /// The only algorithm taken; what the token says does not matter.
    pub algorithm: Algorithm,
    /// Where the key set is (RFC 7517), over HTTPS or, for a local issuer, HTTP.
    #[serde(default)]
    pub jwks_url: Option<String>,
    /// The key set or one public key itself: JWKS as JSON, or PEM.
    #[serde(default)]
    pub public_key: Option<String>,
    /// The shared secret of an HS algorithm, 32 bytes or more.
    #[serde(default)]
    pub secret: Option<Secret>,
    /// Signs `forge-daemon token issue`: a private key as PEM. An HS secret signs too.
    #[serde(default)]
    pub private_key: Option<Secret>,
    /// Where in the claims the role is; dots lead into objects.
    #[serde(default = "role_claim")]
    pub role_claim: String,
    /// Role of tokens that name none.
    #[serde(default = "default_role")]
    pub default_role: String,
    /// The only roles tokens may name; when empty, every role that the daemon's login role may act for.
    #[serde(default)]
    pub roles: Vec<String>,
}

fn role_claim() -> String {
    "role".into()
}

fn default_role() -> String {
    "forge_user".into()
}
