//! What the ledger commits.

use std::sync::Arc;

use tokio::sync::oneshot;
use towline_store::{Change, RecordKind, StoreError};
use towline_wire::event;

use super::{ledger::Credential, revoke};
use crate::{
    audit::{Audit, Verdict},
    hub::{Command, Hub, Tx},
    job::JobEntry,
};

/// Writes changes and waits until they are durable.
pub(super) async fn write_all(hub: &Hub, changes: Vec<Change>) -> Result<(), StoreError> {
    let (done, written) = oneshot::channel();
    hub.command(WriteAll { changes, done });
    written
        .await
        // The committer goes last, so nobody is left to write.
        .unwrap_or(Err(StoreError::Closed))
}

struct WriteAll {
    changes: Vec<Change>,
    done: oneshot::Sender<Result<(), StoreError>>,
}

impl Command for WriteAll {
    fn decide(&mut self, tx: &mut Tx<'_>) {
        self.changes.drain(..).for_each(|change| tx.push(change));
    }

    fn done(self: Box<Self>, _hub: &Arc<Hub>, result: Result<(), &StoreError>) {
        // Whoever waited may have gone.
        let _ = self.done.send(result.map_err(Clone::clone));
    }
}

/// Tells the job's observers that a credential has another value. The record is without it; the submitter's is filled in as
/// it is sent [ARCP 9.8-3].
pub(crate) struct AnnounceRotation {
    job: Arc<JobEntry>,
    credential: Arc<Credential>,
    /// Whether the job was still running.
    told: bool,
    done: Option<oneshot::Sender<bool>>,
}

impl AnnounceRotation {
    pub(super) fn new(
        job: Arc<JobEntry>,
        credential: Arc<Credential>,
        done: oneshot::Sender<bool>,
    ) -> Self {
        Self {
            job,
            credential,
            told: false,
            done: Some(done),
        }
    }

    /// For a rotation that an earlier run of the runtime did not come to tell of.
    pub(super) fn again(job: Arc<JobEntry>, credential: Arc<Credential>) -> Self {
        Self {
            job,
            credential,
            told: false,
            done: None,
        }
    }
}

impl Command for AnnounceRotation {
    fn decide(&mut self, tx: &mut Tx<'_>) {
        let now = tx.hub.now();
        let mut entry = self.credential.lock().entry.clone();
        let record = event::Rotation {
            id: entry.id.clone(),
            value: None,
        };
        let written = self
            .job
            .lock()
            .append_event(RecordKind::Rotation, "status", now, |out| {
                serde_json::to_writer(out, &record)
            });
        self.told = written.is_ok();
        if !self.told {
            return;
        }
        entry.announce();
        let audit = Audit::at(now).credential_rotated(
            &entry.principal(),
            &entry.job,
            &entry.id,
            Verdict::Allowed,
        );
        crate::audit::record(&audit);
        tx.push(Change::Credential(entry.row()));
        tx.push(Change::Audit(audit));
        tx.flush(&self.job);
    }

    fn done(mut self: Box<Self>, hub: &Arc<Hub>, result: Result<(), &StoreError>) {
        if self.told && result.is_ok() {
            self.credential.lock().entry.announce();
        }
        if let Some(done) = self.done.take() {
            // Whoever waited may have gone.
            let _ = done.send(self.told);
        }
        revoke::begin(hub, &self.credential);
    }
}
