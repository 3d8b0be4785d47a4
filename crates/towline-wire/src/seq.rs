//! The two sequence spaces. They are different types on purpose: a number of one means nothing in the other, so there
//! is no conversion between them.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Unexpected, Visitor},
};

/// The largest sequence number: 2^53 − 1, the largest integer every JSON reader keeps exactly [ARCP 5-9].
pub const MAX_SEQ: u64 = (1 << 53) - 1;

macro_rules! seq {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(u64);

        impl $name {
            /// Before the first: what a caught-up observer of nothing has seen.
            pub const ZERO: Self = Self(0);
            /// The first number given out.
            pub const FIRST: Self = Self(1);

            /// The number as it is, 0 meaning "none yet".
            pub const fn new(value: u64) -> Self {
                Self(value)
            }

            /// The plain number.
            pub const fn value(self) -> u64 {
                self.0
            }

            /// The number after this one.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }

            /// The number `count` after this one.
            #[must_use]
            pub const fn plus(self, count: u64) -> Self {
                Self(self.0 + count)
            }

            /// How many numbers lie between `earlier` (excluded) and this one (included); 0 when `earlier` is later.
            pub const fn since(self, earlier: Self) -> u64 {
                self.0.saturating_sub(earlier.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "#{}", self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_u64(self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_u64(SeqVisitor).map(Self)
            }
        }
    };
}

struct SeqVisitor;

impl Visitor<'_> for SeqVisitor {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number up to 2^53-1")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<u64, E> {
        if value <= MAX_SEQ {
            Ok(value)
        } else {
            Err(E::invalid_value(Unexpected::Unsigned(value), &self))
        }
    }
}

seq!(
    /// Position in a session's stream (§8.3): from 1, strictly +1, over all jobs and subscriptions of the session.
    EventSeq
);
seq!(
    /// Position in a job's own log: from 1, the terminal included.
    JobSeq
);
