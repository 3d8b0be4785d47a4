//! The grammar of patterns [ARCP 9.2-2]: text → tokens, with the braces multiplied out.

use std::net::Ipv6Addr;

use super::{
    error::{PatternError, PatternFault},
    limits::{MAX_ALTERNATIVES, MAX_BRACE_DEPTH, MAX_PATTERN_BYTES, MAX_TOKENS},
};

/// One element of a pattern, and the byte it begins at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) at: usize,
    pub(super) kind: TokenKind,
}

/// What a token stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// This character.
    Literal(char),
    /// This byte, percent-encoded; only in the path of a URL.
    Encoded(u8),
    /// `?`
    One,
    /// `*`
    Star,
    /// `**`
    DoubleStar,
    /// `[…]`
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
    /// `[::1]`; only in a URL.
    Ipv6(Ipv6Addr),
}

/// One way to write a pattern without braces.
pub(super) type Alternative = Vec<Token>;

/// Reads a pattern. With `urls`, a bracket that holds an IPv6 address is that address and no class.
pub(super) fn parse(text: &str, urls: bool) -> Result<Vec<Alternative>, PatternError> {
    let fail = |at, fault| PatternError::new(text, at, fault);
    if text.is_empty() {
        return Err(fail(0, PatternFault::Empty));
    }
    if text.len() > MAX_PATTERN_BYTES {
        return Err(fail(MAX_PATTERN_BYTES, PatternFault::TooLong));
    }
    let mut parser = Parser { text, at: 0, urls };
    let sequence = parser.sequence(0).map_err(|(at, fault)| fail(at, fault))?;
    if parser.at < text.len() {
        return Err(fail(parser.at, PatternFault::UnopenedBrace));
    }
    let too_complex = |_| fail(0, PatternFault::TooComplex);
    expand(&sequence).map_err(too_complex)
}

/// A piece of the parsed text, braces still nested.
enum Node {
    Token(Token),
    Braces(Vec<Vec<Node>>),
}

type Fault = (usize, PatternFault);

struct Parser<'t> {
    text: &'t str,
    at: usize,
    urls: bool,
}

impl Parser<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let char = self.peek()?;
        self.at += char.len_utf8();
        Some(char)
    }

    fn eat(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    /// Reads up to the end, or inside braces up to the `,` or `}` that ends this branch.
    fn sequence(&mut self, depth: usize) -> Result<Vec<Node>, Fault> {
        let mut nodes = Vec::new();
        while let Some(char) = self.peek() {
            match char {
                '}' => break,
                ',' if depth > 0 => break,
                '{' => nodes.push(self.braces(depth + 1)?),
                _ => nodes.push(Node::Token(self.token()?)),
            }
        }
        Ok(nodes)
    }

    fn braces(&mut self, depth: usize) -> Result<Node, Fault> {
        let opened = self.at;
        if depth > MAX_BRACE_DEPTH {
            return Err((opened, PatternFault::TooComplex));
        }
        self.at += 1;
        let mut branches = vec![self.sequence(depth)?];
        while self.eat(',') {
            branches.push(self.sequence(depth)?);
        }
        if self.eat('}') {
            Ok(Node::Braces(branches))
        } else {
            Err((opened, PatternFault::UnclosedBrace))
        }
    }

    fn token(&mut self) -> Result<Token, Fault> {
        let at = self.at;
        let kind = match self.bump() {
            Some('?') => TokenKind::One,
            Some('*') => self.stars(at)?,
            Some('[') => self.bracket(at)?,
            Some('\\') => TokenKind::Literal(self.escaped(at)?),
            Some(char) => TokenKind::Literal(char),
            None => return Err((at, PatternFault::Empty)),
        };
        Ok(Token { at, kind })
    }

    fn stars(&mut self, at: usize) -> Result<TokenKind, Fault> {
        if !self.eat('*') {
            return Ok(TokenKind::Star);
        }
        match self.peek() {
            Some('*') => Err((at, PatternFault::ThreeStars)),
            _ => Ok(TokenKind::DoubleStar),
        }
    }

    fn escaped(&mut self, at: usize) -> Result<char, Fault> {
        self.bump().ok_or((at, PatternFault::NothingEscaped))
    }

    fn bracket(&mut self, at: usize) -> Result<TokenKind, Fault> {
        if let Some(address) = self.ipv6() {
            return Ok(TokenKind::Ipv6(address));
        }
        let negated = self.eat('!');
        if self.peek() == Some('^') {
            return Err((self.at, PatternFault::CaretClass));
        }
        let mut ranges = Vec::new();
        while !self.eat(']') {
            ranges.push(self.range(at)?);
        }
        if ranges.is_empty() {
            Err((at, PatternFault::EmptyClass))
        } else {
            Ok(TokenKind::Class { negated, ranges })
        }
    }

    fn range(&mut self, class: usize) -> Result<(char, char), Fault> {
        let at = self.at;
        let low = self.member(class)?;
        let rest = &self.text[self.at..];
        // A `-` before the closing bracket is itself.
        if !rest.starts_with('-') || rest.starts_with("-]") {
            return Ok((low, low));
        }
        self.at += 1;
        let high = self.member(class)?;
        if low <= high {
            Ok((low, high))
        } else {
            Err((at, PatternFault::ReversedRange))
        }
    }

    fn member(&mut self, class: usize) -> Result<char, Fault> {
        let at = self.at;
        match self.bump() {
            None => Err((class, PatternFault::UnclosedClass)),
            Some('\\') => self.escaped(at),
            Some(char) => Ok(char),
        }
    }

    /// The address between the bracket just read and the next closing one, if it is one.
    fn ipv6(&mut self) -> Option<Ipv6Addr> {
        let rest = self.urls.then(|| &self.text[self.at..])?;
        let (address, _) = rest.split_once(']')?;
        let parsed = address.parse().ok()?;
        self.at += address.len() + 1;
        Some(parsed)
    }
}

/// The expansion outgrew its bounds.
struct TooMany;

/// Multiplies the braces out, within the bounds.
fn expand(nodes: &[Node]) -> Result<Vec<Alternative>, TooMany> {
    let mut all = vec![Alternative::new()];
    for node in nodes {
        match node {
            Node::Token(token) => all.iter_mut().for_each(|tokens| tokens.push(token.clone())),
            Node::Braces(branches) => all = multiply(&all, &expand_branches(branches)?)?,
        }
        if all.iter().map(Vec::len).sum::<usize>() > MAX_TOKENS {
            return Err(TooMany);
        }
    }
    Ok(all)
}

fn expand_branches(branches: &[Vec<Node>]) -> Result<Vec<Alternative>, TooMany> {
    let mut all = Vec::new();
    for branch in branches {
        all.extend(expand(branch)?);
        if all.len() > MAX_ALTERNATIVES {
            return Err(TooMany);
        }
    }
    Ok(all)
}

fn multiply(heads: &[Alternative], tails: &[Alternative]) -> Result<Vec<Alternative>, TooMany> {
    if heads.len() * tails.len() > MAX_ALTERNATIVES {
        return Err(TooMany);
    }
    let join = |head: &Alternative| {
        let head = head.clone();
        tails
            .iter()
            .map(move |tail| head.iter().chain(tail).cloned().collect())
    };
    Ok(heads.iter().flat_map(join).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Vec<TokenKind>> {
        let alternatives = parse(text, true).expect("a pattern");
        let strip = |tokens: Alternative| tokens.into_iter().map(|token| token.kind).collect();
        alternatives.into_iter().map(strip).collect()
    }

    fn texts(pattern: &str) -> Vec<String> {
        let show = |kind: &TokenKind| match kind {
            TokenKind::Literal(char) => *char,
            TokenKind::One => '?',
            _ => '*',
        };
        kinds(pattern)
            .iter()
            .map(|tokens| tokens.iter().map(show).collect())
            .collect()
    }

    #[test]
    fn braces_multiply_and_nest() {
        assert_eq!(texts("a{b,c{d,e}}f"), ["abf", "acdf", "acef"]);
        assert_eq!(texts("{a,}{b,}"), ["ab", "a", "b", ""]);
        assert_eq!(texts("a,b"), ["a,b"]);
        assert_eq!(texts(r"\{a,b\}"), ["{a,b}"]);
    }

    #[test]
    fn a_bracket_with_an_address_is_no_class() {
        assert_eq!(kinds("[::1]"), [[TokenKind::Ipv6(Ipv6Addr::LOCALHOST)]]);
        assert!(matches!(&kinds("[:1]")[0][..], [TokenKind::Class { .. }]));
        assert!(matches!(
            &parse("[::1]", false).unwrap()[0][0].kind,
            TokenKind::Class { .. }
        ));
    }

    #[test]
    fn classes_hold_ranges_escapes_and_a_last_dash() {
        let expected = TokenKind::Class {
            negated: true,
            ranges: vec![('a', 'z'), (']', ']'), ('-', '-')],
        };
        assert_eq!(kinds(r"[!a-z\]-]"), [[expected]]);
    }

    /// [ARCP 9.2-5] A malformed pattern is an error that says what is wrong and where.
    #[test]
    fn malformed_patterns_are_errors_with_a_position() {
        let cases = [
            ("", 0, PatternFault::Empty),
            ("/a[b", 2, PatternFault::UnclosedClass),
            ("/a[]", 2, PatternFault::EmptyClass),
            ("/a[!]", 2, PatternFault::EmptyClass),
            ("/a[^b]", 3, PatternFault::CaretClass),
            ("/a[z-a]", 3, PatternFault::ReversedRange),
            ("/a{b,c", 2, PatternFault::UnclosedBrace),
            ("/a}b", 2, PatternFault::UnopenedBrace),
            ("/a{b}}", 5, PatternFault::UnopenedBrace),
            ("/a\\", 2, PatternFault::NothingEscaped),
            ("/a[b\\", 4, PatternFault::NothingEscaped),
            ("/a/***", 3, PatternFault::ThreeStars),
        ];
        for (text, at, fault) in cases {
            assert_eq!(
                parse(text, false),
                Err(PatternError::new(text, at, fault)),
                "{text}"
            );
        }
    }

    /// [ARCP 14-4] Hostile patterns are refused before they are multiplied out.
    #[test]
    fn expansion_is_bounded() {
        let fault = |text: &str| parse(text, false).unwrap_err().fault();
        assert_eq!(fault(&"{a,b}".repeat(100)), PatternFault::TooComplex);
        assert_eq!(fault(&"{".repeat(1000)), PatternFault::TooComplex);
        assert_eq!(fault(&"a".repeat(2000)), PatternFault::TooLong);
        assert_eq!(
            fault(&format!("{}{}", "{a,b}".repeat(8), "x".repeat(900))),
            PatternFault::TooComplex
        );
    }
}
