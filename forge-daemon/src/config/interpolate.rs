//! `${NAME}` and `${NAME:-default}` in the texts of the file; `$${` stands for `${`.

use toml::Value;

/// Replaces every variable in `value`, wherever it sits; `mistake` is told the path and what is wrong.
pub(super) fn interpolate(
    value: &mut Value,
    path: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
    mistake: &mut dyn FnMut(&str, String),
) {
    match value {
        Value::String(text) => match expand(text, lookup) {
            Ok(expanded) => *text = expanded,
            Err(message) => mistake(path, message),
        },
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| interpolate(item, path, lookup, mistake)),
        Value::Table(table) => {
            for (name, item) in table.iter_mut() {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                interpolate(item, &path, lookup, mistake);
            }
        }
        _ => {}
    }
}

fn expand(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, tail) = rest.split_at(start);
        if let Some(escaped) = before.strip_suffix('$') {
            expanded.push_str(escaped);
            expanded.push_str("${");
            rest = &tail[2..];
            continue;
        }
        expanded.push_str(before);
        let end = tail
            .find('}')
            .ok_or("`${` without `}`; write $${ for the characters themselves")?;
        let (name, default) = match tail[2..end].split_once(":-") {
            Some((name, default)) => (name, Some(default.to_owned())),
            None => (&tail[2..end], None),
        };
        let value = lookup(name).or(default);
        expanded.push_str(&value.ok_or_else(|| {
            format!("environment variable `{name}` is not set; set it or give a default: ${{{name}:-value}}")
        })?);
        rest = &tail[end + 1..];
    }
    expanded.push_str(rest);
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(name: &str) -> Option<String> {
        (name == "HOST").then(|| "db.example".to_owned())
    }

    #[test]
    fn expands_names_defaults_and_escapes() {
        assert_eq!(
            expand("pg://${HOST}:${PORT:-5432}/x", &known).unwrap(),
            "pg://db.example:5432/x"
        );
        assert_eq!(
            expand("cost $5, $${HOST}", &known).unwrap(),
            "cost $5, ${HOST}"
        );
        assert!(expand("${NOPE}", &known).unwrap_err().contains("`NOPE`"));
        assert!(expand("${HOST", &known).is_err());
    }
}
