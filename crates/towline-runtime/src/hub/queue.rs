//! What waits for the next commit.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Command, JobEntry};

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
        self.push(Work::Job(job));
    }

    pub(crate) fn push_command(&self, command: Box<dyn Command>) {
        self.push(Work::Command(command));
    }

    fn push(&self, work: Work) {
        let first = {
            let mut waiting = self.waiting.lock();
            waiting.push(work);
            waiting.len() == 1
        };
        if first {
            self.wake.notify_one();
        }
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
