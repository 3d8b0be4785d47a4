//! A store that dies with its process: the simulation's `kill -9`.

use std::{
    future::{Future, pending},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::watch;
use towline_store::{
    AuditRow, Batch, Block, Committed, CredentialRow, DeliveryQuery, DeliveryRow, EventStore,
    IdempotencyRow, JobPage, JobQuery, JobRow, MemoryStore, Principal, Recovered, RetentionPolicy,
    RetentionReport, SessionRow, StoreError, StoreFuture, StoreStats, testing::FaultStore,
};
use towline_wire::{EventSeq, JobId, JobSeq, RawJson, SessionId, Timestamp};

/// What all lives of a runtime share: the store as it is on the disk.
pub(crate) type Disk = FaultStore<MemoryStore>;

/// One life of a runtime, as its store. After the death nothing is committed and nothing returns, so whatever of that
/// life is still running can neither change the disk nor learn anything: to everybody outside it is dead.
#[derive(Clone)]
pub(crate) struct Life {
    disk: Disk,
    dead: Arc<watch::Sender<bool>>,
    commits: Arc<AtomicU64>,
    death: Option<Death>,
}

/// When a life ends by itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Death {
    /// At which of its commits, from 1.
    pub(crate) commit: u64,
    /// Whether that commit is still on the disk.
    pub(crate) is_written: bool,
}

impl Life {
    pub(crate) fn new(disk: &Disk, death: Option<Death>) -> Self {
        Self {
            disk: disk.clone(),
            dead: Arc::new(watch::Sender::new(false)),
            commits: Arc::default(),
            death,
        }
    }

    pub(crate) fn kill(&self) {
        self.dead.send_replace(true);
    }

    pub(crate) fn is_dead(&self) -> bool {
        *self.dead.borrow()
    }

    /// Waits for the end.
    pub(crate) async fn ended(&self) {
        // The sender lives in `self`.
        let _ = self.dead.subscribe().wait_for(|dead| *dead).await;
    }

    async fn while_alive<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            biased;
            () = self.ended() => pending().await,
            done = work => if self.is_dead() { pending().await } else { done },
        }
    }

    async fn commit_or_die(&self, batch: Batch) -> Result<Committed, StoreError> {
        let number = self.commits.fetch_add(1, Ordering::Relaxed) + 1;
        let death = self.death.filter(|death| death.commit == number);
        if death.is_some_and(|death| !death.is_written) {
            self.kill();
            return pending().await;
        }
        let done = self.disk.commit(batch).await;
        if death.is_some() {
            self.kill();
        }
        done
    }
}

impl EventStore for Life {
    fn commit(&self, batch: Batch) -> StoreFuture<'_, Committed> {
        Box::pin(self.while_alive(self.commit_or_die(batch)))
    }

    fn read_job<'a>(
        &'a self,
        job: &'a JobId,
        from: JobSeq,
        max_bytes: usize,
    ) -> StoreFuture<'a, Vec<Arc<Block>>> {
        Box::pin(self.while_alive(self.disk.read_job(job, from, max_bytes)))
    }

    fn job<'a>(&'a self, job: &'a JobId) -> StoreFuture<'a, Option<JobRow>> {
        Box::pin(self.while_alive(self.disk.job(job)))
    }

    fn session<'a>(&'a self, session: &'a SessionId) -> StoreFuture<'a, Option<SessionRow>> {
        Box::pin(self.while_alive(self.disk.session(session)))
    }

    fn session_by_token<'a>(&'a self, hash: &'a [u8; 32]) -> StoreFuture<'a, Option<SessionRow>> {
        Box::pin(self.while_alive(self.disk.session_by_token(hash)))
    }

    fn stream_end<'a>(&'a self, session: &'a SessionId) -> StoreFuture<'a, Option<EventSeq>> {
        Box::pin(self.while_alive(self.disk.stream_end(session)))
    }

    fn list_jobs(&self, query: JobQuery) -> StoreFuture<'_, JobPage> {
        Box::pin(self.while_alive(self.disk.list_jobs(query)))
    }

    fn idempotency<'a>(
        &'a self,
        principal: &'a Principal,
        key: &'a str,
    ) -> StoreFuture<'a, Option<IdempotencyRow>> {
        Box::pin(self.while_alive(self.disk.idempotency(principal, key)))
    }

    fn checkpoint<'a>(&'a self, job: &'a JobId) -> StoreFuture<'a, Option<RawJson>> {
        Box::pin(self.while_alive(self.disk.checkpoint(job)))
    }

    fn credentials_of<'a>(&'a self, job: &'a JobId) -> StoreFuture<'a, Vec<CredentialRow>> {
        Box::pin(self.while_alive(self.disk.credentials_of(job)))
    }

    fn deliveries(&self, query: DeliveryQuery) -> StoreFuture<'_, Vec<DeliveryRow>> {
        Box::pin(self.while_alive(self.disk.deliveries(query)))
    }

    fn delivery<'a>(&'a self, id: &'a str) -> StoreFuture<'a, Option<DeliveryRow>> {
        Box::pin(self.while_alive(self.disk.delivery(id)))
    }

    fn audit(&self, latest: usize) -> StoreFuture<'_, Vec<AuditRow>> {
        Box::pin(self.while_alive(self.disk.audit(latest)))
    }

    fn recover(&self) -> StoreFuture<'_, Recovered> {
        Box::pin(self.while_alive(self.disk.recover()))
    }

    fn retain<'a>(
        &'a self,
        now: Timestamp,
        policy: &'a RetentionPolicy,
        keep: &'a [JobId],
    ) -> StoreFuture<'a, RetentionReport> {
        Box::pin(self.while_alive(self.disk.retain(now, policy, keep)))
    }

    fn stats(&self) -> StoreFuture<'_, StoreStats> {
        Box::pin(self.while_alive(self.disk.stats()))
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn close(&self) -> StoreFuture<'_, ()> {
        // The disk outlives its users.
        Box::pin(std::future::ready(Ok(())))
    }
}
