//! Keys to what the runtime itself serves to the program of a job.

use std::{fmt, sync::Arc};

use subtle::ConstantTimeEq as _;
use towline_wire::{CredentialId, Secret};

use super::JobContext;
use crate::{
    audit::{Audit, Verdict},
    hub::Hub,
    job::JobEntry,
};

impl JobContext {
    /// Makes a key that is good for this job alone, at something that this process serves to the job's program. No upstream
    /// knows it and no store keeps it, so that nothing is left to revoke when the process is gone [ARCP 9.8-2, 18-3]; the audit
    /// log says when it was issued and revoked.
    pub fn own_key(&self) -> JobKey {
        let ids = &self.hub.services.ids;
        let words: String = (0..4).map(|_| format!("{:016x}", ids.random())).collect();
        let key = JobKey {
            hub: Arc::clone(&self.hub),
            job: Arc::clone(&self.job),
            id: ids.credential(),
            value: Secret::new(format!("jk_{words}")),
        };
        let (job, audit) = (&key.job, Audit::at(key.hub.now()));
        let issued = Verdict::Allowed;
        let row = audit.credential_issued(&job.row.principal, job.id(), &key.id, issued);
        key.hub.audit(row);
        key
    }
}

/// A key of one job. It is good until the job ends, or until it is dropped.
pub struct JobKey {
    hub: Arc<Hub>,
    job: Arc<JobEntry>,
    id: CredentialId,
    value: Secret,
}

impl JobKey {
    /// What the audit log calls it.
    pub const fn id(&self) -> &CredentialId {
        &self.id
    }

    /// The secret, for the job's program.
    pub const fn value(&self) -> &Secret {
        &self.value
    }

    /// Whether this is the key, and still good. Takes as long whatever was presented.
    pub fn opens(&self, presented: &[u8]) -> bool {
        let same: bool = self.value.expose().as_bytes().ct_eq(presented).into();
        same && self.job.lock().is_open()
    }
}

impl Drop for JobKey {
    fn drop(&mut self) {
        let (job, audit) = (&self.job, Audit::at(self.hub.now()));
        let revoked = Verdict::Allowed;
        let row = audit.credential_revoked(&job.row.principal, job.id(), &self.id, revoked);
        self.hub.audit(row);
    }
}

impl fmt::Debug for JobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
