//! What happens to sessions beside their streams: they lose their connection, their beginning, and at last themselves.

use std::sync::Arc;

use towline_proto::{server::TokenHash, span::RecordKind};
use towline_store::{Change, StoreError};
use towline_wire::{EventKind, EventSeq, SessionId, event};

use super::{
    Hub,
    tx::{Command, Tx},
};
use crate::{
    job::JobEntry,
    session::{Attachment, DetachReason, SessionEntry},
};

impl Hub {
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
        self.books.sessions.count_detached(&session.principal);
        self.command(SaveSession(Arc::clone(session)));
    }

    /// The client said something on the connection it has: it has the welcome, and the token before that one is good no
    /// more [ARCP 6.3-1].
    pub(crate) fn heard(&self, session: &Arc<SessionEntry>, attachment: &Arc<Attachment>) {
        let before: Vec<TokenHash> = {
            let mut state = session.lock();
            if !state.is_attached(attachment) {
                return;
            }
            state.tokens.heard().collect()
        };
        if before.is_empty() {
            return;
        }
        for hash in &before {
            self.books.sessions.retire(hash);
        }
        self.command(SaveSession(Arc::clone(session)));
    }

    /// Whether a session has no live job, no subscription and no open request [ARCP 14-1].
    pub(crate) fn has_nothing_for(&self, session: &SessionEntry, attachment: &Attachment) -> bool {
        let asks = attachment.replies.lock().waiting() > 0;
        let watches = !session.lock().subscriptions.is_empty();
        let mut live = self.books.jobs.unfinished().into_iter();
        !asks && !watches && !live.any(|job| job.row.session == session.id)
    }

    /// Waits until a session has had what it asked for: its requests are answered, and the jobs that it submitted or watches
    /// are over, in its stream too. Cancel safe.
    pub(crate) async fn settled(&self, session: &SessionEntry, attachment: &Attachment) {
        loop {
            self.answered(attachment).await;
            let Some(job) = self.awaited_by(session) else {
                return self.barrier().await;
            };
            tokio::select! {
                () = job.ended.cancelled() => {}
                () = job.left.cancelled() => {}
            }
        }
    }

    /// Waits until every request of a connection is answered. Cancel safe.
    pub(crate) async fn answered(&self, attachment: &Attachment) {
        while attachment.replies.lock().waiting() > 0 {
            attachment.room.notified().await;
        }
    }

    /// The jobs of a session had the time that jobs have at a shutdown.
    pub(crate) fn has_waited_for(&self, session: &SessionEntry) {
        let jobs = self.books.jobs.unfinished().into_iter();
        for job in jobs.filter(|job| job.row.session == session.id) {
            job.lock().was_waited_for = true;
        }
    }

    /// A job that a session will hear more of.
    fn awaited_by(&self, session: &SessionEntry) -> Option<Arc<JobEntry>> {
        let live = self.books.jobs.unfinished().into_iter();
        let mut live = live.filter(|job| !job.left.is_cancelled());
        let state = session.lock();
        live.find(|job| job.row.session == session.id || state.subscriptions.contains(job.id()))
    }

    /// Another runtime on the same store has these sessions. Their connections end; nothing more is said of them to the store.
    pub(crate) fn let_go_of(&self, sessions: &[SessionId]) {
        for session in sessions.iter().filter_map(|id| self.books.sessions.get(id)) {
            tracing::info!(target: "towline::session", session = %session.id, "the session was taken up on another node");
            self.books.sessions.forget(&session);
            if let Some(attachment) = session.attachment() {
                attachment.detach(DetachReason::Superseded);
            }
        }
    }

    /// Ends every connection of the runtime [ARCP 6.7-3].
    pub(crate) fn detach_all(&self) {
        for session in self.books.sessions.all() {
            if let Some(attachment) = session.attachment() {
                attachment.detach(DetachReason::Shutdown);
            }
        }
    }

    /// Forgets the beginning of a stream; a resume from before it is refused [ARCP 6.5-2].
    pub(crate) fn evict(&self, session: &Arc<SessionEntry>, up_to: EventSeq, why: &str) {
        session.lock().stream.evict(up_to);
        tracing::warn!(target: "towline::session", session = %session.id, %up_to, "events evicted: {why}");
        self.command(Trim {
            session: session.id.clone(),
            up_to,
        });
        self.command(SaveSession(Arc::clone(session)));
    }

    /// Tells a session's most recent running job that the session lags; of one that only watches, the operator
    /// [ARCP 6.5-3].
    pub(crate) fn report_pressure(&self, session: &SessionEntry, lag: u64) {
        let mut own = self.books.jobs.unfinished();
        own.retain(|job| job.row.session == session.id);
        own.sort_unstable_by_key(|job| std::cmp::Reverse(job.row.created_at));
        let body = event::Status {
            phase: "back_pressure".to_owned(),
            message: Some(format!("a session is {lag} events behind")),
        };
        let now = self.now();
        let told = own.iter().find(|job| {
            let mut core = job.lock();
            core.append_event(RecordKind::Event, &EventKind::STATUS, now, |out| {
                serde_json::to_writer(out, &body)
            })
            .is_ok()
        });
        match told {
            Some(job) => self.enqueue(job),
            // It only watches: there is no job of its own to tell.
            None => {
                metrics::counter!("towline_back_pressure_untold_total").increment(1);
                tracing::warn!(target: "towline::session", session = %session.id, lag, "a session that only watches is behind");
            }
        }
    }
}

/// Writes a session's row as it stands when the committer gets to it.
pub(crate) struct SaveSession(pub(crate) Arc<SessionEntry>);

impl Command for SaveSession {
    fn decide(&mut self, tx: &mut Tx<'_>) {
        if !self.0.lock().gone {
            tx.push(Change::Session(Box::new(self.0.row())));
        }
    }

    fn done(self: Box<Self>, hub: &Arc<Hub>, result: Result<(), &StoreError>) {
        // The row says when the window began; it is worth another try, unless it is refused for its own sake.
        if result.is_err_and(StoreError::is_transient) {
            hub.command(*self);
        }
    }
}

/// Lets a session's stream go up to a number.
struct Trim {
    session: SessionId,
    up_to: EventSeq,
}

impl Command for Trim {
    fn decide(&mut self, tx: &mut Tx<'_>) {
        tx.push(Change::Trim {
            session: self.session.clone(),
            up_to: self.up_to,
        });
    }

    fn done(self: Box<Self>, _hub: &Arc<Hub>, _result: Result<(), &StoreError>) {}
}

/// Ends a session that cannot be resumed any more, unless it was resumed a moment before.
pub(crate) struct EndSession {
    session: Arc<SessionEntry>,
    /// Whether it is gone by this.
    is_decided: bool,
}

impl EndSession {
    pub(crate) fn new(session: &Arc<SessionEntry>) -> Self {
        Self {
            session: Arc::clone(session),
            is_decided: false,
        }
    }
}

impl Command for EndSession {
    fn decide(&mut self, tx: &mut Tx<'_>) {
        let session = &self.session;
        let mut state = session.lock();
        state.ending = false;
        if state.attachment.is_none() && !state.gone && !tx.is_taken_up(&session.id) {
            state.gone = true;
            self.is_decided = true;
            tx.push(Change::SessionGone(session.id.clone()));
        }
    }

    fn undo(&mut self) {
        if std::mem::take(&mut self.is_decided) {
            self.session.lock().gone = false;
        }
    }

    fn done(self: Box<Self>, hub: &Arc<Hub>, _result: Result<(), &StoreError>) {
        if self.session.lock().gone {
            hub.books.sessions.forget(&self.session);
        }
    }
}
