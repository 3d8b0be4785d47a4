//! What is decided together and becomes durable together.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use towline_proto::span::{Span, SpanView, project};
use towline_store::{AuditRow, Batch, Block, Change, RecordKind, StoreError};
use towline_wire::{EventSeq, Feature, JobId, JobSeq, SessionId};

use super::Hub;
use crate::{
    audit::{self, Audit},
    job::{Changes, JobEntry},
    session::SessionEntry,
};

/// Something that changes what is durable.
///
/// `decide` runs in the committer, one command after the other, and sees every earlier decision; it adds changes to the
/// transaction. `done` runs when the transaction's fate is known and carries out what follows: replies first, the events
/// that were projected come after.
///
/// A transaction that the store refuses for the sake of one command is decided anew in parts, so that the others come
/// through: then `undo` is called after `decide`, and after that `decide` again, or `done` with the error.
pub(crate) trait Command: Send {
    /// Adds what has to become durable.
    fn decide(&mut self, tx: &mut Tx<'_>);

    /// Nothing of what was decided becomes durable: what others would see of it in memory is taken back. What `decide` finds
    /// done when it is called again may stay.
    fn undo(&mut self) {}

    /// It is durable, or it is not going to be.
    fn done(self: Box<Self>, hub: &Arc<Hub>, result: Result<(), &StoreError>);
}

/// A transaction being gathered.
pub(crate) struct Tx<'h> {
    pub(crate) hub: &'h Arc<Hub>,
    batch: Batch,
    /// What the audit log says when the batch is durable, and not a moment before.
    audits: Vec<AuditRow>,
    spans: Vec<(Arc<SessionEntry>, Span)>,
    /// The last number of every session that got spans in this transaction.
    last: HashMap<SessionId, EventSeq>,
    /// Sessions that are taken up in this transaction: nothing else may take them up, or end them, before it is known
    /// how that went.
    taken_up: HashSet<SessionId>,
    /// The jobs that were taken from, each with its blocks.
    jobs: Vec<TakenFrom>,
    /// Those whose log has outgrown its bounds.
    outgrown: Vec<Arc<JobEntry>>,
    /// Where each of them is in `jobs`.
    places: HashMap<JobId, usize>,
}

/// What was decided, beside the batch that makes it durable.
pub(super) struct Decided {
    pub(super) audits: Vec<AuditRow>,
    pub(super) spans: Vec<(Arc<SessionEntry>, Span)>,
    pub(super) jobs: Vec<TakenFrom>,
    /// Jobs whose log has outgrown its bounds: their end is decided, whatever becomes of the batch.
    pub(super) outgrown: Vec<Arc<JobEntry>>,
}

/// A job and what a transaction took from it.
pub(super) type TakenFrom = (Arc<JobEntry>, Vec<Arc<Block>>);

impl<'h> Tx<'h> {
    pub(super) fn new(hub: &'h Arc<Hub>) -> Self {
        Self {
            hub,
            batch: Batch::default(),
            audits: Vec::new(),
            spans: Vec::new(),
            last: HashMap::new(),
            taken_up: HashSet::new(),
            jobs: Vec::new(),
            outgrown: Vec::new(),
            places: HashMap::new(),
        }
    }

    /// Everything was decided.
    pub(super) fn decided(self) -> (Decided, Batch) {
        let decided = Decided {
            audits: self.audits,
            spans: self.spans,
            jobs: self.jobs,
            outgrown: self.outgrown,
        };
        (decided, self.batch)
    }

    /// Adds a change.
    pub(crate) fn push(&mut self, change: Change) {
        self.batch.changes.push(change);
    }

    /// Adds an entry of the audit log: it is stored with the rest, and said aloud only when that is durable [ARCP 14-3].
    pub(crate) fn audit(&mut self, entry: AuditRow) {
        if audit::is_heard() {
            self.audits.push(entry.clone());
        }
        self.push(Change::Audit(entry));
    }

    /// Takes what a job has waiting, and gives it to everybody who watches the job.
    pub(crate) fn take(&mut self, job: &Arc<JobEntry>) {
        let before = self.places.get(job.id()).copied();
        let options = &self.hub.services.options;
        let (changes, observers, outgrown) = {
            let mut core = job.lock();
            let changes = core.take(job.id(), before.is_some());
            let all = |more| self.hub.books.logs.add(&job.row.principal, more);
            let outgrown = core.outgrows(options, all, || self.hub.now());
            core.observers.retain(|session| !session.lock().gone);
            (changes, core.observers.clone(), outgrown)
        };
        let Changes {
            blocks,
            state,
            talk,
            unanswered,
        } = changes;
        if outgrown {
            self.outgrown.push(Arc::clone(job));
        }
        if let Some(state) = state {
            self.push(Change::JobState {
                job: job.id().clone(),
                state,
            });
        }
        if let Some(value) = talk {
            self.push(Change::Talk {
                job: job.id().clone(),
                value,
            });
        }
        for resolved in unanswered {
            let owner = &job.row.principal;
            self.audit(Audit::at(self.hub.now()).unanswered(owner, job.id(), &resolved));
        }
        for block in &blocks {
            self.push(Change::Block(Arc::clone(block)));
            for session in &observers {
                self.project(session, job.id(), block.first(), block.kinds(), false);
            }
        }
        let ended = blocks.iter().any(|block| ends(block));
        match before {
            Some(at) => self.jobs[at].1.extend(blocks),
            None => {
                self.places.insert(job.id().clone(), self.jobs.len());
                self.jobs.push((Arc::clone(job), blocks));
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
        if let Some(parent) = job.settle(self.hub.now()) {
            self.take(&parent);
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
        debug_assert_eq!(
            span.first,
            self.last_of(session).next(),
            "a stream has no gaps"
        );
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
            .unwrap_or_else(|| session.lock().stream.last())
    }
}

/// Whether a block holds its job's last record.
pub(super) fn ends(block: &Block) -> bool {
    block.kinds().last().is_some_and(|kind| kind.is_terminal())
}
