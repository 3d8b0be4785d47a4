//! Running a job: one task that watches over the agent's task (§7.3).

use std::{any::Any, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::{
    task::{JoinError, JoinHandle},
    time::Instant,
};
use towline_proto::{
    job::{Cause, Failure, Outcome},
    span::RecordKind,
};
use towline_wire::{ErrorCode, EventKind, RawJson, Timestamp, event};
use tracing::Instrument as _;

use super::{end, places::give_up_place};
use crate::{
    hub::Hub,
    job::{JobCore, JobEntry, RunJob},
    trace,
};

/// Runs a job that has a place and waited for it, or that was recovered. One that has ended meanwhile gives its place back
/// instead.
pub(super) fn start(hub: &Arc<Hub>, job: &Arc<JobEntry>) {
    if begin(hub, job) {
        hub.enqueue(job);
        start_begun(hub, job);
    } else {
        // It was cancelled while it waited, say, and its turn came all the same.
        give_up_place(hub, job);
    }
}

/// Runs a job that has begun.
pub(super) fn start_begun(hub: &Arc<Hub>, job: &Arc<JobEntry>) {
    let agent = agent_of(hub, job);
    metrics::counter!("towline_jobs_started_total").increment(1);
    let span = trace::of_job(hub.services.trace_link.as_ref(), job);
    {
        let mut core = job.lock();
        core.span = span.clone();
        if let Ok(agent) = &agent {
            core.rules = agent.rules();
        }
    }
    hub.scope
        .tasks
        .spawn(supervise(Arc::clone(hub), Arc::clone(job), agent).instrument(span));
}

/// What runs a job; why nothing does.
type Agent = Result<Arc<dyn RunJob>, Failure>;

/// The job begins, if it has not ended: its first event [ARCP 7.3-1].
pub(super) fn begin(hub: &Hub, job: &JobEntry) -> bool {
    let mut core = job.lock();
    if !core.machine.start() {
        return false;
    }
    begin_run(&mut core, hub.now());
    true
}

/// The agent was resolved when the job was accepted, and stays the same whatever was registered or removed since
/// [ARCP 7.5-2]. Only a job that was recovered has to look for it.
fn agent_of(hub: &Hub, job: &JobEntry) -> Agent {
    let kept = job.lock().agent.take();
    let found = match kept {
        Some(agent) => Ok(agent),
        None => {
            let found = hub.services.agents.resolve(&job.row.agent);
            found.map(|(_, entry)| entry.agent)
        }
    };
    found.map_err(|_| {
        let message = format!("the agent `{}` is not there any more", job.row.agent);
        Failure::new(ErrorCode::AGENT_NOT_AVAILABLE, message)
    })
}

/// The agent is started, for the first time or once more. The machine has said that the job is open.
fn begin_run(core: &mut JobCore, now: Timestamp) {
    core.begin_run(now);
    say(core, now, "running", None);
}

/// What the runtime itself says of a job.
fn say(core: &mut JobCore, now: Timestamp, phase: &str, message: Option<String>) {
    let status = event::Status {
        phase: phase.to_owned(),
        message,
    };
    // A job that has just ended says nothing more.
    let _ = core.append_event(RecordKind::Event, &EventKind::STATUS, now, |out| {
        serde_json::to_writer(out, &status)
    });
}

/// Waits for the agent, or for a reason to stop it, and ends the job.
async fn supervise(hub: Arc<Hub>, job: Arc<JobEntry>, agent: Agent) {
    let outcome = match agent {
        Ok(agent) => run_to_the_end(&hub, &job, &agent).await,
        Err(failure) => Outcome::Failed(failure),
    };
    end::finish(&hub, &job, outcome);
}

/// Runs the agent, and again as often as its failures may be retried: the job goes on meanwhile, with its clocks and its
/// budget.
async fn run_to_the_end(hub: &Arc<Hub>, job: &Arc<JobEntry>, agent: &Arc<dyn RunJob>) -> Outcome {
    loop {
        let outcome = tokio::select! {
            biased;
            // It was stopped before it had begun for anybody.
            () = job.stop.cancelled() => was_stopped(),
            // A job that a crash finds pending is run after the restart, whatever its agent [ARCP 7.3-4]; so an agent must
            // not have done anything before its job is known to run.
            () = job.durable() => match spent_before(job) {
                Some(spent) => return spent,
                None => run_agent(hub, job, Arc::clone(agent)).await,
            },
        };
        let Some(wait) = another_run(hub, job, &outcome) else {
            return outcome;
        };
        tokio::select! {
            biased;
            () = job.stop.cancelled() => return outcome,
            cause = deadline(hub, job) => {
                end::stop_job(hub, job, cause);
                return outcome;
            }
            () = tokio::time::sleep(wait) => {}
        }
        if !run_again(hub, job) {
            return outcome;
        }
    }
}

/// Whether a run that came to this is followed by another one, and after how long. What the run delegated ends with it.
fn another_run(hub: &Arc<Hub>, job: &Arc<JobEntry>, outcome: &Outcome) -> Option<Duration> {
    let Outcome::Failed(failure) = outcome else {
        return None;
    };
    let wait = {
        let mut core = job.lock();
        let goes_on = core.is_open() && core.machine.ending().is_none();
        if !goes_on || core.has_given_a_part() {
            return None;
        }
        let retries = core.rules.options.retries;
        let wait = retries.next(failure, core.runs.retried)?;
        core.note_retry();
        let message = format!(
            "run {} failed: {failure}; retry {} of {} in {}",
            core.runs.attempt,
            core.runs.retried,
            retries.most,
            shown(wait)
        );
        say(&mut core, hub.now(), "retrying", Some(message));
        wait
    };
    end::stop_children(hub, job, "the run that delegated it failed");
    hub.enqueue(job);
    Some(wait)
}

/// A wait for a person.
fn shown(wait: Duration) -> String {
    let seconds = wait.as_secs_f64();
    format!("{seconds} s")
}

/// `false` when the job has to end, or was left to another runtime.
fn run_again(hub: &Arc<Hub>, job: &Arc<JobEntry>) -> bool {
    {
        let mut core = job.lock();
        if !core.is_open() || core.machine.ending().is_some() {
            return false;
        }
        begin_run(&mut core, hub.now());
    }
    hub.enqueue(job);
    true
}

/// A job that was spent before its agent begins: the runtime died between the two. What children have reserved comes back.
fn spent_before(job: &JobEntry) -> Option<Outcome> {
    let core = job.lock();
    let spent = core.authority.budget().exhausted()?;
    let ends =
        core.rules.ends_when_spent && core.children.iter().all(|child| child.strong_count() == 0);
    ends.then(|| {
        let message = format!("the job has spent its budget of {}", spent.currency);
        Outcome::Failed(Failure::new(ErrorCode::BUDGET_EXHAUSTED, message))
    })
}

fn was_stopped() -> Outcome {
    Outcome::Failed(Failure::new(
        ErrorCode::INTERNAL_ERROR,
        "the agent was stopped",
    ))
}

async fn run_agent(hub: &Arc<Hub>, job: &Arc<JobEntry>, agent: Arc<dyn RunJob>) -> Outcome {
    let running = Arc::clone(job);
    // Calling the agent may panic before there is a future; both happen in its own task.
    let run = async move {
        AssertUnwindSafe(async move { agent.run(running).await })
            .catch_unwind()
            .await
    };
    let mut task = tokio::spawn(run.in_current_span());
    tokio::select! {
        biased;
        result = &mut task => return outcome_of(hub, job, result),
        () = job.stop.cancelled() => {}
        cause = deadline(hub, job) => {
            end::stop_job(hub, job, cause);
        }
    }
    wind_down(hub, job, task).await
}

/// An agent that has to stop gets a grace period, then it is dropped [ARCP 7.3-4].
async fn wind_down(hub: &Arc<Hub>, job: &Arc<JobEntry>, mut task: AgentTask) -> Outcome {
    match tokio::time::timeout(hub.services.options.cancel_grace, &mut task).await {
        Ok(result) => outcome_of(hub, job, result),
        Err(_) => {
            task.abort();
            tracing::warn!(target: "towline::job", job = %job.id(), "the agent did not stop in time and was dropped");
            was_stopped()
        }
    }
}

/// What an agent gave, or the panic that ended it.
type Caught = Result<Result<RawJson, Failure>, Box<dyn Any + Send>>;

type AgentTask = JoinHandle<Caught>;

/// What a clock has to say against the job: its runtime, or its lease, is over.
async fn deadline(hub: &Arc<Hub>, job: &JobEntry) -> Cause {
    let started = Instant::now();
    let (runtime, lease) = {
        let (core, now) = (job.lock(), hub.now());
        let runtime = job.row.max_runtime.unwrap_or(Duration::MAX);
        (core.runtime_left(runtime, now), core.expires_in(now))
    };
    let lease = lease.map(|left| left.saturating_add(hub.services.options.expiry_grace));
    tokio::select! {
        () = sleep_until(started, runtime) => Cause::TimedOut,
        () = sleep_until(started, lease.unwrap_or(Duration::MAX)) => {
            end::lease_expired(hub, job);
            Cause::LeaseExpired
        }
    }
}

/// Sleeps any distance ahead: a single timer reaches about two years.
pub(super) async fn sleep_until(started: Instant, after: Duration) {
    while let Some(left) = after
        .checked_sub(started.elapsed())
        .filter(|left| !left.is_zero())
    {
        tokio::time::sleep(left.min(LONGEST_TIMER)).await;
    }
}

fn outcome_of(hub: &Arc<Hub>, job: &JobEntry, result: Result<Caught, JoinError>) -> Outcome {
    match result {
        Ok(Ok(Ok(value))) => returned(hub, job, value),
        Ok(Ok(Err(failure))) => Outcome::Failed(failure),
        Ok(Err(panic)) => panicked(job, panic.as_ref()),
        // Nobody aborts the task before this point; the runtime may be going down.
        Err(_) => was_stopped(),
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
        let limit = hub.services.options.inline_result;
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

/// A timer this long is set anew when it is over.
const LONGEST_TIMER: Duration = Duration::from_secs(60 * 60 * 24 * 365);
