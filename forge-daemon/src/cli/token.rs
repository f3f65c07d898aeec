//! `token issue`: a JSON Web Token of a configured issuer, or a session.

use std::time::{Duration, SystemTime};

use jsonwebtoken::{EncodingKey, Header, encode};
use postgres_types::Type;
use serde_json::{Map, Value, json};

use super::{
    arguments::{Issue, Target, Token},
    console::Console,
    failure::Failure,
    functions::object,
    table,
};
use crate::{
    config::{Algorithm, Issuer},
    gateway::jwt::signature,
};

const SESSION: &str = "SELECT to_jsonb(forge.create_session(subject => $1, role => $2, claims => $3::text::jsonb, ttl => $4::text::interval))::text";

pub(super) async fn run(target: &Target, Token::Issue(issue): Token) -> Result<(), Failure> {
    let token = if issue.session {
        session(target, &issue).await?
    } else {
        let config = target.configuration()?;
        sign(
            choose(&config.auth.issuers, issue.issuer.as_deref())?,
            &issue,
        )?
    };
    if target.json {
        table::print_json(&json!({ "token": token }));
    } else {
        say!("{token}");
    }
    Ok(())
}

async fn session(target: &Target, issue: &Issue) -> Result<String, Failure> {
    let claims = Value::Object(object("claims", &issue.claims)?).to_string();
    let ttl = format!("{} seconds", issue.ttl.get().as_secs());
    let role = issue.role.as_deref().unwrap_or("forge_user");
    let mut console = Console::open(target).await?;
    let token = console
        .row(
            "create_session",
            SESSION,
            &[
                (&issue.subject, Type::TEXT),
                (&role, Type::TEXT),
                (&claims, Type::TEXT),
                (&ttl, Type::TEXT),
            ],
        )
        .await?;
    Ok(table::cell(&token))
}

/// The issuer asked for; without a name, the only one that can sign.
fn choose<'a>(issuers: &'a [Issuer], name: Option<&str>) -> Result<&'a Issuer, Failure> {
    let refuse = |message: String| Err(Failure::Refused(message));
    if let Some(name) = name {
        return match issuers.iter().find(|issuer| issuer.issuer == name) {
            Some(issuer) => Ok(issuer),
            None => refuse(format!("there is no issuer `{name}` in auth.issuers")),
        };
    }
    let able = |issuer: &&Issuer| issuer.secret.is_some() || issuer.private_key.is_some();
    let mut able = issuers.iter().filter(able);
    match (able.next(), able.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => refuse(
            "no issuer in auth.issuers has a secret or private_key to sign with; add one, or use --session".into(),
        ),
        _ => refuse("several issuers can sign; choose one with --issuer".into()),
    }
}

fn sign(issuer: &Issuer, issue: &Issue) -> Result<String, Failure> {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    let claims = claims(issuer, issue, now)?;
    let unusable = |error: jsonwebtoken::errors::Error| {
        Failure::Refused(format!(
            "issuer `{}`: the key cannot sign: {error}",
            issuer.issuer
        ))
    };
    let key = key(issuer).map_err(unusable)?.ok_or_else(|| {
        Failure::Refused(format!(
            "issuer `{}` has no private_key to sign with",
            issuer.issuer
        ))
    })?;
    encode(&Header::new(signature(issuer.algorithm)), &claims, &key).map_err(unusable)
}

fn claims(issuer: &Issuer, issue: &Issue, now: Duration) -> Result<Map<String, Value>, Failure> {
    let mut claims = object("claims", &issue.claims)?;
    let mut set = |name: &str, value: Value| {
        claims.insert(name.to_owned(), value);
    };
    set("iss", issuer.issuer.clone().into());
    set("sub", issue.subject.clone().into());
    set("iat", now.as_secs().into());
    set("exp", (now + issue.ttl.get()).as_secs().into());
    let audience = issue.audience.as_ref().or(issuer.audiences.first());
    if let Some(audience) = audience {
        set("aud", audience.clone().into());
    }
    if let Some(role) = &issue.role {
        place(&mut claims, &issuer.role_claim, role);
    }
    Ok(claims)
}

/// Puts the role where the issuer's configuration looks for it.
fn place(claims: &mut Map<String, Value>, path: &str, role: &str) {
    match path.split_once('.') {
        None => {
            claims.insert(path.to_owned(), role.into());
        }
        Some((first, rest)) => {
            let inner = claims
                .entry(first)
                .or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = inner {
                place(inner, rest, role);
            }
        }
    }
}

fn key(issuer: &Issuer) -> Result<Option<EncodingKey>, jsonwebtoken::errors::Error> {
    if let Some(secret) = &issuer.secret {
        return Ok(Some(EncodingKey::from_secret(secret.expose().as_bytes())));
    }
    let Some(pem) = issuer
        .private_key
        .as_ref()
        .map(|pem| pem.expose().as_bytes())
    else {
        return Ok(None);
    };
    let key = match issuer.algorithm {
        Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_pem(pem),
        Algorithm::EdDSA => EncodingKey::from_ed_pem(pem),
        _ => EncodingKey::from_rsa_pem(pem),
    };
    key.map(Some)
}
