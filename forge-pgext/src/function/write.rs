//! Values as JSON text, as Postgres' own to_json writes them: numbers digit for digit, times in ISO 8601, bytea as `\x…`,
//! what JSON has no form for (NaN, ranges, intervals) as a string.

use super::shape::{self, Field, Shape, Type};
use crate::pg::{json, typ};
use pgrx::pg_sys::Datum;
use std::fmt::Write;

/// Largest answer, in bytes.
pub const MOST: usize = 64 * 1024 * 1024;

/// Appends a value; `None` is null.
pub fn value(out: &mut String, of: &Type, datum: Option<Datum>) {
    let Some(datum) = datum else {
        out.push_str("null");
        return;
    };
    match &of.shape {
        Shape::Bool => out.push_str(if datum.value() & 0xFF != 0 {
            "true"
        } else {
            "false"
        }),
        Shape::Int(low, _) => integer(out, *low, datum),
        Shape::Float | Shape::Numeric => number(out, &typ::output(of.output, datum)),
        Shape::Text => string(out, &unsafe { typ::text(datum) }),
        Shape::Uuid => {
            let _ = write!(out, "\"{}\"", unsafe {
                crate::pg::function::uuid_of(datum)
            });
        }
        Shape::Json => out.push_str(&unsafe { typ::text(datum) }),
        Shape::Jsonb => out.push_str(&json::jsonb_text(datum)),
        Shape::DateTime => string(out, &json::datetime(datum, of.base)),
        Shape::Array(element, storage) => {
            let all = unsafe { typ::elements(datum, element.of, *storage) };
            let mut values = all.values.into_iter();
            dimension(out, element, &all.dimensions, &mut values);
        }
        Shape::Row => {
            let parts = unsafe { typ::row(datum) };
            let fields = shape::fields(parts.of, parts.modifier);
            row(out, &fields, parts.values.into_iter());
        }
        Shape::Void => out.push_str("null"),
        Shape::Cast(function) => out.push_str(&typ::cast_to_json(*function, datum)),
        Shape::Other => string(out, &typ::output(of.output, datum)),
    }
    if out.len() > MOST {
        crate::error::fail(
            "ZF009",
            format!("the result is larger than {MOST} bytes"),
            "Return fewer rows: page through them with a limit.",
        );
    }
}

fn integer(out: &mut String, low: i64, datum: Datum) {
    let raw = datum.value();
    let number = if low == i64::from(i16::MIN) {
        i64::from(raw as i16)
    } else if low == i64::from(i32::MIN) {
        i64::from(raw as i32)
    } else {
        raw as i64
    };
    let _ = write!(out, "{number}");
}

/// A number's text, or a string when JSON has no such number.
fn number(out: &mut String, text: &str) {
    if text.bytes().any(|b| b.is_ascii_alphabetic() && b != b'e') {
        string(out, text);
    } else {
        out.push_str(text);
    }
}

/// An object of a row's columns.
pub fn row(out: &mut String, fields: &[Field], values: impl Iterator<Item = Option<Datum>>) {
    out.push('{');
    let mut first = true;
    for (field, datum) in fields.iter().zip(values) {
        let Some(of) = &field.of else { continue };
        if !first {
            out.push(',');
        }
        first = false;
        out.push_str(&field.key);
        value(out, of, datum);
    }
    out.push('}');
}

fn dimension(
    out: &mut String,
    of: &Type,
    lengths: &[usize],
    values: &mut impl Iterator<Item = Option<Datum>>,
) {
    out.push('[');
    if let Some((length, inner)) = lengths.split_first() {
        for i in 0..*length {
            if i > 0 {
                out.push(',');
            }
            if inner.is_empty() {
                value(out, of, values.next().flatten());
            } else {
                dimension(out, of, inner, values);
            }
        }
    }
    out.push(']');
}

/// A JSON string.
pub fn string(out: &mut String, text: &str) {
    out.push('"');
    let mut plain = 0;
    for (i, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0x08 => "\\b",
            0x0C => "\\f",
            0..0x20 => "",
            _ => continue,
        };
        out.push_str(&text[plain..i]);
        plain = i + 1;
        if escape.is_empty() {
            let _ = write!(out, "\\u{byte:04x}");
        } else {
            out.push_str(escape);
        }
    }
    out.push_str(&text[plain..]);
    out.push('"');
}
