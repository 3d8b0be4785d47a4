//! The short way through JSON that is written as peers write it: no escapes in names and ids, nothing nested beyond
//! reason. Each step gives what it read, or `None` for anything else, and then the careful reader has the word. Nothing
//! is accepted here that the careful reader would refuse or read differently.

use bytestring::ByteString;

use crate::{MAX_SEQ, RawJson};

mod skip;

/// A place in a JSON text. It only moves forward; after a `None` it stands anywhere and is of no more use.
///
/// White space is passed before a token, never behind one, and only where the token was not found at once: frames seldom
/// have any. The steps are small and inlined, so that a reader keeps its cursor in registers.
pub(crate) struct Cursor<'a> {
    /// What is still ahead.
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    /// At the beginning of a text.
    #[inline(always)]
    pub(crate) fn new(text: &'a str) -> Self {
        Self { rest: text }
    }

    /// Passes `expected` when it stands here, byte by byte.
    #[inline(always)]
    pub(crate) fn eat(&mut self, expected: &str) -> bool {
        let rest = self.rest.strip_prefix(expected);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// The first byte of the name that stands here: enough to tell most names apart.
    #[inline(always)]
    pub(crate) fn initial(&mut self) -> Option<u8> {
        match self.rest.as_bytes() {
            [b'"', initial, ..] => Some(*initial),
            _ => {
                self.space();
                self.rest.as_bytes().get(1).copied()
            }
        }
    }

    /// The name of a field and the colon.
    #[inline(always)]
    pub(crate) fn name(&mut self) -> Option<&'a str> {
        let name = self.string()?;
        self.eat(":").then_some(name)
    }

    /// A string without escapes.
    #[inline(always)]
    pub(crate) fn string(&mut self) -> Option<&'a str> {
        if !self.eat("\"") {
            self.space();
            self.eat("\"").then_some(())?;
        }
        let (text, rest) = self.rest.split_at_checked(special(self.rest.as_bytes()))?;
        self.rest = rest.strip_prefix('"')?;
        Some(text)
    }

    /// A sequence number. Zero is none [ARCP 5-9].
    #[inline(always)]
    pub(crate) fn number(&mut self) -> Option<u64> {
        if *self.rest.as_bytes().first()? <= b' ' {
            self.space();
        }
        let (number, length) = seq(self.rest.as_bytes())?;
        self.rest = self.rest.get(length..)?;
        Some(number)
    }

    /// An object, checked to be JSON, that shares the memory of `text`, through which the cursor goes.
    #[inline(always)]
    pub(crate) fn object(&mut self, text: &ByteString) -> Option<RawJson> {
        self.space();
        self.rest.starts_with('{').then(|| self.value(text))?
    }

    /// Any value, checked to be JSON, that shares the memory of `text`, through which the cursor goes.
    #[inline(always)]
    pub(crate) fn value(&mut self, text: &ByteString) -> Option<RawJson> {
        self.space();
        let (length, one_line) = skip::value(self.rest.as_bytes())?;
        let (value, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        let value = text.slice_ref(value);
        Some(if one_line {
            RawJson::from_checked(value)
        } else {
            RawJson::on_one_line(value)
        })
    }

    /// After a field: whether another one follows.
    #[inline(always)]
    pub(crate) fn more(&mut self) -> Option<bool> {
        if self.eat(",") {
            return Some(true);
        }
        self.space();
        if self.eat(",") {
            Some(true)
        } else {
            self.eat("}").then_some(false)
        }
    }

    /// Nothing but white space is left.
    #[inline(always)]
    pub(crate) fn end(&mut self) -> Option<()> {
        self.space();
        self.rest.is_empty().then_some(())
    }

    /// Whether the value that stands here is `null`, or nothing the short way knows.
    #[inline(always)]
    pub(crate) fn is_null(&mut self) -> bool {
        self.space();
        self.rest.starts_with('n')
    }

    #[inline(always)]
    fn space(&mut self) {
        if let Some(0..=b' ') = self.rest.as_bytes().first() {
            self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
        }
    }
}

/// The number `text` begins with, and how long it is.
#[inline]
fn seq(text: &[u8]) -> Option<(u64, usize)> {
    (*text.first()? != b'0').then_some(())?;
    let (mut number, mut length) = (0u64, 0);
    for byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        // What runs over has too many digits.
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
        length += 1;
    }
    (matches!(length, 1..=16) && number <= MAX_SEQ).then_some((number, length))
}

/// Takes what was found, once.
#[inline]
pub(crate) fn fill<T>(slot: &mut Option<T>, found: Option<T>) -> Option<()> {
    (slot.is_none() && found.is_some()).then(|| *slot = found)
}

/// How many bytes stand in front of the first quote, backslash or control character, or of the end: counted eight at a
/// time, as most strings here are names or ids of thirty.
#[inline(never)]
fn special(text: &[u8]) -> usize {
    let Some((near, _)) = text.split_first_chunk::<NEAR>() else {
        return special_afar(text, 0);
    };
    for (index, word) in near.as_chunks().0.iter().enumerate() {
        let found = special_bytes(u64::from_le_bytes(*word));
        if found != 0 {
            return index * 8 + (found.trailing_zeros() / 8) as usize;
        }
    }
    special_afar(text, NEAR)
}

/// [`special`] for what is long, or near the end; nothing special is in front of `from`.
#[inline(never)]
fn special_afar(text: &[u8], from: usize) -> usize {
    let ahead = text.get(from..).unwrap_or_default();
    // Without a way out of the inner loop, the compiler looks at the whole block at once.
    let (blocks, _) = ahead.as_chunks::<NEAR>();
    let plain = blocks.iter().take_while(|block| {
        let found = block
            .iter()
            .fold(false, |found, byte| found | is_special(*byte));
        !found
    });
    let at = NEAR * plain.count();
    let tail = ahead.get(at..).unwrap_or_default();
    let (words, last) = tail.as_chunks();
    for (index, word) in words.iter().enumerate() {
        let found = special_bytes(u64::from_le_bytes(*word));
        if found != 0 {
            return from + at + index * 8 + (found.trailing_zeros() / 8) as usize;
        }
    }
    let plain = last.iter().take_while(|byte| !is_special(**byte));
    from + at + words.len() * 8 + plain.count()
}

const NEAR: usize = 32;

/// A quote differs from a control character in the bit that is turned here, so both are below 0x21 then, and nothing else
/// is.
#[inline]
const fn is_special(byte: u8) -> bool {
    (byte ^ 0x02) < 0x21 || byte == b'\\'
}

/// The top bit of the first byte of a word that [`is_special`], and of none before it.
#[inline]
const fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    // A borrow can only mark a byte behind one that is marked rightly, so the lowest mark is always true.
    let quote_or_control = (word ^ (ONES * 0x02)).wrapping_sub(ONES * 0x21);
    let backslash = (word ^ (ONES * b'\\' as u64)).wrapping_sub(ONES);
    (quote_or_control | backslash) & !word & (ONES * 0x80)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_special_byte_is_found_wherever_it_stands() {
        for byte in 0..=u8::MAX {
            assert_eq!(is_special(byte), matches!(byte, b'"' | b'\\' | 0..0x20));
            for filler in [
                b' ', b'!', b'#', b'[', b']', b'a', 0x7f, 0x80, 0x82, 0xa0, 0xdc, 0xff,
            ] {
                for at in 0..100 {
                    let mut text = vec![filler; 100];
                    text[at] = byte;
                    let expected = if is_special(byte) { at } else { 100 };
                    assert_eq!(special(&text), expected, "{byte} at {at} among {filler}");
                    assert_eq!(
                        special(&text[at..]),
                        expected - at,
                        "{byte} at {at} among {filler}"
                    );
                }
            }
        }
        assert_eq!(special(b""), 0);
        assert_eq!(special(b"a"), 1);
    }

    #[test]
    fn sequence_numbers_are_whole_and_in_range() {
        let number = |text| Cursor::new(text).number();
        assert_eq!(number("1"), Some(1));
        assert_eq!(number(" 20,"), Some(20));
        assert_eq!(number("9007199254740991}"), Some(MAX_SEQ));
        for text in [
            "",
            "0",
            "01",
            "-1",
            "x",
            "9007199254740992",
            "99999999999999999999999999",
            "18446744073709551617",
        ] {
            assert_eq!(number(text), None, "{text}");
        }
    }
}
