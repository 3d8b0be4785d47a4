//! Giving a credential another value (§9.8).

use std::sync::Arc;

use tokio::{sync::oneshot, time::timeout};
use towline_store::{Change, StoreError};
use towline_wire::{CredentialId, JobId, Shown};

use super::{
    CredentialProvisioner, IssueRequest, Issued, ProvisionError, UpstreamValue,
    announce::AnnounceRotation,
    issue::{constraints, request},
    ledger::{Credential, Ledger},
    revoke,
};
use crate::{
    audit::{Audit, Verdict},
    hub::Hub,
    job::JobEntry,
};

/// Why a credential was not rotated. The value before stays good.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RotateError {
    /// There is no such credential, or it is revoked.
    #[error(
        "there is no credential `{0}` that could be rotated; `towline credentials` lists those that are out"
    )]
    Unknown(CredentialId),
    /// Its job is not running, so there is nobody to tell.
    #[error("the job `{0}` of the credential is not running")]
    NotRunning(JobId),
    /// The upstream gave no other value.
    #[error("the upstream gave no other value: {0}")]
    Upstream(String),
    /// The store failed.
    #[error("the credential's entry is not kept: {0}")]
    Store(#[from] StoreError),
}

impl Ledger {
    /// Rotates a credential of a running job: another value is made and becomes durable, the submitter is told, and then the
    /// value before is revoked [ARCP 9.8-3].
    pub(crate) async fn rotate(hub: &Arc<Hub>, id: &CredentialId) -> Result<(), RotateError> {
        let ledger = &hub.services.credentials;
        let unknown = || RotateError::Unknown(id.clone());
        let credential = ledger.find(id).ok_or_else(unknown)?;
        let provisioner = ledger.provisioner.clone().ok_or_else(unknown)?;
        let turn = credential.busy.lock().await;
        let (job, current) = {
            let state = credential.lock();
            (state.entry.job.clone(), state.entry.current())
        };
        let current = current.ok_or_else(unknown)?;
        let job = hub
            .books
            .jobs
            .get(&job)
            .filter(|job| job.lock().machine.is_open())
            .ok_or(RotateError::NotRunning(job))?;
        let rotation = Rotation {
            hub,
            job: &job,
            credential: &credential,
        };
        let result = rotation.run(provisioner.as_ref(), &current).await;
        drop(turn);
        // Whatever was made and is not in use has to go, be it the value before or the new one.
        revoke::begin(hub, &credential);
        result
    }
}

struct Rotation<'a> {
    hub: &'a Arc<Hub>,
    job: &'a Arc<JobEntry>,
    credential: &'a Arc<Credential>,
}

impl Rotation<'_> {
    async fn run(
        &self,
        provisioner: &dyn CredentialProvisioner,
        current: &UpstreamValue,
    ) -> Result<(), RotateError> {
        let number = self.credential.lock().entry.begin_rotation(self.hub.now());
        self.keep().await?;
        let request = {
            let constraints = constraints(self.hub, self.job);
            request(
                &self.job.row,
                &self.credential.lock().entry,
                number,
                constraints,
            )
        };
        let value = self.ask(provisioner, number, &request, current).await?;
        self.swap(number, value).await?;
        let (done, told) = oneshot::channel();
        self.hub.command(AnnounceRotation::new(
            Arc::clone(self.job),
            Arc::clone(self.credential),
            done,
        ));
        match told.await {
            Ok(true) => Ok(()),
            _ => Err(RotateError::NotRunning(self.job.id().clone())),
        }
    }

    /// The intent is durable before the upstream is asked.
    async fn keep(&self) -> Result<(), RotateError> {
        let row = self.credential.lock().entry.row();
        let written = self.hub.write(vec![Change::Credential(row)], Vec::new());
        Ok(written.await?)
    }

    async fn ask(
        &self,
        provisioner: &dyn CredentialProvisioner,
        number: u32,
        request: &IssueRequest,
        current: &UpstreamValue,
    ) -> Result<Issued, RotateError> {
        let limit = self.hub.services.credentials.options.timeout;
        self.hub.sound_footing().await;
        let error = match timeout(limit, provisioner.rotate(request, current)).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            Err(_) => ProvisionError::unavailable("it did not answer in time"),
        };
        let (reason, audit) = {
            let mut state = self.credential.lock();
            let reason = state.entry.scrub(&error.to_string());
            if error.is_refusal() {
                state.entry.revoked(number);
                state.dirty = true;
            }
            let entry = &state.entry;
            tracing::error!(target: "towline::credentials", credential = %entry.id, reason = %Shown::new(&reason), "not rotated");
            let verdict = Verdict::Failed(&reason);
            let audit = Audit::at(self.hub.now());
            let audit =
                audit.credential_rotated(&entry.principal(), &entry.job, &entry.id, verdict);
            (reason, audit)
        };
        self.hub.audit(audit);
        Err(RotateError::Upstream(reason))
    }

    /// The new value takes the place of the one before, in the store first.
    async fn swap(&self, number: u32, value: Issued) -> Result<(), RotateError> {
        let mut next = self.credential.lock().entry.clone();
        next.issued(number, value.clone());
        let change = Change::Credential(next.row());
        let written = self.hub.write(vec![change], Vec::new()).await;
        let mut state = self.credential.lock();
        match written {
            Ok(()) => {
                state.entry.issued(number, value);
                if state.ended {
                    state.entry.retire();
                }
                Ok(())
            }
            Err(error) => {
                // In the store it is an intent still, and as one it will be revoked.
                Err(RotateError::Store(error))
            }
        }
    }
}
