//! `job.submit` (§7.1): resolve what is asked for, authorise it, reserve what it needs; then [`AcceptJob`] is committed.

use std::sync::Arc;

use towline_proto::{limits, refusal::Refusal, server::Submission};
use towline_store::{JobRow, Planned, ScheduleChange};
use towline_wire::{AgentRef, ErrorCode, JobId, RawJson, SpanId, TraceId, payload};

use super::{
    accept::{AcceptJob, AskedBy, ClaimedKey, NewJob},
    asker::{Asker, shutting_down, store_refusal},
    plan::{Plan, give_back, plan_child, plan_root},
    repeat::{self, Claim},
    visible::own_running_parent,
};
use crate::{
    audit::{Audit, Verdict},
    credentials::{self, Ledger},
    hub::{AgentEntry, Hub},
    job::CausedBy,
};

/// The trace a submit came in, and the span it came from.
#[derive(Clone, Copy)]
pub(super) struct Origin {
    pub(super) trace: Option<TraceId>,
    pub(super) span: Option<SpanId>,
}

/// Carries a submit out, up to its command.
pub(super) async fn submit(hub: &Arc<Hub>, asker: Asker, submission: Submission, origin: Origin) {
    // A policy, or a credential's upstream, may take its time; requests behind this one do not wait for it, nor do their answers
    // where the client does not count on the order of requests [ARCP 5-11].
    if hub.services.lease_policy.is_some() || hub.services.credentials.may_wait() {
        asker.waits();
        let submitting = submit_now(Arc::clone(hub), asker, submission, origin, None);
        hub.scope.tasks.spawn(submitting);
    } else {
        submit_now(Arc::clone(hub), asker, submission, origin, None).await;
    }
}

/// A firing of a schedule, and what becomes durable with its job.
pub(super) struct Fired {
    pub(super) firing: payload::Firing,
    pub(super) change: Option<ScheduleChange>,
}

/// Carries the submit of a schedule's firing out, up to its command.
pub(super) async fn fire(hub: &Arc<Hub>, asker: Asker, submission: Submission, fired: Fired) {
    let origin = Origin {
        trace: None,
        span: None,
    };
    submit_now(Arc::clone(hub), asker, submission, origin, Some(fired)).await;
}

async fn submit_now(
    hub: Arc<Hub>,
    asker: Asker,
    submission: Submission,
    origin: Origin,
    fired: Option<Fired>,
) {
    let (firing, change) = fired.map_or((None, None), |fired| (Some(fired.firing), fired.change));
    let asked = submission.agent.to_string();
    match prepare(&hub, &asker, submission, origin, firing).await {
        Ok(Prepared::New(accept)) => hub.command(accept.with_schedule(change)),
        Ok(Prepared::Known(row)) => repeat::attach_to_known(&hub, asker, *row).await,
        Err(refusal) => {
            let verdict = Verdict::Refused(&refusal.code);
            let role = asker.role(&hub);
            let actor = asker.actor(role.as_deref());
            hub.audit(Audit::at(hub.now()).submit(actor, &asked, None, verdict));
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
    mut submission: Submission,
    origin: Origin,
    firing: Option<payload::Firing>,
) -> Result<Prepared, Refusal> {
    let key = match repeat::claim_key(hub, asker, &submission).await? {
        Claim::Known(row) => return Ok(Prepared::Known(row)),
        Claim::Free(key) => Some(key),
        Claim::NoKey => None,
    };
    let resolved = resolve(hub, &submission.agent)?;
    if let Some(job) = submission.payload.rerun_of.clone() {
        take_over(hub, asker, &job, &mut submission.payload).await?;
    }
    let plan = authorise(hub, asker, &resolved, &submission.payload).await?;
    let notify = notify(hub, asker, &resolved.1, submission.payload.notify.clone())?;
    let planned = planned(hub, &resolved.1, &submission.payload, firing, notify)?;
    let asked = (submission.payload, planned);
    let accept = reserve(hub, asker, asked, origin, resolved, plan, key).await?;
    Ok(Prepared::New(Box::new(accept)))
}

/// The agent that is asked for, with the version that means now [ARCP 7.5-2].
fn resolve(hub: &Hub, agent: &AgentRef) -> Result<(AgentRef, AgentEntry), Refusal> {
    if hub.scope.draining.is_cancelled() {
        return Err(shutting_down());
    }
    Ok(hub.services.agents.resolve(agent)?)
}

/// What another run of an earlier job does not name is as it was there. Whoever may watch a job sees what it was given, over a
/// WebSocket and over HTTP, and has it run once more by a submit of its own; in the name of the job only its principal does.
async fn take_over(
    hub: &Hub,
    asker: &Asker,
    job: &JobId,
    payload: &mut payload::Submit,
) -> Result<(), Refusal> {
    let view = hub
        .look_up(job)
        .await
        .map_err(|error| store_refusal(&error))?;
    let own = view.filter(|view| view.row().principal == asker.session.principal);
    let own = own.ok_or_else(|| {
        let message = format!("`rerun_of`: there is no job `{job}`");
        Refusal::new(ErrorCode::JOB_NOT_FOUND, message)
    })?;
    let row = own.row();
    payload.input.get_or_insert_with(|| row.input.clone());
    payload
        .lease_request
        .get_or_insert_with(|| row.lease.clone());
    let runtime = row.max_runtime.map(|runtime| runtime.as_secs_f64());
    payload.max_runtime_sec = payload.max_runtime_sec.or(runtime);
    Ok(())
}

/// What the job will be allowed: by its parent, or by the deployment.
async fn authorise(
    hub: &Arc<Hub>,
    asker: &Asker,
    (agent, entry): &(AgentRef, AgentEntry),
    payload: &payload::Submit,
) -> Result<Plan, Refusal> {
    let lease = payload.lease_request.clone().unwrap_or_default();
    let constraints = payload.lease_constraints.clone().unwrap_or_default();
    if let Some(parent) = &payload.parent_job_id {
        let parent = own_running_parent(hub, asker, parent).await?;
        return plan_child(hub, &parent, agent, &lease, &constraints, false).await;
    }
    let options = entry.agent.rules().options;
    let asked = (lease, &options.budget_default[..]);
    plan_root(hub, &asker.session.principal, agent, asked, constraints).await
}

/// When it is to run and where it stands in line: as the submit says, or as its agent does. A child waits for nothing, for its
/// parent waits for it.
fn planned(
    hub: &Hub,
    entry: &AgentEntry,
    payload: &payload::Submit,
    firing: Option<payload::Firing>,
    notify: Option<payload::Notify>,
) -> Result<Option<Box<Planned>>, Refusal> {
    let priority = limits::priority(payload.priority)?;
    let by_agent = payload.notify.is_none() && notify.is_some();
    if payload.parent_job_id.is_some() {
        let asks = [
            ("not_before", payload.not_before.is_some()),
            ("queue", payload.queue.is_some()),
        ];
        return match asks.iter().find(|(_, is_there)| *is_there) {
            Some((name, _)) => Err(Refusal::invalid(format!(
                "`{name}` is not for a job with a `parent_job_id`, whose parent waits for it; leave it out"
            ))),
            None => Ok(only_told(notify, by_agent)),
        };
    }
    let own = || entry.agent.rules().options.queue;
    let queue = payload.queue.clone().or_else(own);
    if let Some(queue) = &queue
        && !hub.books.admission.lock().has_queue(queue)
    {
        let queue: String = queue.chars().take(64).collect();
        return Err(Refusal::invalid(format!(
            "`queue` is `{queue}`, which this runtime does not have; name one of its own, or none"
        )));
    }
    let planned = Planned {
        not_before: payload.not_before,
        queue,
        priority,
        schedule: firing,
        notify,
        notified_by_agent: by_agent,
    };
    Ok((planned != Planned::default()).then(|| Box::new(planned)))
}

/// Who is told of the job over HTTP: as the submit says, or as its agent does. Where a submit may not name the receiver, it is
/// refused [ARCP 16-6].
fn notify(
    hub: &Hub,
    asker: &Asker,
    entry: &AgentEntry,
    asked: Option<payload::Notify>,
) -> Result<Option<payload::Notify>, Refusal> {
    let Some(notify) = asked.clone().or_else(|| entry.agent.rules().options.notify) else {
        return Ok(None);
    };
    if asked.is_some() {
        let admitted = hub.services.webhooks.allowed.admit(&notify.url);
        admitted.map_err(|error| {
            let message = format!("`notify.url`: {error}");
            Refusal::new(ErrorCode::PERMISSION_DENIED, message)
        })?;
    }
    if hub.books.webhooks.is_full(&asker.session.principal) {
        let message = "too many webhook messages wait for their receivers; see `towline webhooks`, or submit without `notify`";
        return Err(Refusal::internal(message).for_own_bound());
    }
    Ok(Some(notify))
}

/// What is planned of a job that waits for nothing.
pub(super) fn only_told(notify: Option<payload::Notify>, by_agent: bool) -> Option<Box<Planned>> {
    notify.is_some().then(|| {
        Box::new(Planned {
            notify,
            notified_by_agent: by_agent,
            ..Planned::default()
        })
    })
}

/// Makes the job, and has issued what it needs.
async fn reserve(
    hub: &Arc<Hub>,
    asker: &Asker,
    (payload, planned): (payload::Submit, Option<Box<Planned>>),
    origin: Origin,
    (agent, entry): (AgentRef, AgentEntry),
    plan: Plan,
    key: Option<ClaimedKey>,
) -> Result<AcceptJob, Refusal> {
    let (trace, caused_by) = match &plan.parent {
        Some(parent) => {
            let span = parent.lock().span.clone();
            (Some(parent.row.trace), Some(CausedBy::Local(span)))
        }
        None => (origin.trace, origin.span.map(CausedBy::Remote)),
    };
    let session = &asker.session;
    let job = NewJob {
        principal: session.principal.clone(),
        session: session.id.clone(),
        request: asker.request.clone(),
        agent,
        entry,
        input: payload.input.unwrap_or(RawJson::NULL),
        plan,
        // Checked when the submit was read.
        max_runtime: payload
            .max_runtime_sec
            .and_then(|seconds| limits::max_runtime(seconds).ok()),
        rerun_of: payload.rerun_of,
        planned,
        trace: trace.unwrap_or_else(|| hub.services.ids.trace()),
        caused_by,
        observer: asker.has_stream().then(|| Arc::clone(session)),
    }
    .make(hub);
    let shown_to = credentials::AskedBy::Submit {
        session,
        confidential: asker.attachment.confidential,
    };
    let credentials = Ledger::issue(hub, &job, shown_to)
        .await
        .inspect_err(|_| give_back(hub, &job))?;
    let asked_by = AskedBy::Client {
        asker: asker.clone(),
        key,
    };
    Ok(AcceptJob::new(job, asked_by, credentials))
}
