//! What waits for the next commit.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::{runtime::Handle, sync::Notify};

use super::tx::Command;
use crate::job::JobEntry;

/// Work for the committer, in order. Bounded by its sources: a job is in it at most once, commands are bounded by the
/// requests each session may have in flight.
#[derive(Default)]
pub(crate) struct CommitQueue {
    waiting: Mutex<Vec<Work>>,
    wake: Notify,
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
            waiting.push(work);
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

    /// Everything that waits; waits itself while that is nothing. For one task only.
    pub(crate) async fn take(&self) -> Vec<Work> {
        loop {
            let work = std::mem::take(&mut *self.waiting.lock());
            if !work.is_empty() {
                return work;
            }
            self.wake.notified().await;
        }
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
