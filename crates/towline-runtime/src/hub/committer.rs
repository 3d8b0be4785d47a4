//! Decide, commit, emit: the one task through which everything becomes durable.
//!
//! Whatever waits becomes one batch. While it is being committed the next one gathers, so commits grow with the load and
//! never wait for a timer. Only after the commit do replies, events and job starts happen.

use std::{
    collections::HashMap,
    future::poll_fn,
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::Duration,
};

use tokio::time::Instant;
use towline_proto::span::Span;
use towline_store::{Batch, Block, Change, Committed, DeliveryRow, EventStore, Remedy, StoreError};
use towline_wire::{EventSeq, SessionId};

use super::{
    Hub, isolate,
    queue::Work,
    tx::{Command, Decided, TakenFrom, Tx, ends},
    witness::Witness,
};
use crate::{audit, job::JobEntry, session::SessionEntry};

/// What follows in the life of a job from what its commits came to. Called in the committer, so nothing of it may wait.
#[derive(Clone, Copy)]
pub(crate) struct Follow {
    /// Its terminal has become durable.
    pub(crate) ended: fn(&Arc<Hub>, &Arc<JobEntry>),
    /// The store will not have its records, and they were given up: it has to end.
    pub(crate) broken: fn(&Arc<Hub>, &Arc<JobEntry>),
    /// Its log has outgrown its bounds: its end is decided, and its agent has not heard of it.
    pub(crate) outgrown: fn(&Arc<Hub>, &Arc<JobEntry>),
    /// What is told of its records over HTTP, which becomes durable with them.
    pub(crate) messages: fn(&Hub, &JobEntry, &[Arc<Block>]) -> Vec<DeliveryRow>,
}

/// Commits until the runtime stops and nothing is left to commit, or the store has nothing more to do with this process.
/// Whoever starts it says what follows for jobs.
///
/// What is done about a commit that fails is the store's word ([`StoreError::remedy`]), once it is certain that it did fail
/// ([`Witness`]): try again; or try it in parts, so that only what is at fault goes under (`isolate`); or give up.
pub(crate) async fn run(hub: Arc<Hub>, follow: Follow) {
    let mut failures = 0;
    let store = Arc::clone(&hub.services.store);
    let mut fallen = store.fallen();
    loop {
        let work = tokio::select! {
            biased;
            work = hub.commits.take(BATCH_BYTES) => work,
            // Also a runtime that has nothing to commit must hear that others have its jobs by now.
            error = &mut fallen => {
                fall(&hub, &error);
                break;
            }
            () = hub.scope.stopping.cancelled() => break,
        };
        match commit(&hub, work, follow).await {
            Ok(()) => failures = 0,
            Err(error) => match error.remedy() {
                Remedy::Retry => {
                    failures += 1;
                    tracing::error!(target: "towline::store", %error, failures, "commit failed, trying again");
                    tokio::time::sleep(backoff(failures)).await;
                }
                // Whatever was not at fault is committed. What is refused whatever else happens must not keep the committer
                // busy.
                Remedy::Isolate => {
                    failures += 1;
                    tokio::time::sleep(backoff(failures)).await;
                }
                Remedy::Fall => {
                    fall(&hub, &error);
                    break;
                }
            },
        }
        // Agents get to add to the next batch.
        step_aside().await;
    }
}

/// Nothing of this runtime becomes durable any more: agents and connections end, so that whoever has the jobs now is alone
/// with them.
fn fall(hub: &Arc<Hub>, error: &StoreError) {
    tracing::error!(target: "towline::store", %error, "nothing is committed any more; the runtime ends what it has");
    metrics::counter!("towline_store_falls_total").increment(1);
    if let Some(footing) = &hub.footing {
        footing.lose();
    }
    hub.scope.draining.cancel();
    hub.detach_all();
    for job in hub.books.jobs.unfinished() {
        job.stop.cancel();
    }
    hub.scope.stopping.cancel();
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

async fn commit(hub: &Arc<Hub>, work: Vec<Work>, follow: Follow) -> Result<(), StoreError> {
    match attempt(hub, work, follow).await {
        Ok(()) => Ok(()),
        Err(failed) if failed.error.remedy() == Remedy::Isolate => {
            Err(isolate::isolate(hub, failed, follow).await)
        }
        Err(failed) => Err(failed.give_up(hub)),
    }
}

/// A transaction that was not committed.
pub(super) struct Failed {
    pub(super) work: Vec<Work>,
    pub(super) decided: Decided,
    pub(super) error: StoreError,
}

impl Failed {
    /// Jobs are taken from again with a later commit, commands are refused.
    pub(super) fn give_up(self, hub: &Arc<Hub>) -> StoreError {
        give_back(hub, &self.decided.jobs);
        commands(self.work).for_each(|command| command.done(hub, Err(&self.error)));
        self.error
    }
}

/// Decides, commits, and tells what was decided, once.
pub(super) async fn attempt(
    hub: &Arc<Hub>,
    mut work: Vec<Work>,
    follow: Follow,
) -> Result<(), Failed> {
    let mut tx = Tx::new(hub);
    for item in &mut work {
        match item {
            Work::Job(job) => tx.take(job),
            Work::Command(command) => command.decide(&mut tx),
        }
    }
    let (mut decided, mut batch) = tx.decided();
    let messages = messages(hub, &decided, &mut batch, follow);
    let outgrown = std::mem::take(&mut decided.outgrown);
    let result = match write(hub, batch).await {
        Ok(committed) => {
            leave_to_others(hub, &mut decided, committed).await;
            publish(hub, decided, commands(work), follow);
            hub.books.webhooks.put(&messages);
            Ok(())
        }
        Err(error) => Err(Failed {
            work,
            decided,
            error,
        }),
    };
    for job in &outgrown {
        (follow.outgrown)(hub, job);
    }
    result
}

/// Adds what is told of the jobs over HTTP: few jobs have anybody who is told.
fn messages(hub: &Hub, decided: &Decided, batch: &mut Batch, follow: Follow) -> Vec<DeliveryRow> {
    let told = |(job, _): &&TakenFrom| {
        let planned = job.row.planned.as_ref();
        planned.is_some_and(|planned| planned.notify.is_some())
    };
    let mut messages = Vec::new();
    for (job, blocks) in decided.jobs.iter().filter(told) {
        messages.extend((follow.messages)(hub, job, blocks));
    }
    for message in &messages {
        let row = Box::new(message.clone());
        batch.changes.push(Change::Delivery(row));
    }
    messages
}

/// What a batch said of sessions that another runtime has was passed over, so nothing of it is sent.
async fn leave_to_others(hub: &Arc<Hub>, decided: &mut Decided, committed: Option<Committed>) {
    let lost = match committed {
        Some(committed) => committed.lost,
        // The store broke its word, and has not said what it passed over.
        None if hub.footing.is_some() => not_taken(hub, &decided.spans).await,
        None => return,
    };
    if !lost.is_empty() {
        hub.let_go_of(&lost);
        decided
            .spans
            .retain(|(session, _)| !lost.contains(&session.id));
    }
}

/// The sessions whose streams the store does not have up to where a batch brought them.
async fn not_taken(hub: &Hub, spans: &[(Arc<SessionEntry>, Span)]) -> Vec<SessionId> {
    let ends: HashMap<&SessionId, EventSeq> = spans
        .iter()
        .map(|(session, span)| (&session.id, span.last()))
        .collect();
    let mut missing = Vec::new();
    for (session, end) in ends {
        let stored = hub.services.store.stream_end(session).await;
        if !matches!(stored, Ok(Some(stored)) if stored == end) {
            missing.push(session.clone());
        }
    }
    missing
}

/// Commits a batch; the outcome is certain. `None` when the store did not say what else it came to.
async fn write(hub: &Arc<Hub>, batch: Batch) -> Result<Option<Committed>, StoreError> {
    if batch.changes.is_empty() {
        return Ok(Some(Committed::default()));
    }
    let store = &hub.services.store;
    let witness = Witness::of(&batch, &hub.books.sessions);
    let began = Instant::now();
    let result = store.commit(batch).await;
    metrics::histogram!("towline_commit_seconds").record(began.elapsed().as_secs_f64());
    let error = match result {
        Ok(committed) => {
            if hub.scope.failed_at.load(Ordering::Relaxed) != 0 {
                hub.scope.failed_at.store(0, Ordering::Relaxed);
            }
            return Ok(Some(committed));
        }
        Err(error) => error,
    };
    match witness {
        Some(witness) if witness.was_applied(&**store).await && was_alone(&**store).await => {
            tracing::error!(target: "towline::store", %error, "a commit was applied and said to have failed; it counts");
            metrics::counter!("towline_store_broken_word_total").increment(1);
            Ok(None)
        }
        _ => {
            let now = hub.now().unix_micros();
            hub.scope.failed_at.store(now, Ordering::Relaxed);
            Err(error)
        }
    }
}

/// Whether what was just found in the store can only be this runtime's. Where others share the store, one of them may have
/// taken a job over and written the very same; as long as this one is alive nobody has.
async fn was_alone(store: &dyn EventStore) -> bool {
    match store.shared() {
        None => true,
        Some(shared) => shared.pulse(&[]).await.is_ok(),
    }
}

pub(super) fn commands(work: Vec<Work>) -> impl Iterator<Item = Box<dyn Command>> {
    work.into_iter().filter_map(|item| match item {
        Work::Command(command) => Some(command),
        Work::Job(_) => None,
    })
}

/// What was taken from jobs and was not committed is taken again.
pub(super) fn give_back(hub: &Arc<Hub>, jobs: &[TakenFrom]) {
    for (job, _) in jobs {
        job.lock().failed();
        hub.enqueue(job);
    }
}

/// What was decided is durable: it is told, in the order in which it may become known.
fn publish(
    hub: &Arc<Hub>,
    decided: Decided,
    commands: impl Iterator<Item = Box<dyn Command>>,
    follow: Follow,
) {
    decided.audits.iter().for_each(audit::record);
    for job in publish_blocks(hub, decided.jobs) {
        (follow.ended)(hub, &job);
    }
    for (session, span) in &decided.spans {
        session.lock().stream.committed(span);
    }
    commands.for_each(|command| command.done(hub, Ok(())));
    publish_spans(hub, decided.spans);
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
        let (more, told) = {
            let log = &mut job.lock().log;
            (log.committed(), log.take_told())
        };
        hub.commits.pending().remove(told);
        if more {
            debug_assert!(!is_over, "nothing follows a terminal");
            hub.enqueue(&job);
        }
        job.drained.notify_waiters();
        hub.books.followers.changed(&job.row);
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

/// How many bytes of records a batch has, about; what is beyond waits for the next one.
const BATCH_BYTES: usize = 16 * 1024 * 1024;
