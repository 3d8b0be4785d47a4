//! Who is shown what of a credential. Nothing else writes a value into a message.

use towline_store::JobRow;
use towline_wire::{CredentialId, EventPayload, Feature, JobId, RawJson, Secret, event, payload};

use super::{entry::Entry, ledger::Ledger};
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
            .filter_map(|credential| credential.lock().entry.shown(true));
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

    /// The credentials of a job as a session is shown them in `job.accepted` and `job.subscribed`; `None` for sessions of
    /// other principals, those without the feature, and jobs without credentials. `with_values`: the session submitted the
    /// job, or repeated its submit; over a connection that others can read it gets no values all the same [ARCP 9.8-1].
    pub(crate) async fn shown(
        hub: &Hub,
        row: &JobRow,
        session: &SessionEntry,
        with_values: bool,
    ) -> Option<Vec<payload::Credential>> {
        if !may_know(hub, row, session) {
            return None;
        }
        let with_values = with_values && is_confidential(session);
        let live = hub.services.credentials.shown_live(row, with_values);
        if live.is_some() {
            return live;
        }
        // Those of a job that is over are revoked; what is left of them is in the store.
        let rows = hub
            .services
            .store
            .credentials_of(&row.id)
            .await
            .unwrap_or_default();
        let entries = rows.iter().filter_map(|row| Entry::read(row).ok());
        some(entries.filter_map(|entry| entry.shown(false)).collect())
    }

    /// The same for the submit that just made the job.
    pub(crate) fn shown_to_submitter(
        hub: &Hub,
        row: &JobRow,
        session: &SessionEntry,
    ) -> Option<Vec<payload::Credential>> {
        let live = || {
            hub.services
                .credentials
                .shown_live(row, is_confidential(session))
        };
        may_know(hub, row, session).then(live).flatten()
    }

    /// The credentials of a job in a listing: to its submitter, without values [ARCP 6.6-4, 9.8-5].
    pub(crate) fn listed(
        hub: &Hub,
        row: &JobRow,
        session: &SessionEntry,
    ) -> Option<Vec<payload::Credential>> {
        let own = row.session == session.id && may_know(hub, row, session);
        own.then(|| hub.services.credentials.shown_live(row, false))
            .flatten()
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

    fn shown_live(&self, row: &JobRow, with_values: bool) -> Option<Vec<payload::Credential>> {
        let found = self.of_job(&row.id);
        some(
            found
                .iter()
                .filter_map(|credential| credential.lock().entry.shown(with_values))
                .collect(),
        )
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

fn some(credentials: Vec<payload::Credential>) -> Option<Vec<payload::Credential>> {
    (!credentials.is_empty()).then_some(credentials)
}
