//! What a terminal may be told, and in which colours.

use std::io::{self, IsTerminal as _, Write as _};

/// Says something beside the output, on standard error.
pub(crate) fn note(text: &str) {
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// Whether a person looks at standard error.
pub(crate) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// A text without anything a terminal would obey.
pub(crate) fn clean(text: &str) -> String {
    let harmful = |c: char| {
        c.is_control() && c != '\t'
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars()
        .map(|c| if harmful(c) { '\u{fffd}' } else { c })
        .collect()
}

/// Several lines without anything a terminal would obey.
pub(crate) fn clean_lines(text: &str) -> String {
    text.lines().map(clean).collect::<Vec<_>>().join("\n")
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
            "a\u{fffd}[2Jb\u{fffd}\u{fffd}c\td\u{fffd}\u{fffd}ü"
        );
    }
}
