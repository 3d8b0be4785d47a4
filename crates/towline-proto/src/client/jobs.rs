//! Which jobs a session sees, and as what.

use std::collections::{HashMap, HashSet, VecDeque};

use towline_wire::{JobId, TraceId};

use super::numbering::Origin;

/// Names a job of a session while it lives; reused after [`super::Effect::Ended`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobKey(u32);

impl JobKey {
    /// A small number, fit for an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The jobs a session sees: its own from `job.accepted` to the terminal, watched ones from the subscribe on.
///
/// Jobs that are over, or no longer watched, are remembered for a while, so that what still comes of them is not taken
/// for a new job.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    by_id: HashMap<JobId, JobKey>,
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    past: Past,
    latest: Option<(JobId, JobKey)>,
}

#[derive(Debug)]
struct Slot {
    id: JobId,
    trace: Option<TraceId>,
    own: bool,
    subscriptions: u32,
}

impl Jobs {
    /// The key of a job, if it lives here. Events come in runs of one job, so the last answer is tried first.
    pub(super) fn find(&mut self, id: &JobId) -> Option<JobKey> {
        if let Some((_, key)) = self.latest.as_ref().filter(|(latest, _)| latest == id) {
            return Some(*key);
        }
        let key = *self.by_id.get(id)?;
        self.latest = Some((id.clone(), key));
        Some(key)
    }

    /// The job of an event that names none: the one with its trace, or the only one there is.
    pub(super) fn guess(&self, trace: Option<TraceId>) -> Option<JobKey> {
        let mut live = self.slots.iter().flatten();
        let by_trace = trace.and_then(|trace| live.clone().find(|slot| slot.trace == Some(trace)));
        let found = by_trace.or_else(|| live.next().filter(|_| self.by_id.len() == 1))?;
        self.by_id.get(&found.id).copied()
    }

    /// Whether the job was seen here and is over, or no longer watched.
    pub(super) fn is_past(&self, id: &JobId) -> bool {
        self.past.has(id)
    }

    /// Opens a job that is the session's own.
    pub(super) fn own(&mut self, id: &JobId, trace: Option<TraceId>) -> JobKey {
        let key = self.open(id);
        if let Some(slot) = self.slot(key) {
            slot.own = true;
            slot.trace = trace.or(slot.trace);
        }
        key
    }

    /// Opens a job that is watched, once more if it already is.
    pub(super) fn watch(&mut self, id: &JobId) -> JobKey {
        let key = self.open(id);
        if let Some(slot) = self.slot(key) {
            slot.subscriptions += 1;
        }
        key
    }

    /// Takes one subscription back. Says whether it was the last.
    pub(super) fn unwatch(&mut self, id: &JobId) -> bool {
        let Some(key) = self.find(id) else {
            return false;
        };
        let Some(slot) = self.slot(key) else {
            return false;
        };
        let was_watched = slot.subscriptions > 0;
        slot.subscriptions = slot.subscriptions.saturating_sub(1);
        let (last, own) = (was_watched && slot.subscriptions == 0, slot.own);
        if last && !own {
            self.close(key);
        }
        last
    }

    pub(super) fn origin(&self, key: JobKey) -> Origin {
        match self.slots.get(key.index()).and_then(Option::as_ref) {
            Some(Slot {
                own: true,
                subscriptions: 1..,
                ..
            }) => Origin::OwnAndWatched,
            Some(Slot {
                own: false,
                subscriptions: 1..,
                ..
            }) => Origin::Watched,
            _ => Origin::Own,
        }
    }

    /// The session's own jobs that live.
    pub(super) fn own_jobs(&self) -> Vec<(JobKey, JobId)> {
        let own = self.slots.iter().enumerate().filter_map(|(at, slot)| {
            let slot = slot.as_ref().filter(|slot| slot.own)?;
            Some((JobKey(u32::try_from(at).ok()?), slot.id.clone()))
        });
        own.collect()
    }

    pub(super) fn id(&self, key: JobKey) -> Option<&JobId> {
        self.slots.get(key.index())?.as_ref().map(|slot| &slot.id)
    }

    /// Lets a job go.
    pub(super) fn close(&mut self, key: JobKey) {
        let Some(slot) = self.slots.get_mut(key.index()).and_then(Option::take) else {
            return;
        };
        self.by_id.remove(&slot.id);
        self.latest = None;
        self.free.push(key.0);
        self.past.remember(slot.id);
    }

    /// The jobs that live, in the order of their keys.
    pub(super) fn live(&self) -> impl Iterator<Item = &JobId> {
        self.slots.iter().flatten().map(|slot| &slot.id)
    }

    fn open(&mut self, id: &JobId) -> JobKey {
        if let Some(key) = self.find(id) {
            return key;
        }
        let slot = Slot {
            id: id.clone(),
            trace: None,
            own: false,
            subscriptions: 0,
        };
        let key = match self.free.pop() {
            Some(index) => {
                self.slots[index as usize] = Some(slot);
                JobKey(index)
            }
            None => {
                self.slots.push(Some(slot));
                // A process runs out of memory long before it runs out of keys.
                JobKey(u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX))
            }
        };
        self.by_id.insert(id.clone(), key);
        self.past.forget(id);
        key
    }

    fn slot(&mut self, key: JobKey) -> Option<&mut Slot> {
        self.slots.get_mut(key.index())?.as_mut()
    }
}

/// The last [`PAST_JOBS`] jobs that were let go.
#[derive(Debug, Default)]
struct Past {
    order: VecDeque<JobId>,
    ids: HashSet<JobId>,
}

impl Past {
    fn has(&self, id: &JobId) -> bool {
        self.ids.contains(id)
    }

    fn remember(&mut self, id: JobId) {
        if self.ids.insert(id.clone()) {
            self.order.push_back(id);
        }
        if self.order.len() > PAST_JOBS
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }

    fn forget(&mut self, id: &JobId) {
        // Nearly always false, and then the queue is not searched.
        if self.ids.remove(id) {
            self.order.retain(|past| past != id);
        }
    }
}

const PAST_JOBS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> JobId {
        JobId::parse(text).unwrap()
    }

    #[test]
    fn keys_are_reused_and_past_jobs_remembered() {
        let mut jobs = Jobs::default();
        let first = jobs.own(&id("a"), None);
        jobs.close(first);
        assert!(jobs.is_past(&id("a")) && jobs.find(&id("a")).is_none());
        assert_eq!(jobs.own(&id("b"), None), first);
        assert_eq!(jobs.watch(&id("b")), first);
        assert_eq!(jobs.origin(first), Origin::OwnAndWatched);
        assert!(jobs.unwatch(&id("b")), "the last subscription");
        assert_eq!(jobs.find(&id("b")), Some(first), "still its own");
    }

    #[test]
    fn the_past_is_bounded() {
        let mut jobs = Jobs::default();
        for n in 0..=PAST_JOBS {
            let key = jobs.own(&id(&n.to_string()), None);
            jobs.close(key);
        }
        assert!(!jobs.is_past(&id("0")) && jobs.is_past(&id("1")));
        assert_eq!(jobs.slots.len(), 1);
    }

    #[test]
    fn events_without_a_job_go_to_its_trace_or_the_only_job() {
        let trace = |text: &str| TraceId::parse(&text.repeat(16)).unwrap();
        let mut jobs = Jobs::default();
        let a = jobs.own(&id("a"), Some(trace("aa")));
        assert_eq!(jobs.guess(None), Some(a));
        let b = jobs.own(&id("b"), Some(trace("bb")));
        assert_eq!(jobs.guess(None), None);
        assert_eq!(jobs.guess(Some(trace("bb"))), Some(b));
    }
}
