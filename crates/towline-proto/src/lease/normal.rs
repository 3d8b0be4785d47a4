//! Values in the form in which they are matched [ARCP 9.2-3, 9.2-4].
//!
//! Whatever two parsers could read differently is denied rather than interpreted.

use std::borrow::Cow;

use url::{Host, Url};

use super::{
    domain::{Domain, Dots, divides_url_path, is_control},
    error::ValueError,
    kind::Kind,
    limits::MAX_VALUE_BYTES,
    symbol::{SEPARATOR, Symbol, encoded, encoded_byte, is_reserved},
    url_pattern::SCHEMES,
};

/// A value as it is matched.
#[derive(Debug, Clone)]
pub(super) struct Normal<'v> {
    text: Cow<'v, str>,
    /// Where the query of a URL begins; the end otherwise.
    matched: usize,
    /// The components of a URL; other values are matched as text.
    url: Option<Vec<Symbol>>,
}

impl<'v> Normal<'v> {
    /// Normalises a value.
    pub(super) fn new(kind: Kind, value: &'v str) -> Result<Self, ValueError> {
        if value.is_empty() {
            return Err(ValueError::Empty);
        }
        if value.len() > MAX_VALUE_BYTES {
            return Err(ValueError::TooLong);
        }
        match kind {
            Kind::Path => normal_path(value).map(Self::text),
            Kind::Name if value.contains(is_control) => Err(ValueError::ControlCharacter),
            Kind::Name => Ok(Self::text(value.into())),
            Kind::Agent => normal_agent(value),
            Kind::Url => normal_url(value),
        }
    }

    /// How the value reads.
    pub(super) fn into_text(self) -> Cow<'v, str> {
        self.text
    }

    /// How the part that is matched reads. The query of a URL, which may hold secrets, is not in it.
    pub(super) fn matched_text(&self) -> &str {
        &self.text[..self.matched]
    }

    /// What is matched.
    pub(super) fn symbols(&self) -> impl Iterator<Item = Symbol> + '_ {
        let text = if self.url.is_some() { "" } else { &*self.text };
        self.url
            .iter()
            .flatten()
            .copied()
            .chain(text.chars().map(Symbol::from))
    }

    fn text(text: Cow<'v, str>) -> Self {
        Self {
            matched: text.len(),
            text,
            url: None,
        }
    }
}

/// How a sequence of symbols of the domain reads.
pub(super) fn text_of(kind: Kind, symbols: &[Symbol]) -> String {
    if kind != Kind::Url {
        return symbols
            .iter()
            .filter_map(|symbol| char::from_u32(*symbol))
            .collect();
    }
    let component = |symbols: &[Symbol]| {
        symbols
            .iter()
            .filter_map(|symbol| char::from_u32(*symbol))
            .collect()
    };
    let mut components = symbols.split(|symbol| *symbol == SEPARATOR);
    let [scheme, host, port]: [String; 3] =
        std::array::from_fn(|_| components.next().map_or_else(String::new, component));
    let path = url_path_text(components.next().unwrap_or(&[]));
    let is_default = SCHEMES
        .iter()
        .any(|(name, default)| *name == scheme && default.to_string() == port);
    if is_default {
        format!("{scheme}://{host}{path}")
    } else {
        format!("{scheme}://{host}:{port}{path}")
    }
}

/// Removes `.`, `..` and repeated slashes.
fn normal_path(path: &str) -> Result<Cow<'_, str>, ValueError> {
    if path.contains('\0') {
        return Err(ValueError::ControlCharacter);
    }
    let Some(relative) = path.strip_prefix('/') else {
        return Err(ValueError::RelativePath);
    };
    let odd = |segment: &str| matches!(segment, "" | "." | "..");
    if relative.is_empty() || !relative.split('/').any(odd) {
        return Ok(path.into());
    }
    let mut segments = Vec::new();
    for segment in relative.split('/') {
        match segment {
            "" | "." => {}
            ".." => segments.pop().map(drop).ok_or(ValueError::AboveRoot)?,
            name => segments.push(name),
        }
    }
    Ok(format!("/{}", segments.join("/")).into())
}

fn normal_agent(value: &str) -> Result<Normal<'_>, ValueError> {
    let end = value
        .chars()
        .try_fold(Domain::start(Kind::Agent), |domain, char| {
            domain.step(char.into())
        });
    if end.is_some_and(Domain::is_accepting) {
        Ok(Normal::text(value.into()))
    } else {
        Err(ValueError::NotAgent)
    }
}

fn normal_url(value: &str) -> Result<Normal<'static>, ValueError> {
    let scheme = check_url_text(value)?;
    let url = Url::parse(value).map_err(|_| ValueError::NotUrl)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(ValueError::UserInfo);
    }
    let host = url.host().ok_or(ValueError::NotUrl)?;
    if matches!(host, Host::Domain(domain) if domain.split('.').any(str::is_empty)) {
        return Err(ValueError::EmptyLabel);
    }
    let port = url
        .port_or_known_default()
        .ok_or(ValueError::NotUrl)?
        .to_string();
    let mut symbols = Vec::with_capacity(value.len() + 8);
    for component in [scheme, &host.to_string(), &port] {
        symbols.extend(component.chars().map(Symbol::from));
        symbols.push(SEPARATOR);
    }
    decode_path(url.path(), &mut symbols)?;
    let mut text = text_of(Kind::Url, &symbols);
    let matched = text.len();
    if let Some(query) = url.query() {
        text.push('?');
        text.push_str(query);
    }
    Ok(Normal {
        text: text.into(),
        matched,
        url: Some(symbols),
    })
}

/// Refuses what URL parsers read in different ways, before one reads it. Returns the scheme.
fn check_url_text(value: &str) -> Result<&'static str, ValueError> {
    if value.contains(is_control) {
        return Err(ValueError::ControlCharacter);
    }
    let (scheme, rest) = value.split_once("://").ok_or(ValueError::NotUrl)?;
    let is_scheme = !scheme.is_empty()
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    if !is_scheme || rest.starts_with('/') || rest.ends_with(' ') {
        return Err(ValueError::NotUrl);
    }
    let known = SCHEMES
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(scheme));
    let (scheme, _) = known.ok_or(ValueError::UnknownScheme)?;
    let hierarchy = rest.split(['?', '#']).next().unwrap_or(rest);
    if hierarchy.contains('\\') {
        return Err(ValueError::Backslash);
    }
    if hierarchy
        .split('/')
        .next()
        .unwrap_or(hierarchy)
        .contains('@')
    {
        Err(ValueError::UserInfo)
    } else {
        Ok(scheme)
    }
}

/// Appends the symbols of a path that the URL parser has normalised.
fn decode_path(path: &str, symbols: &mut Vec<Symbol>) -> Result<(), ValueError> {
    let mut dots = Dots::Empty;
    let mut rest = path;
    while let Some((symbol, tail)) = next_symbol(rest)? {
        rest = tail;
        let divides = divides_url_path(symbol);
        if divides && dots.is_dots() {
            return Err(ValueError::HiddenDots);
        }
        dots = if divides {
            Dots::Empty
        } else {
            dots.then(symbol)
        };
        symbols.push(symbol);
    }
    if dots.is_dots() {
        Err(ValueError::HiddenDots)
    } else {
        Ok(())
    }
}

/// The next character, decoded unless it is reserved, and what follows it.
fn next_symbol(path: &str) -> Result<Option<(Symbol, &str)>, ValueError> {
    let Some(first) = path.chars().next() else {
        return Ok(None);
    };
    if first != '%' {
        return Ok(Some((first.into(), &path[first.len_utf8()..])));
    }
    let mut bytes = [0; 4];
    for count in 1..=4 {
        let escape = path
            .get(3 * (count - 1)..3 * count)
            .ok_or(ValueError::BadPercent)?;
        bytes[count - 1] = escape_byte(escape).ok_or(ValueError::BadPercent)?;
        let Ok(text) = std::str::from_utf8(&bytes[..count]) else {
            continue;
        };
        let symbol = match bytes[0] {
            byte if is_reserved(byte) => encoded(byte),
            _ => text.chars().next().map_or(0, Symbol::from),
        };
        return Ok(Some((symbol, &path[3 * count..])));
    }
    Err(ValueError::BadPercent)
}

fn escape_byte(escape: &str) -> Option<u8> {
    let digits = escape.strip_prefix('%')?;
    let hexadecimal = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    hexadecimal
        .then(|| u8::from_str_radix(digits, 16).ok())
        .flatten()
}

fn url_path_text(symbols: &[Symbol]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(symbols.len());
    let escape = |text: &mut String, byte: u8| {
        // Writing to a string cannot fail.
        let _ = write!(text, "%{byte:02X}");
    };
    for symbol in symbols {
        match (encoded_byte(*symbol), char::from_u32(*symbol)) {
            (Some(byte), _) => escape(&mut text, byte),
            (None, Some(char)) if is_plain_in_path(char) => text.push(char),
            (None, Some(char)) => char
                .encode_utf8(&mut [0; 4])
                .bytes()
                .for_each(|byte| escape(&mut text, byte)),
            (None, None) => {}
        }
    }
    text
}

fn is_plain_in_path(char: char) -> bool {
    char.is_ascii_alphanumeric() || "-._~:/[]@!$&'()*+,;=".contains(char)
}
