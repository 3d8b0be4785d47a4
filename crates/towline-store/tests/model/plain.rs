//! What a store has to be, kept in the plainest way there is.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use towline_store::{Change, IDEMPOTENCY_AGE, RecordKind, SessionRow, Span, testing::fixture::*};
use towline_wire::{EventSeq, JobId, JobStatus, RawJson, SessionId, Timestamp};

/// A change, to be made fit (or, now and then, not) by what the model knows.
#[derive(Debug, Clone)]
pub(crate) enum Small {
    Job(u64),
    Finish(u64),
    Status(u64, JobStatus),
    Block {
        job: u64,
        count: u64,
        off: u64,
    },
    End(u64),
    Session(u64, u64),
    Gone(u64),
    Span {
        session: u64,
        job: u64,
        count: u32,
        off: u64,
    },
    Trim(u64, u64),
    Watch(u64, u64),
    Leave(u64, u64),
    Key(u64),
    Credential {
        id: u64,
        job: u64,
        outstanding: bool,
    },
    Audit(u64),
    Checkpoint(u64, u64),
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    pub(crate) now: u64,
    /// How many changes there were: added to the time in microseconds, so that no two jobs end at the same moment. Which
    /// of such two goes first is nobody's promise.
    pub(crate) ticks: u64,
    pub(crate) jobs: BTreeMap<JobId, Job>,
    pub(crate) sessions: BTreeMap<SessionId, Session>,
    pub(crate) keys: BTreeMap<String, (JobId, Timestamp)>,
    /// Identifier, job, outstanding, in the order they were first committed.
    pub(crate) credentials: Vec<(u64, JobId, bool)>,
    pub(crate) audit: Vec<u64>,
}

#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) created: Timestamp,
    pub(crate) status: JobStatus,
    pub(crate) finished: Option<Timestamp>,
    pub(crate) records: Vec<(RecordKind, String)>,
    pub(crate) checkpoint: Option<u64>,
}

#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) row: SessionRow,
    pub(crate) last: u64,
    pub(crate) spans: Vec<Span>,
    pub(crate) newest: Option<Span>,
    pub(crate) watches: BTreeSet<JobId>,
}

impl Job {
    fn has_ended(&self) -> bool {
        self.records
            .last()
            .is_some_and(|(kind, _)| kind.is_terminal())
    }
}

impl Model {
    pub(crate) fn time(&self) -> Timestamp {
        at(i64::try_from(self.now).unwrap())
    }

    /// Applies a change, or leaves out one that only chance made wrong: most batches should be accepted.
    pub(crate) fn apply_if_meant(&mut self, small: &Small) -> Option<(Change, Result<(), ()>)> {
        let meant = match small {
            Small::Block { off, .. } | Small::Span { off, .. } => *off > 0,
            Small::Job(number) => *number == 0,
            _ => false,
        };
        let applied = self.apply(small);
        (applied.1.is_ok() || meant).then_some(applied)
    }

    /// Turns a small change into a real one and applies it; the error is that the store has to refuse it.
    fn apply(&mut self, small: &Small) -> (Change, Result<(), ()>) {
        self.ticks += 1;
        let now = self.time().plus(Duration::from_micros(self.ticks));
        match small {
            Small::Job(number) => {
                let mut row = job(*number);
                row.created_at = now;
                let fresh = Job {
                    created: now,
                    status: JobStatus::Running,
                    finished: None,
                    records: Vec::new(),
                    checkpoint: None,
                };
                let refused = self.jobs.contains_key(&row.id);
                self.jobs.entry(row.id.clone()).or_insert(fresh);
                (row.into(), if refused { Err(()) } else { Ok(()) })
            }
            Small::Finish(number) => self.set(*number, JobStatus::Success, Some(now)),
            Small::Status(number, status) => self.set(*number, *status, None),
            Small::Block {
                job: number,
                count,
                off,
            } => {
                let id = job_id(*number);
                let next = self
                    .jobs
                    .get(&id)
                    .map_or(1, |job| job.records.len() as u64 + 1)
                    + off;
                let change = block(&id, next, *count).into();
                let fits = *off == 0 && self.jobs.get(&id).is_some_and(|job| !job.has_ended());
                if let Some(job) = self.jobs.get_mut(&id).filter(|_| fits) {
                    job.records.extend(
                        (next..next + count).map(|seq| (RecordKind::Event, text(&id, seq))),
                    );
                }
                (change, if fits { Ok(()) } else { Err(()) })
            }
            Small::End(number) => {
                let id = job_id(*number);
                let next = self
                    .jobs
                    .get(&id)
                    .map_or(1, |job| job.records.len() as u64 + 1);
                let fits = self.jobs.get(&id).is_some_and(|job| !job.has_ended());
                if let Some(job) = self.jobs.get_mut(&id).filter(|_| fits) {
                    job.records.push((RecordKind::Result, text(&id, next)));
                }
                (end(&id, next).into(), if fits { Ok(()) } else { Err(()) })
            }
            other => self.apply_to_sessions(other),
        }
    }

    fn apply_to_sessions(&mut self, small: &Small) -> (Change, Result<(), ()>) {
        let mut verdict = Ok(());
        let change = match small {
            Small::Session(number, acked) => {
                let row = SessionRow {
                    acked: EventSeq::new(*acked),
                    ..session(*number)
                };
                let fresh = Session {
                    row: row.clone(),
                    last: 0,
                    spans: Vec::new(),
                    newest: None,
                    watches: BTreeSet::new(),
                };
                self.sessions.entry(row.id.clone()).or_insert(fresh).row = row.clone();
                row.into()
            }
            Small::Gone(number) => {
                self.sessions.remove(&session_id(*number));
                Change::SessionGone(session_id(*number))
            }
            Small::Span {
                session,
                job,
                count,
                off,
            } => {
                let id = job_id(*job);
                let known = self.sessions.get_mut(&session_id(*session));
                let first = known.as_ref().map_or(1, |session| session.last + 1) + off;
                // Which records does not matter to a stream; mostly those that go on, also when a trim came between.
                let ended = known
                    .as_ref()
                    .and_then(|session| session.newest.clone())
                    .filter(|span| span.job == id);
                let from = ended.map_or(1, |span| span.from.value() + u64::from(span.count));
                let piece = span(first, &id, from, *count);
                if let Some(session) = known {
                    match off {
                        0 => session.extend(piece.clone()),
                        _ => verdict = Err(()),
                    }
                }
                sees(*session, piece)
            }
            Small::Trim(number, up_to) => {
                if let Some(session) = self.sessions.get_mut(&session_id(*number)) {
                    session.spans.retain(|span| span.last().value() > *up_to);
                }
                Change::Trim {
                    session: session_id(*number),
                    up_to: EventSeq::new(*up_to),
                }
            }
            Small::Watch(number, job) => {
                if let Some(session) = self.sessions.get_mut(&session_id(*number)) {
                    session.watches.insert(job_id(*job));
                }
                Change::Subscribed {
                    session: session_id(*number),
                    job: job_id(*job),
                }
            }
            Small::Leave(number, job) => {
                if let Some(session) = self.sessions.get_mut(&session_id(*number)) {
                    session.watches.remove(&job_id(*job));
                }
                Change::Unsubscribed {
                    session: session_id(*number),
                    job: job_id(*job),
                }
            }
            other => self.apply_to_ledger(other),
        };
        (change, verdict)
    }

    fn apply_to_ledger(&mut self, small: &Small) -> Change {
        match small {
            Small::Key(number) => {
                let row = key(&format!("k{number}"), &job_id(*number), self.time());
                self.keys
                    .insert(row.key.clone(), (row.job.clone(), row.created_at));
                Change::Idempotency(row)
            }
            Small::Credential {
                id,
                job,
                outstanding,
            } => {
                // A credential is for one job for all its life.
                let known = self.credentials.iter_mut().find(|(known, ..)| known == id);
                let job = known
                    .as_ref()
                    .map_or(job_id(*job), |(_, job, _)| job.clone());
                match known {
                    Some(row) => row.2 = *outstanding,
                    None => self.credentials.push((*id, job.clone(), *outstanding)),
                }
                Change::Credential(credential(*id, &job, *outstanding))
            }
            Small::Audit(number) => {
                self.audit.push(*number);
                Change::Audit(audit(*number, at(0)))
            }
            Small::Checkpoint(number, value) => {
                if let Some(job) = self.jobs.get_mut(&job_id(*number)) {
                    job.checkpoint = Some(*value);
                }
                Change::Checkpoint {
                    job: job_id(*number),
                    value: RawJson::parse(value.to_string()).unwrap(),
                }
            }
            _ => unreachable!("the others are handled before"),
        }
    }

    fn set(
        &mut self,
        number: u64,
        status: JobStatus,
        finished: Option<Timestamp>,
    ) -> (Change, Result<(), ()>) {
        let mut state = running();
        (state.status, state.finished_at) = (status, finished);
        if let Some(job) = self.jobs.get_mut(&job_id(number)) {
            (job.status, job.finished) = (status, finished);
        }
        (becomes(&job_id(number), state), Ok(()))
    }

    /// What retention removes, in order.
    pub(crate) fn retain(&mut self, age: u64, most: u64, keep: &JobId) -> Vec<JobId> {
        let now = self.time();
        self.keys
            .retain(|_, (_, used)| now.since(*used) < IDEMPOTENCY_AGE);
        self.credentials
            .retain(|(_, job, outstanding)| *outstanding || self.jobs.contains_key(job));
        let mut finished: Vec<_> = self
            .jobs
            .iter()
            .filter(|(_, job)| job.status.is_terminal())
            .map(|(id, job)| (job.finished.unwrap_or(job.created), id.clone()))
            .collect();
        finished.sort();
        for (_, id) in &finished {
            self.jobs.get_mut(id).unwrap().checkpoint = None;
        }
        let mut gone = Vec::new();
        let mut left = finished.len() as u64;
        for too_old in [true, false] {
            for (ended, id) in &finished {
                let goes = if too_old {
                    ended.plus(Duration::from_secs(age)) <= now
                } else {
                    left > most
                };
                if goes && id != keep && self.jobs.remove(id).is_some() {
                    self.credentials
                        .retain(|(_, job, outstanding)| job != id || *outstanding);
                    left -= 1;
                    gone.push(id.clone());
                }
            }
        }
        gone
    }
}

impl Session {
    fn extend(&mut self, span: Span) {
        self.last = span.last().value();
        self.newest = Some(span.clone());
        match self.spans.last().and_then(|last| last.joined(&span)) {
            Some(joined) => *self.spans.last_mut().unwrap() = joined,
            None => self.spans.push(span),
        }
    }
}
