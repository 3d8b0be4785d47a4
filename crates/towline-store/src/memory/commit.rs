//! Applying a batch.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use towline_proto::limits::in_resume_window;
use towline_wire::{EventSeq, JobId, JobSeq, SessionId, Timestamp};

use super::{
    MemoryStore,
    jobs::{Job, Jobs},
    share::Ownership,
};
use crate::{
    AuditRow, Batch, Block, Change, Committed, Incarnation, JobRow, JobState, RecoveredSession,
    RetentionReport, ScheduleRow, SessionRow, Span, StoreError, StoreStats,
    check::{Kept, Tail, check},
};

/// What only commits and retention touch.
#[derive(Debug, Default)]
pub(super) struct Committer {
    sessions: BTreeMap<SessionId, Session>,
    /// Whose resume token has this hash.
    by_token: HashMap<[u8; 32], SessionId>,
    /// Finished jobs, the ones that ended first in front.
    pub(super) finished: BTreeSet<(Timestamp, JobId)>,
    pub(super) audit: VecDeque<AuditRow>,
    pub(super) totals: StoreStats,
    schedules: BTreeMap<String, ScheduleRow>,
    /// How many blocks were ever committed.
    blocks: u64,
    /// What went to make room since retention last looked; its report tells of it.
    pub(super) made_room: RetentionReport,
    /// Whose is what, where several share the store.
    pub(super) owned: Ownership,
}

#[derive(Debug)]
struct Session {
    row: SessionRow,
    last: EventSeq,
    spans: VecDeque<Span>,
    watches: BTreeSet<JobId>,
}

impl Committer {
    pub(super) fn audit(&self, latest: usize) -> Vec<AuditRow> {
        let skipped = self.audit.len().saturating_sub(latest);
        self.audit.iter().skip(skipped).cloned().collect()
    }

    pub(super) fn sessions(&self) -> Vec<RecoveredSession> {
        self.sessions.values().map(Session::recovered).collect()
    }

    pub(super) fn recovered(&self, id: &SessionId) -> Option<RecoveredSession> {
        self.sessions.get(id).map(Session::recovered)
    }

    /// A member is no more: its sessions have lost their connections.
    pub(super) fn detach_sessions_of(&mut self, member: Incarnation, now: Timestamp) {
        for (id, session) in &mut self.sessions {
            if self.owned.sessions.get(id) == Some(&member) {
                session.row.detached_at.get_or_insert(now);
            }
        }
    }

    /// The jobs that streams of sessions point into which are not this member's.
    pub(super) fn needed_beside(&self, member: Incarnation) -> Vec<JobId> {
        let others = self
            .sessions
            .iter()
            .filter(|(id, _)| self.owned.sessions.get(*id) != Some(&member));
        let spans = others.flat_map(|(_, session)| &session.spans);
        spans.map(|span| span.job.clone()).collect()
    }

    /// Removes what nobody has and nobody came for.
    pub(super) fn end_left_sessions(&mut self, now: Timestamp, window: Duration) -> u64 {
        let is_over = |session: &&Session| {
            let owner = self.owned.sessions.get(&session.row.id).copied();
            let since = session.row.detached_at;
            !in_resume_window(since, now, window) && self.owned.is_orphan(owner)
        };
        let over: Vec<SessionId> = self
            .sessions
            .values()
            .filter(is_over)
            .map(|session| session.row.id.clone())
            .collect();
        for id in &over {
            self.owned.sessions.remove(id);
            self.remove_session(id);
        }
        over.len() as u64
    }

    pub(super) fn schedules(&self) -> Vec<ScheduleRow> {
        self.schedules.values().cloned().collect()
    }

    pub(super) fn stats(&self) -> StoreStats {
        StoreStats {
            sessions: self.sessions.len() as u64,
            ..self.totals
        }
    }

    pub(super) fn session(&self, id: &SessionId) -> Option<SessionRow> {
        self.sessions.get(id).map(|session| session.row.clone())
    }

    pub(super) fn stream_end(&self, id: &SessionId) -> Option<EventSeq> {
        self.sessions.get(id).map(|session| session.last)
    }

    pub(super) fn session_by_token(&self, hash: &[u8; 32]) -> Option<SessionRow> {
        self.session(self.by_token.get(hash)?)
    }

    fn put_session(&mut self, row: SessionRow) {
        for hash in tokens(&row) {
            self.by_token.insert(*hash, row.id.clone());
        }
        match self.sessions.get_mut(&row.id) {
            Some(session) => {
                let old = std::mem::replace(&mut session.row, row);
                forget_tokens(&mut self.by_token, &old, Some(&session.row));
            }
            None => {
                let id = row.id.clone();
                let empty = Session {
                    row,
                    last: EventSeq::ZERO,
                    spans: VecDeque::new(),
                    watches: BTreeSet::new(),
                };
                self.sessions.insert(id, empty);
            }
        }
    }

    fn remove_session(&mut self, id: &SessionId) {
        if let Some(session) = self.sessions.remove(id) {
            forget_tokens(&mut self.by_token, &session.row, None);
        }
    }
}

/// The hashes of the tokens a session can be resumed with.
fn tokens(row: &SessionRow) -> impl Iterator<Item = &[u8; 32]> {
    std::iter::once(&row.token_hash)
        .chain(&row.previous_token_hash)
        .chain(&row.skipped_token_hash)
}

/// Tokens that were good for a session and are no more.
fn forget_tokens(
    by_token: &mut HashMap<[u8; 32], SessionId>,
    old: &SessionRow,
    new: Option<&SessionRow>,
) {
    let is_good = |hash| new.is_some_and(|new| tokens(new).any(|good| good == hash));
    for hash in tokens(old).filter(|hash| !is_good(*hash)) {
        if by_token.get(hash) == Some(&old.id) {
            by_token.remove(hash);
        }
    }
}

impl Session {
    fn recovered(&self) -> RecoveredSession {
        RecoveredSession {
            row: self.row.clone(),
            last: self.last,
            spans: self.spans.iter().cloned().collect(),
            subscriptions: self.watches.iter().cloned().collect(),
        }
    }

    fn extend(&mut self, span: Span) {
        self.last = span.last();
        match self.spans.back_mut() {
            Some(end) => match end.joined(&span) {
                Some(joined) => *end = joined,
                None => self.spans.push_back(span),
            },
            None => self.spans.push_back(span),
        }
    }

    fn trim(&mut self, up_to: EventSeq) {
        while self.spans.front().is_some_and(|span| span.last() <= up_to) {
            self.spans.pop_front();
        }
    }
}

impl MemoryStore {
    pub(super) fn apply(&self, batch: Batch) -> Result<Committed, StoreError> {
        let committer = &mut *self.committer.lock();
        self.apply_checked(committer, batch, None)?;
        Ok(Committed::default())
    }

    /// Applies a batch that one of several members may commit, or that of whoever has the store alone.
    pub(super) fn apply_checked(
        &self,
        committer: &mut Committer,
        batch: Batch,
        member: Option<Incarnation>,
    ) -> Result<(), StoreError> {
        check(
            &batch,
            &mut View {
                jobs: &self.jobs,
                committer,
            },
        )?;
        if let Some(member) = member {
            committer.owned.note(member, &batch);
        }
        for change in batch.changes {
            self.apply_one(committer, change);
        }
        self.make_room(committer);
        Ok(())
    }

    fn apply_one(&self, committer: &mut Committer, change: Change) {
        match change {
            Change::Job(row) => self.add_job(committer, *row),
            Change::JobState { job, state } => self.set_state(committer, &job, state),
            Change::Block(block) => self.append(committer, block),
            Change::Session(row) => committer.put_session(*row),
            Change::SessionGone(session) => committer.remove_session(&session),
            Change::Span { session, span } => {
                with(committer, &session, |session| session.extend(span))
            }
            Change::Trim { session, up_to } => {
                with(committer, &session, |session| session.trim(up_to))
            }
            Change::Subscribed { session, job } => with(committer, &session, |session| {
                session.watches.insert(job);
            }),
            Change::Unsubscribed { session, job } => with(committer, &session, |session| {
                session.watches.remove(&job);
            }),
            Change::Idempotency(row) => self.keys.write().put(row),
            Change::Credential(row) => self.credentials.write().put(row),
            Change::Delivery(row) => self.deliveries.write().put(*row),
            Change::DeliveryState(state) => self.deliveries.write().set(state),
            Change::Schedule(change) => {
                let row = change.apply(committer.schedules.remove(&change.name));
                committer.schedules.insert(change.name, row);
            }
            Change::Audit(row) => committer.audit.push_back(row),
            Change::Checkpoint { job, value } => {
                if let Some(kept) = self.jobs.find(&job) {
                    kept.set_checkpoint(Some(value));
                }
            }
            Change::Talk { job, value } => {
                if let Some(kept) = self.jobs.find(&job) {
                    kept.set_talk(Some(value));
                }
            }
        }
    }

    fn add_job(&self, committer: &mut Committer, row: JobRow) {
        let job = Arc::new(Job::new(row));
        self.jobs.insert(&job);
        committer.totals.jobs += 1;
        match job.finished_at() {
            Some(at) => {
                committer.finished.insert((at, job.id().clone()));
            }
            None => committer.totals.live_jobs += 1,
        }
    }

    fn set_state(&self, committer: &mut Committer, id: &JobId, state: JobState) {
        let Some(job) = self.jobs.find(id) else {
            return;
        };
        let before = job.finished_at();
        job.set_state(state);
        let after = job.finished_at();
        if before == after {
            return;
        }
        if let Some(at) = before {
            committer.finished.remove(&(at, id.clone()));
        }
        if let Some(at) = after {
            committer.finished.insert((at, id.clone()));
        }
        if before.is_some() != after.is_some() {
            self.jobs.set_live(&job, after.is_none());
            match after {
                Some(_) => committer.totals.live_jobs -= 1,
                None => committer.totals.live_jobs += 1,
            }
        }
    }

    fn append(&self, committer: &mut Committer, block: Arc<Block>) {
        // The check has seen to it that the job is there.
        let Some(job) = self.jobs.find(block.job()) else {
            return;
        };
        committer.totals.events += block.len() as u64;
        committer.totals.event_bytes += block.text().len() as u64;
        committer.blocks += 1;
        job.append(committer.blocks, block);
    }
}

fn with(committer: &mut Committer, session: &SessionId, change: impl FnOnce(&mut Session)) {
    if let Some(session) = committer.sessions.get_mut(session) {
        change(session);
    }
}

/// What the check looks at.
struct View<'a> {
    jobs: &'a Jobs,
    committer: &'a Committer,
}

impl Kept for View<'_> {
    fn tail(&mut self, job: &JobId) -> Result<Option<Tail>, StoreError> {
        Ok(self.jobs.find(job).map(|kept| kept.tail()))
    }

    fn last(&mut self, session: &SessionId) -> Result<Option<EventSeq>, StoreError> {
        Ok(self.committer.stream_end(session))
    }

    fn done(&mut self, schedule: &str) -> Result<Option<Timestamp>, StoreError> {
        let kept = self.committer.schedules.get(schedule);
        Ok(kept.map(|kept| kept.done))
    }
}

/// Takes the oldest block of a running job away, and says which record is the oldest then.
pub(super) fn evict(committer: &mut Committer, job: &Job) -> Option<(JobSeq, Arc<Block>)> {
    let (block, oldest) = job.evict_oldest()?;
    committer.totals.events -= block.len() as u64;
    committer.totals.event_bytes -= block.text().len() as u64;
    Some((oldest, block))
}
