//! What can go wrong for an agent.

use std::sync::Arc;

use towline_proto::lease::{Denial, MetricRefused};
use towline_store::StoreError;
use towline_wire::ErrorCode;

/// The runtime refused an operation [ARCP 9.3-1]. The refusal stands in the job's log already; the agent may go on
/// without, or give up with `?`, which ends the job with the same code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Denied {
    code: ErrorCode,
    message: String,
}

impl Denied {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// PERMISSION_DENIED, LEASE_EXPIRED, BUDGET_EXHAUSTED, LEASE_SUBSET_VIOLATION, or what else the refusal was.
    pub const fn code(&self) -> &ErrorCode {
        &self.code
    }

    /// For a person.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl From<Denial> for Denied {
    fn from(denial: Denial) -> Self {
        Self::new(denial.code().clone(), denial.message())
    }
}

impl From<towline_proto::refusal::Refusal> for Denied {
    fn from(refusal: towline_proto::refusal::Refusal) -> Self {
        Self::new(refusal.code, refusal.message)
    }
}

/// An event that could not be added to the log.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// The job has ended; nothing can follow its terminal.
    #[error("the job has ended")]
    JobEnded,
    /// The metric is a cost that cannot be [ARCP 9.6-2].
    #[error(transparent)]
    Metric(#[from] MetricRefused),
    /// The event breaks a rule of its kind.
    #[error("{0}")]
    Invalid(String),
    /// A value has no JSON form, or what was kept reads as another type than asked for.
    #[error("the value has no JSON form, or another one than asked for: {0}")]
    Json(#[source] Arc<serde_json::Error>),
    /// The store failed.
    #[error("the event is not kept: {0}")]
    Store(#[from] StoreError),
}

impl EventError {
    pub(crate) fn unserialisable(cause: serde_json::Error) -> Self {
        Self::Json(Arc::new(cause))
    }
}
