//! The alphabet cut into classes that some sets treat alike, so that a search looks at a few symbols, not at a million.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    effort::{Effort, Exhausted},
    symbol::{Symbol, SymbolSet},
};

/// One symbol of each class. Those a person would choose come first.
pub(super) struct Alphabet {
    representatives: Vec<Symbol>,
}

impl Alphabet {
    /// The classes that the sets tell apart; an error when the sets cut the alphabet into too many pieces.
    pub(super) fn new<'s>(
        sets: impl IntoIterator<Item = &'s SymbolSet>,
        effort: &mut Effort,
    ) -> Result<Self, Exhausted> {
        let mut distinct = BTreeSet::new();
        for set in sets {
            effort.spend(1 + set.ranges().len())?;
            distinct.insert(set.ranges());
        }
        let sets = distinct;
        let ends = |ranges: &&[(Symbol, Symbol)]| {
            ranges
                .iter()
                .flat_map(|(low, high)| [*low, high + 1])
                .collect::<Vec<_>>()
        };
        let cuts: BTreeSet<_> = sets.iter().flat_map(ends).collect();
        let cuts: Vec<_> = cuts.into_iter().collect();
        let classes = refine(&cuts, &sets, effort)?;
        let mut best: BTreeMap<u32, (usize, Symbol)> = BTreeMap::new();
        for (interval, class) in cuts
            .windows(2)
            .zip(classes)
            .filter(|(_, class)| *class != IN_NO_SET)
        {
            let candidate = most_readable(interval[0], interval[1]);
            best.entry(class)
                .and_modify(|known| *known = candidate.min(*known))
                .or_insert(candidate);
        }
        let mut ranked: Vec<_> = best.into_values().collect();
        ranked.sort_unstable();
        Ok(Self {
            representatives: ranked.into_iter().map(|(_, symbol)| symbol).collect(),
        })
    }

    /// The classes' symbols; the position is the class.
    pub(super) fn representatives(&self) -> &[Symbol] {
        &self.representatives
    }
}

/// The class of each interval between two cuts: one set after the other splits the classes it cuts through.
fn refine(
    cuts: &[Symbol],
    sets: &BTreeSet<&[(Symbol, Symbol)]>,
    effort: &mut Effort,
) -> Result<Vec<u32>, Exhausted> {
    let mut classes = vec![IN_NO_SET; cuts.len()];
    let mut next = IN_NO_SET + 1;
    for ranges in sets {
        let mut split = HashMap::new();
        for (low, high) in *ranges {
            let from = cuts.partition_point(|cut| cut < low);
            let to = cuts.partition_point(|cut| cut <= high);
            effort.spend(to - from)?;
            for class in &mut classes[from..to] {
                *class = *split.entry(*class).or_insert_with(|| {
                    next += 1;
                    next - 1
                });
            }
        }
    }
    Ok(classes)
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

const IN_NO_SET: u32 = 0;
const READABLE: &str = "abcdefghijklmnopqrstuvwxyz123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ0-_./";

#[cfg(test)]
mod tests {
    use super::{
        super::{effort::Care, symbol::plain},
        *,
    };

    fn effort() -> Effort {
        Effort::compiling(Care::Full)
    }

    #[test]
    fn classes_are_as_few_as_the_sets_need() {
        let letters = SymbolSet::of([('a'.into(), 'z'.into())]);
        let vowels: SymbolSet = "aeiou".chars().collect();
        let alphabet = Alphabet::new([&letters, &vowels, &letters], &mut effort()).unwrap();
        assert_eq!(alphabet.representatives(), ['a', 'b'].map(plain));
    }

    /// [ARCP 14-4] Thousands of sets that all cut each other are refused rather than sorted out.
    #[test]
    fn the_work_is_bounded() {
        let sets: Vec<_> = (0..4000)
            .map(|low| SymbolSet::of([(low, low + 5000)]))
            .collect();
        assert!(Alphabet::new(&sets, &mut effort()).is_err());
        let single: Vec<_> = (0..20_000)
            .map(|symbol| SymbolSet::one(symbol * 2))
            .collect();
        assert_eq!(
            Alphabet::new(&single, &mut effort())
                .unwrap()
                .representatives()
                .len(),
            20_000
        );
    }

    #[test]
    fn readable_symbols_are_chosen() {
        assert_eq!(most_readable(0, 0x80).1, plain('a'));
        assert_eq!(most_readable(0, 0x21).1, 0x20);
        assert_eq!(most_readable(plain('%'), plain('-')).1, plain('%'));
        assert_eq!(most_readable(0x100, 0x200).1, 0x100);
    }
}
