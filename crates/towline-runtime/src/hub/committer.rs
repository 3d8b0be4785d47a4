//! Decide, commit, emit: the one task through which everything becomes durable.
//!
//! Whatever waits becomes one batch. While it is being committed the next one gathers, so commits grow with the load and
//! never wait for a timer. Only after the commit do replies, events and job starts happen.

use std::{future::poll_fn, sync::Arc, task::Poll, time::Duration};

use tokio::time::Instant;
use towline_proto::span::Span;
use towline_store::StoreError;

use super::{
    Hub,
    queue::Work,
    tx::{TakenFrom, Tx, ends},
};
use crate::{audit, job::JobEntry, session::SessionEntry};

/// What follows what the committer finds out about a job. Called in the committer, so nothing of it must wait.
#[derive(Clone, Copy)]
pub(crate) struct Follow {
    /// Its terminal has become durable.
    pub(crate) ended: fn(&Arc<Hub>, &Arc<JobEntry>),
    /// Its log has outgrown its bounds: its end is decided, and its agent has not heard of it.
    pub(crate) outgrown: fn(&Arc<Hub>, &Arc<JobEntry>),
}

/// Commits until the runtime stops and nothing is left to commit. Whoever starts it says what follows.
pub(crate) async fn run(hub: Arc<Hub>, follow: Follow) {
    let mut failures = 0;
    loop {
        let work = tokio::select! {
            biased;
            work = hub.commits.take() => work,
            () = hub.scope.stopping.cancelled() => break,
        };
        match commit(&hub, work, follow).await {
            Ok(()) => failures = 0,
            Err(error) => {
                failures += 1;
                tracing::error!(target: "towline::store", %error, failures, "commit failed, trying again");
                tokio::time::sleep(backoff(failures)).await;
            }
        }
        // Agents get to add to the next batch.
        step_aside().await;
    }
}

/// Lets other tasks run first. Tokio's own `yield_now` keeps a task on its thread until that thread has nothing else to
/// do: behind an agent that blocks it, the committer would wait for as long as that takes [ARCP 7.3-4].
async fn step_aside() {
    let mut stepped = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut stepped, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn backoff(failures: u32) -> Duration {
    Duration::from_millis(25 << failures.min(6))
}

async fn commit(hub: &Arc<Hub>, mut work: Vec<Work>, follow: Follow) -> Result<(), StoreError> {
    let mut tx = Tx::new(hub);
    for item in &mut work {
        match item {
            Work::Job(job) => tx.take(job),
            Work::Command(command) => command.decide(&mut tx),
        }
    }
    let Tx {
        batch,
        audits,
        spans,
        jobs,
        outgrown,
        ..
    } = tx;
    let result = if batch.changes.is_empty() {
        Ok(())
    } else {
        let began = Instant::now();
        let result = hub.services.store.commit(batch).await;
        metrics::histogram!("towline_commit_seconds").record(began.elapsed().as_secs_f64());
        result
    };
    let commands = work.into_iter().filter_map(|item| match item {
        Work::Command(command) => Some(command),
        Work::Job(_) => None,
    });
    match &result {
        Ok(()) => {
            audits.iter().for_each(audit::record);
            for job in publish_blocks(hub, jobs) {
                (follow.ended)(hub, &job);
            }
            for (session, span) in &spans {
                session.lock().stream.committed(span);
            }
            commands.for_each(|command| command.done(hub, Ok(())));
            publish_spans(hub, spans);
        }
        Err(error) => {
            for (job, _) in jobs {
                job.lock().log.failed();
                hub.enqueue(&job);
            }
            commands.for_each(|command| command.done(hub, Err(error)));
        }
    }
    for job in &outgrown {
        (follow.outgrown)(hub, job);
    }
    result
}

/// The records can be read from now on, and those who wait for room or for the end are told. Gives the jobs that ended.
fn publish_blocks(hub: &Arc<Hub>, jobs: Vec<TakenFrom>) -> Vec<Arc<JobEntry>> {
    let mut ended = Vec::new();
    for (job, blocks) in jobs {
        let is_over = blocks.last().is_some_and(|block| ends(block));
        for block in blocks {
            metrics::counter!("towline_events_total").increment(block.len() as u64);
            job.tail.lock().push(block, hub.services.options.tail_bytes);
        }
        let more = job.lock().log.committed();
        if more {
            debug_assert!(!is_over, "nothing follows a terminal");
            hub.enqueue(&job);
        }
        job.drained.notify_waiters();
        if is_over {
            ended.push(job);
        }
    }
    ended
}

/// The sessions get what was projected to them.
fn publish_spans(hub: &Arc<Hub>, spans: Vec<(Arc<SessionEntry>, Span)>) {
    let mut lagging = Vec::new();
    for (session, span) in spans {
        let (attachment, lag, evict) = {
            let mut state = session.lock();
            let keep = hub.services.options.spans_per_session;
            let evict = state.stream.append(span, keep);
            let lag = state.pressure(hub.services.options.back_pressure);
            (state.attachment.clone(), lag, evict)
        };
        if let Some(up_to) = evict {
            hub.evict(&session, up_to, "the session has more spans than are kept");
        }
        if let Some(attachment) = attachment {
            attachment.wake.notify_one();
        }
        if let Some(lag) = lag {
            lagging.push((session, lag));
        }
    }
    for (session, lag) in lagging {
        hub.report_pressure(&session, lag);
    }
}
