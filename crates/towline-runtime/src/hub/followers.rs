//! Who follows the list of jobs, and what has changed since they were told.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::Notify;
use towline_store::{JobQuery, JobRow};
use towline_wire::{JobId, JobStatus, SessionId};

/// Sessions that follow the list, each once.
#[derive(Default)]
pub(crate) struct Followers {
    /// How many there are: where there are none, a commit looks at nothing else.
    count: AtomicUsize,
    all: Mutex<HashMap<SessionId, Arc<Follower>>>,
}

/// A list that is followed.
pub(crate) struct Follower {
    query: JobQuery,
    changed: Mutex<HashSet<JobId>>,
    wake: Notify,
    replaced: AtomicBool,
}

impl Followers {
    /// A session follows; what it followed before it does no more.
    pub(crate) fn add(&self, session: &SessionId, follower: Follower) -> Arc<Follower> {
        let follower = Arc::new(follower);
        let mut all = self.all.lock();
        if let Some(before) = all.insert(session.clone(), Arc::clone(&follower)) {
            before.replaced.store(true, Ordering::Relaxed);
            before.wake.notify_one();
        }
        self.count.store(all.len(), Ordering::Release);
        follower
    }

    /// It follows no more.
    pub(crate) fn remove(&self, follower: &Arc<Follower>) {
        let mut all = self.all.lock();
        all.retain(|_, known| !Arc::ptr_eq(known, follower));
        self.count.store(all.len(), Ordering::Release);
    }

    /// Something about a job has become durable.
    pub(crate) fn changed(&self, job: &JobRow) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        for follower in self.all.lock().values() {
            // The status is no part of what is followed, so any will do.
            if follower.query.admits(job, JobStatus::Running) {
                follower.note(&job.id);
            }
        }
    }
}

impl Follower {
    pub(crate) fn new(query: JobQuery) -> Self {
        Self {
            query,
            changed: Mutex::default(),
            wake: Notify::new(),
            replaced: AtomicBool::new(false),
        }
    }

    /// Bounded: when so many jobs have changed that nobody was told of, others are passed over until some are told.
    fn note(&self, job: &JobId) {
        let mut changed = self.changed.lock();
        if changed.len() < MOST_CHANGED && changed.insert(job.clone()) && changed.len() == 1 {
            self.wake.notify_one();
        }
    }

    /// Waits until something has changed. Cancel safe.
    pub(crate) async fn changed(&self) {
        while self.changed.lock().is_empty() && !self.is_replaced() {
            self.wake.notified().await;
        }
    }

    /// Some of the jobs that have changed, in no order that means anything.
    pub(crate) fn take(&self, most: usize) -> Vec<JobId> {
        let mut changed = self.changed.lock();
        let mut taken: Vec<JobId> = changed.iter().take(most).cloned().collect();
        for job in &taken {
            changed.remove(job);
        }
        taken.sort_unstable();
        taken
    }

    /// Whether the session follows something else now.
    pub(crate) fn is_replaced(&self) -> bool {
        self.replaced.load(Ordering::Relaxed)
    }
}

/// How many changed jobs are kept for one that follows.
const MOST_CHANGED: usize = 16_384;
