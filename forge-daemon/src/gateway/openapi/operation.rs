//! One operation of the description.

use serde_json::{Map, Value, json};

use super::schema;
use crate::executor::{Argument, Function, Kind, Route};

/// What any request may be answered with: see section 15 of the contract and the doors.
const PROBLEMS: [u16; 17] = [
    400, 401, 403, 404, 405, 408, 409, 413, 415, 422, 429, 431, 500, 501, 502, 503, 504,
];

/// A function as reached by its name or by a route.
pub(super) struct Operation<'a> {
    function: &'a Function,
    route: Option<&'a Route>,
}

impl<'a> Operation<'a> {
    pub fn call(function: &'a Function) -> Self {
        Self {
            function,
            route: None,
        }
    }

    pub fn route(route: &'a Route, function: &'a Function) -> Self {
        Self {
            function,
            route: Some(route),
        }
    }

    /// Called with its arguments as the body.
    pub fn post(self) -> Value {
        let mut operation = self.head("post");
        let schema = schema::arguments(self.function);
        operation.insert("requestBody".into(), self.body(&schema));
        operation.insert("parameters".into(), Value::Array(self.headers()));
        finish(operation, self.responses(false))
    }

    /// Called with its arguments in the query string.
    pub fn get(self) -> Value {
        let mut operation = self.head("get");
        let required = self
            .function
            .arguments()
            .iter()
            .any(|argument| argument.required);
        let args = json!({
            "name": "args",
            "in": "query",
            "required": required,
            "description": "The arguments as one JSON object",
            "content": { "application/json": { "schema": schema::arguments(self.function) } },
        });
        operation.insert("parameters".into(), json!([args, if_none_match()]));
        finish(operation, self.responses(true))
    }

    /// Called by its route.
    pub fn routed(self) -> Value {
        let Some(route) = self.route else {
            return Value::Null;
        };
        let method = route.method.to_ascii_lowercase();
        let mut operation = self.head(&method);
        let in_path: Vec<&str> = route
            .path
            .split('/')
            .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
            .map(|name| name.trim_start_matches('*'))
            .collect();
        let known = |name: &str| {
            self.function
                .arguments()
                .iter()
                .find(|argument| argument.name == name)
        };
        let mut parameters: Vec<Value> = in_path
            .iter()
            .map(|name| in_url(name, "path", known(name)))
            .collect();
        let rest = || {
            self.function
                .arguments()
                .iter()
                .filter(|argument| !in_path.contains(&argument.name.as_str()))
        };
        let has_body = matches!(method.as_str(), "post" | "put" | "patch");
        let whole = self.function.takes_all() || self.function.arguments.is_none();
        if has_body {
            let schema = if whole {
                json!({ "type": "object" })
            } else {
                schema::object(rest())
            };
            operation.insert("requestBody".into(), self.body(&schema));
            parameters.extend(self.headers());
        } else if !whole {
            parameters
                .extend(rest().map(|argument| in_url(&argument.name, "query", Some(argument))));
        }
        operation.insert("parameters".into(), Value::Array(parameters));
        finish(operation, self.responses(method == "get"))
    }

    fn head(&self, method: &str) -> Map<String, Value> {
        let place = self.route.map_or_else(
            || format!("call_{}", self.function.name),
            |route| route.path.clone(),
        );
        let id: String = format!("{method}_{place}")
            .chars()
            .map(|c| if c.is_alphanumeric() { c } else { '_' })
            .collect();
        let mut operation = Map::new();
        operation.insert("operationId".into(), id.into());
        operation.insert("summary".into(), self.function.name.clone().into());
        if let Some(description) = &self.function.description {
            operation.insert("description".into(), description.clone().into());
        }
        let tags = self.function.tags.clone().unwrap_or_default();
        let tags = if tags.is_empty() {
            vec![self.function.kind.name().to_owned()]
        } else {
            tags
        };
        operation.insert("tags".into(), json!(tags));
        operation
    }

    fn body(&self, schema: &Value) -> Value {
        let needed = schema["required"]
            .as_array()
            .is_some_and(|names| !names.is_empty());
        json!({ "required": needed, "content": { "application/json": { "schema": schema } } })
    }

    fn headers(&self) -> Vec<Value> {
        let header = |name: &str, description: &str, schema: Value| json!({ "name": name, "in": "header", "required": false, "description": description, "schema": schema });
        let key = || {
            header(
                "Idempotency-Key",
                "The first answer under a key is the answer to every repetition",
                json!({ "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$" }),
            )
        };
        match self.function.kind {
            Kind::Query => vec![],
            Kind::Mutation => vec![key()],
            Kind::Action => vec![
                key(),
                header(
                    "Prefer",
                    "`respond-async` answers 202 with the job",
                    json!({ "type": "string", "enum": ["respond-async"] }),
                ),
            ],
        }
    }

    fn responses(&self, revalidates: bool) -> Value {
        let mut responses = Map::new();
        let json = |schema: Value| json!({ "application/json": { "schema": schema } });
        if self.chooses_status() {
            let any = json!({ "description": "What the function chose", "content": { "*/*": { "schema": {} } } });
            responses.insert("2XX".into(), any.clone());
            responses.insert("3XX".into(), any);
            responses.insert("204".into(), json!({ "description": "Nothing to say" }));
        } else {
            let schema = schema::nullable(&self.function.returns);
            responses.insert(
                "200".into(),
                json!({ "description": "The function's answer", "content": json(schema) }),
            );
        }
        if revalidates {
            responses.insert("304".into(), json!({ "description": "Not changed" }));
        }
        if self.function.kind == Kind::Action {
            responses.insert(
                "202".into(),
                json!({ "$ref": "#/components/responses/Accepted" }),
            );
        }
        let problem = || json!({ "$ref": "#/components/responses/Problem" });
        for status in PROBLEMS {
            responses.insert(status.to_string(), problem());
        }
        responses.insert("default".into(), problem());
        Value::Object(responses)
    }

    /// Whether it may answer with `forge.http_response`: its schema then admits anything.
    fn chooses_status(&self) -> bool {
        self.function
            .returns
            .as_object()
            .is_some_and(serde_json::Map::is_empty)
    }
}

fn finish(mut operation: Map<String, Value>, responses: Value) -> Value {
    operation.insert("responses".into(), responses);
    Value::Object(operation)
}

fn if_none_match() -> Value {
    json!({ "name": "If-None-Match", "in": "header", "required": false, "schema": { "type": "string" } })
}

/// A path or query parameter. What is not plain text is JSON.
fn in_url(name: &str, place: &str, argument: Option<&Argument>) -> Value {
    let any = json!({ "type": "string" });
    let schema = argument.map_or(&any, |argument| &argument.schema);
    let required = place == "path" || argument.is_some_and(|argument| argument.required);
    let mut parameter = json!({ "name": name, "in": place, "required": required });
    if schema::is_plain(schema) {
        parameter["schema"] = schema.clone();
    } else if place == "path" {
        parameter["schema"] = any;
    } else {
        parameter["content"] = json!({ "application/json": { "schema": schema } });
    }
    parameter
}
