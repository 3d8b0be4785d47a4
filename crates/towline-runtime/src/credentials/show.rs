//! Who is shown what of a credential. Nothing else writes a value into a message.

use towline_store::JobRow;
use towline_wire::{CredentialId, EventPayload, Feature, JobId, RawJson, Secret, event, payload};

use super::ledger::Ledger;
use crate::{hub::Hub, session::SessionEntry};

/// A credential as the agent of its job has it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct JobCredential {
    /// The credential; it keeps its id across rotations.
    pub id: CredentialId,
    /// How the value is presented: `bearer` mostly.
    pub scheme: String,
    /// The secret.
    pub value: Secret,
    /// Where it is good.
    pub endpoint: String,
    /// A name for the kind of credential.
    pub profile: Option<String>,
}

impl Ledger {
    /// The credentials of a job as its agent has them, with the values they have now.
    pub(crate) fn of_agent(&self, job: &JobId) -> Vec<JobCredential> {
        let found = self.of_job(job);
        let shown = found
            .iter()
            .filter_map(|credential| credential.lock().entry.shown());
        let usable = shown.filter_map(|shown| {
            let payload::Credential {
                id,
                scheme,
                value,
                endpoint,
                profile,
                constraints: _,
            } = shown;
            value.map(|value| JobCredential {
                id,
                scheme,
                value,
                endpoint,
                profile,
            })
        });
        usable.collect()
    }

    /// The credentials of a job as a session is shown them in `job.accepted` and `job.subscribed`, each with its value. The
    /// whole field is left out wherever a value may not be shown: to sessions of other principals, those without the feature,
    /// those that only watch, those on a connection that others can read, and once everything is revoked. `is_submitter`: the
    /// session submitted the job, or repeated its submit [ARCP 6.6-4, 9.8-1].
    pub(crate) fn shown(
        hub: &Hub,
        row: &JobRow,
        session: &SessionEntry,
        is_submitter: bool,
    ) -> Option<Vec<payload::Credential>> {
        if !(is_submitter && may_know(hub, row, session) && is_confidential(session)) {
            return None;
        }
        let found = hub.services.credentials.of_job(&row.id);
        let shown = found.iter();
        let shown: Vec<_> = shown
            .filter_map(|credential| credential.lock().entry.shown())
            .collect();
        (!shown.is_empty()).then_some(shown)
    }

    /// A rotation's event as a session is shown it: with the value that is good now, when the session submitted the job and
    /// nobody else can read along [ARCP 9.8-3].
    pub(crate) fn fill_rotation(
        hub: &Hub,
        row: &JobRow,
        session: &SessionEntry,
        payload: RawJson,
    ) -> RawJson {
        if row.session != session.id || !may_know(hub, row, session) || !is_confidential(session) {
            return payload;
        }
        let filled = || {
            let event: EventPayload = payload.read().ok()?;
            let rotation = event.rotation().ok()??;
            let value = Some(hub.services.credentials.secret(&row.id, &rotation.id)?);
            let body = RawJson::of(&event::Rotation { value, ..rotation }).ok()?;
            Some(EventPayload { body, ..event }.to_json())
        };
        filled().unwrap_or(payload)
    }
}

/// Whether a session may know that a job has credentials: it belongs to the submitting principal, and speaks the feature.
fn may_know(hub: &Hub, row: &JobRow, session: &SessionEntry) -> bool {
    hub.services.features.has(Feature::ProvisionedCredentials)
        && session.principal == row.principal
        && session.lock().features.has(Feature::ProvisionedCredentials)
}

/// Whether nobody else can read what the session is sent.
fn is_confidential(session: &SessionEntry) -> bool {
    session
        .attachment()
        .is_some_and(|attachment| attachment.confidential)
}
