//! A store in the memory of the process.

mod commit;
mod jobs;
mod ledger;
mod machine;
mod node;
mod retain;
mod share;

use std::{
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};
use towline_wire::{EventSeq, JobId, JobSeq, RawJson, SessionId, Timestamp};

pub use self::node::MemoryNode;
use self::{
    commit::Committer,
    jobs::Jobs,
    ledger::{Credentials, Deliveries, Keys},
};
use crate::{
    AuditRow, Batch, Block, Committed, CredentialRow, DeliveryQuery, DeliveryRow, EventStore,
    IdempotencyRow, JobPage, JobQuery, JobRow, Principal, Recovered, RetentionPolicy,
    RetentionReport, SessionRow, StoreError, StoreFuture, StoreStats,
};

/// Keeps everything in memory, for as long as the process lives.
///
/// A commit works at once, without waiting for anything: it checks the batch, then puts `Arc`s into place. Readers take
/// short locks on one shard or one job, so they never hold up the committer for longer than a look-up. How much is kept
/// is decided by [`EventStore::retain`] and, whatever happens between two calls of it, by a bound of the store's own: a
/// commit that goes beyond [`MemoryStore::max_bytes`] of events removes the finished jobs that ended first, and when that is
/// not enough the oldest events of running ones, save each one's newest block.
///
/// ```
/// # use towline_store::{EventStore, JobQuery, MemoryStore};
/// # futures_util::FutureExt::now_or_never(async {
/// let store = MemoryStore::new();
/// let page = store.list_jobs(JobQuery { limit: 10, ..JobQuery::default() }).await.unwrap();
/// assert!(page.jobs.is_empty());
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct MemoryStore {
    jobs: Jobs,
    keys: RwLock<Keys>,
    credentials: RwLock<Credentials>,
    deliveries: RwLock<Deliveries>,
    /// What only commits and retention touch. Whoever changes anything holds this lock, so it is also what puts changes
    /// in a row; it is taken before any other.
    committer: Mutex<Committer>,
    closed: AtomicBool,
    max_bytes: u64,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::with_max_bytes(machine::quarter_of_memory())
    }
}

impl MemoryStore {
    /// An empty store that keeps at most a quarter of the machine's memory of events, and 256 MiB at least. Where the
    /// machine does not say how much it has, 1 GiB. A limit of the process's control group counts as the machine's.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store with a bound of its own for the bytes of events it keeps. What events take beside their text, and
    /// jobs and sessions, come on top.
    pub fn with_max_bytes(max_bytes: u64) -> Self {
        Self {
            jobs: Jobs::default(),
            keys: RwLock::default(),
            credentials: RwLock::default(),
            deliveries: RwLock::default(),
            committer: Mutex::default(),
            closed: AtomicBool::new(false),
            max_bytes,
        }
    }

    /// How many bytes of events are kept at most.
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    fn open<T>(&self, work: impl FnOnce() -> Result<T, StoreError>) -> StoreFuture<'_, T>
    where
        T: Send + 'static,
    {
        let answer = if self.closed.load(Ordering::Acquire) {
            Err(StoreError::Closed)
        } else {
            work()
        };
        Box::pin(ready(answer))
    }
}

impl EventStore for MemoryStore {
    fn commit(&self, batch: Batch) -> StoreFuture<'_, Committed> {
        self.open(|| self.apply(batch))
    }

    fn read_job<'a>(
        &'a self,
        job: &'a JobId,
        from: JobSeq,
        max_bytes: usize,
    ) -> StoreFuture<'a, Vec<Arc<Block>>> {
        self.open(|| match self.jobs.find(job) {
            Some(kept) => kept.read(from, max_bytes),
            None => Ok(Vec::new()),
        })
    }

    fn job<'a>(&'a self, job: &'a JobId) -> StoreFuture<'a, Option<JobRow>> {
        self.open(|| Ok(self.jobs.find(job).map(|kept| kept.row())))
    }

    fn session<'a>(&'a self, session: &'a SessionId) -> StoreFuture<'a, Option<SessionRow>> {
        self.open(|| Ok(self.committer.lock().session(session)))
    }

    fn session_by_token<'a>(&'a self, hash: &'a [u8; 32]) -> StoreFuture<'a, Option<SessionRow>> {
        self.open(|| Ok(self.committer.lock().session_by_token(hash)))
    }

    fn stream_end<'a>(&'a self, session: &'a SessionId) -> StoreFuture<'a, Option<EventSeq>> {
        self.open(|| Ok(self.committer.lock().stream_end(session)))
    }

    fn list_jobs(&self, query: JobQuery) -> StoreFuture<'_, JobPage> {
        self.open(|| Ok(self.jobs.page(&query)))
    }

    fn idempotency<'a>(
        &'a self,
        principal: &'a Principal,
        key: &'a str,
    ) -> StoreFuture<'a, Option<IdempotencyRow>> {
        self.open(|| Ok(self.keys.read().find(principal, key)))
    }

    fn checkpoint<'a>(&'a self, job: &'a JobId) -> StoreFuture<'a, Option<RawJson>> {
        self.open(|| Ok(self.jobs.find(job).and_then(|kept| kept.checkpoint())))
    }

    fn credentials_of<'a>(&'a self, job: &'a JobId) -> StoreFuture<'a, Vec<CredentialRow>> {
        self.open(|| Ok(self.credentials.read().of(job)))
    }

    fn deliveries(&self, query: DeliveryQuery) -> StoreFuture<'_, Vec<DeliveryRow>> {
        self.open(|| Ok(self.deliveries.read().list(&query)))
    }

    fn delivery<'a>(&'a self, id: &'a str) -> StoreFuture<'a, Option<DeliveryRow>> {
        self.open(|| Ok(self.deliveries.read().find(id)))
    }

    fn audit(&self, latest: usize) -> StoreFuture<'_, Vec<AuditRow>> {
        self.open(|| Ok(self.committer.lock().audit(latest)))
    }

    fn recover(&self) -> StoreFuture<'_, Recovered> {
        self.open(|| {
            let committer = self.committer.lock();
            Ok(Recovered {
                jobs: self.jobs.live(),
                sessions: committer.sessions(),
                credentials: self.credentials.read().outstanding(),
                talks: self.jobs.talks(),
                schedules: committer.schedules(),
                deliveries: self.deliveries.read().pending(),
            })
        })
    }

    fn retain<'a>(
        &'a self,
        now: Timestamp,
        policy: &'a RetentionPolicy,
        keep: &'a [JobId],
    ) -> StoreFuture<'a, RetentionReport> {
        if self.closed.load(Ordering::Acquire) {
            return Box::pin(ready(Err(StoreError::Closed)));
        }
        Box::pin(async move { Ok(self.remove_surplus(now, policy, keep).await) })
    }

    fn stats(&self) -> StoreFuture<'_, StoreStats> {
        self.open(|| Ok(self.committer.lock().stats()))
    }

    fn is_durable(&self) -> bool {
        false
    }

    fn close(&self) -> StoreFuture<'_, ()> {
        self.closed.store(true, Ordering::Release);
        Box::pin(ready(Ok(())))
    }
}
