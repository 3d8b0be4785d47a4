//! Patterns as automata: one chain of states per alternative, no empty moves, matched by a set of live states.
//!
//! Matching reads each symbol once and looks at each live state once, so its cost is bounded by the length of the value
//! times the size of the pattern, whatever either holds, and by the steps that the question may take.

use super::{
    effort::{Effort, Exhausted},
    limits::MAX_STATES,
    symbol::{Symbol, SymbolSet},
};

/// A part of an alternative, in the order they are matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// One symbol of the set.
    One(SymbolSet),
    /// Any number of symbols of the set.
    Run(SymbolSet),
    /// What may stand between the slashes of `/**/`, the second one included. Follows a slash.
    Directories(SymbolSet),
    /// A trailing `/**`: nothing, or a slash and anything.
    Below(SymbolSet),
}

/// The automaton outgrew its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooManyStates;

/// A nondeterministic automaton over symbols.
#[derive(Debug, Clone, Default)]
pub(super) struct Automaton {
    states: Vec<State>,
    starts: Vec<u32>,
    /// What every accepted sequence begins with, and the state after it; empty when there are several starts.
    prefix: Vec<Symbol>,
    after_prefix: u32,
}

#[derive(Debug, Clone, Default)]
struct State {
    edges: Vec<(SymbolSet, u32)>,
    accepting: bool,
}

impl Automaton {
    /// The automaton that accepts what any of the alternatives accepts.
    pub(super) fn build<'p>(
        alternatives: impl IntoIterator<Item = &'p [Piece]>,
    ) -> Result<Self, TooManyStates> {
        let mut automaton = Self::default();
        for pieces in alternatives {
            automaton.add(pieces);
            if automaton.states.len() > MAX_STATES {
                return Err(TooManyStates);
            }
        }
        automaton.find_prefix();
        Ok(automaton)
    }

    /// Whether the whole sequence is accepted.
    pub(super) fn accepts(
        &self,
        mut symbols: impl Iterator<Item = Symbol>,
        effort: &mut Effort,
    ) -> Result<bool, Exhausted> {
        if self
            .prefix
            .iter()
            .any(|expected| symbols.next() != Some(*expected))
        {
            return Ok(false);
        }
        let accepting = |live: &[u64]| members(live).any(|state| self.is_accepting(state));
        let starts = if self.prefix.is_empty() {
            &self.starts
        } else {
            std::slice::from_ref(&self.after_prefix)
        };
        self.run(starts, symbols, effort, |end| end.is_ok_and(accepting))
    }

    /// How many symbols were read when no state was left; `None` when some are to the end.
    pub(super) fn stops_at(
        &self,
        symbols: impl Iterator<Item = Symbol>,
        effort: &mut Effort,
    ) -> Result<Option<usize>, Exhausted> {
        self.run(&self.starts, symbols, effort, |end| end.err())
    }

    /// How many states there are.
    pub(super) fn len(&self) -> usize {
        self.states.len()
    }

    /// The states it begins in.
    pub(super) fn starts(&self) -> &[u32] {
        &self.starts
    }

    /// Whether a value may end in this state.
    pub(super) fn is_accepting(&self, state: u32) -> bool {
        self.states[state as usize].accepting
    }

    /// Where this state leads, and by which symbols.
    pub(super) fn edges(&self, state: u32) -> &[(SymbolSet, u32)] {
        &self.states[state as usize].edges
    }

    /// Every set that an edge carries.
    pub(super) fn sets(&self) -> impl Iterator<Item = &SymbolSet> {
        self.states
            .iter()
            .flat_map(|state| state.edges.iter().map(|(set, _)| set))
    }

    fn words(&self) -> usize {
        self.states.len().div_ceil(64)
    }

    /// Follows the sequence; `finish` gets the states that are live at its end, or how many symbols there was a way for.
    fn run<T>(
        &self,
        starts: &[u32],
        symbols: impl Iterator<Item = Symbol>,
        effort: &mut Effort,
        finish: impl FnOnce(Result<&[u64], usize>) -> T,
    ) -> Result<T, Exhausted> {
        let words = self.words();
        let (mut small, mut large) = ([0; 2 * SMALL_WORDS], Vec::new());
        let buffer = if words <= SMALL_WORDS {
            &mut small[..2 * words]
        } else {
            large.resize(2 * words, 0);
            &mut large[..]
        };
        let (mut live, mut next) = buffer.split_at_mut(words);
        starts.iter().for_each(|state| insert(live, *state));
        for (read, symbol) in symbols.enumerate() {
            effort.spend(words + self.step(live, next, symbol))?;
            std::mem::swap(&mut live, &mut next);
            if live.iter().all(|word| *word == 0) {
                return Ok(finish(Err(read)));
            }
        }
        Ok(finish(Ok(live)))
    }

    /// The states after one more symbol; returns how many edges were looked at.
    fn step(&self, live: &[u64], next: &mut [u64], symbol: Symbol) -> usize {
        next.fill(0);
        let mut looked_at = 0;
        for state in members(live) {
            let edges = self.edges(state);
            looked_at += edges.len();
            for (set, target) in edges {
                if set.contains(symbol) {
                    insert(next, *target);
                }
            }
        }
        looked_at
    }

    fn add(&mut self, pieces: &[Piece]) {
        let mut current = self.new_state();
        self.starts.push(current);
        for piece in pieces {
            current = self.append(current, piece);
        }
        self.states[current as usize].accepting = true;
    }

    /// Continues a chain that ends in `from`; returns where it ends now.
    fn append(&mut self, from: u32, piece: &Piece) -> u32 {
        match piece {
            Piece::One(set) => {
                let to = self.new_state();
                self.connect(from, set.clone(), to);
                to
            }
            Piece::Run(set) => {
                self.connect(from, set.clone(), from);
                from
            }
            Piece::Directories(any) => {
                let inside = self.new_state();
                self.connect(from, slash(), from);
                self.connect(from, any.clone(), inside);
                self.connect(inside, any.clone(), inside);
                self.connect(inside, slash(), from);
                from
            }
            Piece::Below(any) => {
                let inside = self.new_state();
                self.states[from as usize].accepting = true;
                self.connect(from, slash(), inside);
                self.connect(inside, any.clone(), inside);
                inside
            }
        }
    }

    /// Most patterns begin with plain text, and most values with another one: comparing it first is cheap.
    fn find_prefix(&mut self) {
        let [mut state] = self.starts[..] else { return };
        while let State {
            edges,
            accepting: false,
        } = &self.states[state as usize]
            && let [(set, next)] = &edges[..]
            && let [(low, high)] = set.ranges()
            && low == high
            && *next > state
        {
            self.prefix.push(*low);
            state = *next;
        }
        self.after_prefix = state;
    }

    fn connect(&mut self, from: u32, set: SymbolSet, to: u32) {
        let edges = &mut self.states[from as usize].edges;
        if !edges
            .iter()
            .any(|(known, target)| *target == to && *known == set)
        {
            edges.push((set, to));
        }
    }

    fn new_state(&mut self) -> u32 {
        let state = self.states.len();
        self.states.push(State::default());
        u32::try_from(state).unwrap_or(u32::MAX)
    }
}

/// Adds a state to a set of states.
pub(super) fn insert(words: &mut [u64], state: u32) {
    words[state as usize / 64] |= 1 << (state % 64);
}

/// The states of a set, in order.
pub(super) fn members(words: &[u64]) -> impl Iterator<Item = u32> + '_ {
    (0u32..).zip(words).flat_map(|(index, word)| {
        let mut left = *word;
        std::iter::from_fn(move || {
            let bit = (left != 0).then(|| left.trailing_zeros())?;
            left &= left - 1;
            Some(index * 64 + bit)
        })
    })
}

fn slash() -> SymbolSet {
    SymbolSet::one('/'.into())
}

/// Up to this many words of live states are kept on the stack.
const SMALL_WORDS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(text: &str) -> Vec<Piece> {
        text.chars()
            .map(|char| Piece::One(SymbolSet::one(char.into())))
            .collect()
    }

    fn accepts(automaton: &Automaton, text: &str) -> bool {
        let symbols = text.chars().map(Symbol::from);
        automaton.accepts(symbols, &mut Effort::matching()).unwrap()
    }

    #[test]
    fn below_accepts_the_directory_and_what_is_under_it() {
        let mut pieces = literal("/a");
        pieces.push(Piece::Below(SymbolSet::unicode()));
        let automaton = Automaton::build([&pieces[..]]).unwrap();
        for (text, expected) in [
            ("/a", true),
            ("/a/", true),
            ("/a/b/c", true),
            ("/ab", false),
            ("/", false),
        ] {
            assert_eq!(accepts(&automaton, text), expected, "{text}");
        }
    }

    #[test]
    fn directories_may_be_none() {
        let mut pieces = literal("/a/");
        pieces.push(Piece::Directories(SymbolSet::unicode()));
        pieces.extend(literal("z"));
        let automaton = Automaton::build([&pieces[..]]).unwrap();
        for (text, expected) in [
            ("/a/z", true),
            ("/a/b/z", true),
            ("/a/b/c/z", true),
            ("/a/bz", false),
            ("/az", false),
        ] {
            assert_eq!(accepts(&automaton, text), expected, "{text}");
        }
    }

    #[test]
    fn large_automata_work_like_small_ones() {
        let alternatives: Vec<_> = (0..100)
            .map(|number| literal(&format!("/directory-{number}")))
            .collect();
        let automaton = Automaton::build(alternatives.iter().map(Vec::as_slice)).unwrap();
        assert!(automaton.words() > SMALL_WORDS);
        assert!(accepts(&automaton, "/directory-77"));
        assert!(!accepts(&automaton, "/directory-100"));
    }

    #[test]
    fn states_are_bounded() {
        let long = literal(&"x".repeat(MAX_STATES));
        assert_eq!(Automaton::build([&long[..]]).err(), Some(TooManyStates));
    }

    #[test]
    fn members_are_listed_in_order() {
        let mut words = [0; 3];
        [130, 0, 63, 64]
            .into_iter()
            .for_each(|state| insert(&mut words, state));
        assert_eq!(members(&words).collect::<Vec<_>>(), [0, 63, 64, 130]);
    }
}
