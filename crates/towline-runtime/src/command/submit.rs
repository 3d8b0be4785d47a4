//! `job.submit` (§7.1, §7.2).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use towline_proto::{
    fingerprint,
    job::JobMachine,
    lease::{Amounts, Authority, validate_request},
    refusal::Refusal,
    server::Submission,
};
use towline_store::{AuditRow, Change, IdempotencyRow, JobRow, JobState, StoreError};
use towline_wire::{
    AgentRef, Amount, ErrorCode, JobSeq, JobStatus, Lease, LeaseConstraints, MessageId, RawJson,
    SpanId, TraceId, namespace, payload,
};

use super::{
    Asker,
    delegate::{ChildPlan, plan_child},
    envelope,
    open::shutting_down,
    store_refusal, subscribe,
};
use crate::{
    agent::AgentEntry,
    audit::{Actor, Audit, Verdict},
    credentials::{AskedBy, IssuedCredentials, Ledger},
    hub::{Command, Hub, KeyGuard, Tx},
    job::JobEntry,
    policy::LeaseRequest,
    session::Reply,
    trace::CausedBy,
};

/// The trace a submit came in, and the span it came from.
#[derive(Clone, Copy)]
pub(super) struct Origin {
    pub(super) trace: Option<TraceId>,
    pub(super) span: Option<SpanId>,
}

/// Carries a submit out, up to its command.
pub(super) async fn submit(hub: &Arc<Hub>, asker: Asker, submission: Submission, origin: Origin) {
    // A policy, or a credential's upstream, may take its time; requests behind this one do not wait for it.
    if hub.lease_policy.is_some() || hub.credentials.may_wait() {
        let hub = Arc::clone(hub);
        hub.tasks
            .clone()
            .spawn(async move { submit_now(&hub, asker, submission, origin).await });
    } else {
        submit_now(hub, asker, submission, origin).await;
    }
}

async fn submit_now(hub: &Arc<Hub>, asker: Asker, submission: Submission, origin: Origin) {
    let asked = submission.agent.to_string();
    match prepare(hub, &asker, submission, origin).await {
        Ok(Prepared::New(accept)) => hub.command(*accept),
        Ok(Prepared::Known(row)) => subscribe::attach_to_known(hub, asker, *row).await,
        Err(refusal) => {
            let actor = Actor {
                principal: &asker.session.principal,
                session: &asker.session.id,
            };
            hub.audit(Audit::at(hub.now()).submit(
                actor,
                &asked,
                None,
                Verdict::Refused(&refusal.code),
            ));
            asker.refuse_submit(&refusal, origin.trace);
        }
    }
}

enum Prepared {
    New(Box<AcceptJob>),
    /// The key stands for this job.
    Known(Box<JobRow>),
}

async fn prepare(
    hub: &Arc<Hub>,
    asker: &Asker,
    submission: Submission,
    origin: Origin,
) -> Result<Prepared, Refusal> {
    let (guard, idempotency) = match &submission.payload.idempotency_key {
        None => (None, None),
        Some(key) => match claim_key(hub, asker, key, &submission.raw).await? {
            Claim::Known(row) => return Ok(Prepared::Known(row)),
            Claim::Free { guard, fingerprint } => (Some(guard), Some((key.clone(), fingerprint))),
        },
    };
    if hub.draining.is_cancelled() {
        return Err(shutting_down());
    }
    let (agent, entry) = hub.agents.resolve(&submission.agent)?;
    let plan = plan(hub, asker, &agent, &submission.payload).await?;
    let payload = submission.payload;
    let caused_by = match &plan.parent {
        Some(parent) => Some(CausedBy::Local(parent.lock().span.clone())),
        None => origin.span.map(CausedBy::Remote),
    };
    let trace = plan
        .parent
        .as_ref()
        .map(|parent| parent.row.trace)
        .or(origin.trace)
        .unwrap_or_else(|| hub.ids.trace());
    let row = JobRow {
        id: hub.ids.job(),
        principal: asker.session.principal.clone(),
        session: asker.session.id.clone(),
        request_id: asker.request.clone(),
        agent,
        input: payload.input.unwrap_or(RawJson::NULL),
        lease: plan.lease,
        constraints: plan.constraints,
        max_runtime: payload.max_runtime_sec.map(whole_duration),
        parent: plan.parent.as_ref().map(|parent| parent.id().clone()),
        depth: plan
            .parent
            .as_ref()
            .map_or(0, |parent| parent.row.depth + 1),
        trace,
        created_at: hub.now(),
        state: JobState {
            status: JobStatus::Pending,
            last_seq: JobSeq::ZERO,
            budget: None,
            finished_at: None,
            ending: None,
        },
    };
    let idempotency = idempotency.map(|(key, fingerprint)| IdempotencyRow {
        principal: row.principal.clone(),
        key,
        job: row.id.clone(),
        fingerprint,
        created_at: row.created_at,
    });
    let job = new_entry(
        row,
        plan.authority,
        entry,
        plan.parent,
        Some(Arc::clone(&asker.session)),
    );
    job.lock().caused_by = caused_by;
    let asked_by = AskedBy::Submit {
        session: &asker.session,
        confidential: asker.attachment.confidential,
    };
    let credentials = match Ledger::issue(hub, &job, asked_by).await {
        Ok(credentials) => credentials,
        Err(refusal) => {
            super::delegate::give_back(hub, &job);
            return Err(refusal);
        }
    };
    Ok(Prepared::New(Box::new(AcceptJob {
        job,
        idempotency,
        guard,
        asker: asker.clone(),
        credentials,
        refused: None,
    })))
}

/// A job's entry, watched by the session it belongs to.
pub(super) fn new_entry(
    mut row: JobRow,
    authority: Authority,
    agent: AgentEntry,
    parent: Option<Arc<JobEntry>>,
    session: Option<Arc<crate::session::SessionEntry>>,
) -> Arc<JobEntry> {
    row.state.budget = match authority.budget().is_empty() {
        true => None,
        false => RawJson::of(authority.budget()).ok(),
    };
    let job = JobEntry::new(row, authority, JobMachine::new(), parent);
    {
        let mut core = job.lock();
        core.agent = Some(agent);
        core.observers.extend(session);
    }
    job
}

/// Seconds as a duration; more than the longest one is the longest one.
fn whole_duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

enum Claim {
    Free {
        guard: KeyGuard,
        fingerprint: [u8; 32],
    },
    Known(Box<JobRow>),
}

/// Finds out what an idempotency key stands for [ARCP 7.2-1, 7.2-2].
async fn claim_key(
    hub: &Arc<Hub>,
    asker: &Asker,
    key: &str,
    raw: &RawJson,
) -> Result<Claim, Refusal> {
    let fingerprint =
        fingerprint::of_submit(raw).map_err(|cause| Refusal::invalid(cause.to_string()))?;
    let principal = &asker.session.principal;
    let guard = hub.keys.acquire(principal, key).await;
    let known = hub
        .store
        .idempotency(principal, key)
        .await
        .map_err(|error| store_refusal(&error))?;
    let Some(known) = known.filter(|known| hub.now().since(known.created_at) < KEY_LIFE) else {
        return Ok(Claim::Free { guard, fingerprint });
    };
    if known.fingerprint != fingerprint {
        let message = "`idempotency_key` stands for a submit with other parameters";
        let details = serde_json::json!({ "existing_job_id": known.job });
        return Err(Refusal::new(ErrorCode::DUPLICATE_KEY, message).with_details(details));
    }
    match hub
        .store
        .job(&known.job)
        .await
        .map_err(|error| store_refusal(&error))?
    {
        Some(row) => Ok(Claim::Known(Box::new(row))),
        // Retention has taken the job; its key is as good as unused.
        None => Ok(Claim::Free { guard, fingerprint }),
    }
}

struct Plan {
    lease: Lease,
    constraints: LeaseConstraints,
    authority: Authority,
    parent: Option<Arc<JobEntry>>,
}

/// What the job will be allowed.
async fn plan(
    hub: &Arc<Hub>,
    asker: &Asker,
    agent: &AgentRef,
    payload: &payload::Submit,
) -> Result<Plan, Refusal> {
    let lease = payload.lease_request.clone().unwrap_or_default();
    let constraints = payload.lease_constraints.clone().unwrap_or_default();
    if let Some(parent) = &payload.parent_job_id {
        let parent = subscribe::own_running_parent(hub, asker, parent).await?;
        let ChildPlan {
            lease,
            constraints,
            authority,
        } = plan_child(hub, &parent, agent, &lease, &constraints)?;
        return Ok(Plan {
            lease,
            constraints,
            authority,
            parent: Some(parent),
        });
    }
    let valid = validate_request(&lease, &constraints, hub.now())
        .map_err(|e| Refusal::new(e.code(), e.to_string()))?;
    let Some(policy) = &hub.lease_policy else {
        let authority = Authority::new(valid, hub.options.require_model_use);
        return Ok(Plan {
            lease,
            constraints,
            authority,
            parent: None,
        });
    };
    let request = LeaseRequest {
        principal: &asker.session.principal,
        agent,
        lease: &lease,
        constraints: &constraints,
    };
    let granted = policy.grant(request).await?;
    let valid = validate_request(&granted.lease, &granted.constraints, hub.now());
    let valid = valid.map_err(|error| {
        tracing::error!(target: "towline::policy", %error, "the lease policy granted a lease that is not valid");
        Refusal::internal("the runtime's lease policy failed")
    })?;
    let authority = Authority::new(valid, hub.options.require_model_use);
    Ok(Plan {
        lease: granted.lease,
        constraints: granted.constraints,
        authority,
        parent: None,
    })
}

/// The `job.accepted` of a job, the same whenever it is sent [ARCP 7.1-2].
pub(crate) fn accepted(
    row: &JobRow,
    request: Option<MessageId>,
    credentials: Option<Vec<payload::Credential>>,
) -> towline_wire::Envelope {
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

impl Asker {
    /// Refuses a submit, in the form the client's SDK can read.
    pub(super) fn refuse_submit(&self, refusal: &Refusal, trace: Option<TraceId>) {
        let dialect = self.session.lock().dialect;
        if !dialect.refuses_submit_with_job_error() {
            return self.refuse(refusal);
        }
        let payload = self.as_job_error(refusal);
        // That SDK drops a `job.error` without a job; a fresh id is one nothing else has.
        let fresh =
            towline_wire::JobId::minted(self.request.as_ref().map_or("refused", |id| id.as_str()));
        self.reply(Reply::plain(
            envelope(&payload).with_job(fresh).with_trace(trace),
        ));
    }
}

struct AcceptJob {
    job: Arc<JobEntry>,
    idempotency: Option<IdempotencyRow>,
    /// Held until the key is durable.
    guard: Option<KeyGuard>,
    asker: Asker,
    /// Revoked again when the job does not come to be.
    credentials: Option<IssuedCredentials>,
    refused: Option<Refusal>,
}

impl Command for AcceptJob {
    fn decide(&mut self, tx: &mut Tx<'_>) {
        let possible = tx
            .hub
            .claim_place(&self.job)
            .and_then(|()| announce_on_parent(tx, &self.job));
        if let Err(refusal) = possible {
            self.refused = Some(refusal);
            return;
        }
        tx.push(Change::Job(Box::new(self.job.row.clone())));
        if let Some(row) = self.idempotency.take() {
            tx.push(Change::Idempotency(row));
        }
        let credentials = self.credentials.iter().flat_map(IssuedCredentials::changes);
        credentials.for_each(|change| tx.push(change));
        tx.push(Change::Audit(submit_audit(tx.hub, &self.job)));
    }

    fn done(self: Box<Self>, hub: &Arc<Hub>, result: Result<(), &StoreError>) {
        let refused = self.refused.or_else(|| result.err().map(store_refusal));
        if let Some(refusal) = refused {
            hub.never_accepted(&self.job);
            super::delegate::give_back(hub, &self.job);
            self.asker.refuse_submit(&refusal, Some(self.job.row.trace));
            return;
        }
        hub.insert_job(&self.job);
        if let Some(credentials) = self.credentials {
            credentials.take();
        }
        let credentials = Ledger::shown_to_submitter(hub, &self.job.row, &self.asker.session);
        let envelope = accepted(&self.job.row, self.asker.request.clone(), credentials);
        self.asker
            .reply(Reply::announcing(envelope, self.job.id().clone()));
        hub.start_accepted(&self.job);
        drop(self.guard);
    }
}

/// A child is made known on its parent's log, in the same commit.
pub(super) fn announce_on_parent(tx: &mut Tx<'_>, job: &Arc<JobEntry>) -> Result<(), Refusal> {
    let Some(parent) = job.lock().parent.clone() else {
        return Ok(());
    };
    let body = towline_wire::event::Delegate {
        child_job_id: job.id().clone(),
        agent: job.row.agent.clone(),
        input: Some(job.row.input.clone()).filter(|input| !input.is_null()),
        lease: Some(job.row.lease.clone()),
    };
    let now = tx.hub.now();
    let appended = {
        let mut core = parent.lock();
        let kind = towline_store::RecordKind::Event;
        core.append_event(kind, "delegate", now, |out| {
            serde_json::to_writer(out, &body)
        })
    };
    appended
        .map_err(|_| Refusal::invalid("`parent_job_id`: the parent job is not running any more"))?;
    {
        let mut core = parent.lock();
        core.children.retain(|child| {
            child
                .upgrade()
                .is_some_and(|child| !child.ended.is_cancelled())
        });
        core.children.push(Arc::downgrade(job));
        core.touch();
    }
    tx.flush(&parent);
    Ok(())
}

/// The audit entry of an accepted job.
pub(super) fn submit_audit(hub: &Hub, job: &JobEntry) -> AuditRow {
    let actor = Actor {
        principal: &job.row.principal,
        session: &job.row.session,
    };
    let audit = Audit::at(hub.now());
    let row = match &job.row.parent {
        Some(parent) => audit.delegate(actor, parent, &job.row.agent, job.id()),
        None => audit.submit(
            actor,
            &job.row.agent.to_string(),
            Some(job.id()),
            Verdict::Allowed,
        ),
    };
    crate::audit::record(&row);
    row
}

/// How long a key stands for its job [ARCP 7.2-3].
const KEY_LIFE: Duration = Duration::from_secs(24 * 3600);
