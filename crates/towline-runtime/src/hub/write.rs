//! Changes nobody waits for, and waiting for changes.

use std::{sync::Arc, time::Duration};

use tokio::sync::oneshot;
use towline_store::{Change, StoreError};
use towline_wire::{EventSeq, SessionId};

use super::{Command, Hub, Tx};
use crate::session::SessionEntry;

/// Writes one change.
pub(crate) struct Write(pub(crate) Change);

impl Command for Write {
    fn decide(&mut self, tx: &mut Tx<'_>) {
        tx.push(self.0.clone());
    }

    fn done(self: Box<Self>, _hub: &Arc<Hub>, _result: Result<(), &StoreError>) {}
}

/// Writes one change and tells how that went.
pub(crate) struct WriteAndTell {
    pub(crate) change: Change,
    pub(crate) done: oneshot::Sender<Result<(), StoreError>>,
}

impl Command for WriteAndTell {
    fn decide(&mut self, tx: &mut Tx<'_>) {
        tx.push(self.change.clone());
    }

    fn done(self: Box<Self>, _hub: &Arc<Hub>, result: Result<(), &StoreError>) {
        // Whoever waited may have gone.
        let _ = self.done.send(result.map_err(Clone::clone));
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
        // The row says when the window began; it is worth another try.
        if result.is_err() {
            hub.command(*self);
        }
    }
}

/// Lets a session's stream go up to a number.
pub(crate) struct Trim {
    pub(crate) session: SessionId,
    pub(crate) up_to: EventSeq,
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
pub(crate) struct EndSession(pub(crate) Arc<SessionEntry>);

impl Command for EndSession {
    fn decide(&mut self, tx: &mut Tx<'_>) {
        let mut state = self.0.lock();
        state.ending = false;
        if state.attachment.is_none() && !state.gone && !tx.is_taken_up(&self.0.id) {
            state.gone = true;
            tx.push(Change::SessionGone(self.0.id.clone()));
        }
    }

    fn done(self: Box<Self>, hub: &Arc<Hub>, _result: Result<(), &StoreError>) {
        if self.0.lock().gone {
            hub.forget_session(&self.0);
        }
    }
}

/// Tells when everything that was queued before it is durable (or has failed).
pub(crate) struct Barrier(pub(crate) oneshot::Sender<()>);

impl Command for Barrier {
    fn decide(&mut self, _tx: &mut Tx<'_>) {}

    fn done(self: Box<Self>, _hub: &Arc<Hub>, _result: Result<(), &StoreError>) {
        // Whoever waited may have gone.
        let _ = self.0.send(());
    }
}

impl Hub {
    /// Waits until everything queued so far is durable, or has failed. Cancel safe.
    pub(crate) async fn barrier(&self) {
        let (done, waiting) = oneshot::channel();
        self.command(Barrier(done));
        // The sender is dropped only when the runtime stops.
        let _ = waiting.await;
    }

    /// [`Hub::barrier`], but not for longer than this: a store that fails all the time is not waited for.
    pub(crate) async fn barrier_with_limit(&self, limit: Duration) {
        let _ = tokio::time::timeout(limit, self.barrier()).await;
    }
}
