//! Which texts are hosts in normal form: names, IPv4 and IPv6 addresses.
//!
//! A host whose last label is a number is an IPv4 address or no host at all; so `a.1` and `010` are none, and `127.0.0.1`
//! is one. Two things are not looked at: whether punycode decodes, and whether the longest row of zeros in an IPv6
//! address is the one that was left out. So some texts are taken for hosts that are none, and inclusion errs on the safe
//! side there.

use super::{
    address::AddressState,
    symbol::{Symbol, SymbolSet, plain},
};

/// How far into a host a sequence of characters has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum HostState {
    /// Nothing read.
    Start,
    /// Perhaps an IPv4 address: after so many dots, inside an octet.
    Quad(u8, Octet),
    /// No IPv4 address: inside a label.
    Name(Label),
    /// Inside the brackets of an IPv6 address.
    Address(AddressState),
    /// After those brackets.
    AddressEnd,
}

/// The decimal digits of an octet so far, as far as it matters for what may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Octet {
    /// None.
    Empty,
    /// `0`
    Zero,
    /// `1`
    One,
    /// `2`
    Two,
    /// Two digits that any third one may follow.
    TwoDigits,
    /// `25`
    TwoFive,
    /// `3` to `9`
    High,
    /// Digits that none may follow.
    Full,
}

/// What a label consists of so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Label {
    /// Nothing.
    Empty,
    /// `0`
    Zero,
    /// Digits only.
    Digits,
    /// `0x` and hexadecimal digits.
    Hexadecimal,
    /// Anything else.
    Other,
}

impl HostState {
    /// After one more character; `None` when no host continues so.
    pub(super) fn step(self, char: char) -> Option<Self> {
        match self {
            Self::Start if char == '[' => Some(Self::Address(AddressState::START)),
            Self::Start => Self::Quad(0, Octet::Empty).step(char),
            Self::Address(address) if char == ']' => {
                address.is_accepting().then_some(Self::AddressEnd)
            }
            Self::Address(address) => address.step(char).map(Self::Address),
            Self::AddressEnd => None,
            Self::Quad(_, Octet::Empty) | Self::Name(Label::Empty) if char == '.' => None,
            Self::Quad(3, _) | Self::Name(_) if char == '.' => Some(Self::Name(Label::Empty)),
            Self::Quad(dots, _) if char == '.' => Some(Self::Quad(dots + 1, Octet::Empty)),
            _ if !is_in_label(char) => None,
            Self::Quad(dots, octet) => Some(match octet.step(char) {
                Some(octet) => Self::Quad(dots, octet),
                None => Self::Name(octet.as_label().step(char)),
            }),
            Self::Name(label) => Some(Self::Name(label.step(char))),
        }
    }

    /// Whether a host may end here.
    pub(super) const fn is_accepting(self) -> bool {
        match self {
            Self::Quad(3, octet) => !matches!(octet, Octet::Empty),
            Self::Name(label) => matches!(label, Label::Other),
            Self::AddressEnd => true,
            Self::Start | Self::Quad(..) | Self::Address(_) => false,
        }
    }
}

impl Octet {
    /// After one more digit; `None` when the octet ends to be one.
    fn step(self, char: char) -> Option<Self> {
        let digit = char.to_digit(10)?;
        match (self, digit) {
            (Self::Empty, 0) => Some(Self::Zero),
            (Self::Empty, 1) => Some(Self::One),
            (Self::Empty, 2) => Some(Self::Two),
            (Self::Empty, _) => Some(Self::High),
            (Self::One, _) | (Self::Two, 0..=4) => Some(Self::TwoDigits),
            (Self::Two, 5) => Some(Self::TwoFive),
            (Self::Two | Self::High | Self::TwoDigits, _) | (Self::TwoFive, 0..=5) => {
                Some(Self::Full)
            }
            (Self::Zero | Self::TwoFive | Self::Full, _) => None,
        }
    }

    const fn as_label(self) -> Label {
        match self {
            Self::Empty => Label::Empty,
            Self::Zero => Label::Zero,
            _ => Label::Digits,
        }
    }
}

impl Label {
    fn step(self, char: char) -> Self {
        match self {
            Self::Empty if char == '0' => Self::Zero,
            Self::Empty | Self::Zero | Self::Digits if char.is_ascii_digit() => Self::Digits,
            Self::Zero if char == 'x' => Self::Hexadecimal,
            Self::Hexadecimal if char.is_ascii_hexdigit() => Self::Hexadecimal,
            _ => Self::Other,
        }
    }
}

/// Sets that decide together how [`HostState::step`] answers.
pub(super) fn partition() -> impl Iterator<Item = SymbolSet> {
    let ascii = |wanted: fn(char) -> bool| {
        (0..0x80)
            .map(char::from)
            .filter(|char| wanted(*char))
            .collect()
    };
    let sets = [
        is_in_label,
        |char: char| matches!(char, 'a'..='f'),
        |char: char| char.is_ascii_digit(),
        |char: char| char.is_ascii_hexdigit(),
    ];
    let single = "[].:x0125".chars().map(|char| SymbolSet::one(plain(char)));
    let below_five: [(Symbol, Symbol); 1] = [(plain('0'), plain('4'))];
    sets.map(ascii)
        .into_iter()
        .chain(single)
        .chain([SymbolSet::of(below_five)])
}

/// What WHATWG leaves in a label of a host.
fn is_in_label(char: char) -> bool {
    let forbidden = " #/:<>?@[\\]^|%.".contains(char) || char.is_ascii_uppercase();
    char.is_ascii_graphic() && !forbidden
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_host(text: &str) -> bool {
        let end = text.chars().try_fold(HostState::Start, HostState::step);
        end.is_some_and(HostState::is_accepting)
    }

    /// What the URL parser takes for a host and leaves as it is.
    fn is_normal(text: &str) -> bool {
        let host = url::Host::parse(text).map(|host| host.to_string());
        host.is_ok_and(|host| host == text) && !text.split('.').any(str::is_empty)
    }

    #[test]
    fn it_agrees_with_the_url_parser() {
        let mut texts = vec![String::new()];
        for _ in 0..5 {
            let longer = |text: &String| {
                ["0", "1", "2", "5", "a", "x", "-", "."].map(|next| format!("{text}{next}"))
            };
            texts = texts.iter().flat_map(longer).collect();
            for text in &texts {
                assert_eq!(is_host(text), is_normal(text), "{text}");
            }
        }
    }

    #[test]
    fn addresses_have_four_octets() {
        let octets = [
            "0", "9", "10", "99", "100", "199", "249", "255", "00", "01", "256", "260", "300",
            "1000", "0x1",
        ];
        for first in octets {
            for last in octets {
                let text = format!("{first}.1.0.{last}");
                assert_eq!(is_host(&text), is_normal(&text), "{text}");
            }
        }
        for text in [
            "1.2.3",
            "1.2.3.4.5",
            "1.2.3.4.a",
            "a.1.2.3",
            "1.2.3.a",
            "256.a",
            "1.2.3.0x",
            "a.0x",
            "a.0xg",
            "[::1]",
        ] {
            assert_eq!(is_host(text), is_normal(text), "{text}");
        }
    }
}
