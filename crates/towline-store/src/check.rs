//! What makes a batch acceptable, the same for every store.

use std::collections::HashMap;

use towline_wire::{EventSeq, JobId, JobSeq, SessionId, Timestamp};

use crate::{Batch, Block, Change, Span, StoreError};

/// Where a job's log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail {
    /// Its last record.
    pub last: JobSeq,
    /// Whether that record is the job's terminal.
    pub ended: bool,
}

impl Tail {
    /// The end of a log without a record.
    pub const EMPTY: Self = Self {
        last: JobSeq::ZERO,
        ended: false,
    };

    /// Where the log ends once `block` is added.
    pub fn after(block: &Block) -> Self {
        Self {
            last: block.last(),
            ended: block.kinds().last().is_some_and(|kind| kind.is_terminal()),
        }
    }
}

/// What a check has to know of what is kept.
pub trait Kept {
    /// Where a job's log ends; `None` for an unknown job.
    fn tail(&mut self, job: &JobId) -> Result<Option<Tail>, StoreError>;

    /// The last number given out in a session; `None` for an unknown session.
    fn last(&mut self, session: &SessionId) -> Result<Option<EventSeq>, StoreError>;

    /// Up to when a schedule is done with; `None` for an unknown one.
    fn done(&mut self, schedule: &str) -> Result<Option<Timestamp>, StoreError>;
}

/// Checks a batch against what is kept and against itself, before anything of it is applied, so that a refused batch
/// leaves no trace.
pub fn check(batch: &Batch, kept: &mut impl Kept) -> Result<(), StoreError> {
    let mut check = Check {
        kept,
        jobs: HashMap::new(),
        sessions: HashMap::new(),
        schedules: HashMap::new(),
    };
    batch
        .changes
        .iter()
        .try_for_each(|change| check.change(change))
}

/// The session a change is about.
pub fn session_of(change: &Change) -> Option<&SessionId> {
    match change {
        Change::Session(row) => Some(&row.id),
        Change::SessionGone(session)
        | Change::Span { session, .. }
        | Change::Trim { session, .. }
        | Change::Subscribed { session, .. }
        | Change::Unsubscribed { session, .. } => Some(session),
        _ => None,
    }
}

fn rejected(what: std::fmt::Arguments<'_>) -> StoreError {
    StoreError::Rejected(what.to_string().into())
}

struct Check<'a, K> {
    kept: &'a mut K,
    /// Logs this batch has touched, as they stand after the changes so far.
    jobs: HashMap<&'a JobId, Option<Tail>>,
    /// Streams this batch has touched, likewise.
    sessions: HashMap<&'a SessionId, Option<EventSeq>>,
    /// Schedules this batch has touched, likewise.
    schedules: HashMap<&'a str, Timestamp>,
}

impl<'a, K: Kept> Check<'a, K> {
    fn change(&mut self, change: &'a Change) -> Result<(), StoreError> {
        match change {
            Change::Job(row) => self.job(&row.id),
            Change::Block(block) => self.block(block),
            Change::Session(row) => {
                let last = self.last(&row.id)?.unwrap_or_default();
                self.sessions.insert(&row.id, Some(last));
                Ok(())
            }
            Change::SessionGone(session) => {
                self.sessions.insert(session, None);
                Ok(())
            }
            Change::Span { session, span } => self.span(session, span),
            Change::Schedule(change) => match change.done {
                Some(done) => self.schedule(&change.name, done, change.paused == Some(false)),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn job(&mut self, job: &'a JobId) -> Result<(), StoreError> {
        if self.tail(job)?.is_some() {
            return Err(rejected(format_args!(
                "job {job} exists already; a new job needs an id of its own"
            )));
        }
        self.jobs.insert(job, Some(Tail::EMPTY));
        Ok(())
    }

    fn block(&mut self, block: &'a Block) -> Result<(), StoreError> {
        let (job, first) = (block.job(), block.first());
        let Some(tail) = self.tail(job)? else {
            return Err(rejected(format_args!(
                "records of job {job}, which is not kept; commit the job first"
            )));
        };
        if tail.ended {
            return Err(rejected(format_args!(
                "job {job} ended with record {}; nothing may follow",
                tail.last
            )));
        }
        if first != tail.last.next() {
            let next = tail.last.next();
            return Err(rejected(format_args!(
                "records of job {job} begin at {first}; the next one is {next}"
            )));
        }
        let before_last = &block.kinds()[..block.len() - 1];
        if before_last.iter().any(|kind| kind.is_terminal()) {
            return Err(rejected(format_args!(
                "job {job} has a record after its terminal one in one block"
            )));
        }
        self.jobs.insert(job, Some(Tail::after(block)));
        Ok(())
    }

    fn span(&mut self, session: &'a SessionId, span: &Span) -> Result<(), StoreError> {
        let Some(last) = self.last(session)? else {
            return Ok(());
        };
        if span.count == 0 || span.first != last.next() {
            let (first, next) = (span.first, last.next());
            return Err(rejected(format_args!(
                "a span of {} records at {first} of session {session}; it has to hold one at least and begin at {next}",
                span.count
            )));
        }
        self.sessions.insert(session, Some(span.last()));
        Ok(())
    }

    fn schedule(
        &mut self,
        name: &'a str,
        done: Timestamp,
        resumed: bool,
    ) -> Result<(), StoreError> {
        let before = match self.schedules.get(name) {
            Some(done) => Some(*done),
            None => self.kept.done(name)?,
        };
        if !resumed && before.is_some_and(|before| before >= done) {
            return Err(rejected(format_args!(
                "schedule {name} is done with {done} already; it goes forward only"
            )));
        }
        self.schedules.insert(name, done);
        Ok(())
    }

    fn tail(&mut self, job: &JobId) -> Result<Option<Tail>, StoreError> {
        match self.jobs.get(job) {
            Some(tail) => Ok(*tail),
            None => self.kept.tail(job),
        }
    }

    fn last(&mut self, session: &SessionId) -> Result<Option<EventSeq>, StoreError> {
        match self.sessions.get(session) {
            Some(last) => Ok(*last),
            None => self.kept.last(session),
        }
    }
}
