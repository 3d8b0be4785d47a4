//! Going over a value that only has to be JSON (RFC 8259, as `serde_json` reads it).

use super::special;

/// How long the value is that `text` begins with, and whether it is on one line.
#[inline(never)]
pub(super) fn value(text: &[u8]) -> Option<(usize, bool)> {
    let mut skip = Skip {
        rest: text,
        one_line: true,
    };
    let mut open = Open::NONE;
    loop {
        match skip.next()? {
            b'"' => skip.string()?,
            b'{' => {
                if !skip.closes(b'}') {
                    open.push(OBJECT)?;
                    skip.name()?;
                    continue;
                }
            }
            b'[' => {
                if !skip.closes(b']') {
                    open.push(ARRAY)?;
                    continue;
                }
            }
            first @ (b'-' | b'0'..=b'9') => skip.rest = number(first, skip.rest)?,
            b't' => skip.rest = skip.rest.strip_prefix(b"rue")?,
            b'f' => skip.rest = skip.rest.strip_prefix(b"alse")?,
            b'n' => skip.rest = skip.rest.strip_prefix(b"ull")?,
            _ => return None,
        }
        if !skip.closings(&mut open)? {
            return Some((text.len() - skip.rest.len(), skip.one_line));
        }
    }
}

/// A place in the value, and what was passed on the way to it.
struct Skip<'a> {
    /// What is still ahead.
    rest: &'a [u8],
    /// No line break was passed.
    one_line: bool,
}

// Inlined, so that the place is kept in registers.
impl Skip<'_> {
    /// After a value: what ends with it, and whether another value follows, its name passed.
    #[inline(always)]
    fn closings(&mut self, open: &mut Open) -> Option<bool> {
        while let Some(innermost) = open.innermost() {
            match (self.next()?, innermost) {
                (b',', OBJECT) => return self.name().map(|()| true),
                (b',', _) => return Some(true),
                (b'}', OBJECT) | (b']', ARRAY) => open.pop(),
                _ => return None,
            }
        }
        Some(false)
    }

    /// Whether what was just opened holds nothing.
    #[inline(always)]
    fn closes(&mut self, closing: u8) -> bool {
        self.space();
        match self.rest {
            [first, rest @ ..] if *first == closing => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    #[inline(always)]
    fn name(&mut self) -> Option<()> {
        (self.next()? == b'"').then_some(())?;
        self.string()?;
        (self.next()? == b':').then_some(())
    }

    /// What follows the opening quote.
    #[inline(always)]
    fn string(&mut self) -> Option<()> {
        let rest = self.rest.get(special(self.rest)..)?;
        self.rest = match rest {
            [b'"', rest @ ..] => rest,
            [b'\\', ..] => escaped(rest)?,
            _ => return None,
        };
        Some(())
    }

    /// The first byte that is not white space.
    #[inline(always)]
    fn next(&mut self) -> Option<u8> {
        if *self.rest.first()? <= b' ' {
            self.space();
        }
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    #[inline(always)]
    fn space(&mut self) {
        while let [byte @ (b' ' | b'\t' | b'\n' | b'\r'), rest @ ..] = self.rest {
            self.one_line &= !matches!(byte, b'\n' | b'\r');
            self.rest = rest;
        }
    }
}

/// What follows a number, of which `rest` follows the first byte.
fn number(first: u8, rest: &[u8]) -> Option<&[u8]> {
    let rest = match (first, rest) {
        // A digit behind a leading zero is left to the caller, who has no use for one.
        (b'-', [b'0', rest @ ..]) | (b'0', rest) => rest,
        (b'-', rest) => digits(rest)?,
        (_, rest) => digits(rest).unwrap_or(rest),
    };
    let rest = match rest {
        [b'.', rest @ ..] => digits(rest)?,
        rest => rest,
    };
    match rest {
        [b'e' | b'E', b'+' | b'-', rest @ ..] | [b'e' | b'E', rest @ ..] => digits(rest),
        rest => Some(rest),
    }
}

/// What follows the digits, one or more, that `text` begins with.
fn digits(text: &[u8]) -> Option<&[u8]> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    let length = digits.count();
    (length > 0).then(|| text.get(length..))?
}

/// What follows a string, of which the first backslash and what is behind it are ahead.
#[inline(never)]
fn escaped(mut ahead: &[u8]) -> Option<&[u8]> {
    loop {
        let rest = match ahead {
            [b'"', rest @ ..] => return Some(rest),
            // Whether surrogates come in pairs matters only to whoever reads the string.
            [b'\\', b'u', a, b, c, d, rest @ ..] => {
                let hex = [a, b, c, d].into_iter().all(u8::is_ascii_hexdigit);
                hex.then_some(rest)?
            }
            [b'\\', escape, rest @ ..] => b"\"\\/bfnrt".contains(escape).then_some(rest)?,
            _ => return None,
        };
        ahead = rest.get(special(rest)..)?;
    }
}

/// The objects and arrays around a place, one bit each, behind a bit that marks the outermost.
struct Open(u64);

const OBJECT: u64 = 1;
const ARRAY: u64 = 0;

impl Open {
    const NONE: Self = Self(1);

    /// `None` when there is no bit left: whoever nests deeper than that has the time to wait for the careful reader.
    #[inline]
    fn push(&mut self, kind: u64) -> Option<()> {
        let room = self.0.leading_zeros() > 0;
        self.0 = self.0 << 1 | kind;
        room.then_some(())
    }

    #[inline]
    fn pop(&mut self) {
        self.0 >>= 1;
    }

    #[inline]
    fn innermost(&self) -> Option<u64> {
        (self.0 != 1).then_some(self.0 & 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};
    use serde_json::value::RawValue;

    use super::*;

    /// What `serde_json` takes for a whole value, white space around it apart.
    fn careful(text: &str) -> Option<&str> {
        serde_json::from_str::<&RawValue>(text)
            .ok()
            .map(RawValue::get)
    }

    /// What the short way takes for one.
    fn short(text: &str) -> Option<&str> {
        let from = text.len() - text.trim_start_matches([' ', '\t', '\n', '\r']).len();
        let (end, one_line) = value(&text.as_bytes()[from..])?;
        let end = from + end;
        let found = text
            .get(from..end)
            .expect("a value ends between characters");
        assert_eq!(one_line, !found.contains(['\n', '\r']), "{text}");
        text[end..]
            .trim_matches([' ', '\t', '\n', '\r'])
            .is_empty()
            .then_some(found)
    }

    #[track_caller]
    fn agree(text: &str) {
        assert_eq!(short(text), careful(text), "{text}");
    }

    #[test]
    fn values_are_those_serde_json_takes() {
        let good = [
            "null",
            "true",
            "false",
            "0",
            "-0",
            "7",
            "-12",
            "1.5",
            "0.0",
            "1e3",
            "1E+3",
            "1.25e-3",
            "0e0",
            "1e999",
            r#""""#,
            r#""a""#,
            r#""ü🎈""#,
            r#""\"\\\/\b\f\n\r\t\u00e9""#,
            r#""\ud800""#,
            r#""\uD83C\uDF88""#,
            "\"\u{7f}\"",
            r#""12345678\"12345678""#,
            "[]",
            "{}",
            "[[]]",
            "[{}]",
            r#"{"":{}}"#,
            "[1,2]",
            r#"{"a":1,"a":[2]}"#,
            "[ ]",
            "{ }",
            "[ 1 , 2 ]",
            "{ \"a\" : 1 }",
            "[\n1,\r\n2]",
            " 1 ",
            "\t{}\n",
            r#"{"a":"b","c":[true,false,null,{"d":-1.5e9}]}"#,
        ];
        for text in good {
            assert!(short(text).is_some(), "{text}");
            agree(text);
        }
    }

    #[test]
    fn nothing_is_taken_that_serde_json_refuses() {
        let bad = [
            "",
            " ",
            "nul",
            "nulll",
            "True",
            "tru",
            "falsy",
            "01",
            "-01",
            "00",
            "1.",
            ".5",
            "-",
            "-.5",
            "+1",
            "1e",
            "1e+",
            "1.e3",
            "0x1",
            "1_0",
            "--1",
            "NaN",
            "Infinity",
            "\"",
            "\"a",
            "\"\\\"",
            r#""\x""#,
            r#""\u12""#,
            r#""\u12g4""#,
            r#""\u123"#,
            "\"\\",
            "\"\n\"",
            "\"\u{0}\"",
            "\"12345678\t\"",
            "\"\u{1f}\"",
            "[",
            "]",
            "[1",
            "[1,",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[1}",
            "{",
            "}",
            "{]",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":1",
            "{\"a\":1,",
            "{\"a\":1,}",
            "{,}",
            "{\"a\" 1}",
            "{\"a\",1}",
            "{1:1}",
            "{a:1}",
            "{'a':1}",
            "{\"a\":}",
            "{\"a\":1 \"b\":2}",
            "{\"a\":1]",
            "[1]]",
            "{}}",
            "1 2",
            "1,",
            "[]x",
            "\u{feff}1",
            "\u{a0}1",
            "[\u{b}1]",
            "[1\u{c}]",
            "/**/1",
            "[1]//",
        ];
        for text in bad {
            assert_eq!(short(text), None, "{text}");
            agree(text);
        }
    }

    #[test]
    fn what_nests_too_deep_is_left_to_the_careful_reader() {
        let nested = |depth| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(short(&nested(63)).is_some());
        assert_eq!(short(&nested(64)), None);
        assert!(careful(&nested(64)).is_some());
        agree(&format!("{}1{}", r#"{"a":["#.repeat(31), "]}".repeat(31)));
        agree(&format!("{}1{}", r#"{"a":["#.repeat(31), "}]".repeat(31)));
    }

    /// Pieces of JSON, good and bad, that make a value now and then.
    fn pieces() -> impl Strategy<Value = String> {
        let piece = select(
            &[
                "{", "}", "[", "]", ",", ":", "\"", "\"a\"", "\"a\":", "\\", "\\u00", "\\n", "0",
                "1", "-", ".5", "e3", "E-", "true", "null", " ", "\n", "ü", "\u{1}", "[]", "{}",
            ][..],
        );
        vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    /// A value with one byte of it changed, or taken away, or none.
    fn changed() -> impl Strategy<Value = String> {
        let whole = "(\\[|\\{\"k\":)(-?[0-9]{1,3}(\\.[0-9]{1,2})?([eE][+-]?[0-9])?|true|null|\"([ -~ü]|\\\\[n\"u]|\\\\u[0-9a-g]{4}){0,40}\"|\\[\\]|,| ){1,8}[\\]}]";
        (whole, any::<proptest::sample::Index>(), any::<Option<u8>>()).prop_map(|(text, at, to)| {
            let mut bytes = text.clone().into_bytes();
            let at = at.index(bytes.len());
            match to {
                Some(to) => bytes[at] = to,
                None => drop(bytes.remove(at)),
            }
            String::from_utf8(bytes).unwrap_or(text)
        })
    }

    proptest! {
        #[test]
        fn any_pieces_are_read_alike(text in pieces()) {
            agree(&text);
        }

        #[test]
        fn any_change_is_read_alike(text in changed()) {
            agree(&text);
        }

        #[test]
        fn any_text_is_read_alike(text in "[ -~\\PC\\n\\r\\t\"\\\\]{0,60}") {
            agree(&text);
            agree(&format!("\"{text}\""));
        }
    }
}
