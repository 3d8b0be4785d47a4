//! What the wildcards mean in each kind of text, and the way from tokens to automaton pieces.

use std::sync::LazyLock;

use super::{
    automaton::Piece,
    error::PatternFault,
    symbol::{Symbol, SymbolSet, encoded},
    syntax::{Token, TokenKind},
};

/// Where in a pattern something is wrong, and what.
pub(super) type Fault = (usize, PatternFault);

/// A kind of text with its own wildcards.
#[derive(Debug)]
pub(super) struct Component {
    /// What `?` and `*` match one of, and what a class is cut down to.
    one: SymbolSet,
    /// What `**` matches any number of.
    any: SymbolSet,
    /// Whether `/**/` and a trailing `/**` have their special meaning.
    slashes: bool,
}

/// Paths of files, names of tools and models, vendor values.
pub(super) static PLAIN: LazyLock<Component> =
    LazyLock::new(|| Component::new(SymbolSet::unicode(), "/", true));

/// `name@version`, whose `@` no wildcard matches.
pub(super) static AGENT: LazyLock<Component> = LazyLock::new(|| {
    Component::new(
        SymbolSet::unicode().minus(&"@".chars().collect()),
        "/",
        true,
    )
});

/// The host of a URL: `*` stays inside a label, and only `**` covers an IPv6 address.
pub(super) static HOST: LazyLock<Component> =
    LazyLock::new(|| Component::new(SymbolSet::unicode(), "./:[]", false));

/// The scheme or the port of a URL.
pub(super) static WORD: LazyLock<Component> =
    LazyLock::new(|| Component::new(SymbolSet::unicode(), "/", false));

/// The path of a URL. What decodes to a slash or a backslash divides it like a slash.
pub(super) static URL_PATH: LazyLock<Component> = LazyLock::new(|| {
    let mut path = Component::new(SymbolSet::unicode_and_encoded(), "/\\", true);
    path.one = path.one.minus(&SymbolSet::one(encoded(b'/')));
    path
});

impl Component {
    fn new(any: SymbolSet, separators: &str, slashes: bool) -> Self {
        Self {
            one: any.minus(&separators.chars().collect()),
            any,
            slashes,
        }
    }

    /// The pieces of a token sequence that holds no braces and no addresses.
    pub(super) fn pieces(&self, tokens: &[Token]) -> Result<Vec<Piece>, Fault> {
        let mut pieces = Vec::with_capacity(tokens.len());
        let mut rest = tokens;
        while let Some((token, tail)) = rest.split_first() {
            rest = tail;
            if self.slashes && token.is('/') {
                rest = self.after_slash(tail, &mut pieces);
            } else {
                pieces.push(self.piece(token)?);
            }
        }
        Ok(pieces)
    }

    /// Reads what follows a slash: `**/` any number of times, or a final `**`. Several `**` mean what one means.
    fn after_slash<'t>(&self, mut rest: &'t [Token], pieces: &mut Vec<Piece>) -> &'t [Token] {
        let mut directories = false;
        while let [first, second, tail @ ..] = rest
            && first.kind == TokenKind::DoubleStar
            && second.is('/')
        {
            directories = true;
            rest = tail;
        }
        if let [last] = rest
            && last.kind == TokenKind::DoubleStar
        {
            pieces.push(Piece::Below(self.any.clone()));
            return &[];
        }
        pieces.push(Piece::One(SymbolSet::one('/'.into())));
        if directories {
            pieces.push(Piece::Directories(self.any.clone()));
        }
        rest
    }

    fn piece(&self, token: &Token) -> Result<Piece, Fault> {
        Ok(match &token.kind {
            TokenKind::Literal(char) => Piece::One(SymbolSet::one((*char).into())),
            TokenKind::Encoded(byte) => Piece::One(SymbolSet::one(encoded(*byte))),
            TokenKind::One => Piece::One(self.one.clone()),
            TokenKind::Star => Piece::Run(self.one.clone()),
            TokenKind::DoubleStar => Piece::Run(self.any.clone()),
            TokenKind::Class { negated, ranges } => {
                Piece::One(self.class(*negated, ranges, token.at)?)
            }
            TokenKind::Ipv6(_) => return Err((token.at, PatternFault::BadHost)),
        })
    }

    fn class(&self, negated: bool, ranges: &[(char, char)], at: usize) -> Result<SymbolSet, Fault> {
        let named = SymbolSet::of(
            ranges
                .iter()
                .map(|&(low, high)| (Symbol::from(low), Symbol::from(high))),
        );
        let set = if negated {
            self.one.minus(&named)
        } else {
            self.one.and(&named)
        };
        if set.is_empty() {
            Err((at, PatternFault::EmptyClass))
        } else {
            Ok(set)
        }
    }
}

impl Token {
    /// Whether this is the given character, plain or escaped.
    pub(super) fn is(&self, char: char) -> bool {
        self.kind == TokenKind::Literal(char)
    }
}

/// Refuses segments that no normalised path has: `.` and `..`, and empty ones when `empty_too`.
///
/// `tokens` begin with a slash. Segments with wildcards are left to the automaton.
pub(super) fn check_segments(tokens: &[Token], empty_too: bool) -> Result<(), Fault> {
    let root = tokens.len() == 1;
    let segments = tokens.split(|token| token.is('/')).skip(1);
    let mut at = tokens.first().map_or(0, |slash| slash.at);
    for segment in segments {
        let dots = segment.len() <= 2 && segment.iter().all(|token| token.is('.'));
        let refused = if segment.is_empty() {
            empty_too && !root
        } else {
            dots
        };
        at = segment.first().map_or(at, |token| token.at);
        if refused {
            return Err((at, PatternFault::NotNormal));
        }
    }
    Ok(())
}
