//! Identifiers: any non-empty string of at most 256 bytes [ARCP 5-7].

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::read::parsed;

/// The longest identifier we accept, in bytes.
pub const MAX_ID_BYTES: usize = 256;

/// Why a string is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The string is empty.
    #[error("an id must not be empty")]
    Empty,
    /// The string has more than [`MAX_ID_BYTES`] bytes.
    #[error("an id has at most {MAX_ID_BYTES} bytes, this one has {0}")]
    TooLong(usize),
}

/// Two texts as one shared text. Ids are minted once an event, so the common length takes one allocation.
fn joined(prefix: &str, suffix: &str) -> Arc<str> {
    let mut buffer = [0; 48];
    let length = prefix.len() + suffix.len();
    let text = buffer.get_mut(..length).and_then(|room| {
        let (head, tail) = room.split_at_mut(prefix.len());
        head.copy_from_slice(prefix.as_bytes());
        tail.copy_from_slice(suffix.as_bytes());
        std::str::from_utf8(room).ok()
    });
    text.map_or_else(|| format!("{prefix}{suffix}").into(), Into::into)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        ///
        /// Cheap to clone: the text is shared.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// What ids of this kind begin with when we mint them.
            pub const PREFIX: &str = $prefix;

            /// Takes any non-empty text of at most [`MAX_ID_BYTES`] bytes.
            ///
            /// # Errors
            /// [`IdError`] says which bound the text breaks.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                match text.len() {
                    0 => Err(IdError::Empty),
                    1..=MAX_ID_BYTES => Ok(Self(text.into())),
                    longer => Err(IdError::TooLong(longer)),
                }
            }

            /// Joins the prefix and a minted suffix (a ULID, which keeps the bounds by itself).
            pub fn minted(suffix: &str) -> Self {
                Self(joined($prefix, suffix))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                parsed(deserializer, Self::parse)
            }
        }
    };
}

id!(
    /// Names one envelope; a reply repeats it as `request_id`.
    MessageId,
    "msg_"
);
id!(
    /// Names a session, across all its connections.
    SessionId,
    "sess_"
);
id!(
    /// Names a job.
    JobId,
    "job_"
);
id!(
    /// Names a streamed result.
    ResultId,
    "res_"
);
id!(
    /// Names a provisioned credential, across rotations.
    CredentialId,
    "cred_"
);
id!(
    /// Ties a `tool_result` to its `tool_call`.
    CallId,
    "call_"
);
