//! Taking up what an earlier run of the runtime left (§6.3, §7.3), or another runtime on the same store (§21).

use std::{collections::HashMap, sync::Arc};

use towline_proto::{
    Dialect,
    job::{Cause, Failure, JobMachine, Outcome},
    lease::{Authority, UnnamedModels},
    outbox::Outbox,
};
use towline_store::{JobRow, Recovered, RecoveredSession, StoreError};
use towline_wire::{ErrorCode, JobId, JobStatus, RawJson, Timestamp};

use super::{
    end::{self, may_run_again},
    places::{self, admit_recovered},
    run::watch_questions,
};
use crate::{
    hub::{Hub, SaveSession},
    job::JobEntry,
    session::SessionEntry,
};

/// What was found, in memory but not begun.
pub(super) struct Recovery {
    jobs: Vec<Arc<JobEntry>>,
    sessions: Vec<Arc<SessionEntry>>,
}

/// Reads what the store keeps and takes it up.
pub(super) async fn load(hub: &Arc<Hub>) -> Result<Recovery, StoreError> {
    let mut found = hub.services.store.recover().await?;
    hub.books
        .schedules
        .restore(std::mem::take(&mut found.schedules));
    hub.books.webhooks.put(&found.deliveries);
    Ok(take_up(hub, found))
}

/// Puts sessions, jobs and credentials into the hub: all there are, or whole trees of jobs beside others.
pub(super) fn take_up(hub: &Arc<Hub>, found: Recovered) -> Recovery {
    let Recovered {
        jobs,
        sessions,
        credentials,
        talks,
        ..
    } = found;
    let mut talks: HashMap<JobId, RawJson> = talks.into_iter().collect();
    hub.services.credentials.restore(credentials);
    let now = hub.now();
    let mut watched = Vec::new();
    for session in sessions {
        let subscriptions = session.subscriptions.clone();
        let entry = restore_session(session, now);
        hub.books.sessions.insert(&entry, None);
        watched.push((entry, subscriptions));
    }
    let restored: Vec<Arc<JobEntry>> = jobs
        .into_iter()
        .map(|row| {
            let talk = talks.remove(&row.id);
            restore_job(hub, row, talk)
        })
        .collect();
    let by_id: HashMap<&JobId, &Arc<JobEntry>> =
        restored.iter().map(|job| (job.id(), job)).collect();
    for job in &restored {
        hub.books.jobs.insert(job);
        let parent = job.row.parent.as_ref().and_then(|id| by_id.get(id));
        if let Some(parent) = parent {
            parent.lock().children.push(Arc::downgrade(job));
            job.lock().parent = Some(Arc::clone(parent));
        }
        let own = hub.books.sessions.get(&job.row.session);
        job.lock().observers.extend(own);
    }
    restore_families(&restored);
    for (session, subscriptions) in &watched {
        let jobs = subscriptions.iter().filter_map(|id| by_id.get(id));
        jobs.for_each(|job| job.lock().observers.push(Arc::clone(session)));
    }
    Recovery {
        jobs: restored,
        sessions: watched.into_iter().map(|(session, _)| session).collect(),
    }
}

/// Counts the children to their roots, parents before their children. One whose parent is not there any more is the first of
/// its own.
fn restore_families(jobs: &[Arc<JobEntry>]) {
    let mut children: Vec<_> = jobs.iter().filter(|job| job.row.depth > 0).collect();
    children.sort_by_key(|job| job.row.depth);
    for job in children {
        let parent = job.lock().parent.clone();
        if let Some(parent) = parent {
            let kin = parent.lock().kin.join_again();
            job.lock().kin = kin;
        }
    }
}

/// A session that was attached when the runtime died is detached from now on [ARCP 6.3-6].
fn restore_session(session: RecoveredSession, now: Timestamp) -> Arc<SessionEntry> {
    let RecoveredSession {
        mut row,
        last,
        spans,
        subscriptions,
    } = session;
    row.detached_at.get_or_insert(now);
    let outbox = Outbox::restore(spans, last, row.acked, row.evicted);
    let dialect = row.dialect.parse().unwrap_or(Dialect::Draft);
    let entry = SessionEntry::new(&row, outbox, dialect);
    entry.lock().subscriptions.extend(subscriptions);
    entry
}

fn restore_job(hub: &Hub, row: JobRow, talk: Option<RawJson>) -> Arc<JobEntry> {
    let ending = row
        .state
        .ending
        .as_ref()
        .and_then(|cause| cause.read::<Cause>().ok());
    let status = match (row.state.status, &ending) {
        // The agent is run from its beginning.
        (JobStatus::Running, None) if !is_left(hub, &row) => JobStatus::Pending,
        (status, _) => status,
    };
    let machine = JobMachine::restored(status, ending);
    let authority = restore_authority(hub, &row);
    let terms = places::terms_of(hub, &row);
    let job = JobEntry::new(row, authority, machine, None);
    {
        let mut core = job.lock();
        core.terms = terms;
        if let Some(talk) = talk
            && let Err(error) = core.restore_talk(&talk)
        {
            tracing::error!(target: "towline::store", job = %job.id(), %error, "what was asked and answered cannot be read; it is asked anew");
        }
    }
    job
}

/// What a job may do, as it was stored.
fn restore_authority(hub: &Hub, row: &JobRow) -> Authority {
    let budget = row.state.budget.as_ref();
    let budget = budget.and_then(|budget| budget.read().ok());
    let require_model_use = hub.services.options.require_model_use;
    let models = UnnamedModels::of(require_model_use, row.parent.is_some());
    Authority::restored(&row.lease, &row.constraints, budget, models).unwrap_or_else(|error| {
        tracing::error!(target: "towline::store", job = %row.id, %error, "a stored lease is not valid; nothing is granted");
        Authority::nothing()
    })
}

/// Jobs of restartable agents run again, jobs that never began run now, all others end [ARCP 7.3-4]. A runtime that is only
/// looked at begins none of them [ARCP 14-9].
pub(super) fn resume(hub: &Arc<Hub>, recovery: Recovery) {
    for session in recovery.sessions {
        hub.command(SaveSession(session));
    }
    let mut again = 0;
    let total = recovery.jobs.len();
    for job in recovery.jobs {
        again += usize::from(resume_job(hub, &job));
    }
    if total > 0 {
        tracing::info!(target: "towline::store", jobs = total, again, "jobs recovered");
    }
}

fn resume_job(hub: &Arc<Hub>, job: &Arc<JobEntry>) -> bool {
    let was_running = job.row.state.status == JobStatus::Running;
    let decided = job.lock().machine.ending().is_some();
    if decided {
        // Its end was decided before the crash; the agent has stopped with the process.
        let failure = Failure::new(ErrorCode::INTERNAL_ERROR, "the agent was stopped");
        end::finish(hub, job, Outcome::Failed(failure));
        return false;
    }
    let is_left = is_left(hub, &job.row);
    if is_left {
        job.left.cancel();
    }
    if was_running && !is_foreign(hub, &job.row) && !may_run_again(hub, job) {
        end::stop_job(hub, job, Cause::Restarted);
        return false;
    }
    if is_left {
        // It is as it was, for whoever begins it.
        job.lock().machine.release();
        return false;
    }
    if was_running && job.lock().runs.in_vain() >= hub.services.options.max_starts.max(1) {
        end::finish(hub, job, Outcome::Failed(restarted_too_often(job)));
        return false;
    }
    // What it asked before goes on waiting.
    watch_questions(hub, job);
    admit_recovered(hub, job);
    true
}

/// Whether a job is left as it is: by a runtime that begins none, or because it is another's.
fn is_left(hub: &Hub, row: &JobRow) -> bool {
    !hub.services.options.starts_recovered || is_foreign(hub, row)
}

/// Whether a job is that of another runtime, which hosts its agent.
fn is_foreign(hub: &Hub, row: &JobRow) -> bool {
    let services = &hub.services;
    services.options.leaves_foreign && services.agents.resolve(&row.agent).is_err()
}

/// A job that is run again after each crash may be what the runtime crashes of.
fn restarted_too_often(job: &JobEntry) -> Failure {
    let starts = job.lock().runs.in_vain();
    tracing::error!(target: "towline::job", job = %job.id(), agent = %job.row.agent, starts, "the job was restarted too often and is ended");
    let message =
        format!("the runtime ended {starts} times while the job ran without a checkpoint");
    Failure {
        details: Some(serde_json::json!({ "reason": "restarted_too_often" }).into()),
        ..Failure::new(ErrorCode::INTERNAL_ERROR, message)
    }
}
