//! Whether some patterns together cover everything that another one does [ARCP 9.4-1].
//!
//! The question is decided on the languages, not on the texts. The child's automaton runs state by state, the domain of
//! values runs beside it, and of all the parents together the set of live states is followed. Where the child accepts a
//! value and no parent does, the way there spells a counterexample; where no such place can be reached, the parents
//! cover the child. Two places that differ only in the parents' live states need not both be visited when one set lies
//! within the other: the smaller one is easier to escape from (an *antichain*).
//!
//! The problem is hard in general, so states and steps are bounded, the steps for all patterns of two leases together. Over
//! the bounds nothing is granted [ARCP 14-4, 14-6].

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{
    alphabet::Alphabet,
    automaton::{Automaton, insert, members},
    domain::{self, Domain},
    effort::{Effort, Exhausted},
    kind::Kind,
    limits::MAX_INCLUSION_NODES,
    normal::text_of,
    symbol::{Symbol, SymbolSet},
};

/// What the comparison found, if the child is not covered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Escape {
    /// This value is covered by the child and by no parent.
    Witness(String),
    /// The bounds were reached before an answer was.
    TooComplex,
}

/// The patterns that may cover others together, with what every comparison needs of them.
pub(super) struct Parents<'a> {
    automata: Vec<&'a Automaton>,
    /// The sets that their edges carry, each once.
    sets: Vec<&'a SymbolSet>,
}

impl<'a> Parents<'a> {
    pub(super) fn new(
        automata: impl IntoIterator<Item = &'a Automaton>,
        effort: &mut Effort,
    ) -> Result<Self, Exhausted> {
        let automata: Vec<_> = automata.into_iter().collect();
        let mut sets = BTreeMap::new();
        for set in automata.iter().flat_map(|automaton| automaton.sets()) {
            effort.spend(1)?;
            sets.insert(set.ranges(), set);
        }
        let sets = sets.into_values().collect();
        Ok(Self { automata, sets })
    }
}

impl From<Exhausted> for Escape {
    fn from(Exhausted: Exhausted) -> Self {
        Self::TooComplex
    }
}

/// Decides whether every value that `child` accepts is accepted by one of `parents`. Both are patterns of `kind`.
pub(super) fn included(
    child: &Automaton,
    parents: &Parents<'_>,
    kind: Kind,
    effort: &mut Effort,
) -> Result<(), Escape> {
    let partition = domain::partition(kind);
    let sets = child.sets().chain(parents.sets.iter().copied());
    let alphabet = Alphabet::new(sets.chain(&partition), effort)?;
    let mut search = Search {
        child,
        kind,
        live: LiveSets::new(&parents.automata, &alphabet, effort)?,
        nodes: Vec::new(),
        best: HashMap::new(),
    };
    search.run(child.starts())
}

/// Whether every alternative of the pattern can match some value; an error when that costs too much to tell.
pub(super) fn all_starts_lead_to_a_value(
    pattern: &Automaton,
    kind: Kind,
    effort: &mut Effort,
) -> Result<bool, Exhausted> {
    let partition = domain::partition(kind);
    let alphabet = Alphabet::new(pattern.sets().chain(&partition), effort)?;
    for start in pattern.starts() {
        if !leads_to_a_value(pattern, *start, kind, &alphabet, effort)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A depth-first walk: almost always the first way it tries leads to a value.
fn leads_to_a_value(
    pattern: &Automaton,
    start: u32,
    kind: Kind,
    alphabet: &Alphabet,
    effort: &mut Effort,
) -> Result<bool, Exhausted> {
    let mut seen = HashSet::new();
    let mut open = vec![(start, Domain::start(kind))];
    while let Some((state, domain)) = open.pop() {
        if pattern.is_accepting(state) && domain.is_accepting() {
            return Ok(true);
        }
        for (set, target) in pattern.edges(state) {
            let symbols = match set.ranges() {
                [(low, high)] if low == high => std::slice::from_ref(low),
                _ => alphabet.representatives(),
            };
            effort.spend(symbols.len())?;
            let symbols = symbols.iter().filter(|symbol| set.contains(**symbol));
            let steps = symbols
                .filter_map(|symbol| domain.step(*symbol))
                .map(|domain| (*target, domain));
            open.extend(steps.filter(|step| seen.insert(*step)));
        }
    }
    Ok(false)
}

/// A place in the search, and how it was reached.
struct Node {
    state: u32,
    domain: Domain,
    live: u32,
    from: Option<(u32, Symbol)>,
}

struct Search<'a> {
    child: &'a Automaton,
    kind: Kind,
    live: LiveSets<'a>,
    nodes: Vec<Node>,
    /// The smallest live sets that a place was visited with.
    best: HashMap<(u32, Domain), Vec<u32>>,
}

impl Search<'_> {
    fn run(&mut self, starts: &[u32]) -> Result<(), Escape> {
        for state in starts {
            self.visit(Node {
                state: *state,
                domain: Domain::start(self.kind),
                live: 0,
                from: None,
            })?;
        }
        let mut next = 0;
        while next < self.nodes.len() {
            self.expand(next)?;
            next += 1;
        }
        Ok(())
    }

    fn expand(&mut self, index: usize) -> Result<(), Escape> {
        let Node {
            state,
            domain,
            live,
            ..
        } = self.nodes[index];
        let from = u32::try_from(index).map_err(|_| Escape::TooComplex)?;
        let child = self.child;
        self.live
            .spend(self.live.alphabet.representatives().len())?;
        for class in 0..self.live.alphabet.representatives().len() {
            let symbol = self.live.alphabet.representatives()[class];
            let Some(domain) = domain.step(symbol) else {
                continue;
            };
            for (set, target) in child.edges(state) {
                if set.contains(symbol) {
                    let live = self.live.step(live, class)?;
                    self.visit(Node {
                        state: *target,
                        domain,
                        live,
                        from: Some((from, symbol)),
                    })?;
                }
            }
        }
        Ok(())
    }

    /// Adds a place unless an easier one is known; finds out whether it is an escape.
    fn visit(&mut self, node: Node) -> Result<(), Escape> {
        if self.child.is_accepting(node.state)
            && node.domain.is_accepting()
            && !self.live.is_accepting(node.live)
        {
            return Err(Escape::Witness(self.spell(&node)));
        }
        let known = self.best.entry((node.state, node.domain)).or_default();
        self.live.spend(known.len() * self.live.words)?;
        if known
            .iter()
            .any(|other| self.live.is_subset(*other, node.live))
        {
            return Ok(());
        }
        known.retain(|other| !self.live.is_subset(node.live, *other));
        known.push(node.live);
        if self.nodes.len() >= MAX_INCLUSION_NODES {
            return Err(Escape::TooComplex);
        }
        self.nodes.push(node);
        Ok(())
    }

    fn spell(&self, last: &Node) -> String {
        let mut symbols = Vec::new();
        let mut from = last.from;
        while let Some((index, symbol)) = from {
            symbols.push(symbol);
            from = self.nodes[index as usize].from;
        }
        symbols.reverse();
        text_of(self.kind, &symbols)
    }
}

/// The parents' live states after the symbols read so far: each set is built once and then known by number.
struct LiveSets<'a> {
    parents: Vec<(u32, &'a Automaton)>,
    alphabet: &'a Alphabet,
    words: usize,
    sets: Vec<Box<[u64]>>,
    accepting: Vec<bool>,
    numbers: HashMap<Box<[u64]>, u32>,
    steps: HashMap<(u32, usize), u32>,
    effort: &'a mut Effort,
}

impl<'a> LiveSets<'a> {
    /// Begins with the set number 0, of all the parents' starts.
    fn new(
        parents: &[&'a Automaton],
        alphabet: &'a Alphabet,
        effort: &'a mut Effort,
    ) -> Result<Self, Exhausted> {
        let mut offset = 0;
        let mut placed = Vec::with_capacity(parents.len());
        for parent in parents {
            placed.push((offset, *parent));
            offset += u32::try_from(parent.len()).unwrap_or(u32::MAX);
        }
        let words = (offset as usize).div_ceil(64);
        effort.spend(placed.len() + words)?;
        let mut starts = vec![0; words];
        for (offset, parent) in &placed {
            parent
                .starts()
                .iter()
                .for_each(|start| insert(&mut starts, offset + start));
        }
        let mut live = Self {
            parents: placed,
            alphabet,
            words,
            sets: Vec::new(),
            accepting: Vec::new(),
            numbers: HashMap::new(),
            steps: HashMap::new(),
            effort,
        };
        live.number(starts.into());
        Ok(live)
    }

    fn step(&mut self, from: u32, class: usize) -> Result<u32, Escape> {
        if let Some(known) = self.steps.get(&(from, class)) {
            return Ok(*known);
        }
        let symbol = self.alphabet.representatives()[class];
        let mut next = vec![0; self.words];
        let mut spent = self.words;
        for state in members(&self.sets[from as usize]) {
            let (offset, parent) = self.parent_of(state);
            for (set, target) in parent.edges(state - offset) {
                spent += 1;
                if set.contains(symbol) {
                    insert(&mut next, offset + target);
                }
            }
        }
        self.spend(spent)?;
        let to = self.number(next.into());
        self.steps.insert((from, class), to);
        Ok(to)
    }

    fn spend(&mut self, steps: usize) -> Result<(), Escape> {
        Ok(self.effort.spend(steps + 1)?)
    }

    fn number(&mut self, set: Box<[u64]>) -> u32 {
        if let Some(number) = self.numbers.get(&set) {
            return *number;
        }
        let number = u32::try_from(self.sets.len()).unwrap_or(u32::MAX);
        let accepts = |state| {
            let (offset, parent) = self.parent_of(state);
            parent.is_accepting(state - offset)
        };
        self.accepting.push(members(&set).any(accepts));
        self.sets.push(set.clone());
        self.numbers.insert(set, number);
        number
    }

    fn parent_of(&self, state: u32) -> (u32, &'a Automaton) {
        let after = self.parents.partition_point(|(offset, _)| *offset <= state);
        self.parents[after - 1]
    }

    fn is_accepting(&self, number: u32) -> bool {
        self.accepting[number as usize]
    }

    fn is_subset(&self, small: u32, large: u32) -> bool {
        let (small, large) = (&self.sets[small as usize], &self.sets[large as usize]);
        small
            .iter()
            .zip(large)
            .all(|(small, large)| small & !large == 0)
    }
}
