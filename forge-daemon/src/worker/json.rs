//! JSON kept as the text the database sent: most handlers pass it on without looking inside.

use bytes::{BufMut, BytesMut};
use postgres_types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use serde_json::{Value, value::RawValue};

type BoxError = Box<dyn std::error::Error + Sync + Send>;

/// Version byte in front of a `jsonb` value on the wire.
const JSONB_VERSION: u8 = 1;

/// A JSON document as text; as a parameter or column it is `jsonb`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonText(Box<str>);

impl JsonText {
    /// Keeps `text` when it is one JSON document.
    pub fn parse(text: String) -> Result<Self, serde_json::Error> {
        serde_json::from_str::<&RawValue>(&text)?;
        Ok(Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As a tree.
    pub fn to_value(&self) -> Result<Value, serde_json::Error> {
        serde_json::from_str(&self.0)
    }

    /// For embedding in a larger document without parsing.
    pub fn as_raw(&self) -> Result<&RawValue, serde_json::Error> {
        serde_json::from_str(&self.0)
    }
}

impl From<&Value> for JsonText {
    fn from(value: &Value) -> Self {
        Self(value.to_string().into())
    }
}

impl<'a> FromSql<'a> for JsonText {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, BoxError> {
        match raw.split_first() {
            Some((&JSONB_VERSION, text)) => Ok(Self(std::str::from_utf8(text)?.into())),
            Some((version, _)) => Err(format!("unknown version {version} of jsonb").into()),
            None => Err("empty jsonb value".into()),
        }
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::JSONB
    }
}

impl ToSql for JsonText {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
        out.put_u8(JSONB_VERSION);
        out.put_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::JSONB
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_through_the_wire_format_unchanged() {
        let text = JsonText::parse(r#"{"a": [1, 2.50]}"#.into()).unwrap();
        let mut wire = BytesMut::new();
        text.to_sql(&Type::JSONB, &mut wire).unwrap();
        assert_eq!(wire[0], 1);
        assert_eq!(JsonText::from_sql(&Type::JSONB, &wire).unwrap(), text);
        assert_eq!(text.as_raw().unwrap().get(), r#"{"a": [1, 2.50]}"#);
    }

    #[test]
    fn refuses_what_is_not_one_document() {
        for bad in ["", "{", "1 2", "nul"] {
            assert!(JsonText::parse(bad.into()).is_err(), "{bad}");
        }
        assert!(JsonText::from_sql(&Type::JSONB, &[2, b'1']).is_err());
        assert!(JsonText::from_sql(&Type::JSONB, &[]).is_err());
    }
}
