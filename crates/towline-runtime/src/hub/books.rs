//! Which jobs and sessions are in memory.
//!
//! Each table has a lock of its own that is held for one look or one entry; nothing else is locked meanwhile.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use towline_proto::{
    admission::AdmissionQueue,
    server::{TokenHash, Tokens},
};
use towline_store::Principal;
use towline_wire::{JobId, Secret, SessionId};

use super::{
    callers::VirtualSessions, days::Days, followers::Followers, keys::KeysInFlight, logs::Logs,
    refusals::Refusals, schedules::Schedules, webhooks::WaitingWebhooks,
};
use crate::{RuntimeOptions, job::JobEntry, session::SessionEntry};

/// The tables of a runtime.
pub(crate) struct Books {
    pub(crate) jobs: JobTable,
    pub(crate) sessions: SessionTable,
    /// Who runs and who waits for a place.
    pub(crate) admission: Mutex<AdmissionQueue<Principal, Queued>>,
    /// What principals have used of the budget of their day.
    pub(crate) days: Days,
    /// Idempotency keys whose first submit is under way.
    pub(crate) keys: KeysInFlight,
    /// How much the logs of principals' live jobs hold.
    pub(crate) logs: Logs,
    /// Whose refusals the audit log was told of lately.
    pub(crate) refusals: Refusals,
    /// What callers without a connection have for a session.
    pub(crate) callers: VirtualSessions,
    /// Who is told when jobs change.
    pub(crate) followers: Followers,
    /// Told when somebody waits for a time.
    pub(crate) alarm: Notify,
    /// How far schedules are.
    pub(crate) schedules: Schedules,
    /// Messages to receivers.
    pub(crate) webhooks: WaitingWebhooks,
}

impl Books {
    pub(crate) fn new(options: &RuntimeOptions) -> Self {
        Self {
            jobs: JobTable::default(),
            sessions: SessionTable::new(options.sessions_per_principal),
            admission: Mutex::new(AdmissionQueue::new(options.admission)),
            days: Days::default(),
            keys: KeysInFlight::default(),
            logs: Logs::default(),
            refusals: Refusals::default(),
            callers: VirtualSessions::default(),
            followers: Followers::default(),
            alarm: Notify::new(),
            schedules: Schedules::default(),
            webhooks: WaitingWebhooks::default(),
        }
    }
}

/// A job that waits for a place.
pub(crate) struct Queued(pub(crate) Arc<JobEntry>);

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Jobs in memory: those that are not finished, and the latest that are.
#[derive(Default)]
pub(crate) struct JobTable(Mutex<Jobs>);

#[derive(Default)]
struct Jobs {
    entries: HashMap<JobId, Arc<JobEntry>>,
    /// Finished jobs that are still in memory, oldest first.
    recent: VecDeque<(JobId, usize)>,
    /// What they take of memory, about.
    recent_bytes: usize,
    live: usize,
}

impl JobTable {
    /// A job in memory.
    pub(crate) fn get(&self, job: &JobId) -> Option<Arc<JobEntry>> {
        self.0.lock().entries.get(job).cloned()
    }

    /// How many jobs are not finished.
    pub(crate) fn live(&self) -> usize {
        self.0.lock().live
    }

    /// Every job that is not finished.
    pub(crate) fn unfinished(&self) -> Vec<Arc<JobEntry>> {
        let jobs = self.0.lock();
        jobs.entries
            .values()
            .filter(|job| !job.ended.is_cancelled())
            .cloned()
            .collect()
    }

    /// A new job is durable: from now on it can be found.
    pub(crate) fn insert(&self, job: &Arc<JobEntry>) {
        let mut jobs = self.0.lock();
        let known = jobs.entries.insert(job.id().clone(), Arc::clone(job));
        jobs.live += usize::from(known.is_none());
    }

    /// A job is finished. It stays for a while, and the oldest of those that are finished goes [ARCP 14-6].
    pub(crate) fn retire(&self, job: &JobId, bytes: usize) {
        let mut jobs = self.0.lock();
        jobs.live = jobs.live.saturating_sub(1);
        jobs.recent.push_back((job.clone(), bytes));
        jobs.recent_bytes += bytes;
        while jobs.recent.len() > RECENT_JOBS || jobs.recent_bytes > RECENT_BYTES {
            let Some((oldest, bytes)) = jobs.recent.pop_front() else {
                break;
            };
            jobs.recent_bytes -= bytes;
            jobs.entries.remove(&oldest);
        }
    }

    /// How many finished jobs are in memory, and what they take of it.
    #[cfg(test)]
    fn recent(&self) -> (usize, usize) {
        let jobs = self.0.lock();
        (jobs.recent.len(), jobs.recent_bytes)
    }
}

/// Sessions in memory: those that are attached or can be resumed.
pub(crate) struct SessionTable {
    sessions: Mutex<Sessions>,
    /// How many sessions of one principal may be attached.
    per_principal: usize,
}

#[derive(Default)]
struct Sessions {
    entries: HashMap<SessionId, Arc<SessionEntry>>,
    by_token: HashMap<TokenHash, SessionId>,
    attached: HashMap<Principal, usize>,
}

impl SessionTable {
    fn new(per_principal: usize) -> Self {
        Self {
            sessions: Mutex::default(),
            per_principal,
        }
    }

    /// A session in memory.
    pub(crate) fn get(&self, session: &SessionId) -> Option<Arc<SessionEntry>> {
        self.sessions.lock().entries.get(session).cloned()
    }

    /// Every session in memory.
    pub(crate) fn all(&self) -> Vec<Arc<SessionEntry>> {
        self.sessions.lock().entries.values().cloned().collect()
    }

    /// The session a resume token is good for.
    pub(crate) fn of_token(&self, token: &Secret) -> Option<Arc<SessionEntry>> {
        let hash = hash_token(token);
        let entry = {
            let sessions = self.sessions.lock();
            // Looking a hash up by its value tells nothing about the token it came from.
            let id = sessions.by_token.get(&hash)?;
            Arc::clone(sessions.entries.get(id)?)
        };
        // Never a session's lock inside that of the sessions: others take them the other way round.
        let good = entry.lock().tokens.accept(&hash);
        good.then_some(entry)
    }

    /// A session is durable under its tokens; those it had `before` are good no more unless they are among them.
    pub(crate) fn insert(&self, session: &Arc<SessionEntry>, before: Option<&Tokens>) {
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

    /// A token is good no more.
    pub(crate) fn retire(&self, token: &TokenHash) {
        self.sessions.lock().by_token.remove(token);
    }

    /// A session can be resumed no more.
    pub(crate) fn forget(&self, session: &Arc<SessionEntry>) {
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
        let room = *count < self.per_principal;
        *count += usize::from(room);
        room
    }

    /// Counts an attached session in, whatever the cap.
    pub(crate) fn count_attached_anyway(&self, principal: &Principal) {
        let mut sessions = self.sessions.lock();
        *sessions.attached.entry(principal.clone()).or_default() += 1;
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
    pub(crate) fn attached(&self) -> usize {
        self.sessions.lock().attached.values().sum()
    }
}

/// SHA-256 of a resume token; the token itself is not kept [ARCP 6.3-7].
pub(crate) fn hash_token(token: &Secret) -> TokenHash {
    Sha256::digest(token.expose()).into()
}

/// How many finished jobs stay in memory, so that what follows an end at once (a late subscriber, a list) is quick.
const RECENT_JOBS: usize = 1024;

/// How many bytes of them stay, whoever had them run.
const RECENT_BYTES: usize = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// [ARCP 14-6] finished jobs stay in memory by number and by bytes: large inputs do not add up.
    #[test]
    fn what_is_finished_is_kept_by_bytes_too() {
        let table = JobTable::default();
        let retire = |bytes| {
            for number in 0..2 * RECENT_JOBS {
                table.retire(&JobId::parse(&format!("job_{number}")).unwrap(), bytes);
            }
            table.recent()
        };
        assert_eq!(retire(1), (RECENT_JOBS, RECENT_JOBS));
        assert_eq!(retire(4 * 1024 * 1024), (16, RECENT_BYTES));
        assert_eq!(retire(2 * RECENT_BYTES), (0, 0));
    }
}
