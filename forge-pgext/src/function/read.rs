//! Arguments: a JSON object's fields as typed values, with every mistake told at once.
//!
//! What JSON alone decides is checked here. Types that Postgres itself may refuse (times, enums, domains, ranges) are read in
//! one subtransaction; only when that fails is each field read in its own, to tell which.

use super::shape::{self, Shape, Type};
use crate::pg::function::{text_datum, uuid_datum};
use crate::pg::subtransaction::{self, Failed};
use crate::pg::{json, typ};
use pgrx::pg_sys::{self, Datum};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::cell::RefCell;

/// Deepest nesting of an arguments object.
const DEEPEST: usize = 128;

/// One field's mistake.
#[derive(Debug, serde::Serialize)]
pub struct Mistake {
    pub field: String,
    pub message: String,
}

/// Fields of an object in their order; values as they were written.
pub struct Object<'a>(pub Vec<(Cow<'a, str>, &'a str)>);

struct Fields;

impl<'de> serde::de::Visitor<'de> for Fields {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
        let mut all: Vec<(Cow<'de, str>, &'de str)> = Vec::new();
        while let Some(Name(name)) = map.next_key::<Name<'de>>()? {
            let value: &'de RawValue = map.next_value()?;
            // As in jsonb the last of several wins.
            match all.iter_mut().find(|(known, _)| *known == name) {
                Some(known) => known.1 = value.get(),
                None => all.push((name, value.get())),
            }
        }
        Ok(Object(all))
    }
}

#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Reads an object; ZF002 when the text is none or nests too deep.
pub fn object<'a>(what: &str, text: &'a str) -> Object<'a> {
    use serde::Deserializer;
    let depth = depth(text);
    if depth > DEEPEST {
        crate::error::invalid(
            format!("{what} nests {depth} levels deep"),
            format!("Nest at most {DEEPEST} levels."),
        );
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let read = reader
        .deserialize_map(Fields)
        .and_then(|o| reader.end().map(|()| o));
    read.unwrap_or_else(|e| {
        let problem = if e.is_data() {
            format!("{what} {} is not a JSON object", shorten(text))
        } else {
            format!("{what} is not JSON: {e}")
        };
        crate::error::invalid(problem, "Pass a JSON object such as {}.")
    })
}

/// How deep a JSON text nests.
fn depth(text: &str) -> usize {
    let (mut now, mut most, mut quoted, mut escaped) = (0usize, 0, false, false);
    for byte in text.bytes() {
        if quoted {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => quoted = true,
            b'{' | b'[' => {
                now += 1;
                most = most.max(now);
            }
            b'}' | b']' => now = now.saturating_sub(1),
            _ => {}
        }
    }
    most
}

/// A value for a message.
fn shorten(raw: &str) -> Cow<'_, str> {
    const MOST: usize = 60;
    match raw.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &raw[..end]).into(),
        None => raw.into(),
    }
}

/// One value to read: for which field, of which type, from which text, and whether a string stands for any type.
pub struct Wanted<'a> {
    pub field: &'a str,
    pub of: &'a Type,
    pub raw: &'a str,
    pub from_text: bool,
}

thread_local! {
    /// The field being read, for an error of Postgres'.
    static AT: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Reads values; adds a mistake for each that cannot be one.
pub fn values(wanted: &[Wanted<'_>], mistakes: &mut Vec<Mistake>) -> Vec<Option<Datum>> {
    let mut read: Vec<Option<Datum>> = vec![None; wanted.len()];
    let mut risky = Vec::new();
    for (i, one) in wanted.iter().enumerate() {
        if one.of.may_refuse() || text_may_be_refused(one) {
            risky.push(i);
        } else {
            read[i] = typed(one, mistakes);
        }
    }
    if risky.is_empty() {
        return read;
    }
    let mut found: Vec<Option<Datum>> = Vec::new();
    let mut early = Vec::new();
    let together = subtransaction::attempt(|| {
        found = risky
            .iter()
            .map(|i| typed(&wanted[*i], &mut early))
            .collect();
    });
    if together.is_ok() {
        mistakes.append(&mut early);
        for (i, value) in risky.into_iter().zip(found) {
            read[i] = value;
        }
        return read;
    }
    for i in risky {
        let mut own = Vec::new();
        let done = subtransaction::attempt(|| read[i] = typed(&wanted[i], &mut own));
        mistakes.append(&mut own);
        if let Err(Failed(message)) = done {
            let field = AT.with_borrow(Clone::clone);
            mistakes.push(Mistake { field, message });
        }
    }
    read
}

fn typed(one: &Wanted<'_>, mistakes: &mut Vec<Mistake>) -> Option<Datum> {
    let mut reader = Reader {
        path: one.field.to_owned(),
        from_text: one.from_text,
        mistakes,
    };
    reader.read(one.of, one.raw)
}

/// Whether json or numeric might not take a text that is JSON: escapes of half characters, exponents beyond measure.
fn text_may_be_refused(one: &Wanted<'_>) -> bool {
    fn looked_at(of: &Type) -> bool {
        match &of.shape {
            Shape::Json | Shape::Jsonb | Shape::Numeric => true,
            Shape::Array(element, _) => looked_at(element),
            _ => false,
        }
    }
    if !looked_at(one.of) {
        return false;
    }
    let bytes = one.raw.as_bytes();
    bytes.len() > 100_000
        || bytes
            .windows(2)
            .any(|w| w == b"\\u" || (w[0].is_ascii_digit() && (w[1] == b'e' || w[1] == b'E')))
}

struct Reader<'m> {
    path: String,
    from_text: bool,
    mistakes: &'m mut Vec<Mistake>,
}

impl Reader<'_> {
    fn refuse(&mut self, message: String) -> Option<Datum> {
        self.mistakes.push(Mistake {
            field: self.path.clone(),
            message,
        });
        None
    }

    fn expected(&mut self, what: &str, raw: &str) -> Option<Datum> {
        self.refuse(format!("expected {what}, got {}", shorten(raw)))
    }

    /// Reads a value inside this one.
    fn inside(&mut self, step: &str, of: &Type, raw: &str) -> Option<Datum> {
        let length = self.path.len();
        self.path.push_str(step);
        let value = self.read(of, raw);
        self.path.truncate(length);
        value
    }

    fn read(&mut self, of: &Type, raw: &str) -> Option<Datum> {
        let before = self.mistakes.len();
        let value = if raw == "null" {
            None
        } else {
            self.of_shape(of, raw)
        };
        if of.of != of.base && self.mistakes.len() == before {
            AT.set(self.path.clone());
            typ::check_domain(value, of.of);
        }
        value
    }

    fn of_shape(&mut self, of: &Type, raw: &str) -> Option<Datum> {
        let given;
        let raw = match (self.from_text && raw.starts_with('"')).then(|| unquote(raw)) {
            // What came as text is read as the type's own text, unless it is one of strings anyway.
            Some(Some(text)) if reads_from_text(of, &text) => {
                given = text;
                given.as_str()
            }
            _ => raw,
        };
        match &of.shape {
            Shape::Bool => self.boolean(raw),
            Shape::Int(low, high) => self.integer(raw, *low, *high),
            Shape::Float => self.float(of, raw),
            Shape::Numeric => self.numeric(raw),
            Shape::Text => self.string(raw, "a string").map(|s| text_datum(&s)),
            Shape::Uuid => {
                let text = self.string(raw, "a UUID string")?;
                match uuid::Uuid::parse_str(&text) {
                    Ok(id) => Some(uuid_datum(&id)),
                    Err(_) => {
                        self.expected("a UUID such as 0190a3d2-7b1c-7000-8000-000000000000", raw)
                    }
                }
            }
            Shape::Json | Shape::Jsonb => {
                AT.set(self.path.clone());
                Some(json::input(of.base, raw))
            }
            Shape::Array(element, storage) => self.array(element, *storage, raw),
            Shape::Row => self.row(of, raw),
            Shape::Void => self.refuse("takes no value".into()),
            Shape::DateTime | Shape::Cast(_) | Shape::Other => {
                let what = format!("a string of type {}", typ::name(of.base));
                let text = self.string(raw, &what)?;
                AT.set(self.path.clone());
                Some(json::input(of.base, &text))
            }
        }
    }

    fn string(&mut self, raw: &str, what: &str) -> Option<String> {
        if !raw.starts_with('"') {
            self.expected(what, raw);
            return None;
        }
        let Some(text) = unquote(raw) else {
            self.refuse(format!("{} is not a valid string", shorten(raw)));
            return None;
        };
        if text.contains('\0') {
            self.refuse("contains the null character, which cannot be stored".into());
            return None;
        }
        Some(text)
    }

    fn boolean(&mut self, raw: &str) -> Option<Datum> {
        match raw {
            "true" => Some(Datum::from(true)),
            "false" => Some(Datum::from(false)),
            "1" | "t" | "yes" | "on" if self.from_text => Some(Datum::from(true)),
            "0" | "f" | "no" | "off" if self.from_text => Some(Datum::from(false)),
            _ => self.expected("true or false", raw),
        }
    }

    fn integer(&mut self, raw: &str, low: i64, high: i64) -> Option<Datum> {
        let number = raw.parse::<i64>().ok().or_else(|| {
            // 1.0 and 1e3 are whole numbers as well.
            let exact = 9_007_199_254_740_992.0;
            let float = is_number(raw).then(|| raw.parse::<f64>().ok()).flatten()?;
            (float.fract() == 0.0 && float.abs() < exact).then_some(float as i64)
        });
        match number {
            Some(n) if (low..=high).contains(&n) && !raw.starts_with('+') => Some(Datum::from(n)),
            _ if low == i64::MIN => self.expected("a whole number of 64 bits", raw),
            _ => self.expected(&format!("a whole number from {low} to {high}"), raw),
        }
    }

    fn float(&mut self, of: &Type, raw: &str) -> Option<Datum> {
        let single = of.base == pg_sys::FLOAT4OID;
        let number = match raw.trim_matches('"') {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ if is_number(raw) => raw
                .parse::<f64>()
                .ok()
                .filter(|n| n.is_finite() && (!single || (*n as f32).is_finite())),
            _ => None,
        };
        match number {
            Some(n) if single => Some(Datum::from((n as f32).to_bits() as usize)),
            Some(n) => Some(Datum::from(n.to_bits() as usize)),
            None => self.expected("a number in range", raw),
        }
    }

    fn numeric(&mut self, raw: &str) -> Option<Datum> {
        let text = raw.trim_matches('"');
        if is_number(raw) || matches!(text, "NaN" | "Infinity" | "-Infinity") {
            AT.set(self.path.clone());
            return Some(json::input(pg_sys::NUMERICOID, text));
        }
        self.expected("a number", raw)
    }

    fn array(&mut self, of: &Type, storage: typ::Storage, raw: &str) -> Option<Datum> {
        let (mut values, mut lengths) = (Vec::new(), Vec::new());
        if self.from_text && raw.starts_with('"') {
            // ?tag=a is a list of one.
            values.push(self.inside("[0]", of, raw));
            lengths.push(1);
        } else if !self.level(of, raw, 0, &mut lengths, &mut values) {
            return None;
        }
        Some(typ::form_array(of.of, storage, &lengths, &values))
    }

    /// Reads one level of a list of lists; all lists of a level must be of one length.
    fn level(
        &mut self,
        of: &Type,
        raw: &str,
        level: usize,
        lengths: &mut Vec<i32>,
        values: &mut Vec<Option<Datum>>,
    ) -> bool {
        const MOST_DIMENSIONS: usize = 6;
        let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(raw) else {
            self.expected("a list", raw);
            return false;
        };
        if lengths.len() == level {
            lengths.push(items.len() as i32);
        } else if lengths[level] != items.len() as i32 {
            self.refuse("has lists of different lengths".into());
            return false;
        }
        let lists_inside = !matches!(of.shape, Shape::Json | Shape::Jsonb)
            && items.iter().any(|i| i.get().starts_with('['));
        if lists_inside && level + 1 == MOST_DIMENSIONS {
            self.refuse(format!("has more than {MOST_DIMENSIONS} dimensions"));
            return false;
        }
        for (i, item) in items.iter().enumerate() {
            let step = format!("[{i}]");
            if lists_inside {
                let length = self.path.len();
                self.path.push_str(&step);
                let fine = self.level(of, item.get(), level + 1, lengths, values);
                self.path.truncate(length);
                if !fine {
                    return false;
                }
            } else if lengths.len() > level + 1 {
                self.refuse("has lists of different depths".into());
                return false;
            } else {
                let value = self.inside(&step, of, item.get());
                values.push(value);
            }
        }
        true
    }

    fn row(&mut self, of: &Type, raw: &str) -> Option<Datum> {
        use serde::Deserializer;
        let mut reader = serde_json::Deserializer::from_str(raw);
        let Ok(Object(given)) = reader.deserialize_map(Fields) else {
            return self.expected("an object", raw);
        };
        let fields = shape::fields(of.base, -1);
        for (name, _) in &given {
            if !fields.iter().any(|f| f.of.is_some() && f.name == *name) {
                let length = self.path.len();
                self.path.push('.');
                self.path.push_str(name);
                self.refuse(format!("is not a field of {}", typ::name(of.base)));
                self.path.truncate(length);
            }
        }
        let before = self.mistakes.len();
        let values: Vec<Option<Datum>> = fields
            .iter()
            .map(|f| {
                let of = f.of.as_ref()?;
                let raw = given.iter().find(|(name, _)| *name == f.name);
                self.inside(&format!(".{}", f.name), of, raw.map_or("null", |r| r.1))
            })
            .collect();
        (self.mistakes.len() == before).then(|| typ::form_row(of.base, &values))
    }
}

/// Whether a text from a path or query string is itself the JSON of a value.
fn reads_from_text(of: &Type, text: &str) -> bool {
    match of.shape {
        Shape::Bool | Shape::Int(..) | Shape::Float | Shape::Numeric => true,
        Shape::Json | Shape::Jsonb => serde_json::from_str::<&RawValue>(text).is_ok(),
        _ => false,
    }
}

fn unquote(raw: &str) -> Option<String> {
    serde_json::from_str(raw).ok()
}

/// Whether the text is a JSON number.
fn is_number(raw: &str) -> bool {
    raw.starts_with(|c: char| c.is_ascii_digit() || c == '-')
        && raw
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'))
}
