//! Which sequences of symbols are values at all.
//!
//! Inclusion asks only about values that can occur: `/a/*/b` would match `/a//b`, but no normalised path looks so. The
//! domain is a small deterministic automaton that runs beside the pattern's, which also makes every counterexample a
//! value that a person can read and try.

use std::cmp::Ordering;

use super::{
    host::{self, HostState},
    kind::Kind,
    symbol::{SEPARATOR, Symbol, SymbolSet, encoded, encoded_byte, is_reserved, plain},
};

/// How far into a value of some kind a sequence of symbols has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Domain {
    /// Nothing read of a path.
    PathStart,
    /// After the first slash of a path.
    Root,
    /// Inside a segment of a path.
    Segment(Dots),
    /// Nothing read of a name.
    NameStart,
    /// Inside a name.
    Name,
    /// Nothing read of an agent.
    AgentStart,
    /// Inside an agent's name.
    AgentName,
    /// After the `@` of an agent.
    VersionStart,
    /// Inside an agent's version.
    Version,
    /// Inside the scheme of a URL.
    Scheme,
    /// Inside the host of a URL.
    Host(HostState),
    /// Before the port.
    PortStart,
    /// Inside the port: how many digits, and how they compare with as many of the highest port.
    Port(u8, Ordering),
    /// The port `0`.
    PortZero,
    /// Before the path of a URL.
    UrlPathStart,
    /// Inside a segment of a URL's path.
    UrlSegment(Dots),
}

/// What a segment consists of so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Dots {
    /// Nothing.
    Empty,
    /// `.`
    One,
    /// `..`
    Two,
    /// Anything else.
    Other,
}

impl Domain {
    /// Before the first symbol.
    pub(super) const fn start(kind: Kind) -> Self {
        match kind {
            Kind::Path => Self::PathStart,
            Kind::Url => Self::Scheme,
            Kind::Name => Self::NameStart,
            Kind::Agent => Self::AgentStart,
        }
    }

    /// After one more symbol; `None` when no value continues so.
    pub(super) fn step(self, symbol: Symbol) -> Option<Self> {
        if symbol == SEPARATOR {
            return self.separate();
        }
        if let Self::UrlPathStart | Self::UrlSegment(_) = self {
            return self.step_url_path(symbol);
        }
        let char = char::from_u32(symbol)?;
        match self {
            Self::PathStart => (char == '/').then_some(Self::Root),
            Self::Root => step_segment(Dots::Empty, char),
            Self::Segment(dots) => step_segment(dots, char),
            Self::NameStart | Self::Name => (!is_control(char)).then_some(Self::Name),
            Self::AgentStart => is_agent_start(char).then_some(Self::AgentName),
            Self::AgentName if char == '@' => Some(Self::VersionStart),
            Self::AgentName => is_agent(char).then_some(Self::AgentName),
            Self::VersionStart | Self::Version => is_version(char).then_some(Self::Version),
            Self::Scheme => char.is_ascii_lowercase().then_some(Self::Scheme),
            Self::Host(host) => host.step(char).map(Self::Host),
            Self::PortStart if char == '0' => Some(Self::PortZero),
            Self::PortStart => step_port(0, Ordering::Equal, char),
            Self::Port(digits, order) => step_port(digits, order, char),
            Self::PortZero | Self::UrlPathStart | Self::UrlSegment(_) => None,
        }
    }

    /// Whether a value may end here.
    pub(super) const fn is_accepting(self) -> bool {
        matches!(
            self,
            Self::Root
                | Self::Segment(Dots::Other)
                | Self::Name
                | Self::AgentName
                | Self::Version
                | Self::UrlSegment(Dots::Empty | Dots::Other)
        )
    }

    const fn separate(self) -> Option<Self> {
        match self {
            Self::Scheme => Some(Self::Host(HostState::Start)),
            Self::Host(host) if host.is_accepting() => Some(Self::PortStart),
            Self::Port(..) | Self::PortZero => Some(Self::UrlPathStart),
            _ => None,
        }
    }

    /// Anything goes in the path of a URL but dot segments, also between encoded slashes.
    fn step_url_path(self, symbol: Symbol) -> Option<Self> {
        let Self::UrlSegment(dots) = self else {
            return (symbol == plain('/')).then_some(Self::UrlSegment(Dots::Empty));
        };
        if divides_url_path(symbol) {
            return (!dots.is_dots()).then_some(Self::UrlSegment(Dots::Empty));
        }
        let allowed = match encoded_byte(symbol) {
            Some(byte) => is_reserved(byte),
            None => !['?', '#', '%'].contains(&char::from_u32(symbol)?),
        };
        allowed.then(|| Self::UrlSegment(dots.then(symbol)))
    }
}

impl Dots {
    /// After one more symbol of the same segment.
    pub(super) fn then(self, symbol: Symbol) -> Self {
        match (self, symbol == plain('.')) {
            (Self::Empty, true) => Self::One,
            (Self::One, true) => Self::Two,
            _ => Self::Other,
        }
    }

    /// Whether the segment is `.` or `..`.
    pub(super) const fn is_dots(self) -> bool {
        matches!(self, Self::One | Self::Two)
    }
}

/// Whether a symbol ends a segment of a URL's path, at least for a server that decodes once.
pub(super) fn divides_url_path(symbol: Symbol) -> bool {
    [plain('/'), plain('\\'), encoded(b'/')].contains(&symbol)
}

/// Sets that decide together how [`Domain::step`] answers: symbols that are in the same ones are treated alike.
pub(super) fn partition(kind: Kind) -> Vec<SymbolSet> {
    let chars = |text: &str| text.chars().collect::<SymbolSet>();
    let range = |low: char, high: char| SymbolSet::of([(plain(low), plain(high))]);
    let ascii = |wanted: fn(char) -> bool| {
        (0..0x80)
            .map(char::from)
            .filter(|char| wanted(*char))
            .collect()
    };
    let mut sets = vec![SymbolSet::one(SEPARATOR), SymbolSet::unicode()];
    sets.extend(match kind {
        Kind::Path => vec![chars("\0"), chars("."), chars("/")],
        Kind::Name => vec![ascii(is_control)],
        Kind::Agent => vec![
            ascii(is_agent_start),
            ascii(is_agent),
            ascii(is_version),
            chars("@"),
        ],
        Kind::Url => vec![
            range('a', 'z'),
            range('0', '9'),
            SymbolSet::of(
                "/\\"
                    .chars()
                    .map(point)
                    .chain([(encoded(b'/'), encoded(b'/'))]),
            ),
            chars("/"),
            chars("?#%"),
            SymbolSet::of(
                (0..=0x7F)
                    .filter(|byte| is_reserved(*byte))
                    .map(|byte| (encoded(byte), encoded(byte))),
            ),
        ],
    });
    if kind == Kind::Url {
        sets.extend(host::partition());
        sets.extend(port_digits().flat_map(|digit| [range('0', digit), range(digit, digit)]));
    }
    sets
}

/// Whether the character has no place in a name.
pub(super) fn is_control(char: char) -> bool {
    char.is_ascii_control()
}

fn step_segment(dots: Dots, char: char) -> Option<Domain> {
    match char {
        '\0' => None,
        '/' => (dots == Dots::Other).then_some(Domain::Segment(Dots::Empty)),
        _ => Some(Domain::Segment(dots.then(plain(char)))),
    }
}

fn step_port(digits: u8, order: Ordering, char: char) -> Option<Domain> {
    let bound = port_digits().nth(digits.into())?;
    let order = order.then(char.is_ascii_digit().then(|| char.cmp(&bound))?);
    let too_high = digits == 4 && order == Ordering::Greater;
    (!too_high).then_some(Domain::Port(digits + 1, order))
}

/// The digits of the highest port.
fn port_digits() -> impl Iterator<Item = char> {
    "65535".chars()
}

fn point(char: char) -> (Symbol, Symbol) {
    (plain(char), plain(char))
}

fn is_agent_start(char: char) -> bool {
    char.is_ascii_lowercase() || char.is_ascii_digit()
}

fn is_agent(char: char) -> bool {
    is_agent_start(char) || "._-".contains(char)
}

fn is_version(char: char) -> bool {
    char.is_ascii_alphanumeric() || ".+_-".contains(char)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn is_value(kind: Kind, text: &str) -> bool {
        let end = text
            .chars()
            .try_fold(Domain::start(kind), |domain, char| domain.step(char.into()));
        end.is_some_and(Domain::is_accepting)
    }

    #[test]
    fn only_normal_paths_are_values() {
        for path in ["/", "/a", "/a/b", "/...", "/.a", "/a./b", "/..a", "/é\n"] {
            assert!(is_value(Kind::Path, path), "{path}");
        }
        for path in [
            "", "a", "//", "/a/", "/.", "/..", "/a/./b", "/a/../b", "/a//b", "/a\0",
        ] {
            assert!(!is_value(Kind::Path, path), "{path}");
        }
    }

    #[test]
    fn agents_have_at_most_one_version() {
        for agent in ["a", "0-b.c_d", "a@1.0.0+X", "a@-"] {
            assert!(is_value(Kind::Agent, agent), "{agent}");
        }
        for agent in ["", "A", "-a", "a@", "@1", "a@1@2", "a/b"] {
            assert!(!is_value(Kind::Agent, agent), "{agent}");
        }
    }

    /// The partition has to tell apart whatever the domain tells apart, or inclusion would look at too few symbols.
    #[test]
    fn symbols_in_the_same_sets_are_treated_alike() {
        for kind in [Kind::Path, Kind::Url, Kind::Name, Kind::Agent] {
            let sets = partition(kind);
            let mut answers = std::collections::BTreeMap::new();
            for symbol in (0..0x300)
                .chain(0xD7F0..0xD800)
                .chain(0xE000..0xE010)
                .chain(0x10_FFF0..=SEPARATOR)
            {
                let signature: Vec<_> = sets.iter().map(|set| set.contains(symbol)).collect();
                let answer: Vec<_> = states(kind)
                    .into_iter()
                    .map(|state| state.step(symbol))
                    .collect();
                assert_eq!(
                    answers.entry(signature).or_insert(answer.clone()),
                    &answer,
                    "{kind:?} {symbol:#x}"
                );
            }
        }
    }

    /// Every state that can be reached.
    fn states(kind: Kind) -> Vec<Domain> {
        let mut states = BTreeSet::from([Domain::start(kind)]);
        let mut open: Vec<_> = states.iter().copied().collect();
        while let Some(state) = open.pop() {
            let symbols = (0..0x80).chain([SEPARATOR, encoded(b'/'), encoded(b':')]);
            let next = symbols.filter_map(|symbol| state.step(symbol));
            open.extend(next.filter(|state| states.insert(*state)));
        }
        states.into_iter().collect()
    }

    #[test]
    fn ports_end_at_the_highest() {
        let urls = |port: &str| {
            let before = "http"
                .chars()
                .map(plain)
                .chain([SEPARATOR, plain('a'), SEPARATOR]);
            let after = [SEPARATOR, plain('/')];
            let mut symbols = before.chain(port.chars().map(plain)).chain(after);
            let end = symbols.try_fold(Domain::start(Kind::Url), Domain::step);
            end.is_some_and(Domain::is_accepting)
        };
        for port in [
            "0", "1", "80", "9999", "10000", "59999", "65499", "65529", "65535",
        ] {
            assert!(urls(port), "{port}");
        }
        for port in [
            "", "00", "01", "65536", "65540", "65600", "66000", "70000", "100000", "a",
        ] {
            assert!(!urls(port), "{port}");
        }
    }
}
