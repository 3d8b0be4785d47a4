//! A store that dies with its process: the simulation's `kill -9`.

use std::{
    collections::BTreeMap,
    future::{Future, pending},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::watch;
use towline_store::{
    AuditRow, Batch, Block, Change, Committed, CredentialRow, DeliveryQuery, DeliveryRow,
    EventStore, Heard, IdempotencyRow, Incarnation, JobPage, JobQuery, JobRow, MemoryNode,
    MemoryStore, Principal, Recovered, RecoveredSession, RetentionPolicy, RetentionReport,
    SessionRow, Shared, StoreError, StoreFuture, StoreStats, Wanted, testing::FaultStore,
};
use towline_wire::{EventSeq, JobId, JobSeq, RawJson, SessionId, Timestamp};

/// What all lives of a runtime share: the store as it is on the disk.
pub(crate) type Disk = FaultStore<MemoryStore>;

/// Who wrote each block that is on the disk, by job and first record.
pub(crate) type Hands = Arc<Mutex<BTreeMap<JobId, BTreeMap<JobSeq, Incarnation>>>>;

/// One life of a runtime, as its store. After the death nothing is committed and nothing returns, so whatever of that
/// life is still running can neither change the disk nor learn anything: to everybody outside it is dead.
#[derive(Clone)]
pub(crate) struct Life {
    disk: Arc<dyn EventStore>,
    dead: Arc<watch::Sender<bool>>,
    /// Whether the store is out of its reach: what it asks for then is done, or answered, when it is back.
    cut_off: Arc<watch::Sender<bool>>,
    commits: Arc<AtomicU64>,
    death: Option<Death>,
    member: Option<(Arc<MemoryNode>, Hands)>,
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
            disk: Arc::new(disk.clone()),
            dead: Arc::new(watch::Sender::new(false)),
            cut_off: Arc::new(watch::Sender::new(false)),
            commits: Arc::default(),
            death,
            member: None,
        }
    }

    /// The life of one of several runtimes on a store.
    pub(crate) fn of_member(member: Arc<MemoryNode>, hands: &Hands) -> Self {
        Self {
            disk: Arc::clone(&member) as Arc<dyn EventStore>,
            dead: Arc::new(watch::Sender::new(false)),
            cut_off: Arc::new(watch::Sender::new(false)),
            commits: Arc::default(),
            death: None,
            member: Some((member, Arc::clone(hands))),
        }
    }

    pub(crate) fn kill(&self) {
        self.dead.send_replace(true);
        if let Some((member, _)) = &self.member {
            member.hang_up();
        }
    }

    /// From now on the store is out of reach, or back.
    pub(crate) fn cut_off(&self, is_cut: bool) {
        self.cut_off.send_replace(is_cut);
    }

    async fn in_reach(&self) {
        // The sender lives in `self`.
        let _ = self.cut_off.subscribe().wait_for(|is_cut| !is_cut).await;
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
            done = async {
                self.in_reach().await;
                let done = work.await;
                self.in_reach().await;
                done
            } => if self.is_dead() { pending().await } else { done },
        }
    }

    fn shares(&self) -> &dyn Shared {
        self.disk.shared().expect("only a member is asked")
    }

    async fn commit_or_die(&self, batch: Batch) -> Result<Committed, StoreError> {
        let number = self.commits.fetch_add(1, Ordering::Relaxed) + 1;
        let death = self.death.filter(|death| death.commit == number);
        if death.is_some_and(|death| !death.is_written) {
            self.kill();
            return pending().await;
        }
        let blocks: Vec<(JobId, JobSeq)> = match &self.member {
            Some(_) => batch.changes.iter().filter_map(block).collect(),
            None => Vec::new(),
        };
        let done = self.disk.commit(batch).await;
        if let (Some((member, hands)), Ok(_)) = (&self.member, &done) {
            let mut hands = hands.lock();
            for (job, first) in blocks {
                hands
                    .entry(job)
                    .or_default()
                    .insert(first, member.incarnation());
            }
        }
        if death.is_some() {
            self.kill();
        }
        done
    }
}

fn block(change: &Change) -> Option<(JobId, JobSeq)> {
    match change {
        Change::Block(block) => Some((block.job().clone(), block.first())),
        _ => None,
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
        Box::pin(self.while_alive(async { self.disk.recover().await }))
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

    fn shared(&self) -> Option<&dyn Shared> {
        self.member.as_ref().map(|_| self as &dyn Shared)
    }

    fn fallen(&self) -> Pin<Box<dyn Future<Output = StoreError> + Send + '_>> {
        Box::pin(self.while_alive(self.disk.fallen()))
    }

    fn close(&self) -> StoreFuture<'_, ()> {
        match &self.member {
            Some((member, _)) => Box::pin(self.while_alive(async { member.close().await })),
            // The disk outlives its users.
            None => Box::pin(std::future::ready(Ok(()))),
        }
    }
}

impl Shared for Life {
    fn incarnation(&self) -> Incarnation {
        self.shares().incarnation()
    }

    fn pulse<'a>(&'a self, known: &'a [SessionId]) -> StoreFuture<'a, Heard> {
        Box::pin(self.while_alive(async { self.shares().pulse(known).await }))
    }

    fn fence(&self, other: Incarnation, seen: u64, now: Timestamp) -> StoreFuture<'_, bool> {
        Box::pin(self.while_alive(async move { self.shares().fence(other, seen, now).await }))
    }

    fn adopt<'a>(&'a self, wanted: &'a Wanted) -> StoreFuture<'a, Recovered> {
        Box::pin(self.while_alive(async { self.shares().adopt(wanted).await }))
    }

    fn take_session<'a>(
        &'a self,
        token: &'a [u8; 32],
    ) -> StoreFuture<'a, Option<RecoveredSession>> {
        Box::pin(self.while_alive(async { self.shares().take_session(token).await }))
    }

    fn end_left_sessions(&self, now: Timestamp, window: Duration) -> StoreFuture<'_, u64> {
        Box::pin(
            self.while_alive(async move { self.shares().end_left_sessions(now, window).await }),
        )
    }
}
