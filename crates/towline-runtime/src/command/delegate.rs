//! Child jobs that an agent asks for (§10).

use std::{sync::Arc, time::Duration};

use tokio::sync::oneshot;
use towline_proto::refusal::Refusal;
use towline_wire::{AgentRef, Lease, LeaseConstraints, RawJson};

use super::{
    accept::{AcceptJob, AskedBy, NewJob},
    asker::shutting_down,
    plan::{give_back, plan_child},
    submit::only_told,
};
use crate::{
    credentials::{self, Ledger},
    hub::Hub,
    job::{CausedBy, JobEntry},
};

/// What an agent delegates.
pub(crate) struct ChildRequest {
    pub(crate) agent: AgentRef,
    pub(crate) input: RawJson,
    pub(crate) lease: Lease,
    pub(crate) constraints: LeaseConstraints,
    pub(crate) max_runtime: Option<Duration>,
    /// Whether a person let the parent delegate to this agent [ARCP 15-6].
    pub(crate) permitted: bool,
}

/// Creates a child of a running job [ARCP 10-1]. Cancel safe: a child that was created runs on, and its parent's end
/// cancels it.
pub(crate) async fn delegate(
    hub: &Arc<Hub>,
    parent: &Arc<JobEntry>,
    request: ChildRequest,
) -> Result<Arc<JobEntry>, Refusal> {
    hub.sound_footing().await;
    if hub.scope.draining.is_cancelled() {
        return Err(shutting_down());
    }
    let (agent, entry) = hub.services.agents.resolve(&request.agent)?;
    let plan = plan_child(
        hub,
        parent,
        &agent,
        &request.lease,
        &request.constraints,
        request.permitted,
    )
    .await?;
    let planned = only_told(entry.agent.rules().options.notify, true);
    let job = NewJob {
        principal: parent.row.principal.clone(),
        session: parent.row.session.clone(),
        request: None,
        agent,
        entry,
        input: request.input,
        plan,
        max_runtime: request.max_runtime,
        rerun_of: None,
        planned,
        trace: parent.row.trace,
        caused_by: Some(CausedBy::Local(delegating(parent))),
        observer: hub.books.sessions.get(&parent.row.session),
    }
    .make(hub);
    let (done, created) = oneshot::channel();
    let create = create(Arc::clone(hub), Arc::clone(&job), done);
    if hub.services.credentials.may_wait() {
        // An agent that stops waiting must not leave a half-made child behind.
        hub.scope.tasks.spawn(create);
    } else {
        create.await;
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

/// Gets the child what it needs, and has it accepted.
async fn create(hub: Arc<Hub>, job: Arc<JobEntry>, done: oneshot::Sender<Result<(), Refusal>>) {
    let session = hub.books.sessions.get(&job.row.session);
    let shown_to = credentials::AskedBy::Delegation {
        session: session.as_deref(),
    };
    match Ledger::issue(&hub, &job, shown_to).await {
        Ok(credentials) => hub.command(AcceptJob::new(job, AskedBy::Agent(done), credentials)),
        Err(refusal) => {
            give_back(&hub, &job);
            // Whoever waited may have gone.
            let _ = done.send(Err(refusal));
        }
    }
}
