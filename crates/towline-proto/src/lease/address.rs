//! The text between the brackets of an IPv6 host, as the URL parser writes it.

/// How far into an address a sequence of characters has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct AddressState {
    /// How many colons there were; eight groups have seven between them.
    colons: u8,
    /// Whether one of them was `::`.
    shortened: bool,
    last: Last,
}

/// What was read last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Last {
    Nothing,
    /// A colon that begins the address, so that another one has to follow.
    FirstColon,
    Colon,
    DoubleColon,
    /// A group that is `0`.
    Zero,
    /// So many digits of a group that begins with another one.
    Digits(u8),
}

impl AddressState {
    /// Nothing read.
    pub(super) const START: Self = Self {
        colons: 0,
        shortened: false,
        last: Last::Nothing,
    };

    /// After one more character; `None` when no address continues so.
    pub(super) fn step(self, char: char) -> Option<Self> {
        let last = match (char, self.last) {
            (':', _) => return self.colon(),
            ('0', Last::Nothing | Last::Colon | Last::DoubleColon) => Last::Zero,
            ('1'..='9' | 'a'..='f', Last::Nothing | Last::Colon | Last::DoubleColon) => {
                Last::Digits(1)
            }
            ('0'..='9' | 'a'..='f', Last::Digits(digits @ 1..=3)) => Last::Digits(digits + 1),
            _ => return None,
        };
        Some(Self { last, ..self })
    }

    /// Whether an address may end here.
    pub(super) const fn is_accepting(self) -> bool {
        match self.last {
            Last::DoubleColon => true,
            Last::Zero | Last::Digits(_) => self.shortened || self.colons == MAX_COLONS,
            Last::Nothing | Last::FirstColon | Last::Colon => false,
        }
    }

    fn colon(self) -> Option<Self> {
        let last = match self.last {
            Last::Nothing => Last::FirstColon,
            Last::FirstColon | Last::Colon if !self.shortened => Last::DoubleColon,
            Last::Zero | Last::Digits(_) => Last::Colon,
            Last::FirstColon | Last::Colon | Last::DoubleColon => return None,
        };
        let shortened = self.shortened || last == Last::DoubleColon;
        (self.colons < MAX_COLONS).then_some(Self {
            colons: self.colons + 1,
            shortened,
            last,
        })
    }
}

const MAX_COLONS: u8 = 7;

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    fn is_address(text: &str) -> bool {
        let end = text
            .chars()
            .try_fold(AddressState::START, AddressState::step);
        end.is_some_and(AddressState::is_accepting)
    }

    /// Every address in normal form has to be recognised, or inclusion would overlook it.
    #[test]
    fn every_normal_address_is_one() {
        for zeros in 0..=u8::MAX {
            let groups: [u16; 8] = std::array::from_fn(|group| {
                if zeros >> group & 1 == 1 {
                    0
                } else {
                    0x0ab1 << (group % 4)
                }
            });
            let text = url::Host::<String>::Ipv6(Ipv6Addr::from(groups)).to_string();
            assert!(is_address(text.trim_matches(['[', ']'])), "{text}");
        }
    }

    #[test]
    fn what_is_recognised_is_an_address() {
        let mut texts = vec![String::new()];
        for _ in 0..8 {
            texts = texts
                .iter()
                .flat_map(|text| ["0", "a", ":"].map(|next| format!("{text}{next}")))
                .collect();
            for text in &texts {
                assert!(
                    !is_address(text) || text.parse::<Ipv6Addr>().is_ok(),
                    "{text}"
                );
            }
        }
        for text in ["1:2:3:4:5:6:7:8", "::", "::1", "1::", "1:2:3:4:5:6::"] {
            assert!(is_address(text), "{text}");
        }
        for text in [
            "",
            "1",
            "1:2:3:4:5:6:7",
            "1:2:3:4:5:6:7:8:9",
            ":1",
            "1:",
            "::1::",
            "01::",
            "12345::",
            "A::",
            "::1.2.3.4",
        ] {
            assert!(!is_address(text), "{text}");
        }
    }
}
