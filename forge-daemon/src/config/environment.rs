//! `FORGE_SECTION__FIELD` variables, laid over the file.

use toml::{Table, Value};

use super::schema::{Fields, Kind};

/// A variable that names a field.
pub(super) struct Setting {
    pub variable: String,
    pub section: String,
    pub field: String,
    pub value: Value,
}

/// The settings among `variables`, or the name of one that names no field and what it may have meant.
pub(super) fn settings(
    variables: impl Iterator<Item = (String, String)>,
    fields: &Fields,
) -> Vec<Result<Setting, (String, String)>> {
    let mut found: Vec<_> = variables
        .filter_map(|(name, text)| setting(&name, &text, fields))
        .collect();
    found.sort_by(|a, b| variable(a).cmp(variable(b)));
    found
}

fn variable(setting: &Result<Setting, (String, String)>) -> &str {
    match setting {
        Ok(setting) => &setting.variable,
        Err((variable, _)) => variable,
    }
}

fn setting(
    variable: &str,
    text: &str,
    fields: &Fields,
) -> Option<Result<Setting, (String, String)>> {
    let (section, field) = variable.strip_prefix("FORGE_")?.split_once("__")?;
    let (section, field) = (section.to_ascii_lowercase(), field.to_ascii_lowercase());
    let Some(kind) = fields.get(&section).and_then(|fields| fields.get(&field)) else {
        return Some(Err((variable.to_owned(), format!("{section}.{field}"))));
    };
    let value = read(*kind, text);
    Some(Ok(Setting {
        variable: variable.to_owned(),
        section,
        field,
        value,
    }))
}

/// The text as the field's kind; as it stands when it does not fit, so that the type error shows it.
pub(super) fn read(kind: Kind, text: &str) -> Value {
    let literal = || {
        format!("value = {text}")
            .parse::<Table>()
            .ok()
            .and_then(|mut table| table.remove("value"))
    };
    match kind {
        Kind::Text => None,
        Kind::Integer => text.trim().parse::<i64>().ok().map(Value::Integer),
        Kind::Boolean => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Some(Value::Boolean(true)),
            "false" | "0" | "no" | "off" => Some(Value::Boolean(false)),
            _ => None,
        },
        Kind::List if text.trim_start().starts_with('[') => literal(),
        Kind::List => Some(Value::Array(
            text.split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(|item| Value::String(item.into()))
                .collect(),
        )),
    }
    .unwrap_or_else(|| Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_comma_separated_or_toml() {
        let expected = Value::Array(vec!["a".into(), "b c".into()]);
        assert_eq!(read(Kind::List, "a, b c"), expected);
        assert_eq!(read(Kind::List, r#"["a", "b c"]"#), expected);
        assert_eq!(read(Kind::List, ""), Value::Array(vec![]));
    }

    #[test]
    fn a_number_in_a_text_field_stays_text() {
        assert_eq!(read(Kind::Text, "42"), Value::String("42".into()));
        assert_eq!(read(Kind::Integer, "42"), Value::Integer(42));
        assert_eq!(read(Kind::Integer, "many"), Value::String("many".into()));
    }
}
