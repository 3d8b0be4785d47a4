//! Where towline keeps what was acknowledged.
//!
//! An [`EventStore`] commits one [`Batch`] at a time, all of it or nothing; nothing reaches a peer before its batch is
//! committed. The log of a job is a list of [`Block`]s, one for each commit that touched the job; a session's stream is
//! a list of [`Span`]s that point into those logs, so an event is kept once however many watch it.

mod block;
pub mod building;
mod check;
mod codec;
mod delivery;
mod error;
mod memory;
mod planned;
mod rows;
mod shared;
#[cfg(feature = "sqlite")]
mod sqlite;
mod stream;
#[cfg(feature = "testing")]
pub mod testing;
mod verify;

use std::{future::Future, pin::Pin, sync::Arc};

use towline_wire::{EventSeq, JobId, JobSeq, RawJson, SessionId, Timestamp};

pub use block::{Block, BlockBuilder};
pub use delivery::{DeliveryQuery, DeliveryRow, DeliveryState};
pub use error::{Incarnation, Reason, Remedy, StoreError};
pub use memory::{MemoryNode, MemoryStore};
pub use planned::{Planned, ScheduleChange, ScheduleRow};
pub use rows::{
    AuditRow, Batch, Change, Committed, CredentialRow, IDEMPOTENCY_AGE, IdempotencyRow, JobPage,
    JobQuery, JobRow, JobState, JobSummary, ListCursor, Principal, Recovered, RecoveredSession,
    RetentionPolicy, RetentionReport, SessionRow, StoreStats,
};
pub use shared::{Heard, Pulse, Shared, Wanted};
#[cfg(feature = "sqlite")]
pub use sqlite::{Durability, SqliteOptions, SqliteStore};
pub use towline_proto::span::{RecordKind, Span, SpanView};
pub use verify::VerifyReport;

/// What store methods return.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Keeps jobs, sessions and what goes with them.
///
/// The runtime calls `commit` from one task, one batch after the other, and waits for each; reads may come from many
/// tasks at once and see every batch whose commit has returned. Object safe; share it as `Arc<dyn EventStore>`.
///
/// What has gone cannot fail a batch: a change of state, a checkpoint, a talk, how far a message came, a span, a trim or a subscription of a job or a
/// session that is not there any more is passed over. What contradicts the log or a stream (a block or a span that does
/// not begin right after the last one, a job that exists already, a record after a terminal one, a schedule whose time goes back) is a mistake of the
/// caller: [`StoreError::Rejected`].
///
/// Every implementation passes the behaviour suite in `testing`.
pub trait EventStore: Send + Sync + 'static {
    /// Makes a batch durable. Changes apply in their order.
    ///
    /// **The outcome is always known when this returns.** After `Ok` all of the batch shows; after an error nothing of it
    /// does, and nothing of it will. A store that cannot tell, because its connection was lost between the commit and the
    /// answer, say, finds out before it returns, however long that takes: by looking for what it wrote, or by trying the
    /// same again where that can be told apart. Whoever calls need not ask, and must not have to: the next batch is planned
    /// on what this one was said to have done. What the caller is to do after an error says [`StoreError::remedy`].
    ///
    /// Not cancel safe: dropping the future leaves it open whether the batch is committed.
    fn commit(&self, batch: Batch) -> StoreFuture<'_, Committed>;

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

    /// A session, by its name.
    fn session<'a>(&'a self, session: &'a SessionId) -> StoreFuture<'a, Option<SessionRow>>;

    /// The session a resume token is good for now, by the token's SHA-256 [ARCP 6.3-7].
    fn session_by_token<'a>(&'a self, hash: &'a [u8; 32]) -> StoreFuture<'a, Option<SessionRow>>;

    /// The last number given out in a session's stream; `None` for an unknown session.
    fn stream_end<'a>(&'a self, session: &'a SessionId) -> StoreFuture<'a, Option<EventSeq>>;

    /// A page of jobs in the order of (`created_at`, `id`), ascending [ARCP 6.6-1], or descending where the query says so: as many as the query asks for, or fewer
    /// when they take more than [`JobPage::MAX_BYTES`] (one at least). What jobs were given is not read.
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

    /// Messages that are or were to be delivered, the latest first, without their bodies [ARCP 16-6].
    fn deliveries(&self, query: DeliveryQuery) -> StoreFuture<'_, Vec<DeliveryRow>>;

    /// A message, with its body.
    fn delivery<'a>(&'a self, id: &'a str) -> StoreFuture<'a, Option<DeliveryRow>>;

    /// The latest entries of the audit log, at most so many, oldest first [ARCP 14-3].
    fn audit(&self, latest: usize) -> StoreFuture<'_, Vec<AuditRow>>;

    /// Everything a runtime has to know when it starts: jobs that are not finished, sessions with their spans and
    /// subscriptions, credentials that are still out, schedules, messages that are still to be delivered. Does not grow with finished history.
    fn recover(&self) -> StoreFuture<'_, Recovered>;

    /// Removes what the policy does not keep: idempotency keys that are 24 hours old, audit rows by age and number,
    /// checkpoints and talks of finished jobs, settled credentials and messages whose job has gone, and finished jobs.
    ///
    /// Finished jobs go by age and by number, and for `max_bytes`, the ones that ended first before the others. Age and
    /// number spare the jobs in `keep` (some session has not acknowledged them); `max_bytes` takes them too, after all
    /// others. When that is not enough for `max_bytes`, the oldest blocks of running jobs go, save each job's newest.
    /// Credentials that are still out and messages that are still to be delivered stay, whatever becomes of their job [ARCP 9.8-2, 16-6].
    ///
    /// Works in steps, between which commits go on; cancel safe: what was removed stays removed, only the report is lost.
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

    /// What a runtime needs that has the store together with others; `None` where a process has it for itself.
    fn shared(&self) -> Option<&dyn Shared> {
        None
    }

    /// Waits until nothing is committed any more through this store though nobody closed it, and says why: another process
    /// has it, or it lost what it had acknowledged. That never comes of a store that one process has for itself. Cancel safe.
    fn fallen(&self) -> Pin<Box<dyn Future<Output = StoreError> + Send + '_>> {
        Box::pin(std::future::pending())
    }

    /// Finishes what is under way and lets go of files. Later calls fail with [`StoreError::Closed`].
    fn close(&self) -> StoreFuture<'_, ()>;
}
