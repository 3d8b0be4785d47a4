//! W3C trace identifiers (§11).

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    digits,
    read::{FromText, parsed},
};

/// A W3C trace id: 16 bytes, written as 32 lower-case hex digits, never all zero [ARCP 11-1].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId([u8; 16]);

/// A W3C span id: 8 bytes, never all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId([u8; 8]);

impl TraceId {
    /// From bytes; `None` when all are zero.
    pub fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
        (bytes != [0; 16]).then_some(Self(bytes))
    }

    /// The bytes.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// Reads 32 lower-case hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        hex(text).and_then(Self::from_bytes)
    }

    /// Reads what a peer may put into `trace_id`: the 32 digits, or a whole `traceparent`, whose span is given too.
    ///
    /// ```
    /// use towline_wire::TraceId;
    ///
    /// let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    /// let (trace, span) = TraceId::parse_lenient(header).unwrap();
    /// assert_eq!(trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
    /// assert_eq!(span.unwrap().to_string(), "00f067aa0ba902b7");
    /// ```
    pub fn parse_lenient(text: &str) -> Option<(Self, Option<SpanId>)> {
        match text.len() {
            32 => Self::parse(text).map(|trace| (trace, None)),
            _ => parse_traceparent(text).map(|(trace, span)| (trace, Some(span))),
        }
    }
}

impl TraceId {
    /// The id of a span that stands for the beginning of a trace of which nothing but the id is known: the lower half of
    /// that id, so that everybody who has to make one up makes up the same.
    pub fn unrecorded_root(self) -> SpanId {
        let [.., a, b, c, d, e, f, g, h] = self.0;
        match [a, b, c, d, e, f, g, h] {
            [0, 0, 0, 0, 0, 0, 0, 0] => SpanId([0, 0, 0, 0, 0, 0, 0, 1]),
            bytes => SpanId(bytes),
        }
    }
}

impl SpanId {
    /// From bytes; `None` when all are zero.
    pub fn from_bytes(bytes: [u8; 8]) -> Option<Self> {
        (bytes != [0; 8]).then_some(Self(bytes))
    }

    /// The bytes.
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0
    }
}

/// `version "-" trace "-" span "-" flags`, as W3C Trace Context level 1 reads it.
fn parse_traceparent(text: &str) -> Option<(TraceId, SpanId)> {
    let mut parts = text.split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let version: [u8; 1] = hex(version)?;
    let _flags: [u8; 1] = hex(flags)?;
    let known_end = version != [0] || parts.next().is_none();
    (version != [0xff] && known_end).then_some(())?;
    Some((TraceId::parse(trace)?, SpanId::from_bytes(hex(span)?)?))
}

// Kept apart: next to a caller that looks at the bytes again, the compiler takes them one by one after all.
#[inline(never)]
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return None;
    };
    let pairs: &[[u8; 2]; N] = pairs.try_into().ok()?;
    // Two plain loops, with no way out for a wrong digit: so the compiler takes sixteen digits at a time.
    let (mut values, mut wrong) = (*pairs, 0);
    for value in values.as_flattened_mut() {
        *value = digit(*value);
        wrong |= *value;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(values) {
        let pair = u16::from_be_bytes(pair);
        [_, *byte] = (pair >> 4 | pair).to_be_bytes();
    }
    (wrong < 16).then_some(bytes)
}

/// What a hex digit stands for, and more than 15 for what is none.
#[inline]
const fn digit(byte: u8) -> u8 {
    let (decimal, letter) = (byte.wrapping_sub(b'0'), byte.wrapping_sub(b'a'));
    if decimal < 10 {
        decimal
    } else if letter < 6 {
        letter + 10
    } else {
        u8::MAX
    }
}

macro_rules! text {
    ($name:ident, $digits:literal) => {
        impl $name {
            /// The hex digits, as ASCII.
            pub fn to_hex(self) -> [u8; $digits] {
                let mut digits = [0; $digits];
                digits::fill_hex(&mut digits, &self.0);
                digits
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(digits::ascii(&self.to_hex()))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

text!(TraceId, 32);
text!(SpanId, 16);

impl Serialize for TraceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(digits::ascii(&self.to_hex()))
    }
}

impl<'de> Deserialize<'de> for TraceId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, |text| {
            Self::from_text(text).ok_or("a trace id is 32 lower-case hex digits, not all zero")
        })
    }
}

impl FromText for TraceId {
    fn from_text(text: &str) -> Option<Self> {
        Self::parse_lenient(text).map(|(trace, _)| trace)
    }
}
