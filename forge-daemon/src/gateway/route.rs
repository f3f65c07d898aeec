//! Registered routes: path, query-string and body fields become arguments.
//!
//! Invariant: what the path says wins over the query string, and that over the body, so that no body can speak for
//! another resource than the one addressed.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    extract::{Request, State},
    http::request::Parts,
    response::Response,
};
use forge_core::Code;
use serde_json::value::RawValue;

use super::{Door, body, call, identity::Identity, problem::Problem};
use crate::executor::{Catalog, Found, Kind, Order};

/// Where no route can be registered.
const OURS: &str = "/v1/";

/// What a request's path and method lead to.
struct Target {
    function: String,
    kind: Option<Kind>,
    /// Decoded.
    fields: Vec<(String, String)>,
}

/// Answers by the route registered for the request, 404 when there is none.
pub(super) async fn fallback(
    State(door): State<Arc<Door>>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let admitted = admit(&door, &parts).await;
    let ((target, identity), body) = body::or_discard(admitted, body).await?;
    let sent = call::arguments(&door, &parts.headers, body).await?;
    let query = call::pairs(parts.uri.query().unwrap_or_default())?;
    let (args, text_args) = merge(&sent, query, target.fields)?;
    let mut order = Order {
        later: call::prefers_later(&parts.headers),
        ..call::order(&door, &parts, &identity, target.function, args)?
    };
    order.circumstances.text_args = text_args;
    call::run(&door, order, &parts, &identity)
        .await
        .map_err(|problem| call::ask_for_credential(problem, &identity))
}

async fn admit(door: &Door, parts: &Parts) -> Result<(Target, Identity), Problem> {
    let target = match find(&door.executor.catalog(), parts)? {
        Some(target) => Some(target),
        None if parts.uri.path().starts_with(OURS) => None,
        // Perhaps it was registered this very moment.
        None => match door.executor.reread().await {
            Ok(catalog) => find(&catalog, parts)?,
            Err(error) if !door.executor.catalog().is_read() => {
                return Err(super::answer::problem(&error, door.identities.anonymous()));
            }
            Err(_) => None,
        },
    };
    let target = target.ok_or_else(|| {
        let detail = format!("there is nothing at {:.200}", parts.uri.path());
        Problem::new(Code::NotFound, detail)
    })?;
    let identity = door.identities.of(&parts.headers).await?;
    if !call::is_safe(&parts.method) || target.kind != Some(Kind::Query) {
        door.identities
            .require_same_origin(&identity, &parts.headers, Some(&parts.uri))?;
    }
    Ok((target, identity))
}

/// The target in this catalog; 405 when the path is there under other methods only.
fn find(catalog: &Catalog, parts: &Parts) -> Result<Option<Target>, Problem> {
    let path = parts.uri.path();
    let (route, fields) = match catalog.routes().find(parts.method.as_str(), path) {
        Found::Nothing => return Ok(None),
        Found::Methods(methods) => {
            let allow = methods.join(", ");
            let detail = format!(
                "{:.20} is not possible at {path:.200}; possible are {allow}",
                parts.method.as_str()
            );
            return Err(Problem::method(detail, &allow));
        }
        Found::Route(route, fields) => (route, fields),
    };
    let fields = fields
        .into_iter()
        .map(|(name, value)| Ok((name.to_owned(), call::decode(name, &value)?)));
    Ok(Some(Target {
        function: route.function.clone(),
        kind: catalog
            .function(&route.function)
            .map(|function| function.kind),
        fields: fields.collect::<Result<_, Problem>>()?,
    }))
}

/// The arguments as one object, and the names of those that are text because they stood in the URL.
fn merge(
    body: &str,
    query: Vec<(String, String)>,
    path: Vec<(String, String)>,
) -> Result<(String, Vec<String>), Problem> {
    if query.is_empty() && path.is_empty() {
        return Ok((body.to_owned(), Vec::new()));
    }
    let mut url: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in query {
        url.entry(name).or_default().push(value);
    }
    for (name, value) in path {
        url.insert(name, vec![value]);
    }
    let mut fields: BTreeMap<String, Box<RawValue>> =
        serde_json::from_str(body).map_err(|error| body::malformed(&error))?;
    for (name, values) in &url {
        let value = match values.as_slice() {
            // A name that is there several times is a list.
            [one] => serde_json::value::to_raw_value(one),
            several => serde_json::value::to_raw_value(several),
        };
        fields.insert(name.clone(), value.map_err(|_| Problem::internal())?);
    }
    let args = serde_json::to_string(&fields).map_err(|_| Problem::internal())?;
    Ok((args, url.into_keys().collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn the_url_wins_over_the_body() {
        let (args, text) = merge(
            r#"{"slug":"other","n":1.50,"tag":["x"]}"#,
            vec![
                pair("tag", "a"),
                pair("tag", "b"),
                pair("slug", "from query"),
            ],
            vec![pair("slug", "mine")],
        )
        .unwrap();
        assert_eq!(args, r#"{"n":1.50,"slug":"mine","tag":["a","b"]}"#);
        assert_eq!(text, ["slug", "tag"]);
    }

    #[test]
    fn a_body_alone_stays_as_it_is() {
        let (args, text) = merge(r#"{ "a":1 }"#, vec![], vec![]).unwrap();
        assert_eq!(args, r#"{ "a":1 }"#);
        assert!(text.is_empty());
    }

    #[test]
    fn text_is_text_whatever_it_says() {
        let (args, _) = merge("{}", vec![pair("q", "\"; DROP TABLE x; --\u{1}")], vec![]).unwrap();
        assert_eq!(args, r#"{"q":"\"; DROP TABLE x; --\u0001"}"#);
    }
}
