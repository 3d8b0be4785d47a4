//! Identifiers: any non-empty string of at most 256 bytes [ARCP 5-7].

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    num::NonZeroU8,
    sync::Arc,
};

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

/// The text of an id, never empty. Up to [`INLINE`] bytes, as ours are, it is kept in place: such an id is read, minted,
/// copied and dropped without touching memory anybody else sees, and there are some in every frame.
#[derive(Clone, PartialEq, Eq)]
enum IdText {
    /// Zeros follow the text, so equal texts are equal bytes.
    Inline {
        len: NonZeroU8,
        bytes: [u8; INLINE],
    },
    Shared(Arc<str>),
}

/// Our longest prefix and a ULID.
const INLINE: usize = 31;

impl IdText {
    fn of(text: &str) -> Self {
        let ends = (
            text.as_bytes().first_chunk::<16>(),
            text.as_bytes().last_chunk::<16>(),
        );
        match (u8::try_from(text.len()).ok().and_then(NonZeroU8::new), ends) {
            // Sixteen bytes from each end, which may overlap, spare the call that copies any number of them.
            (Some(len), (Some(head), Some(tail))) if text.len() <= INLINE => {
                let mut bytes = [0; INLINE];
                bytes[..16].copy_from_slice(head);
                bytes[text.len() - 16..text.len()].copy_from_slice(tail);
                Self::Inline { len, bytes }
            }
            _ => Self::joined("", text),
        }
    }

    fn joined(prefix: &str, suffix: &str) -> Self {
        let length = prefix.len() + suffix.len();
        let len = u8::try_from(length).ok().and_then(NonZeroU8::new);
        match len.filter(|_| length <= INLINE) {
            Some(len) => {
                let mut bytes = [0; INLINE];
                let (head, tail) = bytes[..length].split_at_mut(prefix.len());
                head.copy_from_slice(prefix.as_bytes());
                tail.copy_from_slice(suffix.as_bytes());
                Self::Inline { len, bytes }
            }
            None => Self::Shared(format!("{prefix}{suffix}").into()),
        }
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Inline { len, bytes } => &bytes[..usize::from(len.get())],
            Self::Shared(text) => text.as_bytes(),
        }
    }

    fn as_str(&self) -> &str {
        match self {
            // Always text: it was copied from one.
            Self::Inline { .. } => std::str::from_utf8(self.as_bytes()).unwrap_or_default(),
            Self::Shared(text) => text,
        }
    }
}

impl Hash for IdText {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl Ord for IdText {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl PartialOrd for IdText {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        ///
        /// Cheap to clone: a text as short as ours is kept in place, a longer one is shared.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(IdText);

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
                    1..=MAX_ID_BYTES => Ok(Self(IdText::of(text))),
                    longer => Err(IdError::TooLong(longer)),
                }
            }

            /// Joins the prefix and a minted suffix (a ULID, which keeps the bounds by itself).
            pub fn minted(suffix: &str) -> Self {
                Self(IdText::joined($prefix, suffix))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }

            /// The id, as bytes of UTF-8.
            pub fn as_bytes(&self) -> &[u8] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
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
                serializer.serialize_str(self.as_str())
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
id!(
    /// Names a question that a job asks people.
    QuestionId,
    "q_"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_ids_are_kept_in_place() {
        let suffix = "01JB3R5Q0M9T8V7W6X5Y4Z3A2B";
        assert!(matches!(SessionId::minted(suffix).0, IdText::Inline { .. }));
        assert!(matches!(CallId::minted(suffix).0, IdText::Inline { .. }));
        assert_eq!(size_of::<JobId>(), 32);
    }

    #[test]
    fn long_and_short_ids_compare_as_text() {
        let texts = [
            "a",
            "aa",
            "b",
            &"a".repeat(31),
            &"a".repeat(32),
            &"b".repeat(40),
            "ü",
            "\0",
            "\0\0",
        ];
        for left in texts {
            for right in texts {
                let (one, other) = (JobId::parse(left).unwrap(), JobId::parse(right).unwrap());
                assert_eq!(one.as_str(), left);
                assert_eq!(one.cmp(&other), left.cmp(right));
                assert_eq!(one == other, left == right);
            }
        }
    }
}
