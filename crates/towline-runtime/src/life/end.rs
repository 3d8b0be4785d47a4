//! A job's end, from the reason to the last trace of it.
//!
//! ```text
//! somebody wants it:  cancel, deadline, shutdown, the parent's end ──▶ stop_job ──▶ stopped ─┬─▶ it never began ───────┐
//!                                                                                            └─▶ its agent hears of it  │
//! the agent is done:  run ──▶ finish ◀───────────────────────────────────────────── returns, fails, is dropped ◀─┘      │
//!                               │                                                                                       │
//!                               ▼                                                                                       │
//!                     the terminal is in the log ◀──────────────────────────────────────────────────────────────────────┘
//!                               │ commit, together with the parent's budget (`JobEntry::settle`)
//!                               ▼
//!                             ended
//! ```

use std::sync::Arc;

use towline_proto::job::{Cause, Failure, Outcome, Stop};
use towline_wire::{ErrorCode, JobStatus};

use crate::{audit::Audit, credentials::Ledger, hub::Hub, job::JobEntry, trace};

use super::places::give_up_place;

/// Stops a job for a reason of the runtime's own.
pub(crate) fn stop_job(hub: &Arc<Hub>, job: &Arc<JobEntry>, cause: Cause) -> Stop {
    let stop = job.lock().stop(cause, hub.now());
    hub.enqueue(job);
    stopped(hub, job, &stop);
    stop
}

/// A stop was decided: the agent hears of it, and so do the children [ARCP 7.4-4].
pub(crate) fn stopped(hub: &Arc<Hub>, job: &Arc<JobEntry>, stop: &Stop) {
    match stop {
        Stop::StopAgent => {
            job.stop.cancel();
            if job.left.is_cancelled() {
                // Nobody runs it who would say that it has stopped.
                let failure = Failure::new(ErrorCode::INTERNAL_ERROR, "the agent was stopped");
                finish(hub, job, Outcome::Failed(failure));
            }
        }
        Stop::EndNow(_) => give_up_place(hub, job),
        Stop::Already | Stop::TooLate(_) => return,
    }
    stop_children(hub, job, "the parent job was stopped");
}

/// A job's log has outgrown its bounds, so that its end was decided: the agent hears of it, and so do the children.
pub(super) fn outgrown(hub: &Arc<Hub>, job: &Arc<JobEntry>) {
    tracing::warn!(target: "towline::job", job = %job.id(), agent = %job.row.agent, "the job's log has more than a log may have; the job ends");
    hub.enqueue(job);
    stopped(hub, job, &Stop::StopAgent);
}

/// An expiry is logged when it takes effect [ARCP 9.5-2, 14-3].
pub(crate) fn lease_expired(hub: &Hub, job: &JobEntry) {
    let expires_at = &job.row.constraints.expires_at;
    let at = expires_at.as_deref().unwrap_or_default();
    hub.audit(Audit::at(hub.now()).lease_expired(&job.row.principal, job.id(), at));
}

/// The agent is done: the terminal becomes the log's last record, unless the job has one.
pub(super) fn finish(hub: &Arc<Hub>, job: &Arc<JobEntry>, outcome: Outcome) {
    {
        let mut core = job.lock();
        core.finish(outcome, hub.now());
        if core.machine.is_released() {
            job.left.cancel();
        }
    }
    trace::job_ended(job);
    hub.enqueue(job);
}

/// The runtime ends: jobs that the next one can run again are left to it, all others end. Those first, for what they
/// delegated ends with them.
pub(crate) fn leave_jobs(hub: &Arc<Hub>) {
    let (left, ending): (Vec<_>, Vec<_>) = hub
        .books
        .jobs
        .unfinished()
        .into_iter()
        .partition(|job| may_be_left(hub, job));
    for job in ending {
        stop_job(hub, &job, Cause::Shutdown);
    }
    for job in left {
        leave(hub, &job);
    }
}

/// The runtime ends, and nobody waits for jobs that wait for their time or in a queue: they are left to the next one.
pub(crate) fn leave_waiting(hub: &Arc<Hub>) {
    if !hub.services.store.is_durable() {
        return;
    }
    let waits = |job: &Arc<JobEntry>| {
        let planned = job.row.planned.as_ref();
        planned.is_some_and(|planned| planned.waits())
            && job.lock().machine.status() == JobStatus::Pending
    };
    let waiting = hub.books.jobs.unfinished().into_iter().filter(waits);
    waiting.for_each(|job| leave(hub, &job));
}

/// Leaves a job as it stands to the next runtime; its agent is stopped.
pub(super) fn leave(hub: &Arc<Hub>, job: &Arc<JobEntry>) {
    {
        let mut core = job.lock();
        if !core.release() {
            return;
        }
        if core.machine.status() == JobStatus::Pending {
            job.left.cancel();
        }
    }
    tracing::info!(target: "towline::job", job = %job.id(), agent = %job.row.agent, "the job is left to the next start");
    job.stop.cancel();
    give_up_place(hub, job);
    hub.enqueue(job);
}

/// Whether another runtime on the same store can take the job up; what was only looked at stays as it is in any case.
fn may_be_left(hub: &Hub, job: &JobEntry) -> bool {
    if job.lock().machine.is_released() {
        return true;
    }
    hub.services.store.is_durable() && may_run_again(hub, job)
}

/// Whether a job's agent may be run from its beginning, though it may have run before [ARCP 7.3-4]. Not when a part of its
/// result is out.
pub(super) fn may_run_again(hub: &Hub, job: &JobEntry) -> bool {
    let core = job.lock();
    if core.has_given_a_part() {
        return false;
    }
    // One that has not begun here is looked for.
    let found = || hub.services.agents.resolve(&job.row.agent);
    core.rules.options.restartable
        || found().is_ok_and(|(_, entry)| entry.agent.rules().options.restartable)
}

/// The store would not have what the job recorded last: it ends, with a terminal in the place of that.
pub(super) fn broken(hub: &Arc<Hub>, job: &Arc<JobEntry>) {
    let failure = Failure {
        details: Some(serde_json::json!({ "reason": "events_refused" }).into()),
        ..Failure::new(
            ErrorCode::INTERNAL_ERROR,
            "the runtime's store refused the job's events",
        )
    };
    {
        let mut core = job.lock();
        if !core.finish(Outcome::Failed(failure), hub.now()) {
            core.end_again();
        }
    }
    trace::job_ended(job);
    job.stop.cancel();
    hub.enqueue(job);
}

/// The terminal is durable: from here on the job is over for everybody.
pub(super) fn ended(hub: &Arc<Hub>, job: &Arc<JobEntry>) {
    if job.ended.is_cancelled() {
        return;
    }
    job.ended.cancel();
    job.tail.lock().trim(RECENT_TAIL);
    hub.books.jobs.retire(job.id(), job.weight());
    let (status, logged) = {
        let mut core = job.lock();
        core.observers.clear();
        core.kin.leave();
        (core.machine.status(), core.log.weight())
    };
    hub.books.logs.remove(&job.row.principal, logged);
    debug_assert!(status.is_terminal(), "only what has ended ends");
    metrics::counter!("towline_jobs_ended_total", "status" => status.as_str()).increment(1);
    stop_children(hub, job, "the parent job ended");
    give_up_place(hub, job);
    // The children's credentials end with their parent at the latest [ARCP 9.8-4], however long they take to stop.
    for child in job.children() {
        Ledger::job_ended(hub, child.id());
    }
    Ledger::job_ended(hub, job.id());
    // What is fixed stays; the family is let go, so that a chain of delegations does not keep itself in memory.
    let mut core = job.lock();
    core.parent = None;
    core.children.clear();
}

pub(super) fn stop_children(hub: &Arc<Hub>, job: &JobEntry, reason: &str) {
    for child in job.children() {
        let reason = Some(reason.to_owned());
        stop_job(hub, &child, Cause::Cancelled { reason });
    }
}

/// How many bytes of a finished job's events stay in memory; the store has the rest.
const RECENT_TAIL: usize = 64 * 1024;
