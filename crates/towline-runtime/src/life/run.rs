//! Running a job: one task that watches over the agent's task (§7.3).

use std::{any::Any, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::{
    task::{JoinError, JoinHandle},
    time::Instant,
};
use towline_proto::{
    job::{Cause, Failure, Outcome, Stop},
    span::RecordKind,
};
use towline_wire::{ErrorCode, RawJson, event};
use tracing::Instrument as _;

use crate::{
    AgentError, JobContext, agent::AgentEntry, audit::Audit, credentials::Ledger, hub::Hub,
    job::JobEntry,
};

/// Starts a job that was admitted. Does nothing when it has ended meanwhile.
pub(crate) fn start(hub: &Arc<Hub>, job: &Arc<JobEntry>) {
    let Some(agent) = begin(hub, job) else {
        // A place was taken for a job that needs none.
        hub.give_up_place(job);
        return;
    };
    metrics::counter!("towline_jobs_started_total").increment(1);
    let span = hub.begin_span(job);
    hub.tasks
        .spawn(supervise(Arc::clone(hub), Arc::clone(job), agent).instrument(span));
}

/// The job's first event [ARCP 7.3-1].
fn begin(hub: &Arc<Hub>, job: &Arc<JobEntry>) -> Option<Result<AgentEntry, Failure>> {
    // The agent was resolved when the job was accepted, and stays the same whatever was registered or removed since
    // [ARCP 7.5-2]. Only a job that was recovered has to look for it.
    let kept = job.lock().agent.take();
    let agent = kept
        .map_or_else(
            || hub.agents.resolve(&job.row.agent).map(|(_, agent)| agent),
            Ok,
        )
        .map_err(|_| {
            let message = format!("the agent `{}` is not there any more", job.row.agent);
            Failure::new(ErrorCode::AGENT_NOT_AVAILABLE, message)
        });
    {
        let mut core = job.lock();
        if !core.machine.start() {
            return None;
        }
        let running = event::Status {
            phase: "running".to_owned(),
            message: None,
        };
        // The machine has just said that the job is open.
        let _ = core.append_event(RecordKind::Event, "status", hub.now(), |out| {
            serde_json::to_writer(out, &running)
        });
    }
    hub.flush(job);
    Some(agent)
}

/// Waits for the agent, or for a reason to stop it, and ends the job.
async fn supervise(hub: Arc<Hub>, job: Arc<JobEntry>, agent: Result<AgentEntry, Failure>) {
    let outcome = match agent {
        Ok(agent) => {
            begun(&job).await;
            run_agent(&hub, &job, agent).await
        }
        Err(failure) => Outcome::Failed(failure),
    };
    finish(&hub, &job, outcome);
}

/// Waits until the job's beginning is durable. A job that a crash finds pending is run after the restart, whatever its
/// agent [ARCP 7.3-4]; so an agent must not have done anything before its job is known to run.
async fn begun(job: &JobEntry) {
    let beginning = job.lock().appended();
    loop {
        // Made before the look, so that no commit is missed.
        let drained = job.drained.notified();
        if job.lock().committed() >= beginning {
            return;
        }
        drained.await;
    }
}

async fn run_agent(hub: &Arc<Hub>, job: &Arc<JobEntry>, agent: AgentEntry) -> Outcome {
    let ctx = JobContext::new(Arc::clone(hub), Arc::clone(job));
    let input = job.row.input.clone();
    // Calling the agent may panic before there is a future; both happen in its own task.
    let run = async move {
        AssertUnwindSafe(async move { agent.agent.run(ctx, input).await })
            .catch_unwind()
            .await
    };
    let mut task = tokio::spawn(run.in_current_span());
    tokio::select! {
        biased;
        result = &mut task => return outcome_of(hub, job, result),
        () = job.stop.cancelled() => {}
        cause = deadline(hub, job) => {
            let stop = job.lock().stop(cause, hub.now());
            hub.flush(job);
            stopped(hub, job, Some(&stop));
        }
    }
    wind_down(hub, job, task).await
}

/// An agent that has to stop gets a grace period, then it is dropped [ARCP 7.3-4].
async fn wind_down(hub: &Arc<Hub>, job: &Arc<JobEntry>, mut task: AgentTask) -> Outcome {
    match tokio::time::timeout(hub.options.cancel_grace, &mut task).await {
        Ok(result) => outcome_of(hub, job, result),
        Err(_) => {
            task.abort();
            tracing::warn!(target: "towline::job", job = %job.id(), "the agent did not stop in time and was dropped");
            Outcome::Failed(Failure::new(
                ErrorCode::INTERNAL_ERROR,
                "the agent was stopped",
            ))
        }
    }
}

/// What an agent gave, or the panic that ended it.
type Caught = Result<Result<RawJson, AgentError>, Box<dyn Any + Send>>;

type AgentTask = JoinHandle<Caught>;

/// What a clock has to say against the job: its runtime, or its lease, is over.
async fn deadline(hub: &Arc<Hub>, job: &JobEntry) -> Cause {
    let started = Instant::now();
    let runtime = job.row.max_runtime.unwrap_or(Duration::MAX);
    let lease = job
        .lock()
        .expires_in(hub.now())
        .map(|left| left.saturating_add(hub.options.expiry_grace));
    tokio::select! {
        () = sleep_until(started, runtime) => Cause::TimedOut,
        () = sleep_until(started, lease.unwrap_or(Duration::MAX)) => {
            lease_expired(hub, job);
            Cause::LeaseExpired
        }
    }
}

/// Sleeps any distance ahead: a single timer reaches about two years.
async fn sleep_until(started: Instant, after: Duration) {
    while let Some(left) = after
        .checked_sub(started.elapsed())
        .filter(|left| !left.is_zero())
    {
        tokio::time::sleep(left.min(LONGEST_TIMER)).await;
    }
}

/// An expiry is logged when it takes effect [ARCP 9.5-2, 14-3].
pub(crate) fn lease_expired(hub: &Hub, job: &JobEntry) {
    let at = job
        .row
        .constraints
        .expires_at
        .as_deref()
        .unwrap_or_default();
    hub.audit(Audit::at(hub.now()).lease_expired(&job.row.principal, job.id(), at));
}

fn outcome_of(hub: &Arc<Hub>, job: &JobEntry, result: Result<Caught, JoinError>) -> Outcome {
    match result {
        Ok(Ok(Ok(value))) => returned(hub, job, value),
        Ok(Ok(Err(error))) => Outcome::Failed(error.into_failure()),
        Ok(Err(panic)) => panicked(job, panic.as_ref()),
        // Nobody aborts the task before this point; the runtime may be going down.
        Err(_) => Outcome::Failed(Failure::new(
            ErrorCode::INTERNAL_ERROR,
            "the agent was stopped",
        )),
    }
}

/// A panic's message may hold anything, so the peer does not get it [ARCP 7.3-4].
fn panicked(job: &JobEntry, panic: &(dyn Any + Send)) -> Outcome {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    tracing::error!(target: "towline::job", job = %job.id(), agent = %job.row.agent, panic = text, "the agent panicked");
    Outcome::Failed(Failure::new(
        ErrorCode::INTERNAL_ERROR,
        "the agent panicked",
    ))
}

/// The value the agent returned, or the result it streamed, never both [ARCP 8.4-2].
fn returned(hub: &Hub, job: &JobEntry, value: RawJson) -> Outcome {
    let core = job.lock();
    let Some(chunks) = &core.chunks else {
        let limit = hub.options.inline_result;
        if value.as_str().len() > limit {
            let message = format!(
                "the result has more than {limit} bytes; stream it instead of returning it"
            );
            return Outcome::Failed(Failure::new(ErrorCode::INTERNAL_ERROR, message));
        }
        return Outcome::Returned(value);
    };
    if chunks.has_overflowed() {
        let message = "the streamed result has more bytes than a result may have";
        return Outcome::Failed(Failure::new(ErrorCode::INTERNAL_ERROR, message));
    }
    if !chunks.is_finished() {
        return Outcome::Failed(Failure::new(
            ErrorCode::INTERNAL_ERROR,
            "the agent did not finish its streamed result",
        ));
    }
    if !value.is_null() {
        let message = "the agent streamed a result and returned one too";
        return Outcome::Failed(Failure::new(ErrorCode::INTERNAL_ERROR, message));
    }
    Outcome::Streamed {
        result_id: chunks.result_id().clone(),
        size: chunks.total(),
        summary: core.result_summary.clone(),
    }
}

/// The job ends.
pub(crate) fn finish(hub: &Arc<Hub>, job: &Arc<JobEntry>, outcome: Outcome) {
    job.lock().finish(outcome, hub.now());
    crate::trace::job_ended(job);
    hub.flush(job);
}

/// Settles a child's budget with its parent's, once; gives the parent, which has to be committed together with the
/// child's terminal: a crash between the two would return the same money twice [ARCP 9.4-2].
pub(crate) fn settle(hub: &Hub, job: &JobEntry) -> Option<Arc<JobEntry>> {
    let (parent, budget, settled) = {
        let mut core = job.lock();
        let settled = std::mem::replace(&mut core.settled, true);
        (
            core.parent.clone()?,
            core.authority.budget().clone(),
            settled,
        )
    };
    if !settled {
        let mut core = parent.lock();
        let reports = core.authority.budget_mut().settle(&budget);
        core.touch();
        for report in &reports {
            core.report_remaining(report, hub.now());
        }
    }
    Some(parent)
}

/// A stop was decided: the agent hears of it, and so do the children [ARCP 7.4-4].
pub(crate) fn stopped(hub: &Arc<Hub>, job: &Arc<JobEntry>, stop: Option<&Stop>) {
    match stop {
        Some(Stop::StopAgent) => job.stop.cancel(),
        Some(Stop::EndNow(_)) => hub.give_up_place(job),
        _ => return,
    }
    stop_children(hub, job, "the parent job was stopped");
}

fn stop_children(hub: &Arc<Hub>, job: &JobEntry, reason: &str) {
    let children: Vec<_> = job
        .lock()
        .children
        .iter()
        .filter_map(std::sync::Weak::upgrade)
        .collect();
    for child in children {
        stop_job(
            hub,
            &child,
            Cause::Cancelled {
                reason: Some(reason.to_owned()),
            },
        );
    }
}

/// Stops a job for a reason of the runtime's own.
pub(crate) fn stop_job(hub: &Arc<Hub>, job: &Arc<JobEntry>, cause: Cause) -> Stop {
    let stop = job.lock().stop(cause, hub.now());
    hub.flush(job);
    stopped(hub, job, Some(&stop));
    stop
}

/// The terminal is durable.
pub(crate) fn after_end(hub: &Arc<Hub>, job: &Arc<JobEntry>) {
    stop_children(hub, job, "the parent job ended");
    hub.give_up_place(job);
    // The children's end with their parent at the latest [ARCP 9.8-4], however long they take to stop.
    let children: Vec<_> = job
        .lock()
        .children
        .iter()
        .filter_map(std::sync::Weak::upgrade)
        .collect();
    for id in children.iter().map(|child| child.id()).chain([job.id()]) {
        Ledger::job_ended(hub, id);
    }
    // What is fixed stays; the family is let go, so that a chain of delegations does not keep itself in memory.
    let mut core = job.lock();
    core.parent = None;
    core.children.clear();
}

/// A timer this long is set anew when it is over.
const LONGEST_TIMER: Duration = Duration::from_secs(60 * 60 * 24 * 365);
