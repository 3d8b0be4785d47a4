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
    /// Delegated children running at once for one principal. They hold none of the places above, since their parents wait
    /// for them; one more is refused [ARCP 14-6].
    pub children_per_principal: usize,
    /// Waiting for one principal [ARCP 14-6].
    pub waiting_per_principal: usize,
    /// Bytes of what waits for one principal [ARCP 14-6]. One job may always wait, however large.
    pub waiting_bytes_per_principal: usize,
}

impl Default for AdmissionLimits {
    /// 100 a principal, 1000 in all, 10 000 waiting; for one principal 1000 children, and 1000 jobs of 256 MiB waiting.
    fn default() -> Self {
        Self {
            per_principal: 100,
            running: 1000,
            queued: 10_000,
            children_per_principal: 1000,
            waiting_per_principal: 1000,
            waiting_bytes_per_principal: 256 * 1024 * 1024,
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
    Full(NoRoom),
}

/// Whose room to wait is used up. What it says is told to the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// Everybody's.
    #[error("the runtime's queue of jobs is full; try again later")]
    Everybody,
    /// The principal's own: it has so many jobs waiting.
    #[error(
        "{0} jobs of this principal wait, as many as may; try again when some of them have ended"
    )]
    Jobs(usize),
    /// The principal's own: its waiting jobs may have so many bytes.
    #[error(
        "the waiting jobs of this principal may have {0} bytes of inputs and leases, and this one would be more; try again when some of them have ended"
    )]
    Bytes(usize),
}

/// A fair queue: principals take turns, each one's jobs in the order they came. `P` names principals, `J` jobs.
///
/// Every job that was told `Start`, or was named by `release`, is to be given back with `release` when it ends; a child
/// that was admitted, with `release_child`.
#[derive(Debug)]
pub struct AdmissionQueue<P: Ord + Clone, J> {
    limits: AdmissionLimits,
    /// Bounds of principals that have one of their own.
    own_limits: BTreeMap<P, usize>,
    running: BTreeMap<P, usize>,
    children: BTreeMap<P, usize>,
    total: usize,
    waiting: BTreeMap<P, Waiting<J>>,
    queued: usize,
    /// Whose turn was last.
    turn: Option<P>,
}

/// What waits for one principal, in order, each with its bytes.
#[derive(Debug)]
struct Waiting<J> {
    jobs: VecDeque<(J, usize)>,
    bytes: usize,
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
            queued: 0,
            turn: None,
        }
    }

    /// How many wait.
    pub const fn queued(&self) -> usize {
        self.queued
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
        self.wait(principal, job, bytes);
        Admission::Queued
    }

    /// A job that was admitted once wants to run again: it starts or waits, whatever the bounds on waiting say now.
    pub fn admit_again(&mut self, principal: &P, job: J, bytes: usize) -> Admission {
        if self.may_start(principal) {
            self.start(principal);
            return Admission::Start;
        }
        self.wait(principal, job, bytes);
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
    pub fn withdraw(&mut self, principal: &P, job: &J) -> bool {
        let Some(waiting) = self.waiting.get_mut(principal) else {
            return false;
        };
        let Some(at) = waiting.jobs.iter().position(|(other, _)| other == job) else {
            return false;
        };
        if let Some((_, bytes)) = waiting.jobs.remove(at) {
            waiting.bytes -= bytes;
        }
        self.queued -= 1;
        if waiting.jobs.is_empty() {
            self.waiting.remove(principal);
        }
        true
    }

    /// A running job of `principal` ended. Gives the jobs that run now.
    pub fn release(&mut self, principal: &P) -> Vec<J> {
        self.total -= usize::from(count_out(&mut self.running, principal));
        let mut started = Vec::new();
        while let Some(principal) = self.next_turn() {
            let Some(waiting) = self.waiting.get_mut(&principal) else {
                break;
            };
            let Some((job, bytes)) = waiting.jobs.pop_front() else {
                break;
            };
            waiting.bytes -= bytes;
            if waiting.jobs.is_empty() {
                self.waiting.remove(&principal);
            }
            self.queued -= 1;
            self.start(&principal);
            self.turn = Some(principal);
            started.push(job);
        }
        started
    }

    /// Whether a job needs not wait: there is a place, and none of its principal's waits already.
    fn may_start(&self, principal: &P) -> bool {
        !self.waiting.contains_key(principal) && self.has_room(principal)
    }

    fn room_to_wait(&self, principal: &P, bytes: usize) -> Result<(), NoRoom> {
        if let Some(own) = self.waiting.get(principal) {
            let limits = &self.limits;
            if own.jobs.len() >= limits.waiting_per_principal {
                return Err(NoRoom::Jobs(limits.waiting_per_principal));
            }
            if own.bytes.saturating_add(bytes) > limits.waiting_bytes_per_principal {
                return Err(NoRoom::Bytes(limits.waiting_bytes_per_principal));
            }
        }
        if self.queued >= self.limits.queued {
            return Err(NoRoom::Everybody);
        }
        Ok(())
    }

    fn wait(&mut self, principal: &P, job: J, bytes: usize) {
        let new = || Waiting {
            jobs: VecDeque::new(),
            bytes: 0,
        };
        let waiting = self.waiting.entry(principal.clone()).or_insert_with(new);
        waiting.jobs.push_back((job, bytes));
        waiting.bytes += bytes;
        self.queued += 1;
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
            children_per_principal: 2,
            waiting_per_principal: 3,
            waiting_bytes_per_principal: 10,
        })
    }

    /// [ARCP 7.1-5] over the limit jobs wait, in order, and beyond the bound they are refused.
    #[test]
    fn limits_queue_and_then_refuse() {
        let mut queue = queue(1, 10, 2);
        assert_eq!(queue.admit(&"a", 1, 1), Admission::Start);
        assert_eq!(queue.admit(&"a", 2, 1), Admission::Queued);
        assert_eq!(queue.admit(&"a", 3, 1), Admission::Queued);
        assert_eq!(queue.admit(&"a", 4, 1), Admission::Full(NoRoom::Everybody));
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
        assert_eq!(queue.admit(&"a", 1, 1), Admission::Start);
        assert_eq!(queue.admit(&"a", 2, 1), Admission::Queued);
        assert_eq!(queue.admit(&"b", 3, 1), Admission::Start);
        assert_eq!(queue.admit(&"b", 4, 1), Admission::Start);
        queue.limit(&"a", None);
        assert_eq!(queue.release(&"b"), [2]);
    }

    /// [ARCP 7.1-5] principals take turns: one that floods the queue does not keep the others out.
    #[test]
    fn the_queue_is_fair() {
        let mut queue = queue(10, 1, 100);
        queue.admit(&"flood", 0, 1);
        for job in 1..=3 {
            queue.admit(&"flood", job, 1);
        }
        queue.admit(&"quiet", 10, 1);
        assert_eq!(queue.release(&"flood"), [1]);
        assert_eq!(queue.release(&"flood"), [10]);
        assert_eq!(queue.release(&"quiet"), [2]);
    }

    /// [ARCP 7.4-4] a waiting job that is withdrawn never starts.
    #[test]
    fn a_withdrawn_job_is_forgotten() {
        let mut queue = queue(1, 1, 10);
        queue.admit(&"a", 1, 1);
        queue.admit(&"a", 2, 1);
        assert!(queue.withdraw(&"a", &2));
        assert!(!queue.withdraw(&"a", &2));
        assert_eq!(queue.release(&"a"), [0; 0]);
    }

    /// [ARCP 7.1-5] delegated children never queue, so parents that fill every place cannot wait for each other forever.
    /// [ARCP 14-6] They have a quota of their own, and take nobody's place.
    #[test]
    fn children_run_beside_the_limits() {
        let mut queue = queue(1, 2, 10);
        assert_eq!(queue.admit(&"a", 1, 1), Admission::Start);
        assert!(queue.admit_child(&"a") && queue.admit_child(&"a"));
        assert!(!queue.admit_child(&"a"), "as many as it may");
        assert!(queue.admit_child(&"b"), "another's quota is its own");
        assert_eq!(
            queue.admit(&"b", 2, 1),
            Admission::Start,
            "no place is taken"
        );
        assert_eq!(queue.running(), 2);
        assert_eq!(queue.admit(&"a", 3, 1), Admission::Queued);
        queue.release_child(&"a");
        assert!(queue.admit_child(&"a"), "given back");
        assert_eq!(queue.release(&"a"), [3], "a root's place is a root's");
    }

    /// [ARCP 14-6] a principal waits within bounds of its own, in number and in bytes; others still have room.
    #[test]
    fn waiting_is_bounded_for_each_principal() {
        let mut queue = queue(1, 1, 100);
        queue.admit(&"a", 0, 1);
        assert_eq!(queue.admit(&"a", 1, 6), Admission::Queued);
        let full = Admission::Full(NoRoom::Bytes(10));
        assert_eq!(queue.admit(&"a", 2, 5), full);
        assert_eq!(queue.admit(&"a", 2, usize::MAX), full);
        assert_eq!(queue.admit(&"a", 3, 2), Admission::Queued);
        assert_eq!(queue.admit(&"a", 4, 2), Admission::Queued);
        assert_eq!(queue.admit(&"a", 5, 0), Admission::Full(NoRoom::Jobs(3)));
        assert_eq!(queue.admit_again(&"a", 6, 99), Admission::Queued);
        assert_eq!(queue.admit(&"b", 7, 99), Admission::Queued, "one may wait");
        assert!(queue.withdraw(&"a", &6) && queue.withdraw(&"a", &1));
        assert_eq!(
            queue.admit(&"a", 8, 6),
            Admission::Queued,
            "bytes came back"
        );
    }
}
