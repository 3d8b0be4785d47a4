//! Values that must not be seen: bearer tokens, resume tokens, credential values.

use std::fmt;

use serde::{Deserialize, Deserializer, Serializer};
use zeroize::Zeroize as _;

use crate::read::word;

/// A secret text. It has no `Display`, no `Serialize`, and its `Debug` shows nothing of it; the fields that have to
/// carry it on the wire name [`Secret::write`] as their serialiser, which is the one place it leaves through. Its memory is
/// overwritten when it is dropped; copies that others made of it, such as a frame on its way, are not.
///
/// ```
/// use towline_wire::Secret;
///
/// let token = Secret::new("rt_0123");
/// assert_eq!(format!("{token:?}"), "[redacted]");
/// assert_eq!(token.expose(), "rt_0123");
/// ```
#[derive(Clone)]
pub struct Secret(Box<str>);

impl Secret {
    /// Wraps a secret.
    pub fn new(value: impl Into<Box<str>>) -> Self {
        Self(value.into())
    }

    /// The secret itself. Every use is worth a second look.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Writes the secret: for the fields of messages that go to the party it belongs to.
    ///
    /// # Errors
    /// What the serialiser says.
    pub fn write<S: Serializer>(secret: &Self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&secret.0)
    }

    /// [`Secret::write`] for an optional field.
    ///
    /// # Errors
    /// What the serialiser says.
    pub fn write_optional<S: Serializer>(
        secret: &Option<Self>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match secret {
            Some(secret) => serializer.serialize_str(&secret.0),
            None => serializer.serialize_none(),
        }
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        word(deserializer, |text| Self::new(text))
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self(value.into())
    }
}

impl From<&str> for Secret {
    fn from(value: &str) -> Self {
        Self(value.into())
    }
}
