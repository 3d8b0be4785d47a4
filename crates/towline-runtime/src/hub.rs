//! Where everything becomes durable, and where one event is given to several sessions.
//!
//! [`Services`] are what a runtime was built from and never change. [`Books`] say which jobs and sessions are in memory.
//! The [`CommitQueue`] leads to the committer, the one task that writes.

mod away;
mod books;
mod callers;
pub(crate) mod committer;
mod days;
mod followers;
mod footing;
mod isolate;
mod keys;
mod logs;
mod lookup;
mod queue;
mod refusals;
mod registry;
mod schedules;
mod services;
mod sessions;
mod tx;
mod unwatch;
mod webhooks;
mod witness;
mod write;

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use tokio_util::{sync::CancellationToken, task::TaskTracker};
use towline_wire::Timestamp;

use crate::job::JobEntry;
use away::Away;
use queue::CommitQueue;

pub(crate) use books::{Books, Queued, hash_token};
pub use callers::LongRequest;
pub(crate) use callers::Virtual;
pub(crate) use days::{Day, DayShare, Known, amounts, beginning, day_of};
pub(crate) use followers::Follower;
pub(crate) use footing::{Footing, PACE};
pub(crate) use keys::KeyGuard;
pub(crate) use lookup::JobView;
pub use registry::RegisterError;
pub(crate) use registry::{AgentEntry, Registry};
pub(crate) use services::Services;
pub(crate) use sessions::{EndSession, SaveSession};
pub(crate) use tx::{Command, Tx};
pub(crate) use unwatch::StopWatching;

/// Everything the parts of a runtime share.
pub(crate) struct Hub {
    pub(crate) services: Services,
    pub(crate) books: Books,
    pub(crate) commits: CommitQueue,
    pub(crate) scope: Scope,
    pub(crate) away: Away,
    /// Of a runtime that shares its store with others.
    pub(crate) footing: Option<Footing>,
}

/// How long things live.
#[derive(Default)]
pub(crate) struct Scope {
    /// Every task of the runtime but the agents' own.
    pub(crate) tasks: TaskTracker,
    /// No new sessions, no new jobs.
    pub(crate) draining: CancellationToken,
    /// Everything ends.
    pub(crate) stopping: CancellationToken,
    /// When the store last failed, in microseconds since 1970; 0 once it works again.
    pub(crate) failed_at: AtomicI64,
}

impl Hub {
    pub(crate) fn new(services: Services) -> Arc<Self> {
        let books = Books::new(&services.options);
        let footing = services.store.shared().map(|_| Footing::new());
        Arc::new(Self {
            services,
            books,
            commits: CommitQueue::default(),
            scope: Scope::default(),
            away: Away::default(),
            footing,
        })
    }

    /// Hands a command to the committer.
    pub(crate) fn command(&self, command: impl Command + 'static) {
        self.commits.push_command(Box::new(command));
    }

    /// Tells the committer that a job has something to commit.
    pub(crate) fn enqueue(&self, job: &Arc<JobEntry>) {
        if job.lock().log.enqueue() {
            self.commits.push_job(Arc::clone(job));
        }
    }

    /// Whether the store took the last commit. One that failed a while ago, with nothing to commit since, may work again.
    pub(crate) fn store_works(&self) -> bool {
        let failed_at = self.scope.failed_at.load(Ordering::Relaxed);
        failed_at == 0 || self.now().unix_micros() - failed_at > FAILURE_COUNTS
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.services.clock.now()
    }
}

/// How long a failed commit speaks against the store, in microseconds.
const FAILURE_COUNTS: i64 = 10_000_000;
