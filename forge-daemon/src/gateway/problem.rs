//! Errors as callers see them: RFC 9457 problem documents.
//!
//! Invariants: every error of the HTTP door is one of these; nothing of the inside is shown, what is not meant for
//! callers becomes "internal error" and a log line with the request's id.

use std::borrow::Cow;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use forge_core::{Code, Status};
use serde::Serialize;

use crate::db;

/// Seconds after which a refused request may come again, when nothing better is known.
const RETRY_AFTER: u32 = 2;

/// One mistake in the input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct FieldError {
    /// Path of the field, such as `kind` or `[3].args`.
    pub field: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// An error answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// HTTP status.
    pub status: StatusCode,
    /// `ZFnnn`, a standard SQLSTATE, or `XX000`.
    pub code: Cow<'static, str>,
    /// The same for every problem of this code.
    pub title: Cow<'static, str>,
    /// What happened, naming the value, and the remedy.
    pub detail: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// Mistakes field by field.
    pub errors: Vec<FieldError>,
    /// Seconds for `Retry-After`.
    pub retry_after: Option<u32>,
    /// Methods for `Allow`.
    pub allow: Option<Box<HeaderValue>>,
}

impl Problem {
    /// The problem of `code` with its own status.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self::from_status(&code.status(), detail)
    }

    /// ZF002 with the mistakes found.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [one] => format!("{}: {}", one.field, one.message),
            several => format!("{} fields are wrong", several.len()),
        };
        Self {
            errors,
            ..Self::new(Code::InvalidInput, detail)
        }
    }

    /// ZF002 for one field.
    pub fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid(vec![FieldError {
            field: field.into(),
            message: message.into(),
        }])
    }

    /// A request that is not one: `status` 400, 405, 408, 414, 415, 431 under the code nearest to it.
    pub fn request(status: StatusCode, detail: impl Into<String>) -> Self {
        let code = match status {
            StatusCode::REQUEST_TIMEOUT => Code::TimedOut,
            StatusCode::URI_TOO_LONG | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
                Code::TooLarge
            }
            _ => Code::InvalidInput,
        };
        let title = status
            .canonical_reason()
            .unwrap_or("bad request")
            .to_ascii_lowercase();
        let retryable = status == StatusCode::REQUEST_TIMEOUT;
        Self {
            status,
            title: title.into(),
            retryable,
            ..Self::new(code, detail)
        }
    }

    /// 405 with the methods that are possible.
    pub fn method(detail: impl Into<String>, allow: &str) -> Self {
        Self {
            allow: HeaderValue::try_from(allow).ok().map(Box::new),
            ..Self::request(StatusCode::METHOD_NOT_ALLOWED, detail)
        }
    }

    /// 500: the caller learns nothing but the request's id.
    pub fn internal() -> Self {
        Self::from_status(
            &Status::INTERNAL,
            "an internal error occurred; quote the request id when you report it",
        )
    }

    fn from_status(status: &Status, detail: impl Into<String>) -> Self {
        let http = StatusCode::from_u16(status.http).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self {
            status: http,
            code: status.name.clone(),
            title: status.title.into(),
            detail: detail.into(),
            retryable: status.retryable,
            errors: Vec::new(),
            retry_after: matches!(http.as_u16(), 429 | 503).then_some(RETRY_AFTER),
            allow: None,
        }
    }

    /// The document, with the request's id in it.
    pub(super) fn render(&self, request_id: &str) -> Vec<u8> {
        #[derive(Serialize)]
        struct Document<'a> {
            r#type: String,
            title: &'a str,
            status: u16,
            detail: &'a str,
            code: &'a str,
            request_id: &'a str,
            retryable: bool,
            #[serde(skip_serializing_if = "<[_]>::is_empty")]
            errors: &'a [FieldError],
        }
        let document = Document {
            r#type: format!("urn:forge:problem:{}", self.code),
            title: &self.title,
            status: self.status.as_u16(),
            detail: &self.detail,
            code: &self.code,
            request_id,
            retryable: self.retryable,
            errors: &self.errors,
        };
        serde_json::to_vec(&document).unwrap_or_default()
    }
}

/// The body is written by the outermost layer, which knows the request's id.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(allow) = &self.allow {
            headers.insert(header::ALLOW, (**allow).clone());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<db::Error> for Problem {
    fn from(error: db::Error) -> Self {
        Self::from(&error)
    }
}

impl From<&db::Error> for Problem {
    fn from(error: &db::Error) -> Self {
        if error.is_outage() {
            return Self::new(
                Code::Unavailable,
                "the database cannot be reached at the moment; try again, with an Idempotency-Key if it must not happen twice",
            );
        }
        match error {
            db::Error::Busy(_) => {
                tracing::debug!(%error, "pool exhausted");
                Self::new(Code::Unavailable, "the node is overloaded; try again")
            }
            db::Error::Timeout { limit, .. } => Self::new(
                Code::TimedOut,
                format!("the database did not finish within {limit:?}"),
            ),
            db::Error::Server(server) => Self::from_server(server),
            _ => {
                tracing::error!(%error, "unexpected database error");
                Self::internal()
            }
        }
    }
}

impl Problem {
    /// ZF002 carries its mistakes field by field as a JSON array, ZF006 and ZF007 how long to wait.
    fn details(&mut self, detail: &str) {
        #[derive(serde::Deserialize)]
        struct Wait {
            retry_after_ms: u64,
        }
        if let Ok(errors) = serde_json::from_str(detail) {
            self.errors = errors;
        } else if let Ok(wait) = serde_json::from_str::<Wait>(detail) {
            let seconds = wait.retry_after_ms.div_ceil(1000).max(1);
            self.retry_after = Some(u32::try_from(seconds).unwrap_or(u32::MAX));
        }
    }

    fn from_server(error: &tokio_postgres::error::DbError) -> Self {
        let status = Status::from_sqlstate(error.code().code());
        if !status.is_public() {
            tracing::error!(
                code = error.code().code(),
                message = error.message(),
                "database error"
            );
            return Self::internal();
        }
        let detail = match error.hint() {
            Some(hint) => format!("{}. {hint}", error.message().trim_end_matches('.')),
            None => error.message().to_owned(),
        };
        let mut problem = Self::from_status(&status, detail);
        if let Some(detail) = error.detail() {
            problem.details(detail);
        }
        problem
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_status() {
        for code in Code::ALL {
            let problem = Problem::new(code, "x");
            assert_eq!(problem.status.as_u16(), code.http(), "{code}");
            assert_eq!(problem.code, code.sqlstate());
            let retry_after = matches!(code.http(), 429 | 503);
            assert_eq!(
                problem
                    .into_response()
                    .headers()
                    .contains_key("retry-after"),
                retry_after,
                "{code}"
            );
        }
    }

    #[test]
    fn the_document_is_complete() {
        let document: serde_json::Value =
            serde_json::from_slice(&Problem::field("kind", "`x` is no kind").render("r-1"))
                .unwrap();
        assert_eq!(
            document,
            serde_json::json!({
                "type": "urn:forge:problem:ZF002", "title": "invalid input", "status": 422,
                "detail": "kind: `x` is no kind", "code": "ZF002", "request_id": "r-1", "retryable": false,
                "errors": [{"field": "kind", "message": "`x` is no kind"}],
            })
        );
    }

    #[test]
    fn outages_are_503_and_the_rest_shows_nothing() {
        let away = db::Error::Connection {
            message: "refused by 10.0.0.7".into(),
            source: None,
        };
        let problem = Problem::from(away);
        assert_eq!(
            (problem.status.as_u16(), problem.retry_after),
            (503, Some(RETRY_AFTER))
        );
        assert!(!problem.detail.contains("10.0.0.7"));
        let strange = db::Error::Answer {
            name: "secret_table",
            message: "column x".into(),
        };
        let problem = Problem::from(strange);
        assert_eq!(problem.status.as_u16(), 500);
        assert!(!problem.detail.contains("secret_table"));
        let slow = db::Error::Timeout {
            name: "q",
            limit: std::time::Duration::from_secs(3),
        };
        assert_eq!(Problem::from(slow).status.as_u16(), 504);
    }

    #[test]
    fn bad_requests_keep_their_status() {
        for status in [400, 405, 408, 414, 415, 431] {
            let problem = Problem::request(StatusCode::from_u16(status).unwrap(), "x");
            assert_eq!(problem.status.as_u16(), status);
        }
    }
}
