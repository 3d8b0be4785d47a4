//! `job.unsubscribe` (§7.6).

use std::sync::Arc;

use towline_store::{Change, StoreError};
use towline_wire::JobId;

use super::asker::Asker;
use crate::{
    hub::{Command, Hub, Tx},
    session::{Reply, SessionEntry},
};

/// Silent and idempotent [ARCP 7.6-6].
pub(super) fn unsubscribe(hub: &Arc<Hub>, asker: &Asker, job: JobId) {
    hub.command(UnsubscribeJob {
        session: Arc::clone(&asker.session),
        job,
        decided: false,
    });
    asker.reply(Reply::silent());
}

struct UnsubscribeJob {
    session: Arc<SessionEntry>,
    job: JobId,
    /// Whether the session has stopped watching by this, and the store has to know.
    decided: bool,
}

impl Command for UnsubscribeJob {
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
        // Nobody is told, so nobody would ask again; a restart must not bring the subscription back.
        if self.decided && result.is_err_and(StoreError::is_transient) {
            hub.command(*self);
        }
    }
}
