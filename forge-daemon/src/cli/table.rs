//! Printing rows: a table for people, JSON for programs.

use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use serde_json::Value;

/// Prints `rows` as a JSON array, or as a table of the fields named.
pub(super) fn print(json: bool, rows: &[Value], columns: &[&str]) {
    if json {
        print_json(&Value::Array(rows.to_vec()));
    } else if rows.is_empty() {
        say!("none");
    } else {
        say!("{}", render(rows, columns));
    }
}

/// Prints one JSON value over several lines.
pub(super) fn print_json(value: &Value) {
    say!("{value:#}");
}

/// The table as text.
pub(super) fn render(rows: &[Value], columns: &[&str]) -> String {
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(
        columns
            .iter()
            .map(|column| column.to_uppercase().replace('_', " ")),
    );
    for row in rows {
        table.add_row(columns.iter().map(|column| cell(&row[*column])));
    }
    table.trim_fmt()
}

/// A value as a person reads it: times to the second, lists with commas.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => short_time(text).unwrap_or_else(|| text.clone()),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// `2026-01-31T08:00:00.123456+00:00` as `2026-01-31 08:00:00Z`.
fn short_time(text: &str) -> Option<String> {
    let looks_like_one = text.len() >= 20 && text.as_bytes().get(10) == Some(&b'T');
    let time: jiff::Timestamp = looks_like_one.then(|| text.parse().ok())??;
    Some(time.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cells_are_for_people() {
        assert_eq!(cell(&json!(null)), "-");
        assert_eq!(cell(&json!(["a", 1])), "a, 1");
        assert_eq!(
            cell(&json!("2026-01-31T09:00:00.123456+01:00")),
            "2026-01-31 08:00:00Z"
        );
        assert_eq!(
            cell(&json!("hello world, what a day")),
            "hello world, what a day"
        );
    }

    #[test]
    fn tables_have_a_heading() {
        let text = render(
            &[json!({"queue": "default", "ready": 3})],
            &["queue", "ready"],
        );
        assert!(text.contains("QUEUE") && text.contains("default"), "{text}");
    }
}
