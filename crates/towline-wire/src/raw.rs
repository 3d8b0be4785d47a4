//! JSON text that has been checked once and is shared from then on.

use std::fmt;

use bytestring::ByteString;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::quote::push_string;

/// One JSON value as text, known to be well formed, cheap to clone and to pass on untouched.
///
/// ```
/// use towline_wire::RawJson;
///
/// let value = RawJson::parse(r#"{"price": 5.00}"#)?;
/// assert_eq!(value.as_str(), r#"{"price": 5.00}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
///
/// The text never holds a line break, so a frame made of such values is one line whoever wrote them [ARCP 4-2].
#[derive(Clone, PartialEq, Eq)]
pub struct RawJson(ByteString);

impl RawJson {
    /// The value `null`.
    pub const NULL: Self = Self(ByteString::from_static("null"));
    /// `false`
    pub const FALSE: Self = Self(ByteString::from_static("false"));
    /// The value `{}`.
    pub const EMPTY_OBJECT: Self = Self(ByteString::from_static("{}"));

    /// [`RawJson::EMPTY_OBJECT`], for where a function is asked for.
    pub(crate) const fn empty_object() -> Self {
        Self::EMPTY_OBJECT
    }

    /// Serialises a value.
    ///
    /// # Errors
    /// What `serde_json` says of a value that has no JSON form (a map with keys that are not strings, say).
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        serde_json::to_string(value).map(|text| Self::on_one_line(text.into()))
    }

    /// Checks that `text` is one JSON value.
    ///
    /// # Errors
    /// Where and why it is not.
    pub fn parse(text: impl Into<ByteString>) -> Result<Self, serde_json::Error> {
        let text = text.into();
        let trimmed = serde_json::from_str::<&RawValue>(&text)?.get();
        let shared = text.slice_ref(trimmed);
        Ok(Self::on_one_line(shared))
    }

    /// Takes text that the caller has checked, or written, as one JSON value without a line break. Other text makes
    /// broken frames; it is not unsafe, only wrong.
    pub fn from_checked(text: ByteString) -> Self {
        Self(text)
    }

    /// Takes well-formed text. Its line breaks can only be white space, since strings hold them escaped.
    pub(crate) fn on_one_line(text: ByteString) -> Self {
        if memchr::memchr2(b'\n', b'\r', text.as_bytes()).is_some() {
            Self(text.replace(['\n', '\r'], " ").into())
        } else {
            Self(text)
        }
    }

    /// The text, as the owner of its memory.
    pub(crate) const fn text(&self) -> &ByteString {
        &self.0
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, shared.
    pub fn into_text(self) -> ByteString {
        self.0
    }

    /// Whether the value is an object.
    pub fn is_object(&self) -> bool {
        self.0.starts_with('{')
    }

    /// Whether the value is `null`.
    pub fn is_null(&self) -> bool {
        &*self.0 == "null"
    }

    /// The object with one more member at its end. Anything but an object, and a value without a JSON form, leave it as
    /// it is. Whether the member is there already is for the caller to know.
    #[must_use]
    pub fn with_member<T: Serialize + ?Sized>(self, name: &str, value: &T) -> Self {
        let Some(inside) = self
            .0
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'))
        else {
            return self;
        };
        let Ok(value) = serde_json::to_string(value) else {
            return self;
        };
        let mut text = String::with_capacity(self.0.len() + name.len() + value.len() + 4);
        text.push('{');
        text.push_str(inside);
        if !inside.trim_ascii().is_empty() {
            text.push(',');
        }
        push_string(&mut text, name);
        text.push(':');
        text.push_str(&value);
        text.push('}');
        Self(text.into())
    }

    /// Reads the value as a type.
    ///
    /// # Errors
    /// What does not fit, as `serde_json` says it.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.0)
    }
}

impl fmt::Debug for RawJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for RawJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&RawValue> for RawJson {
    fn from(value: &RawValue) -> Self {
        Self::on_one_line(value.get().into())
    }
}

impl From<bool> for RawJson {
    fn from(value: bool) -> Self {
        Self(ByteString::from_static(if value {
            "true"
        } else {
            "false"
        }))
    }
}

impl From<&str> for RawJson {
    /// The text as a JSON string; [`RawJson::parse`] reads JSON.
    fn from(text: &str) -> Self {
        serde_json::Value::from(text).into()
    }
}

impl From<serde_json::Value> for RawJson {
    fn from(value: serde_json::Value) -> Self {
        Self(value.to_string().into())
    }
}

impl Serialize for RawJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // `RawValue` has no borrowing constructor that skips the check, and the check is what makes a wrong
        // `from_checked` visible here instead of on a peer.
        let value: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        value.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RawJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Box::<RawValue>::deserialize(deserializer)?;
        Ok(Self::on_one_line(
            String::from(Box::<str>::from(value)).into(),
        ))
    }
}
