//! An upstream that does what it is told to, also badly; and a store that survives its runtime.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
};

use futures_util::{FutureExt as _, future::BoxFuture};
use towline_runtime::credentials::{
    CredentialProvisioner, IssueRequest, Issued, ProvisionError, Revocation, UpstreamValue,
};
use towline_store::{
    AuditRow, Batch, Block, Committed, CredentialRow, DeliveryQuery, DeliveryRow, EventStore,
    IdempotencyRow, JobPage, JobQuery, JobRow, MemoryStore, Principal, Recovered, RetentionPolicy,
    RetentionReport, SessionRow, StoreFuture, StoreStats,
};
use towline_wire::{EventSeq, JobId, JobSeq, RawJson, Secret, SessionId, Timestamp};

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails, and nothing was done.
    Fail,
    /// It is refused.
    Refuse,
    /// It is done and never answered.
    Lose,
    /// It is never answered, and done only once the runtime has given up on it.
    Late,
}

/// An upstream. Clones are the same one, which outlives every runtime.
#[derive(Clone, Default)]
pub struct Upstream(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    good: BTreeMap<String, String>,
    requests: Vec<IssueRequest>,
    calls: Vec<String>,
    issues: VecDeque<Option<Fault>>,
    revocations: VecDeque<Option<Fault>>,
}

impl Upstream {
    /// The references of the values that are good.
    pub fn good(&self) -> Vec<String> {
        self.0.lock().unwrap().good.keys().cloned().collect()
    }

    /// Whether a value is good.
    pub fn accepts(&self, value: &str) -> bool {
        self.0
            .lock()
            .unwrap()
            .good
            .values()
            .any(|good| good == value)
    }

    /// What was asked for.
    pub fn requests(&self) -> Vec<IssueRequest> {
        self.0.lock().unwrap().requests.clone()
    }

    /// Every call, in order: `issue REFERENCE`, `revoke REFERENCE`.
    pub fn calls(&self) -> Vec<String> {
        self.0.lock().unwrap().calls.clone()
    }

    /// What happens to the next calls that make something.
    pub fn issues(&self, faults: impl IntoIterator<Item = Option<Fault>>) {
        self.0.lock().unwrap().issues.extend(faults);
    }

    /// What happens to the next revocations.
    pub fn revocations(&self, faults: impl IntoIterator<Item = Option<Fault>>) {
        self.0.lock().unwrap().revocations.extend(faults);
    }

    /// From now on every call works.
    pub fn heal(&self) {
        let mut state = self.0.lock().unwrap();
        state.issues.clear();
        state.revocations.clear();
    }

    fn make(&self, reference: &str) -> Issued {
        let value = format!("SECRET-{reference}-{}", self.0.lock().unwrap().calls.len());
        self.0
            .lock()
            .unwrap()
            .good
            .insert(reference.to_owned(), value.clone());
        Issued {
            scheme: "bearer".to_owned(),
            value: Secret::from(value),
            endpoint: "https://models.example/v1".to_owned(),
            profile: Some("openai".to_owned()),
            upstream_ref: Some(format!("up-{reference}")),
        }
    }
}

/// Does something when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

impl CredentialProvisioner for Upstream {
    fn name(&self) -> &str {
        "test"
    }

    fn issue<'a>(
        &'a self,
        request: &'a IssueRequest,
    ) -> BoxFuture<'a, Result<Issued, ProvisionError>> {
        async move {
            let fault = {
                let mut state = self.0.lock().unwrap();
                state.calls.push(format!("issue {}", request.reference));
                state.requests.push(request.clone());
                state.issues.pop_front().flatten()
            };
            match fault {
                None => Ok(self.make(&request.reference)),
                Some(Fault::Fail) => Err(ProvisionError::unavailable("the upstream is down")),
                Some(Fault::Refuse) => Err(ProvisionError::refused("not for you")),
                Some(Fault::Lose) => {
                    self.make(&request.reference);
                    std::future::pending().await
                }
                Some(Fault::Late) => {
                    let _made_late = OnDrop(|| {
                        let (upstream, reference) = (self.clone(), request.reference.clone());
                        tokio::spawn(async move {
                            tokio::time::sleep(std::time::Duration::from_secs(20)).await;
                            upstream.make(&reference);
                        });
                    });
                    std::future::pending().await
                }
            }
        }
        .boxed()
    }

    fn revoke<'a>(
        &'a self,
        value: &'a UpstreamValue,
    ) -> BoxFuture<'a, Result<Revocation, ProvisionError>> {
        async move {
            let fault = {
                let mut state = self.0.lock().unwrap();
                state.calls.push(format!("revoke {}", value.reference));
                state.revocations.pop_front().flatten()
            };
            let known = value
                .value
                .as_ref()
                .map_or("nothing", Secret::expose)
                .to_owned();
            match fault {
                // A careless upstream quotes what it was given.
                Some(Fault::Fail) => {
                    return Err(ProvisionError::unavailable(format!(
                        "cannot revoke {known} now"
                    )));
                }
                Some(Fault::Refuse) => {
                    return Err(ProvisionError::refused(format!("{known} is not mine")));
                }
                Some(Fault::Lose | Fault::Late) => {
                    self.0.lock().unwrap().good.remove(&value.reference);
                    std::future::pending().await
                }
                None => {}
            }
            match self.0.lock().unwrap().good.remove(&value.reference) {
                Some(_) => Ok(Revocation::Revoked),
                None => Ok(Revocation::NotFound),
            }
        }
        .boxed()
    }
}

/// A store in memory that outlives its runtimes, and so is durable as far as they can tell.
#[derive(Clone)]
pub struct Durable(Arc<MemoryStore>);

impl Durable {
    /// An empty store.
    pub fn new() -> Self {
        Self(Arc::new(MemoryStore::new()))
    }
}

impl EventStore for Durable {
    fn commit(&self, batch: Batch) -> StoreFuture<'_, Committed> {
        self.0.commit(batch)
    }

    fn read_job<'a>(
        &'a self,
        job: &'a JobId,
        from: JobSeq,
        max_bytes: usize,
    ) -> StoreFuture<'a, Vec<Arc<Block>>> {
        self.0.read_job(job, from, max_bytes)
    }

    fn job<'a>(&'a self, job: &'a JobId) -> StoreFuture<'a, Option<JobRow>> {
        self.0.job(job)
    }

    fn session<'a>(&'a self, session: &'a SessionId) -> StoreFuture<'a, Option<SessionRow>> {
        self.0.session(session)
    }

    fn session_by_token<'a>(&'a self, hash: &'a [u8; 32]) -> StoreFuture<'a, Option<SessionRow>> {
        self.0.session_by_token(hash)
    }

    fn stream_end<'a>(&'a self, session: &'a SessionId) -> StoreFuture<'a, Option<EventSeq>> {
        self.0.stream_end(session)
    }

    fn list_jobs(&self, query: JobQuery) -> StoreFuture<'_, JobPage> {
        self.0.list_jobs(query)
    }

    fn idempotency<'a>(
        &'a self,
        principal: &'a Principal,
        key: &'a str,
    ) -> StoreFuture<'a, Option<IdempotencyRow>> {
        self.0.idempotency(principal, key)
    }

    fn checkpoint<'a>(&'a self, job: &'a JobId) -> StoreFuture<'a, Option<RawJson>> {
        self.0.checkpoint(job)
    }

    fn credentials_of<'a>(&'a self, job: &'a JobId) -> StoreFuture<'a, Vec<CredentialRow>> {
        self.0.credentials_of(job)
    }

    fn deliveries(&self, query: DeliveryQuery) -> StoreFuture<'_, Vec<DeliveryRow>> {
        self.0.deliveries(query)
    }

    fn delivery<'a>(&'a self, id: &'a str) -> StoreFuture<'a, Option<DeliveryRow>> {
        self.0.delivery(id)
    }

    fn audit(&self, latest: usize) -> StoreFuture<'_, Vec<AuditRow>> {
        self.0.audit(latest)
    }

    fn recover(&self) -> StoreFuture<'_, Recovered> {
        self.0.recover()
    }

    fn retain<'a>(
        &'a self,
        now: Timestamp,
        policy: &'a RetentionPolicy,
        keep: &'a [JobId],
    ) -> StoreFuture<'a, RetentionReport> {
        self.0.retain(now, policy, keep)
    }

    fn stats(&self) -> StoreFuture<'_, StoreStats> {
        self.0.stats()
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn close(&self) -> StoreFuture<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }
}
