//! Patterns of URLs [ARCP 9.2-4].
//!
//! A URL is matched component by component: scheme, host, port and path are divided **in the pattern's own tokens**,
//! before anything is matched, and [`SEPARATOR`]s stand between them in the automaton. So no wildcard of one component
//! reaches into the next, and `?`, `#`, `@`, `:` or an encoded slash in a value never moves a border.

use url::Host;

use super::{
    automaton::{Automaton, Piece},
    component::{Fault, HOST, URL_PATH, WORD, check_segments},
    effort::Effort,
    error::PatternFault,
    symbol::{SEPARATOR, SymbolSet, is_reserved},
    syntax::{Token, TokenKind},
};

/// The host of one alternative, where it stands there as it is: an address, or a name without wildcards.
pub(super) fn literal_host(tokens: &[Token]) -> Option<String> {
    let host = Parts::split(tokens).ok()?.host;
    match host {
        [
            Token {
                kind: TokenKind::Ipv6(address),
                ..
            },
        ] => Some(Host::<String>::Ipv6(*address).to_string()),
        _ => Host::parse(&literal_text(host)?)
            .ok()
            .map(|host| host.to_string()),
    }
}

/// The schemes that may be fetched, with their default ports.
pub(super) const SCHEMES: [(&str, u16); 4] =
    [("http", 80), ("https", 443), ("ws", 80), ("wss", 443)];

/// The automaton pieces of one alternative: a sequence for each scheme that it covers.
pub(super) fn pieces(tokens: &[Token]) -> Result<Vec<Vec<Piece>>, Fault> {
    let parts = Parts::split(tokens)?;
    let host = host_pieces(parts.host, parts.host_at)?;
    let path = path_pieces(&parts)?;
    let mut sequences = Vec::new();
    for (scheme, default_port) in schemes(parts.scheme)? {
        let mut pieces: Vec<_> = literals(scheme).collect();
        pieces.push(separator());
        pieces.extend(host.iter().cloned());
        pieces.push(separator());
        pieces.extend(port_pieces(parts.port, default_port)?);
        pieces.push(separator());
        pieces.extend(path.iter().cloned());
        sequences.push(pieces);
    }
    Ok(sequences)
}

/// A URL pattern, divided.
struct Parts<'t> {
    scheme: &'t [Token],
    host: &'t [Token],
    host_at: usize,
    port: Option<&'t [Token]>,
    /// Begins with a slash, or is empty when the pattern ends with the authority.
    path: &'t [Token],
}

impl<'t> Parts<'t> {
    fn split(tokens: &'t [Token]) -> Result<Self, Fault> {
        let is_mark = |three: &[Token]| three[0].is(':') && three[1].is('/') && three[2].is('/');
        let mark = tokens
            .windows(3)
            .position(is_mark)
            .ok_or((0, PatternFault::NoScheme))?;
        let host_at = tokens[mark].at + 3;
        let rest = &tokens[mark + 3..];
        let authority_end = rest
            .iter()
            .position(|token| token.is('/'))
            .unwrap_or(rest.len());
        let (authority, path) = rest.split_at(authority_end);
        if let Some(token) = authority.iter().find(|token| token.is('@')) {
            return Err((token.at, PatternFault::UserInfo));
        }
        let colon = authority.iter().position(|token| token.is(':'));
        let (host, port) = match colon {
            Some(colon) => (&authority[..colon], Some(&authority[colon + 1..])),
            None => (authority, None),
        };
        if host.is_empty() {
            Err((host_at, PatternFault::NoHost))
        } else {
            Ok(Self {
                scheme: &tokens[..mark],
                host,
                host_at,
                port,
                path,
            })
        }
    }
}

/// The known schemes that the tokens match, case aside.
fn schemes(tokens: &[Token]) -> Result<Vec<(&'static str, u16)>, Fault> {
    let at = tokens.first().map_or(0, |token| token.at);
    let tokens: Vec<_> = tokens.iter().map(lower_case).collect();
    let pieces = WORD.pieces(&tokens)?;
    let automaton = Automaton::build([&pieces[..]]).map_err(|_| (at, PatternFault::TooComplex))?;
    let matched = |(scheme, _): &(&str, u16)| {
        let symbols = scheme.chars().map(Into::into);
        automaton.accepts(symbols, &mut Effort::matching()) == Ok(true)
    };
    let matched: Vec<_> = SCHEMES.into_iter().filter(matched).collect();
    if matched.is_empty() {
        Err((at, PatternFault::UnknownScheme))
    } else {
        Ok(matched)
    }
}

/// A host without wildcards is normalised like any URL's; one with wildcards label by label.
fn host_pieces(tokens: &[Token], at: usize) -> Result<Vec<Piece>, Fault> {
    if let [
        Token {
            kind: TokenKind::Ipv6(address),
            ..
        },
    ] = tokens
    {
        return Ok(literals(&Host::<String>::Ipv6(*address).to_string()).collect());
    }
    if let Some(text) = literal_text(tokens) {
        let host = Host::parse(&text)
            .map_err(|_| (at, PatternFault::BadHost))?
            .to_string();
        return if host.split('.').any(str::is_empty) {
            Err((at, PatternFault::BadHost))
        } else {
            Ok(literals(&host).collect())
        };
    }
    let mut pieces = Vec::new();
    let mut at = at;
    for label in tokens.split(|token| token.is('.')) {
        at = label.first().map_or(at, |token| token.at);
        if !pieces.is_empty() {
            pieces.extend(literals("."));
        }
        pieces.extend(label_pieces(label, at)?);
    }
    Ok(pieces)
}

fn label_pieces(label: &[Token], at: usize) -> Result<Vec<Piece>, Fault> {
    if label.is_empty() {
        return Err((at, PatternFault::BadHost));
    }
    if let Some(text) = literal_text(label)
        && !text.is_ascii()
    {
        // A label that is a number after mapping would be taken for an IPv4 address: it is none here.
        return match Host::parse(&text) {
            Ok(Host::Domain(label)) if !label.contains('.') => Ok(literals(&label).collect()),
            _ => Err((at, PatternFault::BadHost)),
        };
    }
    let label: Vec<_> = label.iter().map(lower_case).collect();
    if let Some(token) = label.iter().find(|token| !may_be_in_label(token)) {
        return Err((token.at, PatternFault::BadHost));
    }
    HOST.pieces(&label)
}

fn may_be_in_label(token: &Token) -> bool {
    let plain =
        |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || "-_".contains(char);
    match &token.kind {
        TokenKind::Literal(char) => plain(*char),
        TokenKind::Class { negated, ranges } => {
            *negated || ranges.iter().all(|(low, high)| plain(*low) && plain(*high))
        }
        TokenKind::One | TokenKind::Star | TokenKind::DoubleStar => true,
        TokenKind::Encoded(_) | TokenKind::Ipv6(_) => false,
    }
}

/// Without a port the scheme's default is meant; `*` is any port, the default one included.
fn port_pieces(port: Option<&[Token]>, default: u16) -> Result<Vec<Piece>, Fault> {
    let Some(tokens) = port else {
        return Ok(literals(&default.to_string()).collect());
    };
    let at = tokens.first().map_or(0, |token| token.at);
    if let Some(text) = literal_text(tokens) {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let port = digits
            .then(|| text.parse::<u16>().ok())
            .flatten()
            .ok_or((at, PatternFault::BadPort))?;
        return Ok(literals(&port.to_string()).collect());
    }
    let is_digit =
        |token: &Token| !matches!(token.kind, TokenKind::Literal(char) if !char.is_ascii_digit());
    match tokens.iter().find(|token| !is_digit(token)) {
        Some(token) => Err((token.at, PatternFault::BadPort)),
        None => WORD.pieces(tokens),
    }
}

fn path_pieces(parts: &Parts<'_>) -> Result<Vec<Piece>, Fault> {
    if parts.path.is_empty() {
        return Ok(literals("/").collect());
    }
    let strange = |token: &&Token| token.is('?') || token.is('#') || token.is('\\');
    if let Some(token) = parts.path.iter().find(strange) {
        return Err((token.at, PatternFault::NotInPath));
    }
    let decoded = decode(parts.path)?;
    check_segments(&decoded, false)?;
    URL_PATH.pieces(&decoded)
}

/// Replaces `%XX` by what it encodes, except for reserved characters.
fn decode(mut tokens: &[Token]) -> Result<Vec<Token>, Fault> {
    let mut decoded = Vec::with_capacity(tokens.len());
    while let Some(first) = tokens.first() {
        if !first.is('%') {
            decoded.push(first.clone());
            tokens = &tokens[1..];
            continue;
        }
        let (kind, taken) = decode_one(tokens).ok_or((first.at, PatternFault::BadPercent))?;
        decoded.push(Token { at: first.at, kind });
        tokens = &tokens[taken..];
    }
    Ok(decoded)
}

/// The character or reserved byte that the escapes at the beginning encode, and how many tokens they are.
fn decode_one(tokens: &[Token]) -> Option<(TokenKind, usize)> {
    let mut bytes = Vec::with_capacity(4);
    for escape in tokens.chunks(3).take(4) {
        bytes.push(escape_byte(escape)?);
        if let Ok(text) = std::str::from_utf8(&bytes) {
            let kind = match (bytes[0], text.chars().next()?) {
                (byte, _) if is_reserved(byte) => TokenKind::Encoded(byte),
                (_, char) => TokenKind::Literal(char),
            };
            return Some((kind, bytes.len() * 3));
        }
    }
    None
}

fn escape_byte(tokens: &[Token]) -> Option<u8> {
    let [percent, high, low] = tokens else {
        return None;
    };
    let digit = |token: &Token| match token.kind {
        TokenKind::Literal(char) => char.to_digit(16).and_then(|digit| u8::try_from(digit).ok()),
        _ => None,
    };
    percent.is('%').then_some(())?;
    Some(digit(high)? * 16 + digit(low)?)
}

/// The text, when there are no wildcards.
fn literal_text(tokens: &[Token]) -> Option<String> {
    let char = |token: &Token| match token.kind {
        TokenKind::Literal(char) => Some(char),
        _ => None,
    };
    tokens.iter().map(char).collect()
}

fn lower_case(token: &Token) -> Token {
    let kind = match &token.kind {
        TokenKind::Literal(char) => TokenKind::Literal(char.to_ascii_lowercase()),
        other => other.clone(),
    };
    Token { at: token.at, kind }
}

fn literals(text: &str) -> impl Iterator<Item = Piece> + '_ {
    text.chars()
        .map(|char| Piece::One(SymbolSet::one(char.into())))
}

fn separator() -> Piece {
    Piece::One(SymbolSet::one(SEPARATOR))
}
