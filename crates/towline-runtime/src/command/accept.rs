//! Accepting a job, whether a client submitted it or an agent delegated it (§7.1, §10).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::sync::oneshot;
use towline_proto::{
    job::{JobMachine, delegate_id},
    lease::Amounts,
    refusal::Refusal,
    span::RecordKind,
};
use towline_store::{
    AuditRow, Change, IdempotencyRow, JobRow, JobState, Planned, Principal, StoreError,
};
use towline_wire::{
    AgentRef, Amount, Envelope, EventKind, JobId, Lease, MessageId, RawJson, SessionId, TraceId,
    event, namespace, payload,
};

use super::{
    asker::{Asker, envelope, store_refusal},
    plan::{Plan, give_back},
};
use crate::{
    audit::{Actor, Audit, Verdict},
    credentials::{IssuedCredentials, Ledger},
    hub::{AgentEntry, Command, Hub, KeyGuard, Tx},
    job::{CausedBy, JobEntry},
    life,
    session::{Reply, SessionEntry},
};

/// What a job is made of.
pub(super) struct NewJob {
    pub(super) principal: Principal,
    pub(super) session: SessionId,
    pub(super) request: Option<MessageId>,
    /// As it was resolved, with its version.
    pub(super) agent: AgentRef,
    pub(super) entry: AgentEntry,
    pub(super) input: RawJson,
    pub(super) plan: Plan,
    pub(super) max_runtime: Option<Duration>,
    pub(super) rerun_of: Option<JobId>,
    pub(super) planned: Option<Box<Planned>>,
    pub(super) trace: TraceId,
    pub(super) caused_by: Option<CausedBy>,
    /// The session it belongs to, which watches it from its first event.
    pub(super) observer: Option<Arc<SessionEntry>>,
}

impl NewJob {
    /// The job, in memory and known to nobody yet.
    pub(super) fn make(self, hub: &Hub) -> Arc<JobEntry> {
        let parent = self.plan.parent;
        let budget = self.plan.authority.budget();
        let row = JobRow {
            id: hub.services.ids.job(),
            principal: self.principal,
            session: self.session,
            request_id: self.request,
            agent: self.agent,
            input: self.input,
            lease: self.plan.lease,
            constraints: self.plan.constraints,
            max_runtime: self.max_runtime,
            parent: parent.as_ref().map(|parent| parent.id().clone()),
            depth: parent.as_ref().map_or(0, |parent| parent.row.depth + 1),
            rerun_of: self.rerun_of,
            planned: self.planned,
            trace: self.trace,
            created_at: hub.now(),
            state: JobState {
                budget: if budget.is_empty() {
                    None
                } else {
                    RawJson::of(budget).ok()
                },
                ..JobState::accepted()
            },
        };
        let terms = life::terms_of(hub, &row);
        let job = JobEntry::new(row, self.plan.authority, JobMachine::new(), parent);
        {
            let mut core = job.lock();
            core.agent = Some(self.entry.agent);
            core.kin = self.plan.kin;
            core.terms = terms;
            core.caused_by = self.caused_by;
            core.observers.extend(self.observer);
        }
        if let Some(day) = self.plan.day {
            day.becomes(&job);
        }
        job
    }
}

/// Makes a job durable, and tells whoever asked for it how that went.
pub(super) struct AcceptJob {
    job: Arc<JobEntry>,
    asked_by: AskedBy,
    /// Revoked again when the job does not come to be.
    credentials: Option<IssuedCredentials>,
    /// Whether it was decided before, in a transaction that came to nothing: its place is claimed, and its parent's log has
    /// the event that tells of it.
    is_claimed: bool,
    refused: Option<Refusal>,
    /// Whether the job had a place, and begins with its acceptance.
    has_begun: bool,
}

/// Who waits for a job to be accepted.
pub(super) enum AskedBy {
    /// A session that submitted it.
    Client {
        asker: Asker,
        key: Option<ClaimedKey>,
    },
    /// An agent that delegates. One that no longer waits has a child all the same; its end cancels the child.
    Agent(oneshot::Sender<Result<(), Refusal>>),
}

/// The idempotency key of a submit; others with the same key wait until it is durable.
pub(super) struct ClaimedKey {
    pub(super) guard: KeyGuard,
    pub(super) key: String,
    pub(super) fingerprint: [u8; 32],
}

impl AcceptJob {
    pub(super) fn new(
        job: Arc<JobEntry>,
        asked_by: AskedBy,
        credentials: Option<IssuedCredentials>,
    ) -> Self {
        Self {
            job,
            asked_by,
            credentials,
            is_claimed: false,
            refused: None,
            has_begun: false,
        }
    }

    /// What the idempotency key stands for from now on [ARCP 7.2-1].
    fn idempotency(&self) -> Option<IdempotencyRow> {
        let AskedBy::Client { key: Some(key), .. } = &self.asked_by else {
            return None;
        };
        let row = &self.job.row;
        Some(IdempotencyRow {
            principal: row.principal.clone(),
            key: key.key.clone(),
            job: row.id.clone(),
            fingerprint: key.fingerprint,
            created_at: row.created_at,
        })
    }
}

impl Command for AcceptJob {
    fn decide(&mut self, tx: &mut Tx<'_>) {
        if !std::mem::replace(&mut self.is_claimed, true) {
            self.refused = life::claim_place(tx.hub, &self.job)
                .and_then(|()| announce_on_parent(tx.hub, &self.job))
                .err();
        }
        if self.refused.is_some() {
            return;
        }
        let parent = self.job.lock().parent.clone();
        if let Some(parent) = parent {
            tx.take(&parent);
        }
        tx.push(Change::Job(Box::new(self.job.row.clone())));
        if let Some(row) = self.idempotency() {
            tx.push(Change::Idempotency(row));
        }
        if let Some(credentials) = &self.credentials {
            credentials.add_to(tx);
        }
        tx.audit(audit(tx.hub, &self.job));
        self.has_begun = self.has_begun || life::begin_with_acceptance(tx.hub, &self.job);
        if self.has_begun {
            tx.take(&self.job);
        }
    }

    fn done(self: Box<Self>, hub: &Arc<Hub>, result: Result<(), &StoreError>) {
        let Self {
            job,
            asked_by,
            credentials,
            refused,
            is_claimed: _,
            has_begun,
        } = *self;
        if let Some(refusal) = refused.or_else(|| result.err().map(store_refusal)) {
            life::never_accepted(hub, &job);
            give_back(hub, &job);
            return asked_by.refuse(hub, &job, refusal);
        }
        hub.books.jobs.insert(&job);
        hub.books.followers.changed(&job.row);
        if let Some(credentials) = credentials {
            credentials.take();
        }
        // The answer comes before the job's first event [ARCP 7.1-2].
        asked_by.accept(hub, &job);
        life::start_accepted(hub, &job, has_begun);
    }
}

impl AskedBy {
    fn accept(self, hub: &Hub, job: &JobEntry) {
        match self {
            Self::Client { asker, key } => {
                let credentials = Ledger::shown(hub, &job.row, &asker.session, true);
                let envelope = accepted(&job.row, asker.request.clone(), credentials);
                asker.reply(Reply::announcing(envelope, job.id().clone()));
                // Whoever waits for the key finds the job from here on.
                drop(key.map(|key| key.guard));
            }
            Self::Agent(waiting) => {
                let _ = waiting.send(Ok(()));
            }
        }
    }

    fn refuse(self, hub: &Hub, job: &JobEntry, refusal: Refusal) {
        match self {
            Self::Client { asker, .. } => {
                let agent = job.row.agent.to_string();
                let verdict = Verdict::Refused(&refusal.code);
                let role = asker.role(hub);
                let actor = asker.actor(role.as_deref());
                hub.audit(Audit::at(hub.now()).submit(actor, &agent, None, verdict));
                asker.refuse_submit(&refusal, Some(job.row.trace));
            }
            Self::Agent(waiting) => {
                let _ = waiting.send(Err(refusal));
            }
        }
    }
}

/// A child is made known on its parent's log, which the same commit takes.
fn announce_on_parent(hub: &Hub, job: &Arc<JobEntry>) -> Result<(), Refusal> {
    let Some(parent) = job.lock().parent.clone() else {
        return Ok(());
    };
    let body = event::Delegate {
        child_job_id: job.id().clone(),
        agent: job.row.agent.clone(),
        input: Some(job.row.input.clone()).filter(|input| !input.is_null()),
        lease: Some(job.row.lease.clone()),
        delegate_id: Some(delegate_id(job.id())),
        lease_request: Some(job.row.lease.clone()),
    };
    let now = hub.now();
    {
        let mut core = parent.lock();
        let appended = core.append_event(RecordKind::Event, &EventKind::DELEGATE, now, |out| {
            serde_json::to_writer(out, &body)
        });
        appended.map_err(|_| {
            Refusal::invalid("`parent_job_id`: the parent job is not running any more")
        })?;
        core.children.retain(|child| {
            child
                .upgrade()
                .is_some_and(|child| !child.ended.is_cancelled())
        });
        core.children.push(Arc::downgrade(job));
        core.log.touch();
    }
    Ok(())
}

/// The audit entry of an accepted job.
fn audit(hub: &Hub, job: &JobEntry) -> AuditRow {
    let role = hub.services.role_of(&job.row.principal);
    let actor = Actor {
        principal: &job.row.principal,
        session: &job.row.session,
        role: role.as_deref(),
    };
    let audit = Audit::at(hub.now());
    match &job.row.parent {
        Some(parent) => audit.delegate(actor, parent, &job.row.agent, job.id()),
        None => {
            let agent = job.row.agent.to_string();
            audit.submit(actor, &agent, Some(job.id()), Verdict::Allowed)
        }
    }
}

/// The `job.accepted` of a job, the same whenever it is sent [ARCP 7.1-2].
pub(crate) fn accepted(
    row: &JobRow,
    request: Option<MessageId>,
    credentials: Option<Vec<payload::Credential>>,
) -> Envelope {
    let payload = payload::Accepted {
        request_id: request,
        job_id: Some(row.id.clone()),
        agent: row.agent.to_string(),
        lease: row.lease.clone(),
        lease_constraints: Some(row.constraints.clone())
            .filter(|constraints| !constraints.is_empty()),
        budget: full_budget(&row.lease),
        credentials,
        accepted_at: Some(row.created_at),
        trace_id: Some(row.trace),
        parent_job_id: row.parent.clone(),
        delegate_id: row.parent.is_some().then(|| delegate_id(&row.id)),
    };
    envelope(&payload)
        .with_job(row.id.clone())
        .with_trace(Some(row.trace))
}

/// The counters a lease begins with.
fn full_budget(lease: &Lease) -> Option<BTreeMap<String, Amount>> {
    // A granted lease was validated, so its amounts parse.
    let amounts = Amounts::parse(lease.patterns(namespace::COST_BUDGET)).unwrap_or_default();
    let budget: BTreeMap<String, Amount> = amounts
        .iter()
        .map(|(currency, amount)| (currency.to_owned(), amount))
        .collect();
    (!budget.is_empty()).then_some(budget)
}
