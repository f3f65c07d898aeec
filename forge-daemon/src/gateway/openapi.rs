//! `/openapi.json`: OpenAPI 3.1 of every registered function and route.
//!
//! Invariant: what is documented is what is answered, problems included; schemas come from the functions' signatures.

mod operation;
mod schema;

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use forge_core::Code;
use serde_json::{Map, Value, json};

use self::operation::Operation;
use super::{Door, answer, body, problem::Problem};
use crate::executor::{Answer, Catalog, Freshness, Function, Kind, Reply, Route};

/// Answers with the document, made once per catalog.
pub(super) async fn serve(
    State(door): State<Arc<Door>>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    body::discard(body).await;
    if door.context.config.auth.protect_openapi {
        let identity = door.identities.of(&parts.headers).await?;
        if !identity.is_service() {
            let detail = format!(
                "role {} may not read the description of this interface; use a key of role forge_service",
                identity.role
            );
            return Err(Problem::new(Code::Forbidden, detail));
        }
    }
    let catalog = door.executor.catalog();
    let text = catalog
        .document
        .get_or_init(|| document(&catalog).to_string().into())
        .clone();
    let reply = Reply {
        body: bytes::Bytes::copy_from_slice(text.as_bytes()),
        ..Reply::default()
    };
    let done = Answer::Done(reply, Freshness::New);
    Ok(answer::respond(done, &parts.method, &parts.headers))
}

/// The description of everything in `catalog`.
pub fn document(catalog: &Catalog) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for function in catalog.functions() {
        let name = percent_encoding::utf8_percent_encode(
            &function.name,
            percent_encoding::NON_ALPHANUMERIC,
        )
        .to_string()
        // Unreserved (RFC 3986): these need no escape.
        .replace("%5F", "_")
        .replace("%2D", "-")
        .replace("%2E", ".")
        .replace("%7E", "~");
        paths.insert(format!("/v1/call/{name}"), by_name(function));
    }
    for route in catalog.listed() {
        let Some(function) = catalog.function(&route.function) else {
            continue;
        };
        let path = route.path.replace("{*", "{");
        let item = paths.entry(path).or_insert_with(|| json!({}));
        item[route.method.to_ascii_lowercase()] = by_route(route, function);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Forge",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Functions and routes registered in this database. Errors are RFC 9457 problem documents.",
        },
        "servers": [{ "url": "/" }],
        "security": [{}, { "bearer": [] }, { "apiKey": [] }, { "session": [] }],
        "paths": paths,
        "components": components(),
    })
}

fn by_name(function: &Function) -> Value {
    let mut item = Map::new();
    item.insert("post".into(), Operation::call(function).post());
    if function.kind == Kind::Query {
        item.insert("get".into(), Operation::call(function).get());
    }
    Value::Object(item)
}

fn by_route(route: &Route, function: &Function) -> Value {
    Operation::route(route, function).routed()
}

fn components() -> Value {
    json!({
        "securitySchemes": {
            "bearer": { "type": "http", "scheme": "bearer", "description": "A JSON Web Token, a session token or an API key" },
            "apiKey": { "type": "apiKey", "in": "header", "name": "X-Api-Key" },
            "session": { "type": "apiKey", "in": "cookie", "name": "forge_session", "description": "Made by POST /v1/auth/session" },
        },
        "responses": {
            "Problem": {
                "description": "A problem (RFC 9457)",
                "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
            },
            "Accepted": {
                "description": "The action runs as a job",
                "content": { "application/json": { "schema": {
                    "type": "object",
                    "properties": { "job_id": { "type": "string", "format": "uuid" } },
                    "required": ["job_id"],
                } } },
            },
        },
        "schemas": {
            "Problem": {
                "type": "object",
                "properties": {
                    "type": { "type": "string" },
                    "title": { "type": "string" },
                    "status": { "type": "integer" },
                    "detail": { "type": "string" },
                    "code": { "type": "string" },
                    "request_id": { "type": "string" },
                    "retryable": { "type": "boolean" },
                    "errors": { "type": "array", "items": {
                        "type": "object",
                        "properties": { "field": { "type": "string" }, "message": { "type": "string" } },
                        "required": ["field", "message"],
                    } },
                },
                "required": ["type", "title", "status", "detail", "code", "request_id", "retryable"],
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog() -> Catalog {
        let functions = [
            json!({"name": "notes", "kind": "query", "arguments": [
                {"name": "owner", "type": "integer", "required": true, "schema": {"type": "integer"}},
                {"name": "tags", "type": "text[]", "required": false, "schema": {"type": "array", "items": {"type": "string"}}}],
                "returns": {"type": "array", "items": {"type": "object"}}, "description": "Notes of one owner", "tags": ["notes"]}),
            json!({"name": "add note", "kind": "mutation", "arguments": [
                {"name": "doc", "type": "jsonb", "required": true, "schema": {}, "whole": true}], "returns": {"type": "integer"}}),
            json!({"name": "mail", "kind": "action", "arguments": null, "returns": null}),
        ];
        let route = |method: &str, path: &str, function: &str| Route {
            method: method.into(),
            path: path.into(),
            function: function.into(),
        };
        Catalog::new(
            functions.map(|function| serde_json::from_value(function).unwrap()),
            vec![
                route("GET", "/api/owners/{owner}/notes", "notes"),
                route("POST", "/api/owners/{owner}/notes", "add note"),
                route("GET", "/gone", "forgotten"),
            ],
        )
    }

    #[test]
    fn describes_functions_and_routes() {
        let document = document(&catalog());
        let paths = document["paths"].as_object().unwrap();
        let known: Vec<&String> = paths.keys().collect();
        assert_eq!(
            known,
            [
                "/api/owners/{owner}/notes",
                "/v1/call/add%20note",
                "/v1/call/mail",
                "/v1/call/notes"
            ]
        );
        assert!(paths["/v1/call/notes"]["get"].is_object());
        assert!(paths["/v1/call/add%20note"]["get"].is_null());
        assert_eq!(
            paths["/v1/call/mail"]["post"]["responses"]["202"]["$ref"],
            "#/components/responses/Accepted"
        );
        let routed = &paths["/api/owners/{owner}/notes"]["get"];
        let placed: Vec<(&str, &str)> = routed["parameters"]
            .as_array()
            .unwrap()
            .iter()
            .map(|parameter| {
                (
                    parameter["name"].as_str().unwrap(),
                    parameter["in"].as_str().unwrap(),
                )
            })
            .collect();
        assert_eq!(placed, [("owner", "path"), ("tags", "query")]);
        assert_eq!(routed["tags"], json!(["notes"]));
        assert!(
            routed["responses"]["422"].is_object() && routed["responses"]["default"].is_object()
        );
    }

    #[test]
    fn ids_of_operations_are_unique() {
        let document = document(&catalog());
        let mut ids: Vec<&str> = document["paths"]
            .as_object()
            .unwrap()
            .values()
            .flat_map(|item| item.as_object().unwrap().values())
            .map(|operation| operation["operationId"].as_str().unwrap())
            .collect();
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all);
    }
}
