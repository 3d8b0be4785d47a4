//! The alphabet cut into classes that some sets treat alike, so that a search looks at a few symbols, not at a million.

use std::collections::{BTreeMap, BTreeSet};

use super::symbol::{Symbol, SymbolSet};

/// One symbol of each class. Those a person would choose come first.
pub(super) struct Alphabet {
    representatives: Vec<Symbol>,
}

impl Alphabet {
    /// The classes that the sets tell apart.
    pub(super) fn new<'s>(sets: impl IntoIterator<Item = &'s SymbolSet>) -> Self {
        let sets: BTreeSet<_> = sets.into_iter().map(SymbolSet::ranges).collect();
        let sets: Vec<_> = sets
            .into_iter()
            .map(|ranges| SymbolSet::of(ranges.iter().copied()))
            .collect();
        let edges = |set: &SymbolSet| {
            set.ranges()
                .iter()
                .flat_map(|(low, high)| [*low, high + 1])
                .collect::<Vec<_>>()
        };
        let cuts: BTreeSet<_> = sets.iter().flat_map(edges).collect();
        let cuts: Vec<_> = cuts.into_iter().collect();
        let mut classes: BTreeMap<Vec<bool>, (usize, Symbol)> = BTreeMap::new();
        for interval in cuts.windows(2) {
            let signature: Vec<_> = sets.iter().map(|set| set.contains(interval[0])).collect();
            if !signature.contains(&true) {
                continue;
            }
            let candidate = most_readable(interval[0], interval[1]);
            classes
                .entry(signature)
                .and_modify(|best| *best = candidate.min(*best))
                .or_insert(candidate);
        }
        let mut ranked: Vec<_> = classes.into_values().collect();
        ranked.sort_unstable();
        Self {
            representatives: ranked.into_iter().map(|(_, symbol)| symbol).collect(),
        }
    }

    /// The classes' symbols; the position is the class.
    pub(super) fn representatives(&self) -> &[Symbol] {
        &self.representatives
    }
}

/// The symbol from `low` up to before `end` that reads best, with its rank.
fn most_readable(low: Symbol, end: Symbol) -> (usize, Symbol) {
    let preferred = READABLE.bytes().map(Symbol::from).enumerate();
    let inside = preferred
        .into_iter()
        .find(|(_, symbol)| (low..end).contains(symbol));
    let visible = low.max(0x21).min(end - 1);
    inside.unwrap_or((READABLE.len() + usize::from(visible < 0x21), visible))
}

const READABLE: &str = "abcdefghijklmnopqrstuvwxyz123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ0-_./";

#[cfg(test)]
mod tests {
    use super::{super::symbol::plain, *};

    #[test]
    fn classes_are_as_few_as_the_sets_need() {
        let letters = SymbolSet::of([('a'.into(), 'z'.into())]);
        let vowels: SymbolSet = "aeiou".chars().collect();
        let alphabet = Alphabet::new([&letters, &vowels, &letters]);
        assert_eq!(alphabet.representatives(), ['a', 'b'].map(plain));
    }

    #[test]
    fn readable_symbols_are_chosen() {
        assert_eq!(most_readable(0, 0x80).1, plain('a'));
        assert_eq!(most_readable(0, 0x21).1, 0x20);
        assert_eq!(most_readable(plain('%'), plain('-')).1, plain('%'));
        assert_eq!(most_readable(0x100, 0x200).1, 0x100);
    }
}
