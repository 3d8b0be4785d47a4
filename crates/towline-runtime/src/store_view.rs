//! What may be looked at from outside.

use std::{fmt, sync::Arc};

use towline_store::{
    AuditRow, Block, CredentialRow, EventStore, JobPage, JobQuery, JobRow, Recovered, StoreFuture,
    StoreStats,
};
use towline_wire::{JobId, JobSeq, RawJson};

/// A store to read from. The runtime's committer is the only one that writes: what it has decided rests on what it wrote
/// last, so a commit beside it would contradict what is in memory.
#[derive(Clone, Copy)]
pub struct StoreView<'a> {
    store: &'a dyn EventStore,
}

impl<'a> StoreView<'a> {
    pub(crate) fn of(store: &'a dyn EventStore) -> Self {
        Self { store }
    }

    /// The blocks of a job's log from the one that holds `from` on, in order, until their text passes `max_bytes` (at
    /// least one block); see [`EventStore::read_job`].
    pub fn read_job(
        self,
        job: &'a JobId,
        from: JobSeq,
        max_bytes: usize,
    ) -> StoreFuture<'a, Vec<Arc<Block>>> {
        self.store.read_job(job, from, max_bytes)
    }

    /// A job's facts and state.
    pub fn job(self, job: &'a JobId) -> StoreFuture<'a, Option<JobRow>> {
        self.store.job(job)
    }

    /// A page of jobs, the ones created first before the others.
    pub fn list_jobs(self, query: JobQuery) -> StoreFuture<'a, JobPage> {
        self.store.list_jobs(query)
    }

    /// The latest checkpoint of a job.
    pub fn checkpoint(self, job: &'a JobId) -> StoreFuture<'a, Option<RawJson>> {
        self.store.checkpoint(job)
    }

    /// The credentials issued for a job, in the order they were first committed.
    pub fn credentials_of(self, job: &'a JobId) -> StoreFuture<'a, Vec<CredentialRow>> {
        self.store.credentials_of(job)
    }

    /// The latest entries of the audit log, at most so many, oldest first [ARCP 14-3].
    pub fn audit(self, latest: usize) -> StoreFuture<'a, Vec<AuditRow>> {
        self.store.audit(latest)
    }

    /// What a runtime that starts with this store would begin with.
    pub fn recover(self) -> StoreFuture<'a, Recovered> {
        self.store.recover()
    }

    /// How much there is.
    pub fn stats(self) -> StoreFuture<'a, StoreStats> {
        self.store.stats()
    }

    /// Whether what is committed survives the process.
    pub fn is_durable(self) -> bool {
        self.store.is_durable()
    }
}

impl fmt::Debug for StoreView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreView")
            .field("is_durable", &self.is_durable())
            .finish_non_exhaustive()
    }
}
