//! What is done when the store will not have a commit, so that one job's fault does not stop the others.
//!
//! A batch of several pieces of work says nothing about which of them is at fault. So it is decided anew in two halves, one
//! after the other, and each half that is refused in two halves again, until what is at fault stands alone: of `n` pieces the
//! one at fault costs about `2 log2 n` commits, and the others nothing but that time. A command that is refused alone is
//! refused to whoever asked. A job that is refused alone is at fault, or something of its own is:
//!
//! ```text
//! a session that watches it has another stream in the store ──▶ that session is lost, the job goes on
//! the store has the job's log up to something in flight     ──▶ so far it counts, the job goes on
//! neither                                                   ──▶ its records are given up, the job ends
//! … and its end is refused too                              ──▶ nothing more of it is committed
//! ```

use std::{collections::HashSet, sync::Arc};

use towline_proto::refusal::Refusal;
use towline_store::{Change, Remedy, StoreError};

use super::{
    Hub,
    committer::{Failed, Follow, attempt, commands, give_back},
    queue::Work,
    tx::{Command, Decided, Tx},
};
use crate::{
    job::JobEntry,
    session::{DetachReason, SessionEntry},
};

/// Commits all of a refused transaction but what is at fault. Gives the error, or the one that came between: then what is
/// left of it is taken again with a later commit, as after any error of that kind.
pub(super) async fn isolate(hub: &Arc<Hub>, failed: Failed, follow: Follow) -> StoreError {
    let (error, pieces) = (failed.error.clone(), failed.work.len());
    tracing::error!(target: "towline::store", %error, pieces, "the store refused a commit; what is at fault is looked for");
    // The next one last. No more of them than halvings, and one.
    let mut waiting = Vec::new();
    narrow(hub, failed, follow, &mut waiting).await;
    while let Some(work) = waiting.pop() {
        let Err(failed) = attempt(hub, work, follow).await else {
            continue;
        };
        if failed.error.remedy() != Remedy::Isolate {
            let error = failed.give_up(hub);
            let left = waiting.into_iter().rev().flatten();
            left.for_each(|piece| put_off(hub, piece, &error));
            return error;
        }
        narrow(hub, failed, follow, &mut waiting).await;
    }
    error
}

/// Halves what was refused, or deals with what was refused alone.
async fn narrow(hub: &Arc<Hub>, failed: Failed, follow: Follow, waiting: &mut Vec<Vec<Work>>) {
    if failed.work.len() <= 1 {
        return alone(hub, failed, follow).await;
    }
    let mut first = failed.work;
    let mut pieces = HashSet::new();
    for piece in first.iter_mut().rev() {
        match piece {
            Work::Command(command) => command.undo(),
            Work::Job(job) => drop(pieces.insert(job.id().clone())),
        }
    }
    for (job, _) in &failed.decided.jobs {
        let is_durable = {
            let mut core = job.lock();
            core.log.failed();
            !core.is_new()
        };
        // Only a command took from it; of a job that is being accepted that is the one to take again.
        if is_durable && !pieces.contains(job.id()) {
            hub.enqueue(job);
        }
    }
    let second = first.split_off(first.len() / 2);
    waiting.extend([second, first]);
}

/// A piece of work that was undone waits until the store can be used again, as far as it can.
fn put_off(hub: &Arc<Hub>, piece: Work, error: &StoreError) {
    match piece {
        Work::Job(job) => hub.enqueue(&job),
        Work::Command(command) => command.done(hub, Err(error)),
    }
}

/// Refuses the command that was refused alone, or deals with the job.
async fn alone(hub: &Arc<Hub>, failed: Failed, follow: Follow) {
    let Failed {
        work,
        decided,
        error,
    } = failed;
    let job = match work.as_slice() {
        [Work::Job(job)] => Some(Arc::clone(job)),
        _ => None,
    };
    commands(work).for_each(|command| {
        tracing::error!(target: "towline::store", %error, "the store will not have what was asked for; it is refused");
        metrics::counter!("towline_store_isolated_total", "what" => "command").increment(1);
        command.done(hub, Err(&error));
    });
    if let Some(job) = job
        && !has_lost_sessions(hub, &decided).await
    {
        mend(hub, &job, &error, follow).await;
    }
    give_back(hub, &decided.jobs);
}

/// Ends the sessions whose streams are not what the store has of them; whether there were any.
async fn has_lost_sessions(hub: &Arc<Hub>, decided: &Decided) -> bool {
    let mut lost = false;
    for (session, _) in &decided.spans {
        if session.lock().gone {
            continue;
        }
        let ours = session.lock().stream.last();
        let stored = hub.services.store.stream_end(&session.id).await;
        if stored.is_ok_and(|stored| stored.is_some_and(|stored| stored != ours)) {
            lose(hub, session);
            lost = true;
        }
    }
    lost
}

fn lose(hub: &Arc<Hub>, session: &Arc<SessionEntry>) {
    tracing::error!(target: "towline::store", session = %session.id, "the store has another stream of the session; it is ended");
    metrics::counter!("towline_store_isolated_total", "what" => "session").increment(1);
    hub.books.sessions.forget(session);
    hub.command(Forget(Arc::clone(session)));
    if let Some(attachment) = session.attachment() {
        let refusal = Refusal::internal("the session's events cannot be kept; open another one");
        attachment.detach(DetachReason::Broken(refusal));
    }
}

/// Brings a job that was refused alone to where the store can take something of it, or to its end.
async fn mend(hub: &Arc<Hub>, job: &Arc<JobEntry>, error: &StoreError, follow: Follow) {
    let stored = hub.services.store.job(job.id()).await;
    let stored = stored.ok().flatten().map(|row| row.state.last_seq);
    let found = {
        let mut core = job.lock();
        let found = stored.is_some_and(|last| core.log.found_at(last));
        found.then(|| core.ended_with.is_some() && core.log.is_settled())
    };
    if let Some(is_over) = found {
        tracing::error!(target: "towline::store", job = %job.id(), "the store has more of the job's log than it said");
        if is_over {
            (follow.ended)(hub, job);
        }
        job.drained.notify_waiters();
        return;
    }
    let (was_broken, told) = {
        let mut core = job.lock();
        let last = stored.unwrap_or(core.log.last_committed());
        core.log.give_up(job.id(), last);
        (core.break_off(), core.log.take_told())
    };
    hub.commits.pending().remove(told);
    tracing::error!(target: "towline::store", job = %job.id(), %error, was_broken, "the store will not have the job's events; the job ends");
    metrics::counter!("towline_store_isolated_total", "what" => "job").increment(1);
    if was_broken {
        job.lock().cast_off();
        (follow.ended)(hub, job);
    } else {
        (follow.broken)(hub, job);
    }
    job.drained.notify_waiters();
}

/// Removes a session.
struct Forget(Arc<SessionEntry>);

impl Command for Forget {
    fn decide(&mut self, tx: &mut Tx<'_>) {
        tx.push(Change::SessionGone(self.0.id.clone()));
    }

    fn done(self: Box<Self>, _hub: &Arc<Hub>, _result: Result<(), &StoreError>) {}
}
