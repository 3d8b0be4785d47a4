//! Where towline keeps what was acknowledged.
//!
//! An [`EventStore`] commits one [`Batch`] at a time, all of it or nothing; nothing reaches a peer before its batch is
//! committed. The log of a job is a list of [`Block`]s, one for each commit that touched the job; a session's stream is
//! a list of [`Span`]s that point into those logs, so an event is kept once however many watch it.

mod block;
mod check;
mod memory;
mod rows;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(feature = "testing")]
pub mod testing;

use std::{future::Future, pin::Pin, sync::Arc};

use towline_wire::{JobId, JobSeq, RawJson, Timestamp};

pub use block::{Block, BlockBuilder};
pub use memory::MemoryStore;
pub use rows::{
    AuditRow, Batch, Change, CredentialRow, IDEMPOTENCY_AGE, IdempotencyRow, JobPage, JobQuery,
    JobRow, JobState, ListCursor, Principal, Recovered, RecoveredSession, RetentionPolicy,
    RetentionReport, SessionRow, StoreStats,
};
#[cfg(feature = "sqlite")]
pub use sqlite::{Durability, SqliteOptions, SqliteStore, VerifyReport};
pub use towline_proto::span::{RecordKind, Span, SpanView};

/// What store methods return.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Keeps jobs, sessions and what goes with them.
///
/// The runtime calls `commit` from one task, one batch after the other, and waits for each; reads may come from many
/// tasks at once and see every batch whose commit has returned. Object safe; share it as `Arc<dyn EventStore>`.
///
/// What has gone cannot fail a batch: a change of state, a checkpoint, a span, a trim or a subscription of a job or a
/// session that is not there any more is passed over. What contradicts the log or a stream (a block or a span that does
/// not begin right after the last one, a job that exists already, a record after a terminal one) is a mistake of the
/// caller: [`StoreError::Rejected`].
///
/// Every implementation passes the behaviour suite in `testing`.
pub trait EventStore: Send + Sync + 'static {
    /// Makes a batch durable: afterwards all of it shows, after an error nothing of it does, and the same batch may be
    /// tried again. Changes apply in their order. Not cancel safe: dropping the future leaves it open whether the batch
    /// is committed.
    fn commit(&self, batch: Batch) -> StoreFuture<'_, ()>;

    /// The blocks of a job's log from the one that holds `from` on, in order, until their text passes `max_bytes` (at
    /// least one block). The first may begin before `from`. Empty when `from` is after the last record, and for an
    /// unknown job. [`StoreError::Evicted`] when the log once had `from` and does not any more.
    fn read_job<'a>(
        &'a self,
        job: &'a JobId,
        from: JobSeq,
        max_bytes: usize,
    ) -> StoreFuture<'a, Vec<Arc<Block>>>;

    /// A job's facts and state. `last_seq` is what the log says, whether or not a [`Change::JobState`] came with its last
    /// block; this holds wherever a store gives out a [`JobRow`].
    fn job<'a>(&'a self, job: &'a JobId) -> StoreFuture<'a, Option<JobRow>>;

    /// A page of jobs in the order of (`created_at`, `id`), ascending [ARCP 6.6-1].
    fn list_jobs(&self, query: JobQuery) -> StoreFuture<'_, JobPage>;

    /// What an idempotency key stands for [ARCP 7.2-1].
    fn idempotency<'a>(
        &'a self,
        principal: &'a Principal,
        key: &'a str,
    ) -> StoreFuture<'a, Option<IdempotencyRow>>;

    /// The latest checkpoint of a job.
    fn checkpoint<'a>(&'a self, job: &'a JobId) -> StoreFuture<'a, Option<RawJson>>;

    /// The credentials issued for a job, in the order they were first committed.
    fn credentials_of<'a>(&'a self, job: &'a JobId) -> StoreFuture<'a, Vec<CredentialRow>>;

    /// The latest entries of the audit log, at most so many, oldest first [ARCP 14-3].
    fn audit(&self, latest: usize) -> StoreFuture<'_, Vec<AuditRow>>;

    /// Everything a runtime has to know when it starts: jobs that are not finished, sessions with their spans and
    /// subscriptions, credentials that are still out. Does not grow with finished history.
    fn recover(&self) -> StoreFuture<'_, Recovered>;

    /// Removes what the policy does not keep: expired idempotency keys, audit rows, checkpoints of finished jobs, and
    /// finished jobs by age, count and bytes, the ones that ended first before the others, those in `keep` (some
    /// session has not acknowledged them)
    /// last and only for `max_bytes`. When that is not enough for `max_bytes`, the oldest blocks of running jobs, save
    /// each job's newest. Credentials that are still out stay, whatever becomes of their job [ARCP 9.8-2]. Works in
    /// steps, between which commits go on; cancel safe: what was removed stays removed, only the report is lost.
    fn retain<'a>(
        &'a self,
        now: Timestamp,
        policy: &'a RetentionPolicy,
        keep: &'a [JobId],
    ) -> StoreFuture<'a, RetentionReport>;

    /// How much there is.
    fn stats(&self) -> StoreFuture<'_, StoreStats>;

    /// Whether what is committed survives the process: a runtime offers credentials only then [ARCP 6.2-5].
    fn is_durable(&self) -> bool;

    /// Finishes what is under way and lets go of files. Later calls fail with [`StoreError::Closed`].
    fn close(&self) -> StoreFuture<'_, ()>;
}

/// Why a store could not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The log does not reach back that far any more.
    #[error("events of {job} from {from} on are no longer kept (the oldest kept one is {oldest})")]
    Evicted {
        /// Whose log.
        job: JobId,
        /// What was asked for.
        from: JobSeq,
        /// The oldest record that is still there.
        oldest: JobSeq,
    },
    /// The disk is full; frees itself when space returns.
    #[error("the store is out of space: {0}")]
    Full(String),
    /// Another process has the store open.
    #[error("{0}")]
    InUse(String),
    /// The store was written by a later version, or is no store.
    #[error("{0}")]
    Incompatible(String),
    /// Reading or writing failed.
    #[error("the store failed: {0}")]
    Failed(String),
    /// The batch contradicts what is kept: a mistake of the caller, and trying again does not help.
    #[error("the store refused the batch: {0}")]
    Rejected(String),
    /// What was read does not make sense.
    #[error("the store is damaged: {0}")]
    Corrupt(String),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Full(_) | Self::Failed(_))
    }
}
