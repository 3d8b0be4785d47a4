//! Finding jobs and sessions, and what follows when they change.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use towline_proto::server::Tokens;
use towline_proto::span::RecordKind;
use towline_store::{AuditRow, Block, Change, JobRow, JobState, Principal, StoreError};
use towline_wire::{EventSeq, JobId, JobSeq, Secret, SessionId, event};

use super::{Hub, RECENT_JOBS};
use crate::job::JobEntry;
use crate::session::{Attachment, DetachReason, SessionEntry};

/// A job as a request sees it: in memory, or as the store has it.
pub(crate) enum JobView {
    /// It is in memory.
    Live(Arc<JobEntry>),
    /// It is finished and only in the store.
    Stored(Box<JobRow>),
}

impl JobView {
    /// What is fixed about it.
    pub(crate) fn row(&self) -> &JobRow {
        match self {
            Self::Live(entry) => &entry.row,
            Self::Stored(row) => row,
        }
    }

    /// How it stands.
    pub(crate) fn state(&self) -> JobState {
        match self {
            Self::Live(entry) => entry.state(),
            Self::Stored(row) => row.state.clone(),
        }
    }
}

impl Hub {
    /// A job in memory.
    pub(crate) fn live_job(&self, job: &JobId) -> Option<Arc<JobEntry>> {
        self.jobs.lock().entries.get(job).cloned()
    }

    /// A job, wherever it is.
    pub(crate) async fn job(&self, job: &JobId) -> Result<Option<JobView>, StoreError> {
        if let Some(entry) = self.live_job(job) {
            return Ok(Some(JobView::Live(entry)));
        }
        Ok(self
            .store
            .job(job)
            .await?
            .map(|row| JobView::Stored(Box::new(row))))
    }

    /// A job a peer names. Where foreign jobs are concealed, finding one takes as long as finding none [ARCP 7.6-5].
    pub(crate) async fn look_up(&self, job: &JobId) -> Result<Option<JobView>, StoreError> {
        let live = self.live_job(job);
        if live.is_some() && !self.options.conceal_foreign_jobs {
            return Ok(live.map(JobView::Live));
        }
        // A submit that came before may not have reached the committer's books yet.
        self.barrier().await;
        let stored = self.store.job(job).await?;
        match self.live_job(job) {
            Some(entry) => Ok(Some(JobView::Live(entry))),
            None => Ok(stored.map(|row| JobView::Stored(Box::new(row)))),
        }
    }

    /// How many jobs are not finished.
    pub(crate) fn live_jobs(&self) -> usize {
        self.jobs.lock().live
    }

    /// Every job in memory that is not finished.
    pub(crate) fn unfinished_jobs(&self) -> Vec<Arc<JobEntry>> {
        let jobs = self.jobs.lock();
        jobs.entries
            .values()
            .filter(|job| !job.ended.is_cancelled())
            .cloned()
            .collect()
    }

    /// A new job is durable: from now on it can be found.
    pub(crate) fn insert_job(&self, job: &Arc<JobEntry>) {
        let mut jobs = self.jobs.lock();
        if jobs
            .entries
            .insert(job.id().clone(), Arc::clone(job))
            .is_none()
        {
            jobs.live += 1;
        }
    }

    /// The terminal is committed.
    pub(super) fn job_ended(self: &Arc<Self>, job: &Arc<JobEntry>) {
        if job.ended.is_cancelled() {
            return;
        }
        job.ended.cancel();
        job.tail.lock().trim(RECENT_TAIL);
        {
            let mut jobs = self.jobs.lock();
            jobs.live = jobs.live.saturating_sub(1);
            jobs.recent.push_back(job.id().clone());
            while jobs.recent.len() > RECENT_JOBS {
                if let Some(oldest) = jobs.recent.pop_front() {
                    jobs.entries.remove(&oldest);
                }
            }
        }
        job.lock().observers.clear();
        metrics::counter!("towline_jobs_ended_total", "status" => job.lock().machine.status().as_str()).increment(1);
        crate::life::after_end(self, job);
    }

    /// A block of a job's log: from memory when it is recent, else from the store.
    pub(crate) async fn block(
        &self,
        job: &JobId,
        seq: JobSeq,
    ) -> Result<Option<Arc<Block>>, StoreError> {
        if let Some(entry) = self.live_job(job)
            && let Some(block) = entry.tail.lock().block(seq)
        {
            return Ok(Some(block));
        }
        Ok(self
            .store
            .read_job(job, seq, READ_BYTES)
            .await?
            .into_iter()
            .next())
    }

    /// A session in memory.
    pub(crate) fn session(&self, session: &SessionId) -> Option<Arc<SessionEntry>> {
        self.sessions.lock().entries.get(session).cloned()
    }

    /// Every session in memory.
    pub(crate) fn all_sessions(&self) -> Vec<Arc<SessionEntry>> {
        self.sessions.lock().entries.values().cloned().collect()
    }

    /// The session a resume token is good for.
    pub(crate) fn session_of_token(&self, token: &Secret) -> Option<Arc<SessionEntry>> {
        let hash = hash_token(token);
        let entry = {
            let sessions = self.sessions.lock();
            // Looking a hash up by its value tells nothing about the token it came from.
            Arc::clone(
                sessions
                    .by_token
                    .get(&hash)
                    .and_then(|session| sessions.entries.get(session))?,
            )
        };
        // Never a session's lock inside that of the sessions: others take them the other way round.
        let good = entry.lock().tokens.accept(&hash);
        good.then_some(entry)
    }

    /// A session is durable under its tokens; those it had `before` are no longer good unless they are among them.
    pub(crate) fn insert_session(&self, session: &Arc<SessionEntry>, before: Option<&Tokens>) {
        let tokens = session.lock().tokens.clone();
        let mut sessions = self.sessions.lock();
        for hash in before.into_iter().flat_map(Tokens::iter) {
            sessions.by_token.remove(hash);
        }
        for hash in tokens.iter() {
            sessions.by_token.insert(*hash, session.id.clone());
        }
        sessions
            .entries
            .insert(session.id.clone(), Arc::clone(session));
    }

    /// The client said something on the connection it has: it has the welcome, and the token before that one is good no
    /// more [ARCP 6.3-1].
    pub(crate) fn heard(&self, session: &Arc<SessionEntry>, attachment: &Arc<Attachment>) {
        let before = {
            let mut state = session.lock();
            let before = state.tokens.previous().copied();
            let news = state.is_attached(attachment) && state.tokens.heard();
            before.filter(|_| news)
        };
        if let Some(before) = before {
            self.sessions.lock().by_token.remove(&before);
            self.command(crate::hub::SaveSession(Arc::clone(session)));
        }
    }

    /// A session can be resumed no more.
    pub(crate) fn forget_session(&self, session: &Arc<SessionEntry>) {
        let tokens = {
            let mut state = session.lock();
            state.gone = true;
            state.tokens.clone()
        };
        let mut sessions = self.sessions.lock();
        sessions.entries.remove(&session.id);
        for hash in tokens.iter() {
            sessions.by_token.remove(hash);
        }
    }

    /// Counts a principal's attached session in; `false` when the principal has as many as it may [ARCP 14-1].
    pub(crate) fn count_attached(&self, principal: &Principal) -> bool {
        let mut sessions = self.sessions.lock();
        let count = sessions.attached.entry(principal.clone()).or_default();
        let room = *count < self.options.sessions_per_principal;
        *count += usize::from(room);
        room
    }

    /// Counts an attached session in, whatever the cap.
    pub(crate) fn count_attached_anyway(&self, principal: &Principal) {
        *self
            .sessions
            .lock()
            .attached
            .entry(principal.clone())
            .or_default() += 1;
    }

    /// Counts it out again.
    pub(crate) fn count_detached(&self, principal: &Principal) {
        let mut sessions = self.sessions.lock();
        if let Some(count) = sessions.attached.get_mut(principal) {
            *count -= 1;
            if *count == 0 {
                sessions.attached.remove(principal);
            }
        }
    }

    /// How many sessions are attached.
    pub(crate) fn attached_sessions(&self) -> usize {
        self.sessions.lock().attached.values().sum()
    }

    /// A connection is over. The session stays for the resume window [ARCP 6.3-6].
    pub(crate) fn detach(&self, session: &Arc<SessionEntry>, attachment: &Arc<Attachment>) {
        {
            let mut state = session.lock();
            if !state.is_attached(attachment) {
                return;
            }
            state.attachment = None;
            state.detached_at = Some(self.now());
        }
        self.count_detached(&session.principal);
        self.command(crate::hub::SaveSession(Arc::clone(session)));
    }

    /// Forgets the beginning of a stream; a resume from before it is refused [ARCP 6.5-2].
    pub(crate) fn evict(&self, session: &Arc<SessionEntry>, up_to: EventSeq, why: &str) {
        session.lock().stream.evict(up_to);
        tracing::warn!(target: "towline::session", session = %session.id, %up_to, "events evicted: {why}");
        self.command(crate::hub::Trim {
            session: session.id.clone(),
            up_to,
        });
        self.command(crate::hub::SaveSession(Arc::clone(session)));
    }

    /// Tells a session's most recent running job that the session lags; of one that only watches, the operator
    /// [ARCP 6.5-3].
    pub(crate) fn report_pressure(&self, session: &SessionEntry, lag: u64) {
        let mut own: Vec<_> = {
            let jobs = self.jobs.lock();
            let own = jobs
                .entries
                .values()
                .filter(|job| job.row.session == session.id && !job.ended.is_cancelled());
            own.cloned().collect()
        };
        own.sort_unstable_by(|left, right| right.id().cmp(left.id()));
        let message = format!("a session is {lag} events behind");
        let body = event::Status {
            phase: "back_pressure".to_owned(),
            message: Some(message),
        };
        let now = self.now();
        let told = own.iter().find(|job| {
            let mut core = job.lock();
            core.append_event(RecordKind::Event, "status", now, |out| {
                serde_json::to_writer(out, &body)
            })
            .is_ok()
        });
        match told {
            Some(job) => self.flush(job),
            // It only watches: there is no job of its own to tell.
            None => {
                metrics::counter!("towline_back_pressure_untold_total").increment(1);
                tracing::warn!(target: "towline::session", session = %session.id, lag, "a session that only watches is behind");
            }
        }
    }

    /// Ends every connection of the runtime [ARCP 6.7-3].
    pub(crate) fn detach_all(&self) {
        for session in self.all_sessions() {
            if let Some(attachment) = session.attachment() {
                attachment.detach(DetachReason::Shutdown);
            }
        }
    }

    /// Writes an audit entry with the next commit [ARCP 14-3]. While the store takes nothing, strangers that fail to
    /// authenticate must not fill the memory: what is too much is only logged [ARCP 14-4].
    pub(crate) fn audit(&self, row: AuditRow) {
        crate::audit::record(&row);
        if self.queue.len() >= AUDIT_BACKLOG {
            tracing::error!(target: "towline::store", action = %row.action, "the store is behind; an audit entry is only logged");
            return;
        }
        self.command(crate::hub::Write(Change::Audit(row)));
    }
}

/// SHA-256 of a resume token; the token itself is not kept [ARCP 6.3-7].
pub(crate) fn hash_token(token: &Secret) -> [u8; 32] {
    Sha256::digest(token.expose()).into()
}

/// How much may wait for its commit before audit entries have to stay out.
const AUDIT_BACKLOG: usize = 65_536;
/// How much of a log is read from the store at once.
const READ_BYTES: usize = 1024 * 1024;
/// How many bytes of a finished job's events stay in memory; the store has the rest.
const RECENT_TAIL: usize = 64 * 1024;
