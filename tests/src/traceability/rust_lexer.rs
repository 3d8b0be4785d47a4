//! Just enough of Rust's lexical grammar to tell comments, attributes, names and brackets from everything else.

/// A piece of source that matters for finding tests. Literals, lifetimes and white space are passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A comment with its delimiters.
    Comment(&'a str),
    /// `#[…]` or `#![…]`, whole.
    Attribute(&'a str),
    /// A name, a keyword or a number.
    Word(&'a str),
    /// Any other character.
    Mark(char),
}

/// A token and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placed<'a> {
    pub(super) token: Token<'a>,
    /// Of its first character, from 1.
    pub(super) line: usize,
    /// Line breaks between the end of the token before (or of the literal passed over) and this one;
    /// the start of the file counts as one.
    pub(super) breaks_before: usize,
}

/// Yields the tokens of one source file. Never fails: text that is no Rust gives some tokens or other.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    source: &'a str,
    at: usize,
    line: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(source: &'a str) -> Self {
        Self {
            source,
            at: 0,
            line: 1,
        }
    }

    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    /// Moves on by `length` bytes and gives what was passed.
    fn take(&mut self, length: usize) -> &'a str {
        let taken = &self.rest()[..length.min(self.rest().len())];
        self.at += taken.len();
        self.line += taken.matches('\n').count();
        taken
    }

    fn take_while(&mut self, keep: impl Fn(char) -> bool) -> &'a str {
        let length = self.rest().find(|c| !keep(c)).unwrap_or(self.rest().len());
        self.take(length)
    }

    /// The token that begins here, or `None` after passing over a literal or a lifetime.
    fn lex(&mut self, first: char) -> Option<Token<'a>> {
        let rest = self.rest();
        if rest.starts_with("//") {
            return Some(Token::Comment(self.take_while(|c| c != '\n')));
        }
        if rest.starts_with("/*") {
            return Some(Token::Comment(self.take(block_comment_length(rest))));
        }
        if rest.starts_with("#[") || rest.starts_with("#![") {
            return Some(Token::Attribute(self.attribute()));
        }
        if let Some(length) = string_length(rest) {
            self.take(length);
            return None;
        }
        if first == '\'' {
            self.take(quote_length(rest));
            return None;
        }
        if is_word(first) {
            return Some(Token::Word(self.take_while(is_word)));
        }
        self.take(first.len_utf8());
        Some(Token::Mark(first))
    }

    /// An attribute up to its closing bracket, strings and comments inside it understood.
    fn attribute(&mut self) -> &'a str {
        let start = self.at;
        self.take(1);
        let mut open = 0_usize;
        for placed in self.by_ref() {
            match placed.token {
                Token::Mark('[') => open += 1,
                Token::Mark(']') if open <= 1 => break,
                Token::Mark(']') => open -= 1,
                _ => {}
            }
        }
        &self.source[start..self.at]
    }
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Placed<'a>;

    fn next(&mut self) -> Option<Placed<'a>> {
        loop {
            let start_of_file = usize::from(self.at == 0);
            let breaks = self.take_while(char::is_whitespace).matches('\n').count();
            let first = self.rest().chars().next()?;
            let line = self.line;
            if let Some(token) = self.lex(first) {
                return Some(Placed {
                    token,
                    line,
                    breaks_before: start_of_file + breaks,
                });
            }
        }
    }
}

/// Whether an attribute makes a function a test: `#[test]`, or any path that ends so.
pub(super) fn is_test_attribute(attribute: &str) -> bool {
    attribute_path(attribute).rsplit("::").next() == Some("test")
}

/// The path of an outer attribute, empty for an inner one.
pub(super) fn attribute_path(attribute: &str) -> &str {
    let inside = attribute
        .strip_prefix("#[")
        .unwrap_or_default()
        .trim_start();
    let end = inside.find(|c: char| !is_word(c) && c != ':');
    &inside[..end.unwrap_or(inside.len())]
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Block comments nest.
fn block_comment_length(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let mut depth = 0_usize;
    let mut at = 0;
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    bytes.len()
}

/// The length of the string literal that begins here: plain, byte, C or raw.
fn string_length(rest: &str) -> Option<usize> {
    let prefix = rest
        .find(|c: char| !matches!(c, 'b' | 'c' | 'r'))
        .unwrap_or(rest.len());
    if prefix > 2 {
        return None;
    }
    let after = &rest[prefix..];
    if rest[..prefix].ends_with('r') {
        let hashes = after.bytes().take_while(|byte| *byte == b'#').count();
        let body = after[hashes..].strip_prefix('"')?;
        let closing = format!("\"{}", "#".repeat(hashes));
        let end = body
            .find(&closing)
            .map_or(body.len(), |found| found + closing.len());
        return Some(prefix + hashes + 1 + end);
    }
    let body = after.strip_prefix('"')?;
    Some(prefix + 1 + escaped_length(body, b'"'))
}

/// Up to and with the closing quote, skipping what a backslash escapes.
fn escaped_length(body: &str, quote: u8) -> usize {
    let bytes = body.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// A quote opens a character (`'x'`, `'\n'`) or a lifetime (`'a`).
fn quote_length(rest: &str) -> usize {
    let mut after = rest[1..].chars();
    match (after.next(), after.next()) {
        (Some('\\'), _) => 1 + escaped_length(&rest[1..], b'\''),
        (Some(c), Some('\'')) => 2 + c.len_utf8(),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, expected: &[Token<'_>]) {
        let tokens: Vec<_> = Lexer::new(source).map(|placed| placed.token).collect();
        assert_eq!(tokens, expected, "in {source:?}");
    }

    #[test]
    fn comments_are_told_from_strings_that_look_like_them() {
        check(
            "// a\n/* b /* c */ d */",
            &[Token::Comment("// a"), Token::Comment("/* b /* c */ d */")],
        );
        check(r#""// a" "\"// b""#, &[]);
        check(r###"r#"// a " "# br"// b" c"// c" b"\\""###, &[]);
        check("\"unterminated // a", &[]);
    }

    #[test]
    fn quotes_open_characters_and_lifetimes() {
        check(r"'{' '\'' '\\' '\u{7b}' 'é' b'{'", &[Token::Word("b")]);
        check(
            "&'a str",
            &[Token::Mark('&'), Token::Word("a"), Token::Word("str")],
        );
        check("'\"' // a", &[Token::Comment("// a")]);
    }

    #[test]
    fn attributes_are_one_token() {
        check(
            "#[a(b = \"]\", c = [1])] x",
            &[
                Token::Attribute("#[a(b = \"]\", c = [1])]"),
                Token::Word("x"),
            ],
        );
        check("#![a] #", &[Token::Attribute("#![a]"), Token::Mark('#')]);
        check(
            "r#fn",
            &[Token::Word("r"), Token::Mark('#'), Token::Word("fn")],
        );
        check(
            "br bc crate",
            &[Token::Word("br"), Token::Word("bc"), Token::Word("crate")],
        );
    }

    #[test]
    fn tests_are_known_by_their_attributes() {
        assert!(
            [
                "#[test]",
                "#[ tokio::test(start_paused = true)]",
                "#[::a::test]"
            ]
            .into_iter()
            .all(is_test_attribute)
        );
        assert!(
            ![
                "#![test]",
                "#[cfg(test)]",
                "#[testing]",
                "#[a::test::b]",
                "#[]"
            ]
            .into_iter()
            .any(is_test_attribute)
        );
    }

    #[test]
    fn lines_and_gaps_are_counted() {
        let placed: Vec<_> = Lexer::new("a\n\n\"x\ny\" b\nc")
            .map(|p| (p.line, p.breaks_before))
            .collect();
        assert_eq!(placed, [(1, 1), (4, 0), (5, 1)]);
    }
}
