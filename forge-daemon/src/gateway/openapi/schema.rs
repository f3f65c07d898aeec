//! Schemas of arguments and answers (JSON Schema 2020-12).

use serde_json::{Map, Value, json};

use crate::executor::{Argument, Function};

/// `schema` or null: every argument and every answer of SQL may be null.
pub(super) fn nullable(schema: &Value) -> Value {
    let Some(fields) = schema.as_object().filter(|fields| !fields.is_empty()) else {
        // Anything, null included.
        return json!({});
    };
    match fields.get("type") {
        Some(Value::String(one)) if one == "null" => schema.clone(),
        Some(Value::String(one)) if !fields.contains_key("enum") => {
            let mut fields = fields.clone();
            fields.insert("type".into(), json!([one, "null"]));
            Value::Object(fields)
        }
        Some(Value::Array(several)) if several.iter().any(|one| one == "null") => schema.clone(),
        _ => json!({ "anyOf": [schema, { "type": "null" }] }),
    }
}

/// The object of these arguments.
pub(super) fn object<'a>(arguments: impl Iterator<Item = &'a Argument>) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for argument in arguments {
        properties.insert(argument.name.clone(), nullable(&argument.schema));
        if argument.required {
            required.push(argument.name.as_str());
        }
    }
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

/// The argument object of a function.
pub(super) fn arguments(function: &Function) -> Value {
    if function.takes_all() || function.arguments.is_none() {
        return json!({ "type": "object" });
    }
    object(function.arguments().iter())
}

/// Whether a query string can carry such a value as text.
pub(super) fn is_plain(schema: &Value) -> bool {
    let plain = |kind: &str| matches!(kind, "string" | "integer" | "number" | "boolean");
    match &schema["type"] {
        Value::String(kind) if kind == "array" => is_plain(&schema["items"]),
        Value::String(kind) => plain(kind),
        Value::Array(kinds) => kinds
            .iter()
            .filter_map(Value::as_str)
            .all(|kind| kind == "null" || plain(kind)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_always_possible() {
        assert_eq!(
            nullable(&json!({"type": "integer", "minimum": 1})),
            json!({"type": ["integer", "null"], "minimum": 1})
        );
        assert_eq!(
            nullable(&json!({"type": ["string", "null"]})),
            json!({"type": ["string", "null"]})
        );
        assert_eq!(nullable(&json!({})), json!({}));
        assert_eq!(nullable(&Value::Null), json!({}));
        assert_eq!(
            nullable(&json!({"type": "string", "enum": ["a"]})),
            json!({"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "null"}]})
        );
    }
}
