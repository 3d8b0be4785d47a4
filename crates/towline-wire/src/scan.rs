//! The short way through JSON that is written as peers write it: no white space between tokens, no escapes in names and
//! ids. Each function gives the value and what follows it, or `None` for anything else, and then the careful reader has
//! the word. Nothing is accepted here that the careful reader would refuse or read differently.

use serde_json::value::RawValue;

use crate::MAX_SEQ;

/// A string without escapes.
pub(crate) fn string(text: &str) -> Option<(&str, &str)> {
    let text = text.strip_prefix('"')?;
    let end = special(text.as_bytes())?;
    (text.as_bytes()[end] == b'"').then(|| (&text[..end], &text[end + 1..]))
}

/// Where the first quote, backslash or control character stands: eight bytes at a time, as most strings here are ids of
/// thirty.
fn special(text: &[u8]) -> Option<usize> {
    let mut chunks = text.chunks_exact(8);
    for (index, chunk) in chunks.by_ref().enumerate() {
        let found = special_bytes(u64::from_le_bytes(chunk.try_into().ok()?));
        if found != 0 {
            return Some(index * 8 + (found.trailing_zeros() / 8) as usize);
        }
    }
    let tail = chunks.remainder();
    let at = tail
        .iter()
        .position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))?;
    Some(text.len() - tail.len() + at)
}

/// The top bit of the first special byte of a word, and of none before it.
const fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    // A borrow can only mark a byte behind one that is marked rightly, so the lowest mark is always true.
    const fn zero(word: u64) -> u64 {
        word.wrapping_sub(ONES) & !word
    }
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    let quote = zero(word ^ (ONES * b'"' as u64));
    let backslash = zero(word ^ (ONES * b'\\' as u64));
    (control | quote | backslash) & (ONES * 0x80)
}

/// The name of a field and the colon.
pub(crate) fn name(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = string(text)?;
    Some((name, rest.strip_prefix(':')?))
}

/// A sequence number.
pub(crate) fn number(text: &str) -> Option<(u64, &str)> {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit())?;
    let (digits, rest) = text.split_at(end);
    let plain = matches!(digits.len(), 1..=16) && (digits == "0" || !digits.starts_with('0'));
    let ends = rest.starts_with([',', '}']);
    let number = (plain && ends).then(|| {
        digits
            .bytes()
            .fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
    })?;
    (number <= MAX_SEQ).then_some((number, rest))
}

/// Any value, checked to be JSON.
pub(crate) fn raw(text: &str) -> Option<(&RawValue, &str)> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    let value = values.next()?.ok()?;
    Some((value, text.get(values.byte_offset()..)?))
}

/// After a value: whether another field follows, and what is left.
pub(crate) fn more(text: &str) -> Option<(bool, &str)> {
    match text.as_bytes().first()? {
        b',' => Some((true, &text[1..])),
        b'}' => Some((false, &text[1..])),
        _ => None,
    }
}
