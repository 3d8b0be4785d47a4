//! The table of credentials: of jobs that are not over, and those that still have to be revoked.

use std::{collections::HashMap, sync::Arc};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;
use towline_store::CredentialRow;
use towline_wire::{CredentialId, JobId, Secret};

use super::{CredentialInfo, CredentialOptions, CredentialProvisioner, entry::Entry};

/// Which credentials are out.
pub(crate) struct Ledger {
    pub(super) provisioner: Option<Arc<dyn CredentialProvisioner>>,
    pub(super) options: CredentialOptions,
    jobs: Mutex<HashMap<JobId, Vec<Arc<Credential>>>>,
    /// How many credentials are being revoked.
    pending: watch::Sender<usize>,
}

/// A credential in memory.
pub(super) struct Credential {
    state: Mutex<State>,
    /// Held by whoever speaks to the upstream about it.
    pub(super) busy: tokio::sync::Mutex<()>,
}

pub(super) struct State {
    pub(super) entry: Entry,
    /// Its job needs it no more.
    pub(super) ended: bool,
    /// Whether a task is revoking.
    pub(super) revoking: bool,
    /// Whether the row in the store is behind.
    pub(super) dirty: bool,
}

impl Credential {
    pub(super) fn new(entry: Entry) -> Arc<Self> {
        let state = State {
            entry,
            ended: false,
            revoking: false,
            dirty: false,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            busy: tokio::sync::Mutex::new(()),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl Ledger {
    pub(crate) fn new(
        provisioner: Option<Arc<dyn CredentialProvisioner>>,
        options: CredentialOptions,
    ) -> Self {
        Self {
            provisioner,
            options,
            jobs: Mutex::default(),
            pending: watch::Sender::new(0),
        }
    }

    /// Whether a runtime with such a store offers credentials [ARCP 6.2-5].
    pub(crate) fn is_offered(&self, durable: bool) -> bool {
        if self.provisioner.is_some() && !durable {
            tracing::warn!(
                target: "towline::credentials",
                "no credentials are offered: the store does not survive the process, so they could not be revoked reliably"
            );
        }
        self.provisioner.is_some() && durable
    }

    /// Whether issuing may have to wait for an upstream.
    pub(crate) fn may_wait(&self) -> bool {
        self.provisioner.is_some()
    }

    /// The credentials of a job, as far as they are in memory.
    pub(super) fn of_job(&self, job: &JobId) -> Vec<Arc<Credential>> {
        self.jobs.lock().get(job).cloned().unwrap_or_default()
    }

    /// The credentials of each job.
    pub(super) fn by_job(&self) -> Vec<(JobId, Vec<Arc<Credential>>)> {
        let jobs = self.jobs.lock();
        jobs.iter()
            .map(|(job, found)| (job.clone(), found.clone()))
            .collect()
    }

    /// A credential in memory.
    pub(super) fn find(&self, id: &CredentialId) -> Option<Arc<Credential>> {
        let jobs = self.jobs.lock();
        jobs.values()
            .flatten()
            .find(|credential| credential.lock().entry.id == *id)
            .cloned()
    }

    /// What an operator sees, oldest first.
    pub(crate) fn infos(&self) -> Vec<CredentialInfo> {
        let credentials: Vec<_> = self.jobs.lock().values().flatten().cloned().collect();
        let mut infos: Vec<_> = credentials
            .iter()
            .map(|credential| credential.lock().entry.info())
            .collect();
        infos.sort_by(|left, right| left.id.cmp(&right.id));
        infos
    }

    /// The secret of a job's credential, while the job may use it.
    pub(super) fn secret(&self, job: &JobId, id: &CredentialId) -> Option<Secret> {
        let found = self
            .of_job(job)
            .into_iter()
            .find(|credential| credential.lock().entry.id == *id)?;
        let state = found.lock();
        state.entry.secret().cloned()
    }

    pub(super) fn insert(&self, credential: &Arc<Credential>) {
        let job = credential.lock().entry.job.clone();
        self.jobs
            .lock()
            .entry(job)
            .or_default()
            .push(Arc::clone(credential));
    }

    pub(super) fn remove(&self, credential: &Arc<Credential>) {
        let job = credential.lock().entry.job.clone();
        let mut jobs = self.jobs.lock();
        if let Some(credentials) = jobs.get_mut(&job) {
            credentials.retain(|other| !Arc::ptr_eq(other, credential));
            if credentials.is_empty() {
                jobs.remove(&job);
            }
        }
    }

    pub(super) fn count_pending(&self, more: bool) {
        self.pending.send_modify(|pending| {
            *pending = if more {
                *pending + 1
            } else {
                pending.saturating_sub(1)
            }
        });
        self.measure();
    }

    /// Shows how many revocations are under way.
    pub(crate) fn measure(&self) {
        metrics::gauge!("towline_revocations_pending").set(*self.pending.borrow() as f64);
    }

    /// Waits until nothing is being revoked. Cancel safe.
    pub(crate) async fn settled(&self) {
        // The sender lives as long as the ledger.
        let _ = self
            .pending
            .subscribe()
            .wait_for(|pending| *pending == 0)
            .await;
    }

    /// Takes up what an earlier run left; [`Ledger::resume`] goes on with it.
    pub(crate) fn restore(&self, rows: Vec<CredentialRow>) {
        for row in rows {
            match Entry::read(&row) {
                Ok(entry) => self.insert(&Credential::new(entry)),
                Err(error) => {
                    tracing::error!(target: "towline::credentials", credential = %row.id, "{error}")
                }
            }
        }
    }
}
