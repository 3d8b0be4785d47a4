//! Which sequences of symbols are values at all.
//!
//! Inclusion asks only about values that can occur: `/a/*/b` would match `/a//b`, but no normalised path looks so. The
//! domain is a small deterministic automaton that runs beside the pattern's, which also makes every counterexample a
//! value that a person can read and try.

use super::{
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
    /// At the first character of a URL's host.
    HostStart,
    /// At the first character of a further label.
    LabelStart,
    /// Inside a label.
    Label,
    /// Inside the brackets of an IPv6 address.
    Address,
    /// After those brackets.
    AddressEnd,
    /// Before the port.
    PortStart,
    /// Inside the port, after this many digits.
    Port(u8),
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
            Self::HostStart if char == '[' => Some(Self::Address),
            Self::HostStart | Self::LabelStart => is_host(char).then_some(Self::Label),
            Self::Label if char == '.' => Some(Self::LabelStart),
            Self::Label => is_host(char).then_some(Self::Label),
            Self::Address if char == ']' => Some(Self::AddressEnd),
            Self::Address => is_address(char).then_some(Self::Address),
            Self::PortStart if char == '0' => Some(Self::PortZero),
            Self::PortStart => char.is_ascii_digit().then_some(Self::Port(1)),
            Self::Port(digits) => {
                (char.is_ascii_digit() && digits < 5).then_some(Self::Port(digits + 1))
            }
            Self::AddressEnd | Self::PortZero | Self::UrlPathStart | Self::UrlSegment(_) => None,
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
            Self::Scheme => Some(Self::HostStart),
            Self::Label | Self::AddressEnd => Some(Self::PortStart),
            Self::Port(_) | Self::PortZero => Some(Self::UrlPathStart),
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
            chars("0"),
            ascii(is_host),
            ascii(is_address),
            chars("["),
            chars("]"),
            chars("."),
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

fn is_address(char: char) -> bool {
    char.is_ascii_digit() || ('a'..='f').contains(&char) || char == ':'
}

/// What WHATWG leaves in a label of a host, `.` excepted.
fn is_host(char: char) -> bool {
    let forbidden = " #/:<>?@[\\]^|%.".contains(char) || char.is_ascii_uppercase();
    char.is_ascii_graphic() && !forbidden
}

#[cfg(test)]
mod tests {
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

    fn states(kind: Kind) -> Vec<Domain> {
        let dots = [Dots::Empty, Dots::One, Dots::Two, Dots::Other];
        match kind {
            Kind::Path => {
                let segments = dots.map(Domain::Segment);
                [Domain::PathStart, Domain::Root]
                    .into_iter()
                    .chain(segments)
                    .collect()
            }
            Kind::Name => vec![Domain::NameStart, Domain::Name],
            Kind::Agent => vec![
                Domain::AgentStart,
                Domain::AgentName,
                Domain::VersionStart,
                Domain::Version,
            ],
            Kind::Url => {
                let host = [
                    Domain::Scheme,
                    Domain::HostStart,
                    Domain::LabelStart,
                    Domain::Label,
                    Domain::Address,
                ];
                let rest = [
                    Domain::AddressEnd,
                    Domain::PortStart,
                    Domain::PortZero,
                    Domain::UrlPathStart,
                ];
                let ports = (1..=5).map(Domain::Port);
                let segments = dots.map(Domain::UrlSegment);
                host.into_iter()
                    .chain(rest)
                    .chain(ports)
                    .chain(segments)
                    .collect()
            }
        }
    }
}
