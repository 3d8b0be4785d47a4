//! One of several members that share a store in memory.

use std::{
    collections::{BTreeSet, HashSet},
    future::{Future, poll_fn, ready},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use towline_wire::{EventSeq, JobId, JobSeq, RawJson, SessionId, Timestamp};

use super::{MemoryStore, commit::Committer};
use crate::{
    AuditRow, Batch, Block, Change, Committed, CredentialRow, DeliveryQuery, DeliveryRow,
    EventStore, Heard, IDEMPOTENCY_AGE, IdempotencyRow, Incarnation, JobPage, JobQuery, JobRow,
    Principal, Recovered, RecoveredSession, RetentionPolicy, RetentionReport, SessionRow, Shared,
    StoreError, StoreFuture, StoreStats, Wanted, check::session_of,
};

/// A member of those that share a [`MemoryStore`]: several runtimes of one process, which fail one by one. It is to a store of
/// several processes what [`MemoryStore`] is to one of a single process.
#[derive(Debug)]
pub struct MemoryNode {
    store: Arc<MemoryStore>,
    me: Incarnation,
    closed: AtomicBool,
}

impl MemoryStore {
    /// A new member of a name. While an earlier one of that name has not hung up, what that one has stays its own until somebody
    /// fences it.
    pub fn join(self: &Arc<Self>, name: &str) -> MemoryNode {
        let me = self.committer.lock().owned.join(&Arc::from(name));
        MemoryNode {
            store: Arc::clone(self),
            me,
            closed: AtomicBool::new(false),
        }
    }
}

impl MemoryNode {
    /// What is known when a process has died: the next member of its name need not wait for it to fall silent.
    pub fn hang_up(&self) {
        self.store.committer.lock().owned.hang_up(self.me);
    }

    fn as_member<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Committer) -> Result<T, StoreError>,
    ) -> StoreFuture<'_, T> {
        self.open(|| {
            let committer = &mut *self.store.committer.lock();
            committer.owned.must_live(self.me)?;
            work(committer)
        })
    }

    fn open<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, StoreError>,
    ) -> StoreFuture<'_, T> {
        if self.closed.load(Ordering::Acquire) {
            return Box::pin(ready(Err(StoreError::Closed)));
        }
        self.store.open(work)
    }

    fn read<'a, T: Send + 'a>(&self, read: StoreFuture<'a, T>) -> StoreFuture<'a, T> {
        if self.closed.load(Ordering::Acquire) {
            return Box::pin(ready(Err(StoreError::Closed)));
        }
        read
    }

    /// Trees that `is_mine` says are there to be taken, by their owner, and what goes with them.
    fn take_trees(
        &self,
        committer: &mut Committer,
        wanted: &Wanted,
        is_mine: impl Fn(&Committer, Option<Incarnation>) -> bool,
    ) -> (Recovered, bool) {
        let (jobs, mut more) = (&self.store.jobs, false);
        let live = jobs.live();
        let mut roots = BTreeSet::new();
        let unwanted = self.unwanted(wanted, &live);
        let mut taken = Recovered::default();
        for row in &live {
            let owner = committer.owned.jobs.get(&row.id).copied();
            if !is_mine(committer, owner) {
                continue;
            }
            let root = self.root(row);
            let is_one_more = !roots.contains(&root) && roots.len() >= wanted.most;
            if is_one_more || unwanted.contains(&root) {
                more = true;
                continue;
            }
            roots.insert(root);
            committer.owned.jobs.insert(row.id.clone(), self.me);
            taken.jobs.push(row.clone());
        }
        let ids: HashSet<&JobId> = taken.jobs.iter().map(|row| &row.id).collect();
        let live: HashSet<&JobId> = live.iter().map(|row| &row.id).collect();
        for row in self.store.credentials.read().outstanding() {
            let owner = committer.owned.credentials.get(&row.id).copied();
            let goes = ids.contains(&row.job) || !live.contains(&row.job);
            if goes && is_mine(committer, owner) {
                committer.owned.credentials.insert(row.id.clone(), self.me);
                taken.credentials.push(row);
            }
        }
        taken.talks = jobs.talks();
        taken.talks.retain(|(job, _)| ids.contains(job));
        (taken, more)
    }

    /// The trees with a job that a member does not want.
    fn unwanted(&self, wanted: &Wanted, live: &[JobRow]) -> BTreeSet<JobId> {
        let Some(agents) = &wanted.agents else {
            return BTreeSet::new();
        };
        let foreign = live
            .iter()
            .filter(|row| !agents.iter().any(|agent| agent == row.agent.name()));
        foreign.map(|row| self.root(row)).collect()
    }

    /// The highest of a job's ancestors that is known.
    fn root(&self, row: &JobRow) -> JobId {
        let (mut root, mut above) = (row.id.clone(), row.parent.clone());
        while let Some(parent) = above.and_then(|parent| self.store.jobs.find(&parent)) {
            root = parent.id().clone();
            above = parent.parent().cloned();
        }
        root
    }

    fn check_keys(&self, batch: &Batch) -> Result<(), StoreError> {
        let keys = self.store.keys.read();
        for change in &batch.changes {
            let Change::Idempotency(row) = change else {
                continue;
            };
            let known = keys.find(&row.principal, &row.key);
            let stands =
                known.filter(|known| row.created_at.since(known.created_at) < IDEMPOTENCY_AGE);
            if let Some(known) = stands.filter(|known| known.job != row.job) {
                let text = format!(
                    "the idempotency key of job {} stands for job {} already",
                    row.job, known.job
                );
                return Err(StoreError::Rejected(text.into()));
            }
        }
        Ok(())
    }
}

impl EventStore for MemoryNode {
    fn commit(&self, mut batch: Batch) -> StoreFuture<'_, Committed> {
        self.as_member(|committer| {
            let lost = committer.owned.lost(self.me, &batch);
            if !lost.is_empty() {
                let is_kept = |change: &Change| {
                    session_of(change).is_none_or(|session| !lost.contains(session))
                };
                batch.changes.retain(is_kept);
            }
            committer.owned.check(self.me, &batch)?;
            self.check_keys(&batch)?;
            self.store.apply_checked(committer, batch, Some(self.me))?;
            let mut lost: Vec<SessionId> = lost.into_iter().collect();
            lost.sort_unstable();
            Ok(Committed { lost })
        })
    }

    fn read_job<'a>(
        &'a self,
        job: &'a JobId,
        from: JobSeq,
        max_bytes: usize,
    ) -> StoreFuture<'a, Vec<Arc<Block>>> {
        self.read(self.store.read_job(job, from, max_bytes))
    }

    fn job<'a>(&'a self, job: &'a JobId) -> StoreFuture<'a, Option<JobRow>> {
        self.read(self.store.job(job))
    }

    fn session<'a>(&'a self, session: &'a SessionId) -> StoreFuture<'a, Option<SessionRow>> {
        self.read(self.store.session(session))
    }

    fn session_by_token<'a>(&'a self, hash: &'a [u8; 32]) -> StoreFuture<'a, Option<SessionRow>> {
        self.read(self.store.session_by_token(hash))
    }

    fn stream_end<'a>(&'a self, session: &'a SessionId) -> StoreFuture<'a, Option<EventSeq>> {
        self.read(self.store.stream_end(session))
    }

    fn list_jobs(&self, query: JobQuery) -> StoreFuture<'_, JobPage> {
        self.read(self.store.list_jobs(query))
    }

    fn idempotency<'a>(
        &'a self,
        principal: &'a Principal,
        key: &'a str,
    ) -> StoreFuture<'a, Option<IdempotencyRow>> {
        self.read(self.store.idempotency(principal, key))
    }

    fn checkpoint<'a>(&'a self, job: &'a JobId) -> StoreFuture<'a, Option<RawJson>> {
        self.read(self.store.checkpoint(job))
    }

    fn credentials_of<'a>(&'a self, job: &'a JobId) -> StoreFuture<'a, Vec<CredentialRow>> {
        self.read(self.store.credentials_of(job))
    }

    fn deliveries(&self, query: DeliveryQuery) -> StoreFuture<'_, Vec<DeliveryRow>> {
        self.read(self.store.deliveries(query))
    }

    fn delivery<'a>(&'a self, id: &'a str) -> StoreFuture<'a, Option<DeliveryRow>> {
        self.read(self.store.delivery(id))
    }

    fn audit(&self, latest: usize) -> StoreFuture<'_, Vec<AuditRow>> {
        self.read(self.store.audit(latest))
    }

    fn recover(&self) -> StoreFuture<'_, Recovered> {
        self.as_member(|committer| {
            let is_left = |committer: &Committer, owner| committer.owned.is_left_to(self.me, owner);
            let (mut taken, _) = self.take_trees(committer, &Wanted::EVERYTHING, is_left);
            taken.sessions = committer.sessions();
            taken.sessions.retain(|session| {
                let owner = committer.owned.sessions.get(&session.row.id).copied();
                committer.owned.is_left_to(self.me, owner)
            });
            for session in &taken.sessions {
                committer.owned.take_session(self.me, &session.row.id);
            }
            taken.schedules = committer.schedules();
            // Nobody owns a message yet: each member that starts takes all that wait, and may send one that another one sends.
            taken.deliveries = self.store.deliveries.read().pending();
            Ok(taken)
        })
    }

    fn retain<'a>(
        &'a self,
        now: Timestamp,
        policy: &'a RetentionPolicy,
        keep: &'a [JobId],
    ) -> StoreFuture<'a, RetentionReport> {
        Box::pin(async move {
            // Other members' sessions need their jobs as well.
            let mut keep = keep.to_vec();
            keep.extend(self.store.committer.lock().needed_beside(self.me));
            keep.sort_unstable();
            keep.dedup();
            self.read(self.store.retain(now, policy, &keep)).await
        })
    }

    fn stats(&self) -> StoreFuture<'_, StoreStats> {
        self.read(self.store.stats())
    }

    /// What is committed survives this member.
    fn is_durable(&self) -> bool {
        true
    }

    fn shared(&self) -> Option<&dyn Shared> {
        Some(self)
    }

    fn fallen(&self) -> Pin<Box<dyn Future<Output = StoreError> + Send + '_>> {
        Box::pin(poll_fn(|cx| {
            if self.closed.load(Ordering::Acquire) {
                return Poll::Pending;
            }
            let mut committer = self.store.committer.lock();
            if committer.owned.waits(self.me, cx.waker()) {
                Poll::Pending
            } else {
                Poll::Ready(StoreError::Fenced(self.me))
            }
        }))
    }

    /// The member leaves: what it has is anybody's at once.
    fn close(&self) -> StoreFuture<'_, ()> {
        self.closed.store(true, Ordering::Release);
        self.store.committer.lock().owned.fence(self.me);
        Box::pin(ready(Ok(())))
    }
}

impl Shared for MemoryNode {
    fn incarnation(&self) -> Incarnation {
        self.me
    }

    fn pulse<'a>(&'a self, known: &'a [SessionId]) -> StoreFuture<'a, Heard> {
        self.as_member(|committer| committer.owned.pulse(self.me, known))
    }

    fn fence(&self, other: Incarnation, seen: u64, now: Timestamp) -> StoreFuture<'_, bool> {
        self.as_member(|committer| {
            if committer.owned.number(other) != Some(seen) {
                return Ok(false);
            }
            committer.owned.fence(other);
            committer.detach_sessions_of(other, now);
            Ok(true)
        })
    }

    fn adopt<'a>(&'a self, wanted: &'a Wanted) -> StoreFuture<'a, Recovered> {
        self.as_member(|committer| {
            let is_orphan = |committer: &Committer, owner| committer.owned.is_orphan(owner);
            let (taken, more) = self.take_trees(committer, wanted, is_orphan);
            committer.owned.orphans = more;
            Ok(taken)
        })
    }

    fn take_session<'a>(
        &'a self,
        token: &'a [u8; 32],
    ) -> StoreFuture<'a, Option<RecoveredSession>> {
        self.as_member(|committer| {
            let Some(row) = committer.session_by_token(token) else {
                return Ok(None);
            };
            committer.owned.take_session(self.me, &row.id);
            Ok(committer.recovered(&row.id))
        })
    }

    fn end_left_sessions(&self, now: Timestamp, window: Duration) -> StoreFuture<'_, u64> {
        self.as_member(|committer| Ok(committer.end_left_sessions(now, window)))
    }
}
