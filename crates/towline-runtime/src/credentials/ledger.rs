//! The credentials of jobs that are not over, and of those that still have to be revoked.

use std::{collections::HashMap, sync::Arc};

use parking_lot::{Mutex, MutexGuard};
use tokio::{sync::watch, time::timeout};
use towline_proto::{
    lease::{Amounts, UnnamedModels},
    refusal::Refusal,
};
use towline_store::{Change, CredentialRow, JobRow};
use towline_wire::{CredentialId, ErrorCode, Feature, JobId, RawJson, Secret, namespace};

use super::{
    CredentialConstraints, CredentialInfo, CredentialOptions, CredentialProvisioner, IssueRequest,
    ProvisionError, commit::write_all, entry::Entry, revoke,
};
use crate::{
    audit::{Audit, Verdict},
    hub::Hub,
    job::JobEntry,
    session::SessionEntry,
};

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
    fn new(entry: Entry) -> Arc<Self> {
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

    fn insert(&self, credential: &Arc<Credential>) {
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

    /// Revokes everything no running job needs, whatever happened to it [ARCP 9.8-2].
    pub(crate) fn resume(hub: &Arc<Hub>) {
        let ledger = &hub.credentials;
        let jobs: Vec<_> = ledger
            .jobs
            .lock()
            .iter()
            .map(|(job, found)| (job.clone(), found.clone()))
            .collect();
        for (job, credentials) in jobs {
            let live = hub.live_job(&job).filter(|job| !job.ended.is_cancelled());
            for credential in credentials {
                match &live {
                    None => retire(hub, &credential),
                    Some(job) if !credential.lock().entry.is_announced() => {
                        hub.command(super::AnnounceRotation::again(Arc::clone(job), credential));
                    }
                    Some(_) => revoke::begin(hub, &credential),
                }
            }
        }
    }

    /// A job is over: so are its credentials.
    pub(crate) fn job_ended(hub: &Arc<Hub>, job: &JobId) {
        for credential in hub.credentials.of_job(job) {
            retire(hub, &credential);
        }
    }

    /// Issues what a new job needs. The intent is durable before the upstream is asked; what the upstream made becomes
    /// durable together with the job [ARCP 9.8-1, 9.8-2].
    ///
    /// # Errors
    /// When the session is one that nobody else may read and somebody else can, or the upstream gave nothing; the job must
    /// not come to be then.
    pub(crate) async fn issue(
        hub: &Arc<Hub>,
        job: &JobEntry,
        asked_by: AskedBy<'_>,
    ) -> Result<Option<IssuedCredentials>, Refusal> {
        let Some(provisioner) = hub.credentials.provisioner.clone() else {
            return Ok(None);
        };
        if !asked_by.wants_credentials(hub, &job.row)? {
            return Ok(None);
        }
        let constraints = constraints(hub, job);
        let id = hub.ids.credential();
        let row = &job.row;
        let echo = echoed(row);
        let entry = Entry::new(
            id.clone(),
            row.id.clone(),
            &row.principal,
            provisioner.name(),
            echo,
            hub.now(),
        );
        let request = request(row, &entry, 0, constraints);
        let credential = Credential::new(entry);
        let intent = Change::Credential(credential.lock().entry.row());
        // From here on the entry has to end, however this does, be it that nobody waits any more.
        let issued = IssuedCredentials {
            hub: Arc::clone(hub),
            credential,
            taken: false,
        };
        if let Err(error) = write_all(hub, vec![intent]).await {
            return Err(issued.failed(&ProvisionError::unavailable(format!(
                "the store failed: {error}"
            ))));
        }
        match timeout(hub.credentials.options.timeout, provisioner.issue(&request)).await {
            Ok(Ok(value)) => {
                issued.credential.lock().entry.issued(0, value);
                Ok(Some(issued))
            }
            Ok(Err(error)) => Err(issued.failed(&error)),
            Err(_) => Err(issued.failed(&ProvisionError::unavailable(
                "the upstream did not answer in time",
            ))),
        }
    }
}

/// Who gets to see the credential of a new job.
pub(crate) enum AskedBy<'a> {
    /// The session that submits, over its connection.
    Submit {
        session: &'a SessionEntry,
        confidential: bool,
    },
    /// The session whose job delegates; it may be away.
    Delegation { session: Option<&'a SessionEntry> },
}

impl AskedBy<'_> {
    fn wants_credentials(&self, hub: &Hub, row: &JobRow) -> Result<bool, Refusal> {
        let session = match self {
            Self::Submit { session, .. } => Some(*session),
            Self::Delegation { session } => *session,
        };
        let Some(session) =
            session.filter(|session| session.lock().features.has(Feature::ProvisionedCredentials))
        else {
            return Ok(false);
        };
        if !uses_models(hub, row) {
            return Ok(false);
        }
        match self {
            Self::Submit {
                confidential: true, ..
            } => Ok(true),
            Self::Submit {
                confidential: false,
                ..
            } => Err(Refusal::new(
                ErrorCode::PERMISSION_DENIED,
                "this job gets a credential, and credentials go over confidential connections only: connect with `wss`, or do \
                 not negotiate `provisioned_credentials`",
            )),
            Self::Delegation { .. } => Ok(session
                .attachment()
                .is_none_or(|attachment| attachment.confidential)),
        }
    }
}

/// Whether a job may use any model, so that a credential is of use to it.
fn uses_models(hub: &Hub, row: &JobRow) -> bool {
    UnnamedModels::of(hub.options.require_model_use, row.parent.is_some()).let_use_some(&row.lease)
}

/// What has to be baked in, as things stand now.
pub(super) fn constraints(hub: &Hub, job: &JobEntry) -> CredentialConstraints {
    let lease = &job.row.lease;
    let models = lease.patterns(namespace::MODEL_USE);
    let core = job.lock();
    let expires_at = core.authority.expires_at();
    let left = core.authority.budget().remaining();
    CredentialConstraints {
        cost_budget: left
            .map(|(currency, amount)| (currency.to_owned(), amount))
            .collect(),
        model_use: (!models.is_empty()).then(|| models.to_vec()),
        expires_at,
        expires_in: expires_at.map(|at| at.since(hub.now())),
    }
}

/// The constraints as the submitter is told them: in the words of the lease [ARCP 9.8-4].
fn echoed(row: &JobRow) -> RawJson {
    let mut echo = serde_json::Map::new();
    let amounts = Amounts::parse(row.lease.patterns(namespace::COST_BUDGET)).unwrap_or_default();
    if !amounts.is_empty() {
        echo.insert(namespace::COST_BUDGET.to_owned(), amounts.to_texts().into());
    }
    let models = row.lease.patterns(namespace::MODEL_USE);
    if !models.is_empty() {
        echo.insert(namespace::MODEL_USE.to_owned(), models.to_vec().into());
    }
    if let Some(expires_at) = &row.constraints.expires_at {
        echo.insert("expires_at".to_owned(), expires_at.clone().into());
    }
    serde_json::Value::Object(echo).into()
}

pub(super) fn request(
    row: &JobRow,
    entry: &Entry,
    number: u32,
    constraints: CredentialConstraints,
) -> IssueRequest {
    IssueRequest {
        credential: entry.id.clone(),
        reference: entry.reference(number),
        job: row.id.clone(),
        principal: row.principal.clone(),
        agent: row.agent.clone(),
        constraints,
    }
}

/// What was issued for a job that does not exist yet. Dropping it revokes it.
pub(crate) struct IssuedCredentials {
    hub: Arc<Hub>,
    credential: Arc<Credential>,
    taken: bool,
}

impl IssuedCredentials {
    /// What has to be committed together with the job.
    pub(crate) fn changes(&self) -> Vec<Change> {
        let state = self.credential.lock();
        let (entry, now) = (&state.entry, self.hub.now());
        let audit = Audit::at(now).credential_issued(
            &entry.principal(),
            &entry.job,
            &entry.id,
            Verdict::Allowed,
        );
        crate::audit::record(&audit);
        vec![Change::Credential(entry.row()), Change::Audit(audit)]
    }

    /// The job is durable, and with it the credential.
    pub(crate) fn take(mut self) {
        self.taken = true;
        self.hub.credentials.insert(&self.credential);
        metrics::counter!("towline_credentials_issued_total").increment(1);
    }

    /// Nothing was issued, as far as anybody knows. The peer is not told why.
    fn failed(self, error: &ProvisionError) -> Refusal {
        let audit = {
            let mut state = self.credential.lock();
            let reason = state.entry.scrub(&error.to_string());
            if error.is_refusal() {
                // Nothing was made, so that nothing has to be revoked.
                state.entry.revoked(0);
                state.dirty = true;
            }
            let entry = &state.entry;
            tracing::error!(target: "towline::credentials", credential = %entry.id, job = %entry.job, %reason, "not issued");
            let audit = Audit::at(self.hub.now());
            audit.credential_issued(
                &entry.principal(),
                &entry.job,
                &entry.id,
                Verdict::Failed(&reason),
            )
        };
        self.hub.audit(audit);
        match error.is_refusal() {
            true => Refusal::new(
                ErrorCode::PERMISSION_DENIED,
                "the upstream of the job's credential does not grant what the lease asks for",
            ),
            false => {
                Refusal::internal("no credential could be issued for the job; try again later")
            }
        }
    }
}

impl Drop for IssuedCredentials {
    fn drop(&mut self) {
        if !self.taken {
            self.hub.credentials.insert(&self.credential);
            retire(&self.hub, &self.credential);
        }
    }
}

/// Has a credential revoked, all of it.
fn retire(hub: &Arc<Hub>, credential: &Arc<Credential>) {
    {
        let mut state = credential.lock();
        state.ended = true;
        state.entry.retire();
    }
    revoke::begin(hub, credential);
}
