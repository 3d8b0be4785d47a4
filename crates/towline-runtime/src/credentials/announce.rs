//! Telling of a rotation.

use std::sync::Arc;

use tokio::sync::oneshot;
use towline_store::{Change, RecordKind, StoreError};
use towline_wire::{EventKind, Timestamp, event};

use super::{ledger::Credential, revoke};
use crate::{
    audit::{Audit, Verdict},
    hub::{Command, Hub, Tx},
    job::JobEntry,
};

/// Tells the job's observers that a credential has another value. The record is without it; the submitter's is filled in as
/// it is sent [ARCP 9.8-3].
pub(crate) struct AnnounceRotation {
    job: Arc<JobEntry>,
    credential: Arc<Credential>,
    /// Whether it stands in the job's log: not when the job was no longer running.
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

    /// Puts it into the job's log; `false` when the job is no longer running.
    fn tell(&self, now: Timestamp) -> bool {
        let record = event::Rotation {
            id: self.credential.lock().entry.id.clone(),
            value: None,
        };
        let mut core = self.job.lock();
        core.append_event(RecordKind::Rotation, &EventKind::STATUS, now, |out| {
            serde_json::to_writer(out, &record)
        })
        .is_ok()
    }
}

impl Command for AnnounceRotation {
    fn decide(&mut self, tx: &mut Tx<'_>) {
        let now = tx.hub.now();
        let mut entry = self.credential.lock().entry.clone();
        // What a failed commit took of the log is taken again.
        self.told = self.told || self.tell(now);
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
        tx.push(Change::Credential(entry.row()));
        tx.audit(audit);
        tx.take(&self.job);
    }

    fn done(mut self: Box<Self>, hub: &Arc<Hub>, result: Result<(), &StoreError>) {
        match result {
            Ok(()) if self.told => self.credential.lock().entry.announce(),
            Err(error) if self.told && error.is_transient() => return hub.command(*self),
            _ => {}
        }
        if let Some(done) = self.done.take() {
            // Whoever waited may have gone.
            let _ = done.send(self.told);
        }
        revoke::begin(hub, &self.credential);
    }
}
