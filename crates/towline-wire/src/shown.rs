//! Text of a peer, as people may be shown it.

use std::fmt::{self, Write as _};

/// Text that a peer or an agent wrote, for a terminal, a table, a log or the audit log [ARCP 14-8].
///
/// Whatever a terminal obeys, or what makes text look like other text, is written as a visible escape: C0 and C1 controls,
/// line and paragraph separators, and the controls of bidirectional text. Everything else stays as it is.
///
/// ```
/// use towline_wire::Shown;
///
/// assert_eq!(Shown::new("a\u{1b}[2Jb\nc").to_string(), r"a\u{1b}[2Jb\nc");
/// assert_eq!(Shown::new("two\nlines").lines().to_string(), "two\nlines");
/// assert_eq!(Shown::new("too long").at_most(3).to_string(), "too…");
/// ```
#[derive(Clone, Copy)]
pub struct Shown<T> {
    text: T,
    bytes: usize,
    lines: bool,
}

impl<T> Shown<T> {
    /// The text on one line.
    pub const fn new(text: T) -> Self {
        Self {
            text,
            bytes: usize::MAX,
            lines: false,
        }
    }

    /// Lets the text's own line breaks and tabs through.
    #[must_use]
    pub fn lines(self) -> Self {
        Self {
            lines: true,
            ..self
        }
    }

    /// Cuts the text, as it is shown, at so many bytes, and says so with `…`.
    #[must_use]
    pub fn at_most(self, bytes: usize) -> Self {
        Self { bytes, ..self }
    }
}

impl<T: fmt::Display> fmt::Display for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut escaping = Escaping {
            to: f,
            left: Some(self.bytes),
            lines: self.lines,
        };
        write!(escaping, "{}", self.text)
    }
}

/// The same as `Display`: a log that asks for the one must not show more than one that asks for the other.
impl<T: fmt::Display> fmt::Debug for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

struct Escaping<'a, 'f> {
    to: &'a mut fmt::Formatter<'f>,
    /// How many bytes may follow; `None` after the cut.
    left: Option<usize>,
    lines: bool,
}

impl Escaping<'_, '_> {
    /// Takes this much of the room there is; `false` when there is none, and then that is said.
    fn claim(&mut self, bytes: usize) -> Result<bool, fmt::Error> {
        let Some(left) = self.left else {
            return Ok(false);
        };
        self.left = left.checked_sub(bytes);
        if self.left.is_none() {
            self.to.write_char('…')?;
        }
        Ok(self.left.is_some())
    }

    /// Writes characters that stay as they are, all at once: most texts are nothing else.
    fn put_plain(&mut self, run: &str) -> fmt::Result {
        let left = self.left.unwrap_or_default();
        let mut fits = run.len().min(left);
        while !run.is_char_boundary(fits) {
            fits -= 1;
        }
        self.to.write_str(&run[..fits])?;
        self.claim(fits)?;
        if fits < run.len() {
            self.claim(usize::MAX)?;
        }
        Ok(())
    }

    fn stays(&self, c: char) -> bool {
        matches!(c, ' '..='~') || !is_obeyed(c) || (self.lines && matches!(c, '\n' | '\t'))
    }
}

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while self.left.is_some() && !rest.is_empty() {
            let plain = rest.find(|c| !self.stays(c)).unwrap_or(rest.len());
            let (run, after) = rest.split_at(plain);
            self.put_plain(run)?;
            let mut after = after.chars();
            if let Some(c) = after.next() {
                let escaped = c.escape_default();
                if self.claim(escaped.clone().map(char::len_utf8).sum())? {
                    write!(self.to, "{escaped}")?;
                }
            }
            rest = after.as_str();
        }
        Ok(())
    }
}

/// JSON whose strings hold nothing a terminal obeys: what JSON itself lets through (DEL, C1, bidirectional controls) is
/// escaped. It stays the same JSON.
pub fn shown_json(text: &str) -> std::borrow::Cow<'_, str> {
    let harmful = |c: char| is_obeyed(c) && !c.is_ascii_whitespace();
    if !text.contains(harmful) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if harmful(c) {
            // All of them lie below U+FFFF. Writing to a string does not fail.
            let _ = write!(shown, "\\u{:04x}", u32::from(c));
        } else {
            shown.push(c);
        }
    }
    shown.into()
}

/// Whether a text holds nothing that [`Shown`] escapes: for names, which have to look like what they are [ARCP 14-8].
pub fn stands_as_it_is(text: &str) -> bool {
    !text.contains(is_obeyed)
}

fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [ARCP 14-8]
    #[test]
    fn no_control_is_left_and_everything_else_is() {
        let controls = (0..0x20).chain(0x7f..0xa0).chain(0x202a..=0x202e);
        for code in controls.chain(0x2066..=0x2069) {
            let c = char::from_u32(code).unwrap();
            let shown = Shown::new(format!("a{c}b")).to_string();
            assert!(!shown.contains(c) && shown.starts_with("a\\"), "{shown}");
            assert!(!stands_as_it_is(&format!("a{c}b")));
            let lines = Shown::new(c).lines().to_string();
            assert_eq!(lines.contains(c), matches!(c, '\n' | '\t'), "{lines}");
        }
        let harmless = "plain ü 漢 \u{5d0} 🚀 \\n \"";
        assert_eq!(Shown::new(harmless).to_string(), harmless);
        assert!(stands_as_it_is(harmless));
        assert_eq!(format!("{:?}", Shown::new("a\u{9b}")), "a\\u{9b}");
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        for (bytes, shown) in [(9, "aüüü"), (6, "aüü…"), (5, "aüü…"), (4, "aü…"), (0, "…")]
        {
            assert_eq!(Shown::new("aüüü").at_most(bytes).to_string(), shown);
        }
        assert_eq!(Shown::new("a\u{1b}b").at_most(4).to_string(), "a…");
        assert_eq!(Shown::new("").at_most(0).to_string(), "");
    }

    #[test]
    fn json_stays_the_same_json() {
        let text = "{\"a\":\"x\u{9b}\u{202e}\u{7f}ü\\u001b\"}\n";
        let shown = shown_json(text);
        assert_eq!(shown, "{\"a\":\"x\\u009b\\u202e\\u007fü\\u001b\"}\n");
        let (before, after): (serde_json::Value, serde_json::Value) = (
            serde_json::from_str(text).unwrap(),
            serde_json::from_str(&shown).unwrap(),
        );
        assert_eq!(before, after);
        assert!(matches!(shown_json("{}"), std::borrow::Cow::Borrowed(_)));
    }
}
