//! What a terminal may be told, and in which colours.

use std::{
    borrow::Cow,
    io::{self, IsTerminal as _, Write as _},
};

use towline::wire::Shown;

/// Says something beside the output, on standard error.
pub(crate) fn note(text: &str) {
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// Whether a person looks at standard error.
pub(crate) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// How many columns the terminal has that standard output is; nothing where it is none, or does not tell.
#[cfg(unix)]
pub(super) fn width_of_stdout() -> Option<usize> {
    let out = io::stdout();
    if !out.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&out).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

#[cfg(not(unix))]
pub(super) fn width_of_stdout() -> Option<usize> {
    None
}

/// A text on one line, without anything a terminal would obey.
pub(crate) fn clean(text: impl std::fmt::Display) -> String {
    Shown::new(text).to_string()
}

/// Several lines without anything a terminal would obey.
pub(crate) fn clean_lines(text: impl std::fmt::Display) -> String {
    Shown::new(text).lines().to_string()
}

/// What a terminal gets of a result: text is cleaned, and what is no text stays as it is.
pub(super) fn for_terminal(bytes: &[u8]) -> Cow<'_, [u8]> {
    match std::str::from_utf8(bytes) {
        Ok(text) => clean_lines(text).into_bytes().into(),
        Err(_) => bytes.into(),
    }
}

pub(crate) const RED: &str = "\u{1b}[31m";
pub(crate) const YELLOW: &str = "\u{1b}[33m";
pub(crate) const GREEN: &str = "\u{1b}[32m";
pub(crate) const DIM: &str = "\u{1b}[2m";
pub(crate) const BOLD: &str = "\u{1b}[1m";
pub(crate) const RESET: &str = "\u{1b}[0m";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_not_told_what_to_do() {
        assert_eq!(
            clean("a\u{1b}[2Jb\r\nc\td\u{9b}\u{202e}ü"),
            r"a\u{1b}[2Jb\r\nc\td\u{9b}\u{202e}ü"
        );
        let result = "one\n\ttwo\u{1b}]52;c;eA==\u{7}\n";
        assert_eq!(
            for_terminal(result.as_bytes()).as_ref(),
            "one\n\ttwo\\u{1b}]52;c;eA==\\u{7}\n".as_bytes()
        );
        assert_eq!(for_terminal(&[0xff, 0x1b]).as_ref(), [0xff, 0x1b]);
    }
}
