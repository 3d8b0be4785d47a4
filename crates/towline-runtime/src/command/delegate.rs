//! Child jobs (§9.4, §10).

use std::{sync::Arc, time::Duration};

use tokio::sync::oneshot;
use towline_proto::{lease::Authority, refusal::Refusal};
use towline_store::{Change, JobRow, JobState, StoreError};
use towline_wire::{AgentRef, ErrorCode, Lease, LeaseConstraints, RawJson};

use super::{
    open::shutting_down,
    store_refusal,
    submit::{announce_on_parent, new_entry, submit_audit},
};
use crate::{
    credentials::{AskedBy, IssuedCredentials, Ledger},
    hub::{Command, Hub, Tx},
    job::JobEntry,
    trace::CausedBy,
};

/// What a child may do, with its share of the budget set aside from the parent.
pub(super) struct ChildPlan {
    pub(super) lease: Lease,
    pub(super) constraints: LeaseConstraints,
    pub(super) authority: Authority,
}

/// Bounds a child by its parent, and reserves its share, in one step under the parent's lock [ARCP 9.4-2].
pub(super) fn plan_child(
    hub: &Hub,
    parent: &JobEntry,
    agent: &AgentRef,
    lease: &Lease,
    constraints: &LeaseConstraints,
) -> Result<ChildPlan, Refusal> {
    let limits = &hub.options;
    if parent.row.depth + 1 > limits.max_depth {
        let message = format!("delegation goes at most {} jobs deep", limits.max_depth);
        return Err(Refusal::new(ErrorCode::PERMISSION_DENIED, message));
    }
    let now = hub.now();
    let mut core = parent.lock();
    let running = core
        .children
        .iter()
        .filter_map(std::sync::Weak::upgrade)
        .filter(|child| !child.ended.is_cancelled());
    if running.count() >= limits.max_children {
        let message = format!("a job has at most {} children at once", limits.max_children);
        return Err(Refusal::new(ErrorCode::PERMISSION_DENIED, message));
    }
    let grant = core
        .authority
        .derive_child(&agent.to_string(), lease, constraints, now);
    let grant = grant.map_err(|refusal| Refusal::new(refusal.code(), refusal.to_string()))?;
    let reserved = core.authority.budget_mut().reserve(&grant.reserve);
    reserved.map_err(|error| Refusal::new(error.code(), error.to_string()))?;
    core.touch();
    let expires_at = grant.expires_at.map(|at| at.to_string());
    Ok(ChildPlan {
        lease: grant.lease.clone(),
        constraints: LeaseConstraints { expires_at },
        authority: grant.into_authority(),
    })
}

/// Returns the share of a child that never came to be.
pub(super) fn give_back(hub: &Arc<Hub>, child: &JobEntry) {
    let (parent, budget) = {
        let core = child.lock();
        (core.parent.clone(), core.authority.budget().clone())
    };
    if let Some(parent) = parent {
        parent.lock().authority.budget_mut().settle(&budget);
        parent.lock().touch();
        hub.flush(&parent);
    }
}

/// What an agent delegates.
pub(crate) struct ChildRequest {
    pub(crate) agent: AgentRef,
    pub(crate) input: RawJson,
    pub(crate) lease: Lease,
    pub(crate) constraints: LeaseConstraints,
    pub(crate) max_runtime: Option<Duration>,
}

/// Creates a child of a running job [ARCP 10-1]. Cancel safe: a child that was created runs on, and its parent's end
/// cancels it.
pub(crate) async fn delegate(
    hub: &Arc<Hub>,
    parent: &Arc<JobEntry>,
    request: ChildRequest,
) -> Result<Arc<JobEntry>, Refusal> {
    if hub.draining.is_cancelled() {
        return Err(shutting_down());
    }
    let (agent, entry) = hub.agents.resolve(&request.agent)?;
    let plan = plan_child(hub, parent, &agent, &request.lease, &request.constraints)?;
    let row = JobRow {
        id: hub.ids.job(),
        principal: parent.row.principal.clone(),
        session: parent.row.session.clone(),
        request_id: None,
        agent,
        input: request.input,
        lease: plan.lease,
        constraints: plan.constraints,
        max_runtime: request.max_runtime,
        parent: Some(parent.id().clone()),
        depth: parent.row.depth + 1,
        trace: parent.row.trace,
        created_at: hub.now(),
        state: JobState::accepted(),
    };
    let session = hub.session(&parent.row.session);
    let job = new_entry(
        row,
        plan.authority,
        entry,
        Some(Arc::clone(parent)),
        session,
    );
    job.lock().caused_by = Some(CausedBy::Local(delegating(parent)));
    let (done, created) = oneshot::channel();
    let create = create(Arc::clone(hub), Arc::clone(&job), done);
    match hub.credentials.may_wait() {
        // An agent that stops waiting must not leave a half-made child behind.
        true => drop(hub.tasks.spawn(create)),
        false => create.await,
    }
    created.await.map_err(|_| shutting_down())??;
    Ok(job)
}

/// The span in which the parent's agent delegates.
fn delegating(parent: &JobEntry) -> tracing::Span {
    let current = tracing::Span::current();
    if current.id().is_some() {
        current
    } else {
        parent.lock().span.clone()
    }
}

/// Gets the child what it needs, and has it created.
async fn create(hub: Arc<Hub>, job: Arc<JobEntry>, done: oneshot::Sender<Result<(), Refusal>>) {
    let session = hub.session(&job.row.session);
    let asked_by = AskedBy::Delegation {
        session: session.as_deref(),
    };
    match Ledger::issue(&hub, &job, asked_by).await {
        Ok(credentials) => hub.command(CreateChild {
            job,
            credentials,
            refused: None,
            done,
        }),
        Err(refusal) => {
            give_back(&hub, &job);
            // Whoever waited may have gone.
            let _ = done.send(Err(refusal));
        }
    }
}

struct CreateChild {
    job: Arc<JobEntry>,
    /// Revoked again when the child does not come to be.
    credentials: Option<IssuedCredentials>,
    refused: Option<Refusal>,
    done: oneshot::Sender<Result<(), Refusal>>,
}

impl Command for CreateChild {
    fn decide(&mut self, tx: &mut Tx<'_>) {
        if let Err(refusal) = announce_on_parent(tx, &self.job) {
            self.refused = Some(refusal);
            return;
        }
        // A child always finds one.
        let _place = tx.hub.claim_place(&self.job);
        tx.push(Change::Job(Box::new(self.job.row.clone())));
        let credentials = self.credentials.iter().flat_map(IssuedCredentials::changes);
        credentials.for_each(|change| tx.push(change));
        tx.push(Change::Audit(submit_audit(tx.hub, &self.job)));
    }

    fn done(self: Box<Self>, hub: &Arc<Hub>, result: Result<(), &StoreError>) {
        let answer = match (self.refused, result) {
            (Some(refusal), _) => Err(refusal),
            (None, Err(error)) => Err(store_refusal(error)),
            (None, Ok(())) => Ok(()),
        };
        match &answer {
            Ok(()) => {
                if let Some(credentials) = self.credentials {
                    credentials.take();
                }
                hub.insert_job(&self.job);
                hub.start_accepted(&self.job);
            }
            Err(_) => {
                hub.never_accepted(&self.job);
                give_back(hub, &self.job);
            }
        }
        // An agent that no longer waits has a child all the same; its end cancels the child.
        let _ = self.done.send(answer);
    }
}
