//! The alphabet that patterns and values are compared over, and sets of it.
//!
//! A value is not matched as text but as a sequence of [`Symbol`]s, so that what divides a URL into its components is
//! no character at all: no wildcard can cross it, and no character of a hostile value can imitate it.

/// A Unicode scalar value, an encoded reserved byte, or the [`SEPARATOR`].
pub(super) type Symbol = u32;

/// What stands between the components of a URL. No wildcard matches it.
pub(super) const SEPARATOR: Symbol = 0x11_0100;

/// A character.
pub(super) const fn plain(char: char) -> Symbol {
    char as Symbol
}

/// `%2F` and its like: reserved bytes mean something else encoded than plain, so they are symbols of their own.
pub(super) const fn encoded(byte: u8) -> Symbol {
    ENCODED + byte as Symbol
}

/// The byte that [`encoded`] was given.
pub(super) fn encoded_byte(symbol: Symbol) -> Option<u8> {
    symbol
        .checked_sub(ENCODED)
        .and_then(|byte| u8::try_from(byte).ok())
}

/// The bytes that RFC 3986 reserves, and `%` itself. Every other percent-encoding is decoded.
pub(super) fn is_reserved(byte: u8) -> bool {
    b":/?#[]@!$&'()*+,;=%".contains(&byte)
}

/// A set of symbols, as sorted ranges that do not touch, ends included.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct SymbolSet(Box<[(Symbol, Symbol)]>);

impl SymbolSet {
    /// The set of one symbol.
    pub(super) fn one(symbol: Symbol) -> Self {
        Self(Box::new([(symbol, symbol)]))
    }

    /// The union of ranges in any order, ends included.
    pub(super) fn of(ranges: impl IntoIterator<Item = (Symbol, Symbol)>) -> Self {
        let mut ranges: Vec<_> = ranges
            .into_iter()
            .filter(|(low, high)| low <= high)
            .collect();
        ranges.sort_unstable();
        let mut merged: Vec<(Symbol, Symbol)> = Vec::with_capacity(ranges.len());
        for (low, high) in ranges {
            match merged.last_mut() {
                Some((_, end)) if low <= end.saturating_add(1) => *end = high.max(*end),
                _ => merged.push((low, high)),
            }
        }
        Self(merged.into())
    }

    /// Every Unicode scalar value.
    pub(super) fn unicode() -> Self {
        Self(Box::new([(0, 0xD7FF), (0xE000, 0x10_FFFF)]))
    }

    /// Every Unicode scalar value and every encoded byte.
    pub(super) fn unicode_and_encoded() -> Self {
        Self(Box::new([
            (0, 0xD7FF),
            (0xE000, 0x10_FFFF),
            (ENCODED, ENCODED + 0xFF),
        ]))
    }

    /// Whether the symbol is in the set.
    pub(super) fn contains(&self, symbol: Symbol) -> bool {
        match &*self.0 {
            [(low, high)] => (*low..=*high).contains(&symbol),
            ranges => {
                let after = ranges.partition_point(|(low, _)| *low <= symbol);
                after > 0 && symbol <= ranges[after - 1].1
            }
        }
    }

    /// Whether nothing is in the set.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges, in order.
    pub(super) fn ranges(&self) -> &[(Symbol, Symbol)] {
        &self.0
    }

    /// What is in this set and not in `other`.
    pub(super) fn minus(&self, other: &Self) -> Self {
        let mut left = Vec::with_capacity(self.0.len() + other.0.len());
        for &(low, high) in &self.0 {
            let mut from = low;
            for &(cut_low, cut_high) in &other.0 {
                if cut_high < from || cut_low > high {
                    continue;
                }
                if cut_low > from {
                    left.push((from, cut_low - 1));
                }
                from = cut_high + 1;
            }
            if from <= high {
                left.push((from, high));
            }
        }
        Self::of(left)
    }

    /// What is in both sets.
    pub(super) fn and(&self, other: &Self) -> Self {
        self.minus(&self.minus(other))
    }
}

impl FromIterator<char> for SymbolSet {
    fn from_iter<T: IntoIterator<Item = char>>(chars: T) -> Self {
        Self::of(chars.into_iter().map(|char| (char.into(), char.into())))
    }
}

const ENCODED: Symbol = 0x11_0000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_merge_and_subtract() {
        let set = SymbolSet::of([(5, 9), (1, 3), (4, 4), (20, 10)]);
        assert_eq!(set.ranges(), [(1, 9)]);
        let holes = set.minus(&SymbolSet::of([(2, 2), (8, 12)]));
        assert_eq!(holes.ranges(), [(1, 1), (3, 7)]);
        assert_eq!(
            set.and(&SymbolSet::of([(0, 1), (9, 30)])).ranges(),
            [(1, 1), (9, 9)]
        );
        assert!(set.minus(&set).is_empty());
    }

    #[test]
    fn membership_looks_at_the_right_range() {
        let set = SymbolSet::of([(1, 3), (7, 7), (10, 12)]);
        let members: Vec<_> = (0..15).filter(|symbol| set.contains(*symbol)).collect();
        assert_eq!(members, [1, 2, 3, 7, 10, 11, 12]);
        assert!(!SymbolSet::default().contains(0));
    }

    #[test]
    fn wildcards_never_hold_the_separator() {
        assert!(!SymbolSet::unicode_and_encoded().contains(SEPARATOR));
        assert!(SymbolSet::unicode_and_encoded().contains(encoded(b'/')));
        assert!(!SymbolSet::unicode().contains(encoded(b'/')));
        assert_eq!(encoded_byte(encoded(0x2F)), Some(0x2F));
        assert_eq!(encoded_byte(SEPARATOR), None);
        assert_eq!(encoded_byte('a'.into()), None);
    }
}
