//! A session stops watching a job: because it said so, or because it may not any more.

use std::sync::Arc;

use towline_proto::refusal::Refusal;
use towline_store::{Change, StoreError};
use towline_wire::{Envelope, ErrorCode, JobId, MessageType, RawJson};

use super::{
    Hub,
    tx::{Command, Tx},
};
use crate::session::SessionEntry;

/// Takes a job from those that a session watches. Nothing happens when it watches it no more.
pub(crate) struct StopWatching {
    session: Arc<SessionEntry>,
    job: JobId,
    /// Whether the session has stopped watching by this, and the store has to know.
    decided: bool,
    /// What the session is told, unless it asked for it.
    told: Option<Refusal>,
}

impl StopWatching {
    /// The session asked for it [ARCP 7.6-6].
    pub(crate) fn asked(session: &Arc<SessionEntry>, job: JobId) -> Self {
        Self {
            session: Arc::clone(session),
            job,
            decided: false,
            told: None,
        }
    }

    /// What allowed it does not any more [ARCP 20-1].
    fn barred(session: &Arc<SessionEntry>, job: JobId) -> Self {
        let message = format!("this principal may not watch job `{job}` any more");
        let refusal = Refusal::new(ErrorCode::PERMISSION_DENIED, message).about(&job);
        Self {
            told: Some(refusal),
            ..Self::asked(session, job)
        }
    }

    fn tell(&self) {
        let state = self.session.lock();
        let (Some(refusal), Some(attachment)) = (&self.told, &state.attachment) else {
            return;
        };
        if state.dialect.fails_every_job_on_an_error() {
            return;
        }
        let mut envelope = Envelope::new(MessageType::SESSION_ERROR).with_job(self.job.clone());
        envelope.payload = RawJson::of(&refusal.payload(None)).unwrap_or(RawJson::EMPTY_OBJECT);
        attachment.push_urgent(envelope);
    }
}

impl Command for StopWatching {
    fn decide(&mut self, tx: &mut Tx<'_>) {
        self.decided |= self.session.lock().subscriptions.remove(&self.job);
        if !self.decided {
            return;
        }
        if let Some(entry) = tx.hub.books.jobs.get(&self.job) {
            entry
                .lock()
                .observers
                .retain(|observer| !Arc::ptr_eq(observer, &self.session));
        }
        tx.push(Change::Unsubscribed {
            session: self.session.id.clone(),
            job: self.job.clone(),
        });
    }

    fn done(self: Box<Self>, hub: &Arc<Hub>, result: Result<(), &StoreError>) {
        if !self.decided {
            return;
        }
        match result {
            Ok(()) => self.tell(),
            // Nobody asks again; a restart must not bring the subscription back.
            Err(error) if error.is_transient() => hub.command(*self),
            Err(_) => {}
        }
    }
}

impl Hub {
    /// Takes the jobs of others from those who watch them and may not any more [ARCP 20-1].
    pub(crate) fn end_barred_watching(&self) {
        for session in self.books.sessions.all() {
            let watched: Vec<JobId> = session.lock().subscriptions.iter().cloned().collect();
            for job in watched {
                let owner = self.books.jobs.get(&job);
                let barred = owner.is_some_and(|entry| {
                    let owner = &entry.row.principal;
                    !self.services.observes(&session.principal, owner)
                });
                if barred {
                    self.command(StopWatching::barred(&session, job));
                }
            }
        }
    }
}
