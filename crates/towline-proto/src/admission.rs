//! Who runs now and who waits (§7.1).

use std::collections::{BTreeMap, VecDeque};

/// The bounds on running and waiting jobs [ARCP 7.1-5].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// Running at once for one principal.
    pub per_principal: usize,
    /// Running at once in the runtime.
    pub running: usize,
    /// Waiting in the runtime.
    pub queued: usize,
}

impl Default for AdmissionLimits {
    /// 100 a principal, 1000 in all, 10 000 waiting.
    fn default() -> Self {
        Self {
            per_principal: 100,
            running: 1000,
            queued: 10_000,
        }
    }
}

/// What becomes of a job that wants to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It runs now.
    Start,
    /// It waits; [`AdmissionQueue::release`] will name it.
    Queued,
    /// There is no room even to wait.
    Full,
}

/// A fair queue: principals take turns, each one's jobs in the order they came. `P` names principals, `J` jobs.
///
/// Every job that was told `Start`, or was named by `release`, is to be given back with `release` when it ends.
#[derive(Debug)]
pub struct AdmissionQueue<P: Ord + Clone, J> {
    limits: AdmissionLimits,
    /// Bounds of principals that have one of their own.
    own_limits: BTreeMap<P, usize>,
    running: BTreeMap<P, usize>,
    total: usize,
    waiting: BTreeMap<P, VecDeque<J>>,
    queued: usize,
    /// Whose turn was last.
    turn: Option<P>,
}

impl<P: Ord + Clone, J: PartialEq> AdmissionQueue<P, J> {
    /// An empty queue.
    pub const fn new(limits: AdmissionLimits) -> Self {
        Self {
            limits,
            own_limits: BTreeMap::new(),
            running: BTreeMap::new(),
            total: 0,
            waiting: BTreeMap::new(),
            queued: 0,
            turn: None,
        }
    }

    /// How many wait.
    pub const fn queued(&self) -> usize {
        self.queued
    }

    /// How many run.
    pub const fn running(&self) -> usize {
        self.total
    }

    /// Whether another job could be taken at all.
    pub const fn is_full(&self) -> bool {
        self.queued >= self.limits.queued
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

    /// A job of `principal` wants to run.
    pub fn admit(&mut self, principal: &P, job: J) -> Admission {
        let behind_others = self.waiting.contains_key(principal);
        if !behind_others && self.has_room(principal) {
            self.start(principal);
            return Admission::Start;
        }
        if self.is_full() {
            return Admission::Full;
        }
        self.waiting
            .entry(principal.clone())
            .or_default()
            .push_back(job);
        self.queued += 1;
        Admission::Queued
    }

    /// A job runs whatever the bounds say: a delegated child, whose parent holds a place while it waits for it.
    pub fn admit_beyond_limits(&mut self, principal: &P) {
        self.start(principal);
    }

    /// A waiting job will not run after all; `false` when it did not wait.
    pub fn withdraw(&mut self, principal: &P, job: &J) -> bool {
        let Some(queue) = self.waiting.get_mut(principal) else {
            return false;
        };
        let Some(at) = queue.iter().position(|waiting| waiting == job) else {
            return false;
        };
        queue.remove(at);
        self.queued -= 1;
        if queue.is_empty() {
            self.waiting.remove(principal);
        }
        true
    }

    /// A running job of `principal` ended. Gives the jobs that run now.
    pub fn release(&mut self, principal: &P) -> Vec<J> {
        if let Some(count) = self.running.get_mut(principal) {
            *count -= 1;
            self.total -= 1;
            if *count == 0 {
                self.running.remove(principal);
            }
        }
        let mut started = Vec::new();
        while let Some(principal) = self.next_turn() {
            let Some(queue) = self.waiting.get_mut(&principal) else {
                break;
            };
            let Some(job) = queue.pop_front() else { break };
            if queue.is_empty() {
                self.waiting.remove(&principal);
            }
            self.queued -= 1;
            self.start(&principal);
            self.turn = Some(principal);
            started.push(job);
        }
        started
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

    /// The first principal after the last one served who waits and may run.
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(
        per_principal: usize,
        running: usize,
        queued: usize,
    ) -> AdmissionQueue<&'static str, u32> {
        AdmissionQueue::new(AdmissionLimits {
            per_principal,
            running,
            queued,
        })
    }

    /// [ARCP 7.1-5] over the limit jobs wait, in order, and beyond the bound they are refused.
    #[test]
    fn limits_queue_and_then_refuse() {
        let mut queue = queue(1, 10, 2);
        assert_eq!(queue.admit(&"a", 1), Admission::Start);
        assert_eq!(queue.admit(&"a", 2), Admission::Queued);
        assert_eq!(queue.admit(&"a", 3), Admission::Queued);
        assert_eq!(queue.admit(&"a", 4), Admission::Full);
        assert_eq!(queue.release(&"a"), [2]);
        assert_eq!(queue.release(&"a"), [3]);
        assert_eq!(queue.release(&"a"), [0; 0]);
        assert_eq!((queue.running(), queue.queued()), (0, 0));
    }

    /// [ARCP 20-1] a principal with a bound of its own waits over that one, and over everybody's once it has none.
    #[test]
    fn a_principal_may_have_a_bound_of_its_own() {
        let mut queue = queue(2, 10, 10);
        queue.limit(&"a", Some(1));
        assert_eq!(queue.admit(&"a", 1), Admission::Start);
        assert_eq!(queue.admit(&"a", 2), Admission::Queued);
        assert_eq!(queue.admit(&"b", 3), Admission::Start);
        assert_eq!(queue.admit(&"b", 4), Admission::Start);
        queue.limit(&"a", None);
        assert_eq!(queue.release(&"b"), [2]);
    }

    /// [ARCP 7.1-5] principals take turns: one that floods the queue does not keep the others out.
    #[test]
    fn the_queue_is_fair() {
        let mut queue = queue(10, 1, 100);
        queue.admit(&"flood", 0);
        for job in 1..=3 {
            queue.admit(&"flood", job);
        }
        queue.admit(&"quiet", 10);
        assert_eq!(queue.release(&"flood"), [1]);
        assert_eq!(queue.release(&"flood"), [10]);
        assert_eq!(queue.release(&"quiet"), [2]);
    }

    /// [ARCP 7.4-4] a waiting job that is withdrawn never starts.
    #[test]
    fn a_withdrawn_job_is_forgotten() {
        let mut queue = queue(1, 1, 10);
        queue.admit(&"a", 1);
        queue.admit(&"a", 2);
        assert!(queue.withdraw(&"a", &2));
        assert!(!queue.withdraw(&"a", &2));
        assert_eq!(queue.release(&"a"), [0; 0]);
    }

    /// [ARCP 7.1-5] delegated children never queue, so parents that fill every place cannot wait for each other forever.
    #[test]
    fn children_run_beyond_the_limits() {
        let mut queue = queue(1, 1, 10);
        queue.admit(&"a", 1);
        queue.admit_beyond_limits(&"a");
        assert_eq!(queue.running(), 2);
        queue.admit(&"a", 3);
        assert_eq!(queue.release(&"a"), [0; 0], "still one running");
        assert_eq!(queue.release(&"a"), [3]);
    }
}
