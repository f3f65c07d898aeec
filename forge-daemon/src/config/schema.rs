//! The configuration's JSON Schema, and what it says of each field: the loader reads unknown names and the types of
//! environment variables off it, so that the types in Rust stay the only list of fields.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Config;

/// How a field's text in an environment variable is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Integer,
    Boolean,
    List,
}

/// Sections, their fields, the fields' kinds.
pub(super) type Fields = BTreeMap<String, BTreeMap<String, Kind>>;

/// The JSON Schema of `forge.toml`, for editors.
pub fn document() -> Value {
    schemars::schema_for!(Config).to_value()
}

/// Every field there is.
pub(super) fn fields() -> Fields {
    let root = document();
    let properties = |schema: &Value| {
        schema["properties"]
            .as_object()
            .cloned()
            .unwrap_or_default()
    };
    properties(&root)
        .into_iter()
        .map(|(section, schema)| {
            let fields = properties(&resolve(&root, &schema));
            (
                section,
                fields
                    .into_iter()
                    .map(|(field, schema)| (field, kind(&root, &schema)))
                    .collect(),
            )
        })
        .collect()
}

fn resolve(root: &Value, schema: &Value) -> Value {
    match schema["$ref"]
        .as_str()
        .and_then(|path| root.pointer(path.trim_start_matches('#')))
    {
        Some(target) => target.clone(),
        None => schema.clone(),
    }
}

fn kind(root: &Value, schema: &Value) -> Kind {
    let names = types(root, schema);
    let has = |name: &str| names.iter().any(|known| known == name);
    if has("string") {
        Kind::Text
    } else if has("array") {
        Kind::List
    } else if has("boolean") {
        Kind::Boolean
    } else {
        Kind::Integer
    }
}

/// Every `type` a schema allows, through references and alternatives.
fn types(root: &Value, schema: &Value) -> Vec<String> {
    let schema = resolve(root, schema);
    let mut names: Vec<String> = match &schema["type"] {
        Value::String(name) => vec![name.clone()],
        Value::Array(several) => several
            .iter()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect(),
        _ => Vec::new(),
    };
    for alternatives in ["anyOf", "oneOf", "allOf"] {
        for alternative in schema[alternatives].as_array().into_iter().flatten() {
            names.extend(types(root, alternative));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_kind_of_each_field() {
        let fields = fields();
        assert_eq!(fields["database"]["url"], Kind::Text);
        assert_eq!(fields["database"]["listen_url"], Kind::Text);
        assert_eq!(fields["database"]["pool_size"], Kind::Integer);
        assert_eq!(fields["database"]["prepared_statements"], Kind::Boolean);
        assert_eq!(fields["node"]["roles"], Kind::List);
        assert_eq!(fields["worker"]["queues"], Kind::List);
        assert_eq!(fields["http"]["body_limit"], Kind::Text);
        assert_eq!(fields["log"]["format"], Kind::Text);
    }

    #[test]
    fn the_schema_refuses_unknown_names_in_every_section() {
        let root = document();
        assert_eq!(root["additionalProperties"], Value::Bool(false));
        for (section, schema) in root["properties"].as_object().unwrap() {
            assert_eq!(
                resolve(&root, schema)["additionalProperties"],
                Value::Bool(false),
                "{section}"
            );
        }
    }
}
