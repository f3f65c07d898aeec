//! Printing rows: a table for people, JSON for programs, a line while it runs.

use crate::gate::Row;
use anyhow::Context;
use serde::Serialize;
use std::io::Write;

#[derive(Serialize)]
struct Report<'a> {
    rows: &'a [Row],
}

/// Prints `{"rows":[…]}` and nothing else on standard output.
pub fn json(rows: &[Row]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, &Report { rows }).context("the rows cannot be written")?;
    writeln!(out).context("the rows cannot be written")
}

/// Prints a table and how many rows pass on standard output.
pub fn table(rows: &[Row], quick: bool) -> anyhow::Result<()> {
    let mut cells =
        vec![["row", "value", "peer", "peer value", "ratio", "goal", ""].map(str::to_owned)];
    for row in rows {
        cells.push([
            row.name.to_owned(),
            row.value.map_or_else(String::new, |value| {
                format!("{} {}", number(value), row.unit)
            }),
            row.peer.to_owned(),
            row.peer_value.map_or_else(String::new, number),
            row.ratio
                .map_or_else(String::new, |ratio| format!("{ratio:.2}×")),
            row.goal.clone(),
            if row.pass { "pass" } else { "FAIL" }.to_owned(),
        ]);
    }
    let mut out = std::io::stdout().lock();
    write!(out, "{}", aligned(&cells)).context("the table cannot be written")?;
    for row in rows {
        for remark in row.error.iter().chain(&row.note) {
            writeln!(out, "  {} ({}): {remark}", row.name, row.peer)?;
        }
    }
    let passed = rows.iter().filter(|row| row.pass).count();
    let rough = if quick {
        "; --quick: smaller sizes, one round, rough numbers"
    } else {
        ""
    };
    writeln!(out, "{passed} of {} rows pass{rough}", rows.len())
        .context("the table cannot be written")
}

/// One line about a row as soon as it is measured.
pub fn line(row: &Row) -> String {
    let value = row.value.map_or_else(|| "-".to_owned(), number);
    let held = match (row.peer_value, row.ratio) {
        (Some(peer), Some(ratio)) => {
            format!(" against {} {} ({ratio:.2}×)", row.peer, number(peer))
        }
        _ => String::new(),
    };
    let error = row
        .error
        .as_ref()
        .map_or_else(String::new, |error| format!(": {error}"));
    let verdict = if row.pass { "pass" } else { "FAIL" };
    format!(
        "{verdict}  {}: {value} {}{held}, goal {}{error}",
        row.name, row.unit, row.goal
    )
}

/// Three significant digits for small numbers, none after the point for large ones.
fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn aligned(rows: &[[String; 7]]) -> String {
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..7).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let pad = widths[column] - cell.chars().count();
            let numeric = (1..=4).contains(&column) && column != 2;
            let (before, after) = if numeric { (pad, 0) } else { (0, pad) };
            text.extend(std::iter::repeat_n(' ', before));
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', after + 2));
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [
            ["a", "1", "p", "2", "0.50×", "x", "pass"],
            ["bb", "10", "qq", "20", "5.00×", "x", "FAIL"],
        ]
        .map(|row| row.map(str::to_owned));
        let text = aligned(&rows);
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("a    1  p    2  0.50×  x  pass"));
        assert_eq!(lines.next(), Some("bb  10  qq  20  5.00×  x  FAIL"));
    }

    #[test]
    fn numbers_keep_what_can_be_told_apart() {
        assert_eq!(number(1234.56), "1235");
        assert_eq!(number(12.34), "12.3");
        assert_eq!(number(0.126), "0.13");
    }
}
