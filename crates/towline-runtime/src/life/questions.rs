//! The time of questions: at its end the default holds [ARCP 15-3].

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use towline_proto::job::{Cause, Stop};
use towline_wire::QuestionId;

use super::{end, run::sleep_until};
use crate::{hub::Hub, job::JobEntry};

/// Watches over the open questions of a job that nobody watches over yet. Bounded: a job has so many open questions, and each
/// has one timer.
pub(crate) fn watch_questions(hub: &Arc<Hub>, job: &Arc<JobEntry>) {
    let now = hub.now();
    let mut core = job.lock();
    let open: Vec<_> = core
        .talk
        .open()
        .map(|open| (open.request.question_id.clone(), open.request.expires_at))
        .collect();
    for (question, expires_at) in open {
        if let Some(settled) = core.talk.timer(&question) {
            let left = expires_at.since(now);
            let waiting = wait(Arc::clone(hub), Arc::clone(job), question, left, settled);
            hub.scope.tasks.spawn(waiting);
        }
    }
}

async fn wait(
    hub: Arc<Hub>,
    job: Arc<JobEntry>,
    question: QuestionId,
    left: Duration,
    settled: CancellationToken,
) {
    let started = Instant::now();
    tokio::select! {
        () = sleep_until(started, left) => expire(&hub, &job, &question),
        () = settled.cancelled() => {}
        () = job.ended.cancelled() => {}
        () = hub.scope.stopping.cancelled() => {}
    }
}

/// The lease's end comes before any default [ARCP 15-3].
fn expire(hub: &Arc<Hub>, job: &Arc<JobEntry>, question: &QuestionId) {
    let ends_with_lease = job.lock().waits_for_the_lease(question);
    if !ends_with_lease {
        job.lock().expire_question(question, hub.now());
        return hub.enqueue(job);
    }
    if end::stop_job(hub, job, Cause::LeaseExpired) == Stop::StopAgent {
        end::lease_expired(hub, job);
    }
}
