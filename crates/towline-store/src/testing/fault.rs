//! A store that fails on demand.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::watch;
use towline_wire::{EventSeq, JobId, JobSeq, RawJson, SessionId, Timestamp};

use crate::{
    AuditRow, Batch, Block, Committed, CredentialRow, DeliveryQuery, DeliveryRow, EventStore,
    IdempotencyRow, JobPage, JobQuery, JobRow, Principal, Recovered, RetentionPolicy,
    RetentionReport, SessionRow, Shared, StoreError, StoreFuture, StoreStats,
};

/// What happens to a commit.
#[derive(Debug, Clone)]
pub enum Fault {
    /// It fails at once and is not applied.
    Fail(StoreError),
    /// It is applied, and then said to have failed: what no store may do ([`EventStore::commit`]), and what one whose
    /// connection is lost between the commit and the answer does unless it takes care.
    Applied(StoreError),
    /// It is applied after a time (of tokio's clock, so that a paused one works).
    Delay(Duration),
    /// It waits for [`FaultStore::release`] and is applied then.
    Hang,
}

/// Wraps a store. Commits and reads go through until a script says otherwise; clones share both.
///
/// ```
/// # use std::sync::Arc;
/// # use towline_store::{Batch, EventStore, MemoryStore, StoreError, testing::{Fault, FaultStore}};
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let store = FaultStore::new(MemoryStore::new());
/// store.next_commit(Fault::Fail(StoreError::Full("test".into())));
/// assert!(store.commit(Batch::default()).await.is_err());
/// assert!(store.commit(Batch::default()).await.is_ok());
/// # });
/// ```
#[derive(Debug)]
pub struct FaultStore<S> {
    inner: Arc<S>,
    script: Arc<Script>,
}

/// What a store has against a batch.
type Judge = Box<dyn Fn(&Batch) -> Option<StoreError> + Send + Sync>;

struct Script {
    plan: Mutex<Plan>,
    judge: Mutex<Option<Judge>>,
    /// How often hanging commits were released.
    released: watch::Sender<u64>,
    fallen: watch::Sender<Option<StoreError>>,
}

#[derive(Debug, Default)]
struct Plan {
    commits: u64,
    next: VecDeque<Fault>,
    at: BTreeMap<u64, Fault>,
    every: Option<Fault>,
    reads: Option<StoreError>,
    random: Option<Random>,
}

/// xorshift: the same faults for the same seed.
#[derive(Debug)]
struct Random {
    state: u64,
    one_in: u64,
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script")
            .field("plan", &self.plan)
            .finish_non_exhaustive()
    }
}

impl<S> Clone for FaultStore<S> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            script: Arc::clone(&self.script),
        }
    }
}

impl<S: EventStore> FaultStore<S> {
    /// Wraps a store.
    pub fn new(store: S) -> Self {
        Self::sharing(Arc::new(store))
    }

    /// Wraps a store that others have too, with a script of its own.
    pub fn sharing(store: Arc<S>) -> Self {
        let script = Script {
            plan: Mutex::default(),
            judge: Mutex::default(),
            released: watch::Sender::new(0),
            fallen: watch::Sender::new(None),
        };
        Self {
            inner: store,
            script: Arc::new(script),
        }
    }

    /// The store within, without faults.
    pub fn inner(&self) -> &Arc<S> {
        &self.inner
    }

    /// How many commits were asked for.
    pub fn commits(&self) -> u64 {
        self.script.plan.lock().commits
    }

    /// Says what happens to the next commit that has no fault yet; may be called several times.
    pub fn next_commit(&self, fault: Fault) {
        self.script.plan.lock().next.push_back(fault);
    }

    /// Says what happens to a commit by its number, the first one ever being 1.
    pub fn commit_number(&self, number: u64, fault: Fault) {
        self.script.plan.lock().at.insert(number, fault);
    }

    /// Says what happens to every commit from now on, or to none.
    pub fn every_commit(&self, fault: Option<Fault>) {
        self.script.plan.lock().every = fault;
    }

    /// Fails one commit in `one_in`, chosen by a seed; 0 ends it.
    pub fn randomly(&self, seed: u64, one_in: u64) {
        let random = Random {
            state: seed | 1 << 40,
            one_in,
        };
        self.script.plan.lock().random = (one_in > 0).then_some(random);
    }

    /// Has every batch judged from now on; one that is refused is not applied.
    pub fn judge(&self, judge: impl Fn(&Batch) -> Option<StoreError> + Send + Sync + 'static) {
        *self.script.judge.lock() = Some(Box::new(judge));
    }

    /// Fails every read with an error, or none.
    pub fn fail_reads(&self, error: Option<StoreError>) {
        self.script.plan.lock().reads = error;
    }

    /// Says that nothing is committed any more; that commits fail is said by [`FaultStore::every_commit`].
    pub fn fall(&self, error: StoreError) {
        self.script.fallen.send_replace(Some(error));
    }

    /// Lets go of the commits that hang now.
    pub fn release(&self) {
        self.script.released.send_modify(|times| *times += 1);
    }

    fn reading<'a, T: Send + 'a>(&self, read: StoreFuture<'a, T>) -> StoreFuture<'a, T> {
        match self.script.plan.lock().reads.clone() {
            Some(error) => Box::pin(std::future::ready(Err(error))),
            None => read,
        }
    }
}

impl Plan {
    fn fault(&mut self) -> Option<Fault> {
        self.commits += 1;
        let planned = self
            .at
            .remove(&self.commits)
            .or_else(|| self.next.pop_front())
            .or_else(|| self.every.clone());
        planned.or_else(|| self.random.as_mut()?.fault())
    }
}

impl Random {
    fn fault(&mut self) -> Option<Fault> {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
            .is_multiple_of(self.one_in)
            .then(|| Fault::Fail(StoreError::Failed("by chance".into())))
    }
}

impl<S: EventStore> EventStore for FaultStore<S> {
    fn commit(&self, batch: Batch) -> StoreFuture<'_, Committed> {
        let fault = self.script.plan.lock().fault();
        let refused = self
            .script
            .judge
            .lock()
            .as_ref()
            .and_then(|judge| judge(&batch));
        let mut released = self.script.released.subscribe();
        Box::pin(async move {
            if let Some(error) = refused {
                return Err(error);
            }
            match fault {
                None => {}
                Some(Fault::Fail(error)) => return Err(error),
                Some(Fault::Applied(error)) => {
                    return self.inner.commit(batch).await.and(Err(error));
                }
                Some(Fault::Delay(time)) => tokio::time::sleep(time).await,
                // The sender lives in `self`, so the error, that it is gone, cannot happen.
                Some(Fault::Hang) => drop(released.changed().await),
            }
            self.inner.commit(batch).await
        })
    }

    fn read_job<'a>(
        &'a self,
        job: &'a JobId,
        from: JobSeq,
        max_bytes: usize,
    ) -> StoreFuture<'a, Vec<Arc<Block>>> {
        self.reading(self.inner.read_job(job, from, max_bytes))
    }

    fn job<'a>(&'a self, job: &'a JobId) -> StoreFuture<'a, Option<JobRow>> {
        self.reading(self.inner.job(job))
    }

    fn session<'a>(&'a self, session: &'a SessionId) -> StoreFuture<'a, Option<SessionRow>> {
        self.reading(self.inner.session(session))
    }

    fn session_by_token<'a>(&'a self, hash: &'a [u8; 32]) -> StoreFuture<'a, Option<SessionRow>> {
        self.reading(self.inner.session_by_token(hash))
    }

    fn stream_end<'a>(&'a self, session: &'a SessionId) -> StoreFuture<'a, Option<EventSeq>> {
        self.reading(self.inner.stream_end(session))
    }

    fn list_jobs(&self, query: JobQuery) -> StoreFuture<'_, JobPage> {
        self.reading(self.inner.list_jobs(query))
    }

    fn idempotency<'a>(
        &'a self,
        principal: &'a Principal,
        key: &'a str,
    ) -> StoreFuture<'a, Option<IdempotencyRow>> {
        self.reading(self.inner.idempotency(principal, key))
    }

    fn checkpoint<'a>(&'a self, job: &'a JobId) -> StoreFuture<'a, Option<RawJson>> {
        self.reading(self.inner.checkpoint(job))
    }

    fn credentials_of<'a>(&'a self, job: &'a JobId) -> StoreFuture<'a, Vec<CredentialRow>> {
        self.reading(self.inner.credentials_of(job))
    }

    fn deliveries(&self, query: DeliveryQuery) -> StoreFuture<'_, Vec<DeliveryRow>> {
        self.reading(self.inner.deliveries(query))
    }

    fn delivery<'a>(&'a self, id: &'a str) -> StoreFuture<'a, Option<DeliveryRow>> {
        self.reading(self.inner.delivery(id))
    }

    fn audit(&self, latest: usize) -> StoreFuture<'_, Vec<AuditRow>> {
        self.reading(self.inner.audit(latest))
    }

    fn recover(&self) -> StoreFuture<'_, Recovered> {
        self.reading(self.inner.recover())
    }

    fn retain<'a>(
        &'a self,
        now: Timestamp,
        policy: &'a RetentionPolicy,
        keep: &'a [JobId],
    ) -> StoreFuture<'a, RetentionReport> {
        self.inner.retain(now, policy, keep)
    }

    fn stats(&self) -> StoreFuture<'_, StoreStats> {
        self.reading(self.inner.stats())
    }

    fn is_durable(&self) -> bool {
        self.inner.is_durable()
    }

    /// Without faults: a script is about commits and reads.
    fn shared(&self) -> Option<&dyn Shared> {
        self.inner.shared()
    }

    fn fallen(&self) -> Pin<Box<dyn Future<Output = StoreError> + Send + '_>> {
        let fallen = self.script.fallen.subscribe();
        Box::pin(async move {
            tokio::select! {
                error = self.inner.fallen() => error,
                error = told(fallen) => error,
            }
        })
    }

    fn close(&self) -> StoreFuture<'_, ()> {
        self.inner.close()
    }
}

/// Waits for a reason.
async fn told(mut fallen: watch::Receiver<Option<StoreError>>) -> StoreError {
    // The sender lives as long as the store does, so the error, that it is gone, cannot happen.
    let error = fallen.wait_for(Option::is_some).await;
    error
        .ok()
        .and_then(|error| error.clone())
        .unwrap_or(StoreError::Closed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryStore, testing::fixture::*};

    #[tokio::test(start_paused = true)]
    async fn faults_come_in_the_order_of_the_script() {
        let store = FaultStore::new(MemoryStore::new());
        store.commit_number(2, Fault::Fail(StoreError::Full("test".into())));
        store.next_commit(Fault::Delay(Duration::from_secs(5)));

        let before = tokio::time::Instant::now();
        commit(&store, [job(1).into()]).await;
        assert_eq!(before.elapsed(), Duration::from_secs(5));
        assert!(matches!(
            try_commit(&store, [job(2).into()]).await,
            Err(StoreError::Full(_))
        ));
        assert!(store.job(&job_id(2)).await.unwrap().is_none());

        store.next_commit(Fault::Applied(StoreError::Failed("test".into())));
        assert!(matches!(
            try_commit(&store, [job(4).into()]).await,
            Err(StoreError::Failed(_))
        ));
        assert!(store.job(&job_id(4)).await.unwrap().is_some());

        store.next_commit(Fault::Hang);
        let hanging = tokio::spawn({
            let store = store.clone();
            async move { try_commit(&store, [job(3).into()]).await }
        });
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(store.job(&job_id(3)).await.unwrap().is_none());
        store.release();
        hanging.await.unwrap().unwrap();
        assert!(store.job(&job_id(3)).await.unwrap().is_some());
        assert_eq!(store.commits(), 4);

        store.fail_reads(Some(StoreError::Failed("test".into())));
        assert!(store.job(&job_id(3)).await.is_err());
    }

    #[tokio::test]
    async fn the_same_seed_fails_the_same_commits() {
        let mut runs = Vec::new();
        for _ in 0..2 {
            let store = FaultStore::new(MemoryStore::new());
            store.randomly(7, 3);
            let mut run = Vec::new();
            for _ in 0..100 {
                run.push(store.commit(Batch::default()).await.is_ok());
            }
            runs.push(run);
        }
        assert_eq!(runs[0], runs[1]);
        assert!(runs[0].contains(&true) && runs[0].contains(&false));
    }
}
