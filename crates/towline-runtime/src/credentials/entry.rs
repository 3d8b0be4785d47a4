//! An entry of the ledger, as it is stored.

use serde::{Deserialize, Serialize};
use towline_store::{CredentialRow, Principal};
use towline_wire::{CredentialId, JobId, RawJson, Secret, Timestamp, payload};

use super::{CredentialInfo, CredentialState, Issued, UpstreamValue};

/// One credential: every value that it ever had and that is not known to be worthless.
///
/// It is changed on a copy, the copy is committed, and then it takes the original's place.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Entry {
    /// So that a later version can tell what it reads.
    version: u32,
    pub(super) id: CredentialId,
    pub(super) job: JobId,
    principal: String,
    pub(super) provisioner: String,
    created_at: Timestamp,
    constraints: RawJson,
    /// What is known once there was a value.
    shape: Option<Shape>,
    values: Vec<Value>,
    /// The number of the latest value the submitter was told of.
    announced: u32,
    /// How many tries to revoke have failed.
    pub(super) failures: u32,
}

/// What stays the same across rotations.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Shape {
    scheme: String,
    endpoint: String,
    profile: Option<String>,
}

/// One value.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Value {
    /// From 0, one more with every rotation.
    number: u32,
    state: Phase,
    /// When the call that made it began.
    asked_at: Timestamp,
    upstream_ref: Option<String>,
    #[serde(serialize_with = "Secret::write_optional")]
    secret: Option<Secret>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Phase {
    /// Its call has not been answered.
    Intent,
    /// The job may use it.
    Issued,
    /// It has to be revoked.
    Revoking,
}

/// A value that has to be revoked.
#[derive(Debug, Clone)]
pub(super) struct Due {
    pub(super) number: u32,
    /// Whether the upstream never said that it made it.
    pub(super) is_unknown: bool,
    pub(super) asked_at: Timestamp,
    pub(super) value: UpstreamValue,
}

impl Entry {
    /// A credential that is about to be asked for.
    pub(super) fn new(
        id: CredentialId,
        job: JobId,
        principal: &Principal,
        provisioner: &str,
        constraints: RawJson,
        now: Timestamp,
    ) -> Self {
        let mut entry = Self {
            version: VERSION,
            id,
            job,
            principal: principal.as_str().to_owned(),
            provisioner: provisioner.to_owned(),
            created_at: now,
            constraints,
            shape: None,
            values: Vec::new(),
            announced: 0,
            failures: 0,
        };
        entry.push(0, now);
        entry
    }

    /// The entry of a row.
    pub(super) fn read(row: &CredentialRow) -> Result<Self, String> {
        let entry: Self = serde_json::from_str(row.data.expose())
            .map_err(|_| format!("the ledger's entry of `{}` cannot be read", row.id))?;
        match entry.version {
            VERSION => Ok(entry),
            later => Err(format!(
                "the ledger's entry of `{}` has version {later}, written by a later version of the program",
                row.id
            )),
        }
    }

    /// The row of the entry.
    pub(super) fn row(&self) -> CredentialRow {
        // Nothing in it can fail to have a JSON form.
        let data = serde_json::to_string(self).unwrap_or_default();
        CredentialRow {
            id: self.id.clone(),
            job: self.job.clone(),
            outstanding: self.is_outstanding(),
            data: Secret::from(data),
        }
    }

    /// Whose it is.
    pub(super) fn principal(&self) -> Principal {
        Principal::new(self.principal.as_str())
    }

    /// Another value is about to be asked for; gives its number.
    pub(super) fn begin_rotation(&mut self, now: Timestamp) -> u32 {
        let number = self.values.last().map_or(0, |value| value.number + 1);
        self.push(number, now);
        number
    }

    /// The upstream made a value. The one before has to be revoked.
    pub(super) fn issued(&mut self, number: u32, issued: Issued) {
        for value in &mut self.values {
            if value.number == number {
                value.state = Phase::Issued;
                value.upstream_ref = issued.upstream_ref.clone();
                value.secret = Some(issued.value.clone());
            } else {
                value.retire();
            }
        }
        self.shape = Some(Shape {
            scheme: issued.scheme,
            endpoint: issued.endpoint,
            profile: issued.profile,
        });
    }

    /// The job needs none of it any more.
    pub(super) fn retire(&mut self) {
        self.values.iter_mut().for_each(Value::retire);
    }

    /// A value is worthless.
    pub(super) fn revoked(&mut self, number: u32) {
        self.values.retain(|value| value.number != number);
    }

    /// Whether anything may be left at the upstream.
    pub(super) fn is_outstanding(&self) -> bool {
        !self.values.is_empty()
    }

    /// What has to be revoked. Calls that have not been answered are among it: nobody is waiting for them.
    pub(super) fn due(&self) -> Vec<Due> {
        let due = self
            .values
            .iter()
            .filter(|value| value.state != Phase::Issued);
        due.map(|value| Due {
            number: value.number,
            is_unknown: value.secret.is_none(),
            asked_at: value.asked_at,
            value: self.upstream(value),
        })
        .collect()
    }

    /// The value the job may use, as the provisioner knows it.
    pub(super) fn current(&self) -> Option<UpstreamValue> {
        self.usable().map(|value| self.upstream(value))
    }

    /// The secret the job may use.
    pub(super) fn secret(&self) -> Option<&Secret> {
        self.usable()?.secret.as_ref()
    }

    /// The name of a value.
    pub(super) fn reference(&self, number: u32) -> String {
        format!("{}.{number}", self.id)
    }

    /// Whether the submitter was told of the value in use.
    pub(super) fn is_announced(&self) -> bool {
        self.usable()
            .is_none_or(|value| value.number <= self.announced)
    }

    /// The submitter is being told.
    pub(super) fn announce(&mut self) {
        self.announced = self.usable().map_or(self.announced, |value| value.number);
    }

    /// The credential as messages show it, with its value; `None` when there is none to be shown. An entry without a value is
    /// no use to anybody, and several SDKs die of it [ARCP 6.6-4].
    pub(super) fn shown(&self) -> Option<payload::Credential> {
        let (shape, value) = (self.shape.as_ref()?, self.secret()?);
        Some(payload::Credential {
            id: self.id.clone(),
            scheme: shape.scheme.clone(),
            value: Some(value.clone()),
            endpoint: shape.endpoint.clone(),
            profile: shape.profile.clone(),
            constraints: Some(self.constraints.clone()),
        })
    }

    /// The credential as an operator sees it.
    pub(super) fn info(&self) -> CredentialInfo {
        let has = |state| self.values.iter().any(|value| value.state == state);
        let state = if self.values.is_empty() {
            CredentialState::Revoked
        } else if has(Phase::Revoking) {
            CredentialState::Revoking
        } else if has(Phase::Issued) {
            CredentialState::Issued
        } else {
            CredentialState::Intent
        };
        CredentialInfo {
            id: self.id.clone(),
            job: self.job.clone(),
            principal: self.principal.clone(),
            provisioner: self.provisioner.clone(),
            state,
            failures: self.failures,
            created_at: self.created_at,
        }
    }

    /// A text from an upstream without the values it might quote [ARCP 9.8-5].
    pub(super) fn scrub(&self, text: &str) -> String {
        let secrets = self.values.iter().filter_map(|value| value.secret.as_ref());
        secrets
            .filter(|secret| !secret.expose().is_empty())
            .fold(text.to_owned(), |text, secret| {
                text.replace(secret.expose(), "[redacted]")
            })
    }

    fn push(&mut self, number: u32, now: Timestamp) {
        self.values.push(Value {
            number,
            state: Phase::Intent,
            asked_at: now,
            upstream_ref: None,
            secret: None,
        });
    }

    fn usable(&self) -> Option<&Value> {
        self.values
            .iter()
            .rev()
            .find(|value| value.state == Phase::Issued)
    }

    fn upstream(&self, value: &Value) -> UpstreamValue {
        UpstreamValue {
            reference: self.reference(value.number),
            upstream_ref: value.upstream_ref.clone(),
            value: value.secret.clone(),
        }
    }
}

impl Value {
    fn retire(&mut self) {
        self.state = Phase::Revoking;
    }
}

const VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        let id = CredentialId::parse("cred_1").unwrap();
        let job = JobId::parse("job_1").unwrap();
        let alice = Principal::new("alice");
        Entry::new(
            id,
            job,
            &alice,
            "test",
            RawJson::EMPTY_OBJECT,
            Timestamp::from_unix_micros(0),
        )
    }

    fn value(text: &str) -> Issued {
        Issued {
            scheme: "bearer".to_owned(),
            value: text.into(),
            endpoint: "https://up.example".to_owned(),
            profile: None,
            upstream_ref: Some("ref".to_owned()),
        }
    }

    fn references(entry: &Entry) -> Vec<String> {
        let due = entry.due().into_iter();
        due.map(|due| due.value.reference).collect()
    }

    /// [ARCP 9.8-2] what may have been made is due until it is known to be worthless, also after a restart.
    #[test]
    fn nothing_is_forgotten_before_it_is_revoked() {
        let mut entry = entry();
        assert!(entry.row().outstanding && entry.due()[0].is_unknown);
        entry.issued(0, value("one"));
        assert!(entry.due().is_empty() && entry.row().outstanding);
        entry.begin_rotation(Timestamp::from_unix_micros(1));
        assert_eq!(references(&entry), ["cred_1.1"]);
        let mut entry = Entry::read(&entry.row()).unwrap();
        entry.issued(1, value("two"));
        assert_eq!(references(&entry), ["cred_1.0"]);
        assert_eq!(entry.secret().map(Secret::expose), Some("two"));
        entry.retire();
        assert_eq!(references(&entry), ["cred_1.0", "cred_1.1"]);
        assert!(entry.secret().is_none() && entry.shown().is_none());
        let mut entry = Entry::read(&entry.row()).unwrap();
        assert_eq!(references(&entry), ["cred_1.0", "cred_1.1"]);
        entry.revoked(0);
        assert!(entry.row().outstanding);
        entry.revoked(1);
        assert!(!entry.row().outstanding);
        assert!(!entry.row().data.expose().contains("two"));
        assert_eq!(entry.info().state, CredentialState::Revoked);
    }

    /// [ARCP 9.8-3] a rotation that the submitter was not told of is remembered.
    #[test]
    fn rotations_are_announced_once() {
        let mut entry = entry();
        entry.issued(0, value("one"));
        assert!(entry.is_announced());
        let number = entry.begin_rotation(Timestamp::from_unix_micros(1));
        assert!(entry.is_announced());
        entry.issued(number, value("two"));
        let mut entry = Entry::read(&entry.row()).unwrap();
        assert!(!entry.is_announced());
        entry.announce();
        assert!(entry.is_announced());
    }

    /// [ARCP 9.8-5] neither `Debug` nor an upstream's text shows a value.
    #[test]
    fn values_are_not_shown() {
        let mut entry = entry();
        entry.issued(0, value("hunter2"));
        let text = format!(
            "{entry:?} {:?} {:?} {:?}",
            entry.row(),
            entry.current(),
            entry.shown()
        );
        assert!(!text.contains("hunter2"), "{text}");
        assert_eq!(entry.scrub("no key hunter2 here"), "no key [redacted] here");
    }

    #[test]
    fn an_entry_of_a_later_version_is_left_alone() {
        let row = entry().row();
        let data = row.data.expose().replace("\"version\":1", "\"version\":2");
        let error = Entry::read(&CredentialRow {
            data: data.into(),
            ..row
        })
        .unwrap_err();
        assert!(error.contains("version 2"), "{error}");
    }
}
