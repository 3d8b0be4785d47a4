//! Issuing what a new job needs, and letting go of what an ended one had.

use std::sync::Arc;

use tokio::time::timeout;
use towline_proto::{
    lease::{Amounts, UnnamedModels},
    refusal::Refusal,
};
use towline_store::{Change, JobRow};
use towline_wire::{ErrorCode, Feature, JobId, RawJson, Shown, namespace};

use super::{
    CredentialConstraints, IssueRequest, ProvisionError,
    announce::AnnounceRotation,
    entry::Entry,
    ledger::{Credential, Ledger},
    revoke,
};
use crate::{
    audit::{Audit, Verdict},
    hub::{Hub, Tx},
    job::JobEntry,
    session::SessionEntry,
};

impl Ledger {
    /// Revokes everything no running job needs, whatever happened to it [ARCP 9.8-2].
    pub(crate) fn resume(hub: &Arc<Hub>) {
        for (job, _) in hub.services.credentials.by_job() {
            Self::resume_job(hub, &job);
        }
    }

    /// [`Ledger::resume`] for one job, which this runtime has just taken up.
    pub(crate) fn resume_job(hub: &Arc<Hub>, job: &JobId) {
        let live = hub.books.jobs.get(job);
        let live = live.filter(|job| !job.ended.is_cancelled());
        for credential in hub.services.credentials.of_job(job) {
            match &live {
                None => retire(hub, &credential),
                Some(job) if !credential.lock().entry.is_announced() => {
                    hub.command(AnnounceRotation::again(Arc::clone(job), credential));
                }
                Some(_) => revoke::begin(hub, &credential),
            }
        }
    }

    /// A job is over: so are its credentials.
    pub(crate) fn job_ended(hub: &Arc<Hub>, job: &JobId) {
        for credential in hub.services.credentials.of_job(job) {
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
        let Some(provisioner) = hub.services.credentials.provisioner.clone() else {
            return Ok(None);
        };
        if !asked_by.wants_credentials(hub, &job.row)? {
            return Ok(None);
        }
        let constraints = constraints(hub, job);
        let id = hub.services.ids.credential();
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
        if let Err(error) = hub.write(vec![intent], Vec::new()).await {
            return Err(issued.failed(&ProvisionError::unavailable(format!(
                "the store failed: {error}"
            ))));
        }
        hub.sound_footing().await;
        match timeout(
            hub.services.credentials.options.timeout,
            provisioner.issue(&request),
        )
        .await
        {
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
    let require_model_use = hub.services.options.require_model_use;
    UnnamedModels::of(require_model_use, row.parent.is_some()).let_use_some(&row.lease)
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
    /// Adds what has to be committed together with the job.
    pub(crate) fn add_to(&self, tx: &mut Tx<'_>) {
        let state = self.credential.lock();
        let (entry, now) = (&state.entry, self.hub.now());
        let audit = Audit::at(now).credential_issued(
            &entry.principal(),
            &entry.job,
            &entry.id,
            Verdict::Allowed,
        );
        tx.push(Change::Credential(entry.row()));
        tx.audit(audit);
    }

    /// The job is durable, and with it the credential.
    pub(crate) fn take(mut self) {
        self.taken = true;
        self.hub.services.credentials.insert(&self.credential);
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
            tracing::error!(target: "towline::credentials", credential = %entry.id, job = %entry.job, reason = %Shown::new(&reason), "not issued");
            let audit = Audit::at(self.hub.now());
            audit.credential_issued(
                &entry.principal(),
                &entry.job,
                &entry.id,
                Verdict::Failed(&reason),
            )
        };
        self.hub.audit(audit);
        if error.is_refusal() {
            return Refusal::new(
                ErrorCode::PERMISSION_DENIED,
                "the upstream of the job's credential does not grant what the lease asks for",
            );
        }
        Refusal::internal("no credential could be issued for the job; try again later")
    }
}

impl Drop for IssuedCredentials {
    fn drop(&mut self) {
        if !self.taken {
            self.hub.services.credentials.insert(&self.credential);
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
