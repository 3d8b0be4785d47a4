//! Queues that a deployment names: who of them goes next, and when [ARCP 22-4].

use std::{
    cmp::Reverse,
    collections::{BTreeMap, VecDeque},
    fmt,
    ops::RangeInclusive,
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use towline_wire::{RawJson, Timestamp};

use crate::fingerprint;

/// What a job may say of its priority; higher goes first [ARCP 22-4].
pub const PRIORITIES: RangeInclusive<i64> = -100..=100;

/// What holds for a queue, or, where it has a key, for each of its groups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueueRules {
    /// How many of its jobs run at once.
    pub limit: Option<usize>,
    /// How many of its jobs begin within a span.
    pub rate: Option<Rate>,
    /// Which value of the input divides it into groups.
    pub key: Option<Pointer>,
}

/// So many in a span: in none of that length begin more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many begin.
    pub starts: usize,
    /// In which span.
    pub per: Duration,
}

/// Where a value stands in JSON (RFC 6901).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer(String);

/// Why a queue cannot be as it is written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// A rate that is none.
    #[error(
        "`{0}` is no rate; write a number from 1 to {MOST_STARTS} and a span, as in 10/s, 30/m or 100/h"
    )]
    Rate(String),
    /// A pointer that is none.
    #[error(
        "`{0}` is no JSON pointer; write / and the name of a member, as in /repository, and nothing for the whole input"
    )]
    Pointer(String),
}

impl FromStr for Rate {
    type Err = QueueError;

    fn from_str(text: &str) -> Result<Self, QueueError> {
        let wrong = || QueueError::Rate(text.chars().take(64).collect());
        let (starts, span) = text.split_once('/').ok_or_else(wrong)?;
        let per = match span.trim() {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return Err(wrong()),
        };
        let starts: usize = starts.trim().parse().map_err(|_| wrong())?;
        if !(1..=MOST_STARTS).contains(&starts) {
            return Err(wrong());
        }
        Ok(Self {
            starts,
            per: Duration::from_secs(per),
        })
    }
}

impl FromStr for Pointer {
    type Err = QueueError;

    fn from_str(text: &str) -> Result<Self, QueueError> {
        let escapes = text.split('~').skip(1);
        let escaped = escapes.into_iter().all(|rest| rest.starts_with(['0', '1']));
        if escaped && (text.is_empty() || text.starts_with('/')) {
            Ok(Self(text.to_owned()))
        } else {
            Err(QueueError::Pointer(text.chars().take(64).collect()))
        }
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which line a job stands in: a queue, or a group of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LineKey {
    /// The queue.
    pub queue: Arc<str>,
    /// Which of its groups: a digest of the value, none for inputs that lack it.
    group: Option<[u8; 32]>,
}

impl QueueRules {
    /// The line of this queue that a job of an input stands in. Values are compared as JSON: the order of members and the
    /// spelling of numbers do not matter.
    pub fn line(&self, queue: &Arc<str>, input: &RawJson) -> LineKey {
        let group = self.key.as_ref().and_then(|key| {
            let input: serde_json::Value = input.read().ok()?;
            let value = RawJson::of(input.pointer(&key.0)?).ok()?;
            fingerprint::of_value(&value).ok()
        });
        LineKey {
            queue: Arc::clone(queue),
            group,
        }
    }
}

/// Those who stand in one line.
#[derive(Debug)]
pub(super) struct Line<P, J> {
    /// How many of it run.
    running: usize,
    /// When the latest of it began, as far back as the rate looks.
    starts: VecDeque<Timestamp>,
    /// Who waits, the highest priority first.
    waiting: BTreeMap<Reverse<i8>, Rank<P, J>>,
    /// When it was said that something of it changes by itself.
    pub(super) wake: Option<Timestamp>,
}

/// Those of one priority: principals take turns.
#[derive(Debug)]
struct Rank<P, J> {
    of: BTreeMap<P, VecDeque<(J, usize)>>,
    /// Whose turn was last.
    turn: Option<P>,
}

impl<P: Ord + Clone, J: PartialEq> Line<P, J> {
    pub(super) const fn new() -> Self {
        Self {
            running: 0,
            starts: VecDeque::new(),
            waiting: BTreeMap::new(),
            wake: None,
        }
    }

    /// Whether one more may begin.
    pub(super) fn has_slot(&mut self, rules: &QueueRules, now: Timestamp) -> bool {
        self.forget_starts(rules, now);
        rules.limit.is_none_or(|limit| self.running < limit)
            && rules
                .rate
                .is_none_or(|rate| self.starts.len() < rate.starts)
    }

    /// Whether somebody waits.
    pub(super) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether there is nothing to know of it.
    pub(super) fn is_idle(&self) -> bool {
        self.running == 0 && self.starts.is_empty() && self.waiting.is_empty()
    }

    /// When it changes by itself: one more may begin, or nothing is left of it.
    pub(super) fn changes_at(&self, rules: &QueueRules) -> Option<Timestamp> {
        let rate = rules.rate?;
        let start = if self.waits() {
            self.starts.front()
        } else {
            self.starts.back()
        };
        start.map(|start| start.plus(rate.per))
    }

    /// The next one whose principal has room.
    pub(super) fn next(&self, has_room: impl Fn(&P) -> bool) -> Option<(i8, P)> {
        self.waiting.iter().find_map(|(Reverse(priority), rank)| {
            let mut order = rank.order();
            let principal = order.find(|principal| has_room(principal))?;
            Some((*priority, principal.clone()))
        })
    }

    pub(super) fn push(&mut self, priority: i8, principal: P, job: J, bytes: usize) {
        let rank = self
            .waiting
            .entry(Reverse(priority))
            .or_insert_with(|| Rank {
                of: BTreeMap::new(),
                turn: None,
            });
        rank.of
            .entry(principal)
            .or_default()
            .push_back((job, bytes));
    }

    /// Takes the first one of a principal that waits with this priority; it was its turn.
    pub(super) fn take(&mut self, priority: i8, principal: &P) -> Option<(J, usize)> {
        let rank = self.waiting.get_mut(&Reverse(priority))?;
        let own = rank.of.get_mut(principal)?;
        let taken = own.pop_front();
        if own.is_empty() {
            rank.of.remove(principal);
        }
        rank.turn = Some(principal.clone());
        self.drop_empty(priority);
        taken
    }

    /// One goes without its turn; its bytes.
    pub(super) fn remove(&mut self, priority: i8, principal: &P, job: &J) -> Option<usize> {
        let rank = self.waiting.get_mut(&Reverse(priority))?;
        let own = rank.of.get_mut(principal)?;
        let at = own.iter().position(|(other, _)| other == job)?;
        let (_, bytes) = own.remove(at)?;
        if own.is_empty() {
            rank.of.remove(principal);
        }
        self.drop_empty(priority);
        Some(bytes)
    }

    /// How many go before it, and itself, if all have room and nobody comes.
    pub(super) fn position(&self, priority: i8, principal: &P, job: &J) -> Option<usize> {
        let rank = self.waiting.get(&Reverse(priority))?;
        let own = rank.of.get(principal)?;
        let round = own.iter().position(|(other, _)| other == job)?;
        let higher = self.waiting.range(..Reverse(priority));
        let higher: usize = higher.map(|(_, rank)| rank.len()).sum();
        let mut is_before = true;
        let mut ahead = 0;
        for other in rank.order() {
            is_before &= other != principal;
            let rounds = if is_before { round + 1 } else { round };
            ahead += rank.of.get(other).map_or(0, VecDeque::len).min(rounds);
        }
        Some(higher + ahead + 1)
    }

    pub(super) fn began(&mut self, rules: &QueueRules, now: Timestamp) {
        self.running += 1;
        if rules.rate.is_some() {
            self.starts.push_back(now);
        }
    }

    pub(super) fn ended(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    fn forget_starts(&mut self, rules: &QueueRules, now: Timestamp) {
        let Some(rate) = rules.rate else { return };
        let is_past = |start: &Timestamp| start.plus(rate.per) <= now;
        while self.starts.front().is_some_and(is_past) {
            self.starts.pop_front();
        }
    }

    fn drop_empty(&mut self, priority: i8) {
        let rank = self.waiting.get(&Reverse(priority));
        if rank.is_some_and(|rank| rank.of.is_empty()) {
            self.waiting.remove(&Reverse(priority));
        }
    }
}

impl<P: Ord + Clone, J> Rank<P, J> {
    /// The principals in the order of their turns.
    fn order(&self) -> impl Iterator<Item = &P> {
        let after = self.of.keys().filter(|one| Some(*one) > self.turn.as_ref());
        let before = self
            .of
            .keys()
            .filter(|one| Some(*one) <= self.turn.as_ref());
        after.chain(before)
    }

    fn len(&self) -> usize {
        self.of.values().map(VecDeque::len).sum()
    }
}

/// A rate's memory is bounded.
const MOST_STARTS: usize = 100_000;
