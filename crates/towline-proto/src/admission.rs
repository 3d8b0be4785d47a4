//! Who runs now and who waits (§7.1), in the queues that a deployment names too (§22).
//!
//! ```text
//!            not before, held                    a queue's limit and rate
//! admit ──▶ [held] ──▶ advance, let_go ──▶ [line] ──────────────┐
//!   │                                        ▲                  ▼
//!   ├────────────────────────────────────────┘        a place of the principal's ──▶ started
//!   └──▶ [waiting for a place] ─────────────────────────────────┘
//! ```
//!
//! A job that names a queue holds a slot of its line and a place at once, or neither: it never keeps others of its queue
//! waiting for a place that its principal lacks.

mod limits;
mod line;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use towline_wire::{RawJson, Timestamp};

use limits::Load;
pub use limits::{Admission, AdmissionLimits, NoRoom, Terms};
use line::Line;
pub use line::{LineKey, PRIORITIES, Pointer, QueueError, QueueRules, Rate};

/// A fair queue: principals take turns, each one's jobs in the order they came. `P` names principals, `J` jobs.
///
/// Every job that was told `Start`, or was named by one of those that give jobs, is to be given back with `release` when it
/// ends; a child that was admitted, with `release_child`. What comes by itself, [`AdmissionQueue::advance`] is to be asked for
/// at the time that [`AdmissionQueue::next_at`] says; that may be sooner after any other call.
#[derive(Debug)]
pub struct AdmissionQueue<P: Ord + Clone, J> {
    limits: AdmissionLimits,
    /// Bounds of principals that have one of their own.
    own_limits: BTreeMap<P, usize>,
    running: BTreeMap<P, usize>,
    children: BTreeMap<P, usize>,
    total: usize,
    /// Who waits for nothing but a place.
    waiting: BTreeMap<P, VecDeque<Waiting<J>>>,
    /// How much waits for each principal, whatever it waits for.
    loads: BTreeMap<P, Load>,
    queued: Load,
    /// Whose turn was last.
    turn: Option<P>,
    /// The queues that the deployment names.
    queues: BTreeMap<Arc<str>, QueueRules>,
    lines: BTreeMap<LineKey, Line<P, J>>,
    /// Lines with a slot and somebody who waits: for a place.
    ready: BTreeSet<LineKey>,
    /// When lines change by themselves.
    wakes: BTreeSet<(Timestamp, LineKey)>,
    /// Who is not to stand anywhere yet, by the time until which.
    held: BTreeMap<(Timestamp, u64), Held<P, J>>,
    next_held: u64,
}

#[derive(Debug)]
struct Waiting<J> {
    job: J,
    bytes: usize,
    priority: i8,
}

#[derive(Debug)]
struct Held<P, J> {
    principal: P,
    job: J,
    bytes: usize,
    line: Option<LineKey>,
    priority: i8,
    /// Whether the time is not all it waits for.
    held: bool,
}

impl<P: Ord + Clone, J: PartialEq> AdmissionQueue<P, J> {
    /// An empty queue.
    pub const fn new(limits: AdmissionLimits) -> Self {
        Self {
            limits,
            own_limits: BTreeMap::new(),
            running: BTreeMap::new(),
            children: BTreeMap::new(),
            total: 0,
            waiting: BTreeMap::new(),
            loads: BTreeMap::new(),
            queued: Load { jobs: 0, bytes: 0 },
            turn: None,
            queues: BTreeMap::new(),
            lines: BTreeMap::new(),
            ready: BTreeSet::new(),
            wakes: BTreeSet::new(),
            held: BTreeMap::new(),
            next_held: 0,
        }
    }

    /// The queues that there are. To be said before any job is admitted.
    pub fn set_queues(&mut self, queues: impl IntoIterator<Item = (String, QueueRules)>) {
        let queues = queues.into_iter();
        self.queues = queues.map(|(name, rules)| (name.into(), rules)).collect();
    }

    /// The line of a queue that a job of an input stands in; none when there is no such queue.
    pub fn line(&self, queue: &str, input: &RawJson) -> Option<LineKey> {
        let (name, rules) = self.queues.get_key_value(queue)?;
        Some(rules.line(name, input))
    }

    /// Whether there is a queue of that name.
    pub fn has_queue(&self, queue: &str) -> bool {
        self.queues.contains_key(queue)
    }

    /// How many wait.
    pub const fn queued(&self) -> usize {
        self.queued.jobs
    }

    /// How many run, children not counted.
    pub const fn running(&self) -> usize {
        self.total
    }

    /// How many children a principal may have at once.
    pub const fn children_per_principal(&self) -> usize {
        self.limits.children_per_principal
    }

    /// How many jobs of `principal` run at once from now on; without a number, as many as of anybody.
    pub fn limit(&mut self, principal: &P, jobs: Option<usize>) {
        match jobs {
            Some(jobs) if self.own_limits.get(principal) == Some(&jobs) => {}
            Some(jobs) => {
                self.own_limits.insert(principal.clone(), jobs);
            }
            None => {
                self.own_limits.remove(principal);
            }
        }
    }

    /// A job of `principal` wants to run; while it waits it holds so many bytes of memory.
    pub fn admit(&mut self, principal: &P, job: J, bytes: usize) -> Admission {
        if self.may_start(principal) {
            self.start(principal);
            return Admission::Start;
        }
        if let Err(no_room) = self.room_to_wait(principal, bytes) {
            return Admission::Full(no_room);
        }
        self.wait(principal, job, bytes, 0);
        Admission::Queued
    }

    /// [`AdmissionQueue::admit`] for a job that asks for more than a place.
    pub fn admit_on(
        &mut self,
        terms: &Terms,
        principal: &P,
        job: J,
        bytes: usize,
        now: Timestamp,
    ) -> Admission {
        if self.starts_at_once(terms, principal, now) {
            self.start_in(terms.line.as_ref(), principal, now);
            return Admission::Start;
        }
        if let Err(no_room) = self.room_to_wait(principal, bytes) {
            return Admission::Full(no_room);
        }
        self.wait_on(terms, principal, job, bytes, now);
        Admission::Queued
    }

    /// A job that was admitted once wants to run again: it starts or waits, whatever the bounds on waiting say now.
    pub fn admit_again(
        &mut self,
        terms: &Terms,
        principal: &P,
        job: J,
        bytes: usize,
        now: Timestamp,
    ) -> Admission {
        if self.starts_at_once(terms, principal, now) {
            self.start_in(terms.line.as_ref(), principal, now);
            return Admission::Start;
        }
        self.wait_on(terms, principal, job, bytes, now);
        Admission::Queued
    }

    /// A delegated child wants to run: it never waits, for its parent holds a place while it waits for it. `false` when
    /// the principal has as many children as it may.
    pub fn admit_child(&mut self, principal: &P) -> bool {
        let own = self.children.get(principal).copied().unwrap_or(0);
        let room = own < self.limits.children_per_principal;
        if room {
            self.admit_child_anyway(principal);
        }
        room
    }

    /// A child that was admitted once runs again, whatever the bounds say now.
    pub fn admit_child_anyway(&mut self, principal: &P) {
        *self.children.entry(principal.clone()).or_default() += 1;
    }

    /// A child of `principal` ended. Nobody waited for its place.
    pub fn release_child(&mut self, principal: &P) {
        count_out(&mut self.children, principal);
    }

    /// A waiting job will not run after all; `false` when it did not wait.
    pub fn withdraw(&mut self, terms: &Terms, principal: &P, job: &J) -> bool {
        let bytes = self
            .withdraw_held(terms, job)
            .or_else(|| self.withdraw_lined(terms, principal, job))
            .or_else(|| self.withdraw_waiting(principal, job));
        if let Some(bytes) = bytes {
            self.unload(principal, bytes);
        }
        bytes.is_some()
    }

    /// A running job of `principal` ended; `line` is where it stood. Gives the jobs that run now.
    pub fn release(
        &mut self,
        principal: &P,
        line: Option<&LineKey>,
        now: impl Fn() -> Timestamp,
    ) -> Vec<J> {
        self.total -= usize::from(count_out(&mut self.running, principal));
        if let Some(key) = line
            && let Some(line) = self.lines.get_mut(key)
        {
            line.ended();
            self.settle(key, now());
        }
        self.fill(now)
    }

    /// A job that was held may run. Gives the jobs that run now.
    pub fn let_go(&mut self, job: &J, now: Timestamp) -> Vec<J> {
        let found = self.held.iter().find(|(_, held)| held.job == *job);
        let Some(at) = found.map(|(at, _)| *at) else {
            return Vec::new();
        };
        if let Some(mut held) = self.held.remove(&at) {
            held.held = false;
            // Its time may still be to come.
            if at.0 > now && at.0 != Timestamp::MAX {
                self.held.insert(at, held);
            } else {
                self.stand(held, now);
            }
        }
        self.fill(|| now)
    }

    /// Time has passed. Gives the jobs that run now.
    pub fn advance(&mut self, now: Timestamp) -> Vec<J> {
        while let Some(first) = self.held.first_entry()
            && first.key().0 <= now
        {
            let held = first.remove();
            if held.held {
                // Its time is over, and something else is not.
                self.hold(Timestamp::MAX, held);
            } else {
                self.stand(held, now);
            }
        }
        while let Some((at, key)) = self.wakes.first().cloned()
            && at <= now
        {
            self.wakes.remove(&(at, key.clone()));
            if let Some(line) = self.lines.get_mut(&key) {
                line.wake = None;
            }
            self.settle(&key, now);
        }
        self.fill(|| now)
    }

    /// When something changes by itself next.
    pub fn next_at(&self) -> Option<Timestamp> {
        let held = self.held.first_key_value().map(|((at, _), _)| *at);
        let held = held.filter(|at| *at != Timestamp::MAX);
        let wake = self.wakes.first().map(|(at, _)| *at);
        [held, wake].into_iter().flatten().min()
    }

    /// Where a job stands in its line, from 1: how many go before it, and itself, if nobody else comes and every principal has
    /// room.
    pub fn position(&self, terms: &Terms, principal: &P, job: &J) -> Option<usize> {
        let line = self.lines.get(terms.line.as_ref()?)?;
        line.position(terms.priority, principal, job)
    }

    fn starts_at_once(&mut self, terms: &Terms, principal: &P, now: Timestamp) -> bool {
        if terms.held || terms.not_before.is_some_and(|at| at > now) {
            return false;
        }
        let Some(key) = &terms.line else {
            return self.may_start(principal);
        };
        if !self.has_room(principal) {
            return false;
        }
        let Some(rules) = self.queues.get(&key.queue) else {
            return false;
        };
        let has_slot = match self.lines.get_mut(key) {
            Some(line) => line.has_slot(rules, now),
            None => true,
        };
        // Whoever could begin goes before it; a rate's time may have come just now.
        let line = self.lines.get(key);
        has_slot && line.is_none_or(|line| line.next(|other| self.has_room(other)).is_none())
    }

    fn start_in(&mut self, line: Option<&LineKey>, principal: &P, now: Timestamp) {
        self.start(principal);
        let Some(key) = line else { return };
        if let Some(rules) = self.queues.get(&key.queue) {
            let line = self.lines.entry(key.clone()).or_insert_with(Line::new);
            line.began(rules, now);
            self.settle(key, now);
        }
    }

    fn wait_on(&mut self, terms: &Terms, principal: &P, job: J, bytes: usize, now: Timestamp) {
        self.load(principal, bytes);
        let held = Held {
            principal: principal.clone(),
            job,
            bytes,
            line: terms.line.clone(),
            priority: terms.priority,
            held: terms.held,
        };
        match terms.not_before.filter(|at| *at > now) {
            Some(at) => self.hold(at, held),
            None if terms.held => self.hold(Timestamp::MAX, held),
            None => self.stand(held, now),
        }
    }

    fn hold(&mut self, until: Timestamp, held: Held<P, J>) {
        self.held.insert((until, self.next_held), held);
        self.next_held += 1;
    }

    /// It waits for its turn from now on.
    fn stand(&mut self, held: Held<P, J>, now: Timestamp) {
        let Held {
            principal,
            job,
            bytes,
            line,
            priority,
            held: _,
        } = held;
        match line {
            Some(key) => {
                let line = self.lines.entry(key.clone()).or_insert_with(Line::new);
                line.push(priority, principal, job, bytes);
                self.settle(&key, now);
            }
            None => self.queue_up(&principal, job, bytes, priority),
        }
    }

    /// Brings up to date what is known of a line beside the line itself.
    fn settle(&mut self, key: &LineKey, now: Timestamp) {
        let Some(line) = self.lines.get_mut(key) else {
            return;
        };
        let unknown = QueueRules::default();
        let rules = self.queues.get(&key.queue).unwrap_or(&unknown);
        let is_ready = line.has_slot(rules, now) && line.waits();
        let wake = line.changes_at(rules).filter(|_| !is_ready);
        if line.wake != wake {
            if let Some(before) = std::mem::replace(&mut line.wake, wake) {
                self.wakes.remove(&(before, key.clone()));
            }
            self.wakes.extend(wake.map(|at| (at, key.clone())));
        }
        let is_idle = line.is_idle();
        if is_ready {
            self.ready.insert(key.clone());
        } else {
            self.ready.remove(key);
        }
        if is_idle {
            self.lines.remove(key);
        }
    }

    /// Starts whom there is room for.
    fn fill(&mut self, now: impl Fn() -> Timestamp) -> Vec<J> {
        let mut started = Vec::new();
        loop {
            let waiting = self.next_turn();
            let lined = self.next_lined();
            let is_lined = match (&lined, &waiting) {
                (Some(lined), Some(waiting)) => self.rank(&lined.2) <= self.rank(waiting),
                (lined, _) => lined.is_some(),
            };
            let next = if is_lined {
                lined.and_then(|(key, priority, principal)| {
                    let taken = self.lines.get_mut(&key)?.take(priority, &principal)?;
                    Some((taken, principal, Some(key)))
                })
            } else {
                waiting.and_then(|principal| {
                    let waiting = self.waiting.get_mut(&principal)?;
                    let first = waiting.pop_front()?;
                    if waiting.is_empty() {
                        self.waiting.remove(&principal);
                    }
                    Some(((first.job, first.bytes), principal, None))
                })
            };
            let Some(((job, bytes), principal, key)) = next else {
                return started;
            };
            self.unload(&principal, bytes);
            match key {
                Some(key) => self.start_in(Some(&key), &principal, now()),
                None => self.start(&principal),
            }
            self.turn = Some(principal);
            started.push(job);
        }
    }

    /// Whether a job needs not wait: there is a place, and none of its principal's waits already.
    fn may_start(&self, principal: &P) -> bool {
        !self.waiting.contains_key(principal) && self.has_room(principal)
    }

    fn room_to_wait(&self, principal: &P, bytes: usize) -> Result<(), NoRoom> {
        if let Some(own) = self.loads.get(principal) {
            let limits = &self.limits;
            if own.jobs >= limits.waiting_per_principal {
                return Err(NoRoom::Jobs(limits.waiting_per_principal));
            }
            if own.bytes.saturating_add(bytes) > limits.waiting_bytes_per_principal {
                return Err(NoRoom::Bytes(limits.waiting_bytes_per_principal));
            }
        }
        let limits = &self.limits;
        let too_much = self.queued.bytes.saturating_add(bytes) > limits.queued_bytes;
        if self.queued.jobs >= limits.queued || (self.queued.jobs > 0 && too_much) {
            return Err(NoRoom::Everybody);
        }
        Ok(())
    }

    fn wait(&mut self, principal: &P, job: J, bytes: usize, priority: i8) {
        self.load(principal, bytes);
        self.queue_up(principal, job, bytes, priority);
    }

    fn queue_up(&mut self, principal: &P, job: J, bytes: usize, priority: i8) {
        let own = self.waiting.entry(principal.clone()).or_default();
        let at = own.partition_point(|other| other.priority >= priority);
        let waiting = Waiting {
            job,
            bytes,
            priority,
        };
        own.insert(at, waiting);
    }

    fn load(&mut self, principal: &P, bytes: usize) {
        self.loads.entry(principal.clone()).or_default().add(bytes);
        self.queued.add(bytes);
    }

    fn unload(&mut self, principal: &P, bytes: usize) {
        self.queued.take(bytes);
        if let Some(load) = self.loads.get_mut(principal) {
            load.take(bytes);
            if load.jobs == 0 {
                self.loads.remove(principal);
            }
        }
    }

    fn withdraw_held(&mut self, terms: &Terms, job: &J) -> Option<usize> {
        if !terms.held && terms.not_before.is_none() {
            return None;
        }
        let found = self.held.iter().find(|(_, held)| held.job == *job);
        let at = found.map(|(at, _)| *at)?;
        self.held.remove(&at).map(|held| held.bytes)
    }

    fn withdraw_lined(&mut self, terms: &Terms, principal: &P, job: &J) -> Option<usize> {
        let key = terms.line.as_ref()?;
        let line = self.lines.get_mut(key)?;
        let bytes = line.remove(terms.priority, principal, job)?;
        if !line.waits() {
            self.ready.remove(key);
        }
        if line.is_idle() {
            self.lines.remove(key);
        }
        Some(bytes)
    }

    fn withdraw_waiting(&mut self, principal: &P, job: &J) -> Option<usize> {
        let own = self.waiting.get_mut(principal)?;
        let at = own.iter().position(|other| other.job == *job)?;
        let bytes = own.remove(at).map(|waiting| waiting.bytes);
        if own.is_empty() {
            self.waiting.remove(principal);
        }
        bytes
    }

    fn has_room(&self, principal: &P) -> bool {
        let own = self.running.get(principal).copied().unwrap_or(0);
        let most = self
            .own_limits
            .get(principal)
            .copied()
            .unwrap_or(self.limits.per_principal);
        self.total < self.limits.running && own < most
    }

    fn start(&mut self, principal: &P) {
        *self.running.entry(principal.clone()).or_default() += 1;
        self.total += 1;
    }

    /// When a principal's turn comes: those behind the last one served, then the others.
    fn rank<'p>(&self, principal: &'p P) -> (bool, &'p P) {
        (Some(principal) <= self.turn.as_ref(), principal)
    }

    /// The first principal after the last one served who waits for a place and may run.
    fn next_turn(&self) -> Option<P> {
        let after = self
            .waiting
            .keys()
            .filter(|principal| Some(*principal) > self.turn.as_ref());
        let before = self
            .waiting
            .keys()
            .filter(|principal| Some(*principal) <= self.turn.as_ref());
        after
            .chain(before)
            .find(|principal| self.has_room(principal))
            .cloned()
    }

    /// Of those who are next in a line with a slot, the one whose principal's turn comes first.
    fn next_lined(&self) -> Option<(LineKey, i8, P)> {
        let next = self.ready.iter().filter_map(|key| {
            let line = self.lines.get(key)?;
            let (priority, principal) = line.next(|principal| self.has_room(principal))?;
            Some((key, priority, principal))
        });
        let first = next.min_by(|one, other| self.rank(&one.2).cmp(&self.rank(&other.2)));
        first.map(|(key, priority, principal)| (key.clone(), priority, principal))
    }
}

/// One less; `false` when there was none.
fn count_out<P: Ord>(counts: &mut BTreeMap<P, usize>, principal: &P) -> bool {
    let Some(count) = counts.get_mut(principal) else {
        return false;
    };
    *count -= 1;
    if *count == 0 {
        counts.remove(principal);
    }
    true
}
