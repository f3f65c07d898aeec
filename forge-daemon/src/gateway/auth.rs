//! `POST /v1/auth/session` and `DELETE /v1/auth/session`: a credential becomes a cookie, and stops being one.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use forge_core::Code;
use postgres_types::Type;
use serde::Deserialize;
use serde_json::json;

use super::{Door, identity, problem::Problem};
use crate::{db::Query, executor::CallerKind};

const CREATE: Query = Query::new(
    "gateway_session",
    "SELECT forge_private.gateway_session($1, $2)::text",
    &[Type::TEXT, Type::INT8],
);
const REVOKE: Query = Query::new(
    "gateway_end_session",
    "SELECT forge_private.gateway_end_session($1)",
    &[Type::TEXT],
);

/// Makes a session of the credential sent and answers with its cookie, which scripts cannot read.
pub(super) async fn log_in(
    State(door): State<Arc<Door>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    #[derive(Deserialize)]
    struct Made {
        token: String,
        expires_at: Option<String>,
    }
    let identity = door.identities.to_change(&headers).await?;
    if !identity.proven {
        return Err(Problem::new(
            Code::Unauthenticated,
            "a session needs a credential to begin with; send Authorization: Bearer with a token or an API key",
        ));
    }
    let auth = &door.context.config.auth;
    let ttl = i64::try_from(auth.session_ttl.get().as_millis()).unwrap_or(i64::MAX);
    let text: String = door
        .context
        .db
        .scalar(&CREATE, &[&identity.sealed.text(), &ttl])
        .await?;
    let made: Made = door.understand("gateway_session", &text)?;
    let cookie = identity::set_cookie(
        &auth.cookie,
        Some(&made.token),
        ttl / 1000,
        auth.cookie_secure,
    )
    .ok_or_else(Problem::internal)?;
    let caller = &identity.caller;
    let body =
        json!({ "subject": caller.subject, "role": caller.role, "expires_at": made.expires_at });
    let mut response = (StatusCode::CREATED, Json(body)).into_response();
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    response.headers_mut().insert(
        header::CACHE_CONTROL,
        header::HeaderValue::from_static("no-store"),
    );
    Ok(response)
}

/// Ends the session sent and takes its cookie away. Also when it had ended already: who logs out is logged out.
pub(super) async fn log_out(
    State(door): State<Arc<Door>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    match door.identities.to_change(&headers).await {
        Ok(identity) if identity.caller.kind == CallerKind::Session => {
            if let Some(token) = door.identities.token(&headers)? {
                let _: bool = door.context.db.scalar(&REVOKE, &[&token]).await?;
                door.identities.forget();
            }
        }
        Ok(identity) if identity.proven => {
            return Err(Problem::new(
                Code::InvalidInput,
                "the credential is no session; revoke a key with forge.revoke_api_key, a JSON Web Token at its issuer",
            ));
        }
        Ok(_) => {}
        Err(problem) if problem.status == StatusCode::UNAUTHORIZED => {}
        Err(problem) => return Err(problem),
    }
    let auth = &door.context.config.auth;
    let mut response = StatusCode::NO_CONTENT.into_response();
    if let Some(gone) = identity::set_cookie(&auth.cookie, None, 0, auth.cookie_secure) {
        response.headers_mut().insert(header::SET_COOKIE, gone);
    }
    Ok(response)
}
