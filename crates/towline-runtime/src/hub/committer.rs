//! Decide, commit, emit: the one task through which everything becomes durable.
//!
//! Whatever waits becomes one batch. While it is being committed the next one gathers, so commits grow with the load and
//! never wait for a timer. Only after the commit do replies, events and job starts happen.

use std::{
    collections::{HashMap, HashSet},
    future::poll_fn,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use tokio::time::Instant;
use towline_proto::{
    outbox::Outbox,
    span::{Span, SpanView, project},
};
use towline_store::{Batch, Block, Change, RecordKind, StoreError};
use towline_wire::{EventSeq, Feature, JobId, JobSeq, SessionId};

use super::{Hub, queue::Work};
use crate::job::JobEntry;
use crate::session::SessionEntry;

/// Something that changes what is durable.
///
/// `decide` runs in the committer, one command after the other, and sees every earlier decision; it adds changes to the
/// transaction. `done` runs when the transaction's fate is known and carries out what follows: replies first, the events
/// that were projected come after.
pub(crate) trait Command: Send {
    /// Adds what has to become durable.
    fn decide(&mut self, tx: &mut Tx<'_>);

    /// It is durable, or it is not going to be.
    fn done(self: Box<Self>, hub: &Arc<Hub>, result: Result<(), &StoreError>);
}

/// A transaction being gathered.
pub(crate) struct Tx<'h> {
    pub(crate) hub: &'h Arc<Hub>,
    batch: Batch,
    spans: Vec<(Arc<SessionEntry>, Span)>,
    /// The last number of every session that got spans in this transaction.
    last: HashMap<SessionId, EventSeq>,
    /// Sessions that are taken up in this transaction: nothing else may take them up, or end them, before it is known
    /// how that went.
    taken_up: HashSet<SessionId>,
    /// The jobs that were taken from, each with its blocks.
    jobs: Vec<Flushed>,
    /// Where each of them is in `jobs`.
    flushed: HashMap<JobId, usize>,
}

/// A job and what a transaction took from it.
type Flushed = (Arc<JobEntry>, Vec<Arc<Block>>);

impl<'h> Tx<'h> {
    fn new(hub: &'h Arc<Hub>) -> Self {
        Self {
            hub,
            batch: Batch::default(),
            spans: Vec::new(),
            last: HashMap::new(),
            taken_up: HashSet::new(),
            jobs: Vec::new(),
            flushed: HashMap::new(),
        }
    }

    /// Adds a change.
    pub(crate) fn push(&mut self, change: Change) {
        self.batch.changes.push(change);
    }

    /// Takes what a job has waiting, and gives it to everybody who watches the job.
    pub(crate) fn flush(&mut self, job: &Arc<JobEntry>) {
        let before = self.flushed.get(job.id()).copied();
        let (flush, observers) = {
            let mut core = job.lock();
            let flush = core.flush(job.id(), before.is_some());
            core.observers.retain(|session| !session.lock().gone);
            (flush, core.observers.clone())
        };
        if let Some(state) = flush.state {
            self.push(Change::JobState {
                job: job.id().clone(),
                state,
            });
        }
        for block in &flush.blocks {
            self.push(Change::Block(Arc::clone(block)));
            for session in &observers {
                self.project(session, job.id(), block.first(), block.kinds(), false);
            }
        }
        let ended = flush.blocks.iter().any(|block| ends(block));
        match before {
            Some(at) => self.jobs[at].1.extend(flush.blocks),
            None => {
                self.flushed.insert(job.id().clone(), self.jobs.len());
                self.jobs.push((Arc::clone(job), flush.blocks));
            }
        }
        if ended {
            self.end(job, &observers);
        }
    }

    /// What becomes durable with a job's terminal: it is watched no more, so that a session may watch others in its
    /// place, and its parent has back what it did not spend [ARCP 9.4-2].
    fn end(&mut self, job: &Arc<JobEntry>, observers: &[Arc<SessionEntry>]) {
        for session in observers
            .iter()
            .filter(|session| session.id != job.row.session)
        {
            session.lock().subscriptions.remove(job.id());
            self.push(Change::Unsubscribed {
                session: session.id.clone(),
                job: job.id().clone(),
            });
        }
        if let Some(parent) = crate::life::settle(self.hub, job) {
            self.flush(&parent);
        }
    }

    /// Marks a session as taken up.
    pub(crate) fn take_up(&mut self, session: &SessionId) {
        self.taken_up.insert(session.clone());
    }

    /// Whether a session is being taken up.
    pub(crate) fn is_taken_up(&self, session: &SessionId) -> bool {
        self.taken_up.contains(session)
    }

    /// Gives a session records of a job, as its features show them. Returns how many it gets.
    pub(crate) fn project(
        &mut self,
        session: &Arc<SessionEntry>,
        job: &JobId,
        from: JobSeq,
        kinds: &[RecordKind],
        replayed: bool,
    ) -> u64 {
        let features = session.lock().features;
        let next = self.last_of(session).next();
        let spans = project(job, from, kinds, features, next, replayed);
        spans
            .into_iter()
            .map(|span| self.add_span(session, span))
            .sum()
    }

    /// Gives a session that sees every kind of record the records of a job from `from` to `to`, both included.
    pub(crate) fn project_all(
        &mut self,
        session: &Arc<SessionEntry>,
        job: &JobId,
        from: JobSeq,
        to: JobSeq,
    ) -> u64 {
        let count = to.next().since(from);
        let assembled = !session.lock().features.has(Feature::ResultChunk);
        let span = Span {
            first: self.last_of(session).next(),
            job: job.clone(),
            from,
            count: u32::try_from(count).unwrap_or(u32::MAX),
            view: SpanView {
                assembled,
                replayed: true,
            },
        };
        if span.count == 0 {
            0
        } else {
            self.add_span(session, span)
        }
    }

    fn add_span(&mut self, session: &Arc<SessionEntry>, span: Span) -> u64 {
        self.last.insert(session.id.clone(), span.last());
        self.push(Change::Span {
            session: session.id.clone(),
            span: span.clone(),
        });
        let count = u64::from(span.count);
        self.spans.push((Arc::clone(session), span));
        count
    }

    fn last_of(&self, session: &SessionEntry) -> EventSeq {
        self.last
            .get(&session.id)
            .copied()
            .unwrap_or_else(|| session.lock().outbox.last())
    }
}

/// Commits until the runtime stops and nothing is left to commit.
pub(crate) async fn run(hub: Arc<Hub>) {
    let mut failures = 0;
    loop {
        let work = tokio::select! {
            biased;
            work = hub.queue.take() => work,
            () = hub.stopping.cancelled() => break,
        };
        match commit(&hub, work).await {
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
    poll_fn(|cx| match std::mem::replace(&mut stepped, true) {
        true => Poll::Ready(()),
        false => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await;
}

fn backoff(failures: u32) -> Duration {
    Duration::from_millis(25 << failures.min(6))
}

async fn commit(hub: &Arc<Hub>, mut work: Vec<Work>) -> Result<(), StoreError> {
    let mut tx = Tx::new(hub);
    for item in &mut work {
        match item {
            Work::Job(job) => tx.flush(job),
            Work::Command(command) => command.decide(&mut tx),
        }
    }
    let Tx {
        batch, spans, jobs, ..
    } = tx;
    let result = match batch.changes.is_empty() {
        true => Ok(()),
        false => {
            let began = Instant::now();
            let result = hub.store.commit(batch).await.map(drop);
            metrics::histogram!("towline_commit_seconds").record(began.elapsed().as_secs_f64());
            result
        }
    };
    let commands = work.into_iter().filter_map(|item| match item {
        Work::Command(command) => Some(command),
        Work::Job(_) => None,
    });
    match &result {
        Ok(()) => {
            publish_blocks(hub, jobs);
            for (session, span) in &spans {
                session.lock().durable = span.last();
            }
            commands.for_each(|command| command.done(hub, Ok(())));
            publish_spans(hub, spans);
        }
        Err(error) => {
            for (job, _) in jobs {
                job.lock().unflushed();
                hub.flush(&job);
            }
            commands.for_each(|command| command.done(hub, Err(error)));
        }
    }
    result
}

/// The records can be read from now on, and those who wait for room or for the end are told.
fn publish_blocks(hub: &Arc<Hub>, jobs: Vec<Flushed>) {
    for (job, blocks) in jobs {
        let ended = blocks.last().is_some_and(|block| ends(block));
        for block in blocks {
            metrics::counter!("towline_events_total").increment(block.len() as u64);
            job.tail.lock().push(block, hub.options.tail_bytes);
        }
        let more = job.lock().flushed();
        if more {
            hub.flush(&job);
        }
        job.drained.notify_waiters();
        if ended {
            hub.job_ended(&job);
        }
    }
}

/// Whether a block holds its job's last record.
fn ends(block: &Block) -> bool {
    block.kinds().last().is_some_and(|kind| kind.is_terminal())
}

/// The sessions get what was projected to them.
fn publish_spans(hub: &Arc<Hub>, spans: Vec<(Arc<SessionEntry>, Span)>) {
    let mut lagging = Vec::new();
    for (session, span) in spans {
        let (attachment, lag, evict) = {
            let mut state = session.lock();
            let pushed = state.outbox.push(span);
            debug_assert!(pushed, "spans are planned in order");
            let evict = surplus(&state.outbox, hub.options.spans_per_session);
            let lag = state.pressure(hub.options.back_pressure);
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

/// What of a stream has to go: when it holds too much, an eighth more than that, so that it is not each event that
/// evicts another.
fn surplus(outbox: &Outbox, limit: usize) -> Option<EventSeq> {
    outbox.overflow(limit)?;
    outbox.overflow(limit - limit / 8)
}
