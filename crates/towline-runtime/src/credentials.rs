//! Credentials that are issued for one job and revoked with it (§9.8).
//!
//! A deployment brings a [`CredentialProvisioner`], which speaks to an upstream; the runtime keeps the **ledger**. An entry
//! goes through these states, each committed before what follows it happens:
//!
//! ```text
//! Intent ──issue──▶ Issued ──the job ends, or a rotation──▶ Revoking ──revoke──▶ Revoked
//!    └────────── the outcome is unknown, or a refusal ──────────▲
//! ```
//!
//! So at every moment a crash may happen there is an entry for whatever the upstream may have made, and the next start
//! revokes what no running job needs [ARCP 9.8-2]. Whether a call whose answer was lost did anything is found out by its
//! *reference*, which the runtime chooses.
//!
//! A value leaves the runtime in three places: to the provisioner, to the agent of the job
//! ([`JobContext::credentials`](crate::JobContext::credentials)), and to the session that submitted it, over a transport
//! nobody else can read [ARCP 9.8-1]. Everything else is written without it.

mod announce;
mod entry;
mod issue;
mod ledger;
#[cfg(feature = "credentials")]
mod litellm;
mod memory;
mod options;
mod revoke;
mod rotate;
mod show;

use std::{fmt, time::Duration};

use futures_util::future::BoxFuture;
use towline_store::{CredentialRow, Principal};
use towline_wire::{AgentRef, Amount, CredentialId, JobId, Secret, Timestamp};

pub(crate) use issue::{AskedBy, IssuedCredentials};
pub(crate) use ledger::Ledger;
#[cfg(feature = "credentials")]
pub use litellm::{LiteLlmConfigError, LiteLlmOptions, LiteLlmProvisioner};
pub use memory::InMemoryProvisioner;
pub use options::CredentialOptions;
pub use rotate::RotateError;
pub use show::JobCredential;

/// Makes credentials at an upstream, for one job each, and revokes them.
///
/// The runtime bounds each call in time, drops the future of one that takes too long, and takes its outcome for unknown. It
/// never makes two calls about one credential at once.
///
/// A *reference* names one value of one credential. It is known before the call that makes the value, so a provisioner that
/// gives it to the upstream (as a name, an alias, an idempotency key) can revoke by it what it never heard of. Revoking what
/// is not there has to succeed, with [`Revocation::NotFound`].
///
/// # Secrets
/// Messages of errors go to the operator's log. They must not hold a credential's value or the provisioner's own; as a
/// second line of defence the runtime cuts out the values that it knows.
pub trait CredentialProvisioner: Send + Sync + 'static {
    /// What the ledger calls it. Entries of another name are left alone (and reported), so keep it stable.
    fn name(&self) -> &str;

    /// Makes a value for a job.
    fn issue<'a>(
        &'a self,
        request: &'a IssueRequest,
    ) -> BoxFuture<'a, Result<Issued, ProvisionError>>;

    /// Makes another value for a credential that has one. The value before stays good until it is revoked. The default
    /// issues anew.
    fn rotate<'a>(
        &'a self,
        request: &'a IssueRequest,
        _current: &'a UpstreamValue,
    ) -> BoxFuture<'a, Result<Issued, ProvisionError>> {
        self.issue(request)
    }

    /// Makes a value worthless.
    fn revoke<'a>(
        &'a self,
        value: &'a UpstreamValue,
    ) -> BoxFuture<'a, Result<Revocation, ProvisionError>>;
}

/// What a credential is asked for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct IssueRequest {
    /// The credential; it keeps its id across rotations.
    pub credential: CredentialId,
    /// The name of the value that is to be made.
    pub reference: String,
    /// The job it is for.
    pub job: JobId,
    /// Whose job.
    pub principal: Principal,
    /// The job's agent.
    pub agent: AgentRef,
    /// What has to be baked in.
    pub constraints: CredentialConstraints,
}

/// What the lease says that an upstream can enforce too [ARCP 9.8-4].
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct CredentialConstraints {
    /// What may be spent, per currency: at a rotation, what is left. Empty: no bound.
    pub cost_budget: Vec<(String, Amount)>,
    /// The patterns of the models that may be used; `None` means any.
    pub model_use: Option<Vec<String>>,
    /// When the lease expires.
    pub expires_at: Option<Timestamp>,
    /// How long that is from now.
    pub expires_in: Option<Duration>,
}

impl CredentialConstraints {
    /// Whether a model is among those that may be used.
    pub fn allows_model(&self, model: &str) -> bool {
        use towline_proto::lease::{Kind, Pattern};
        let Some(patterns) = &self.model_use else {
            return true;
        };
        let patterns = patterns
            .iter()
            .filter_map(|pattern| Pattern::parse(pattern, Kind::Name).ok());
        patterns
            .into_iter()
            .any(|pattern| pattern.matches(model) == Ok(true))
    }
}

/// What an upstream made.
#[derive(Debug, Clone)]
pub struct Issued {
    /// How the value is presented: `bearer` mostly.
    pub scheme: String,
    /// The secret.
    pub value: Secret,
    /// Where it is good.
    pub endpoint: String,
    /// A name for the kind of credential.
    pub profile: Option<String>,
    /// What the upstream calls it, when it has a name for it beside the reference. It is kept and shown to the operator.
    pub upstream_ref: Option<String>,
}

/// A value at the upstream.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct UpstreamValue {
    /// The name it was asked for under.
    pub reference: String,
    /// What the upstream calls it; `None` when the call that should have made it was never answered.
    pub upstream_ref: Option<String>,
    /// The secret; `None` likewise.
    pub value: Option<Secret>,
}

/// How a revocation went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revocation {
    /// The value is worthless now.
    Revoked,
    /// There is no such value. When the call that should have made it was never answered, the runtime asks again for a
    /// while, for the call may still be on its way.
    NotFound,
}

/// Why an upstream did not do what it was asked for. The message is for the operator; peers are told less.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ProvisionError {
    message: String,
    refused: bool,
}

impl ProvisionError {
    /// The upstream, or the provisioner on its behalf, will not: asking again does not help. Nothing was made.
    pub fn refused(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            refused: true,
        }
    }

    /// The upstream could not be asked, or its answer is unknown.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            refused: false,
        }
    }

    /// Whether asking again does not help.
    pub const fn is_refusal(&self) -> bool {
        self.refused
    }
}

/// A credential as an operator sees it: everything but its value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CredentialInfo {
    /// The credential.
    pub id: CredentialId,
    /// The job it is for.
    pub job: JobId,
    /// Whose job.
    pub principal: String,
    /// The provisioner that made it.
    pub provisioner: String,
    /// How it stands.
    pub state: CredentialState,
    /// How many tries to revoke it failed.
    pub failures: u32,
    /// When it was asked for.
    pub created_at: Timestamp,
}

/// How a credential stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CredentialState {
    /// Asked for; whether the upstream made it is not known.
    Intent,
    /// Its job may use it.
    Issued,
    /// It is to be revoked, or an earlier value of it is.
    Revoking,
    /// Nothing of it is left.
    Revoked,
}

impl CredentialInfo {
    /// What a row of the ledger says; `None` when a later version wrote it. For programs that read a store without a
    /// runtime.
    pub fn of_row(row: &CredentialRow) -> Option<Self> {
        entry::Entry::read(row).ok().map(|entry| entry.info())
    }
}

impl fmt::Display for CredentialState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Intent => "intent",
            Self::Issued => "issued",
            Self::Revoking => "revoking",
            Self::Revoked => "revoked",
        })
    }
}
