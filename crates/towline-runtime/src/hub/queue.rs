//! What waits for the next commit.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicIsize, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::{Notify, futures::Notified},
};

use super::tx::Command;
use crate::job::JobEntry;

/// Work for the committer, in order. Bounded by its sources: a job is in it at most once, commands are bounded by the
/// requests each session may have in flight.
#[derive(Default)]
pub(crate) struct CommitQueue {
    waiting: Mutex<VecDeque<Work>>,
    wake: Notify,
    pending: Pending,
}

/// How many bytes of all jobs together wait for their commit, as far as jobs have told: each tells of what it has when that
/// has grown by a good deal, so that an event costs nothing here.
#[derive(Default)]
pub(crate) struct Pending {
    /// A job's commit may come before the word of what it had: then this is below nothing for a moment.
    bytes: AtomicIsize,
    less: Notify,
}

impl Pending {
    /// A job has so many more.
    pub(crate) fn add(&self, bytes: usize) {
        if bytes > 0 {
            self.bytes.fetch_add(bytes.cast_signed(), Ordering::Relaxed);
        }
    }

    /// A job has so many less.
    pub(super) fn remove(&self, bytes: usize) {
        if bytes > 0 {
            self.bytes.fetch_sub(bytes.cast_signed(), Ordering::Relaxed);
            self.less.notify_waiters();
        }
    }

    /// How many wait.
    pub(crate) fn bytes(&self) -> usize {
        usize::try_from(self.bytes.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Told when it has become less. To be made before [`Pending::bytes`] is looked at, so that nothing is missed.
    pub(crate) fn less(&self) -> Notified<'_> {
        self.less.notified()
    }
}

/// One piece of work.
pub(crate) enum Work {
    /// A job has records, or a state, to commit.
    Job(Arc<JobEntry>),
    /// Something else decides what to commit.
    Command(Box<dyn Command>),
}

impl CommitQueue {
    pub(crate) fn push_job(&self, job: Arc<JobEntry>) {
        let _woken = self.push(Work::Job(job));
    }

    pub(crate) fn push_command(&self, command: Box<dyn Command>) {
        let _woken = self.push(Work::Command(command));
    }

    /// [`CommitQueue::push_job`] from an agent, which may block its thread at once after this.
    pub(crate) fn push_job_of_agent(&self, job: Arc<JobEntry>) {
        if self.push(Work::Job(job)) {
            free_from_this_thread();
        }
    }

    /// Whether the committer had to be woken.
    fn push(&self, work: Work) -> bool {
        let first = {
            let mut waiting = self.waiting.lock();
            waiting.push_back(work);
            waiting.len() == 1
        };
        if first {
            self.wake.notify_one();
        }
        first
    }

    /// How much waits.
    pub(crate) fn len(&self) -> usize {
        self.waiting.lock().len()
    }

    /// What waits, in order, until the jobs in it have more than so many bytes of records (one piece of work at least); waits
    /// itself while that is nothing. For one task only.
    pub(crate) async fn take(&self, max_bytes: usize) -> Vec<Work> {
        loop {
            let work = std::mem::take(&mut *self.waiting.lock());
            if !work.is_empty() {
                return self.keep_to(work, max_bytes);
            }
            self.wake.notified().await;
        }
    }

    /// Puts back what goes beyond a bound. Jobs are asked outside the queue's lock: whoever queues one may hold the job's.
    fn keep_to(&self, mut work: VecDeque<Work>, max_bytes: usize) -> Vec<Work> {
        let (mut bytes, mut fits) = (0, 0);
        for item in &work {
            if fits > 0 && bytes >= max_bytes {
                break;
            }
            if let Work::Job(job) = item {
                bytes += job.lock().log.bytes();
            }
            fits += 1;
        }
        let mut rest = work.split_off(fits);
        if !rest.is_empty() {
            let mut waiting = self.waiting.lock();
            rest.append(&mut waiting);
            *waiting = rest;
        }
        work.into()
    }

    /// What all jobs together have waiting.
    pub(crate) fn pending(&self) -> &Pending {
        &self.pending
    }
}

/// Lets another thread take the committer, which this one has just woken, should an agent block this one next
/// [ARCP 7.3-4]. Tokio keeps the task that a thread woke last in a slot from which no other thread takes, and moves it into
/// the line that all of them take from when the thread wakes another. So this wakes another, which has nothing to do.
fn free_from_this_thread() {
    if let Ok(runtime) = Handle::try_current() {
        drop(runtime.spawn(std::future::ready(())));
    }
}
