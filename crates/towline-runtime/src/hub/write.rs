//! Changes that were decided elsewhere, entries of the audit log, and waiting for what is queued.

use std::{sync::Arc, time::Duration};

use tokio::sync::oneshot;
use towline_store::{AuditRow, Change, StoreError};

use super::{
    Hub,
    tx::{Command, Tx},
};
use crate::audit;

impl Hub {
    /// Writes changes, with entries of the audit log that tell of them, in the order of calls; the future waits until they are
    /// durable. Cancel safe: they are written all the same.
    ///
    /// # Errors
    /// What the store says; [`StoreError::Closed`] when the runtime has stopped.
    pub(crate) fn write(
        &self,
        changes: Vec<Change>,
        audits: Vec<AuditRow>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        let (done, written) = oneshot::channel();
        self.command(Write {
            changes,
            audits,
            done,
        });
        // The committer goes last, so nobody is left to write.
        async move { written.await.unwrap_or(Err(StoreError::Closed)) }
    }

    /// Writes an audit entry with the next commit [ARCP 14-3]. While the store takes nothing, strangers that fail to
    /// authenticate must not fill the memory: what is too much is only logged, at once and never again [ARCP 14-4].
    /// Of a principal's refusals it writes a share, and the sum of the others.
    pub(crate) fn audit(&self, row: AuditRow) {
        if let Some(row) = self.books.refusals.admit(row) {
            self.audit_anyway(row);
        }
    }

    /// Writes the sums of refusals that have no entry of their own.
    pub(crate) fn sum_up_refusals(&self) {
        let sums = self.books.refusals.sum_up(self.now());
        sums.into_iter().for_each(|row| self.audit_anyway(row));
    }

    fn audit_anyway(&self, row: AuditRow) {
        if self.commits.len() >= AUDIT_BACKLOG {
            tracing::error!(target: "towline::store", action = %row.action, "the store is behind; an audit entry is only logged");
            audit::record(&row);
            return;
        }
        self.command(WriteAudit(row));
    }

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

struct Write {
    changes: Vec<Change>,
    audits: Vec<AuditRow>,
    done: oneshot::Sender<Result<(), StoreError>>,
}

impl Command for Write {
    fn decide(&mut self, tx: &mut Tx<'_>) {
        let (changes, audits) = (self.changes.iter(), self.audits.iter());
        changes.for_each(|change| tx.push(change.clone()));
        audits.for_each(|entry| tx.audit(entry.clone()));
    }

    fn done(self: Box<Self>, _hub: &Arc<Hub>, result: Result<(), &StoreError>) {
        // Whoever waited may have gone.
        let _ = self.done.send(result.map_err(Clone::clone));
    }
}

/// An entry of the audit log that tells of nothing else in its commit: of a refusal, say.
struct WriteAudit(AuditRow);

impl Command for WriteAudit {
    fn decide(&mut self, tx: &mut Tx<'_>) {
        tx.audit(self.0.clone());
    }

    fn done(self: Box<Self>, hub: &Arc<Hub>, result: Result<(), &StoreError>) {
        match result {
            Ok(()) => {}
            // Nobody waits who would ask again.
            Err(error) if error.is_transient() => hub.audit_anyway(self.0),
            Err(_) => audit::record(&self.0),
        }
    }
}

/// Tells when everything that was queued before it is durable (or has failed).
struct Barrier(oneshot::Sender<()>);

impl Command for Barrier {
    fn decide(&mut self, _tx: &mut Tx<'_>) {}

    fn done(self: Box<Self>, _hub: &Arc<Hub>, _result: Result<(), &StoreError>) {
        // Whoever waited may have gone.
        let _ = self.0.send(());
    }
}

/// How much may wait for its commit before audit entries have to stay out.
const AUDIT_BACKLOG: usize = 65_536;
