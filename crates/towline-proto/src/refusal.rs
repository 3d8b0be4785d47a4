//! Saying no (§12).

use towline_wire::{DecodeError, ErrorCode, JobId, MessageId, PayloadError, RawJson, payload};

use crate::{limits::LimitError, needs::Need};

/// Why a request, or a whole session, is refused. It becomes a `session.error`; the message names the field or value at
/// fault and holds neither internals nor secrets [ARCP 12-1].
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// The code.
    pub code: ErrorCode,
    /// For a person.
    pub message: String,
    /// The job it is about.
    pub job_id: Option<JobId>,
    /// For a program.
    pub details: Option<RawJson>,
}

impl Refusal {
    /// A refusal with a code.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            job_id: None,
            details: None,
        }
    }

    /// The request breaks the protocol.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::INVALID_REQUEST, message)
    }

    /// Who is asking was not proved.
    pub fn unauthenticated(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::UNAUTHENTICATED, message)
    }

    /// It failed on our side; trying again may help.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::INTERNAL_ERROR, message)
    }

    /// There is no such job, or none the caller may know of.
    pub fn job_not_found(job: &JobId) -> Self {
        Self::new(ErrorCode::JOB_NOT_FOUND, format!("there is no job `{job}`")).about(job)
    }

    /// Names the job.
    #[must_use]
    pub fn about(mut self, job: &JobId) -> Self {
        self.job_id = Some(job.clone());
        self
    }

    /// Says, in the details, that the reason is a bound which the principal has for itself: it helps when some of what it has
    /// going ends.
    #[must_use]
    pub fn for_own_bound(mut self) -> Self {
        self.details = Some(RawJson::from_checked(OWN_BOUND.into()));
        self
    }

    /// Whether the reason is a bound that the principal has for itself.
    pub fn is_for_own_bound(&self) -> bool {
        let details = self.details.as_ref();
        details.is_some_and(|details| details.as_str() == OWN_BOUND)
    }

    /// Adds fields for a program.
    #[must_use]
    pub fn with_details(mut self, details: serde_json::Value) -> Self {
        self.details = Some(details.into());
        self
    }

    /// The payload of the `session.error` that answers `request`.
    pub fn payload(&self, request: Option<MessageId>) -> payload::SessionError {
        payload::SessionError {
            code: self.code.clone(),
            message: self.message.clone(),
            retryable: self.code.is_retryable(),
            request_id: request,
            job_id: self.job_id.clone(),
            details: self.details.clone(),
        }
    }
}

impl From<&DecodeError> for Refusal {
    fn from(error: &DecodeError) -> Self {
        Self::invalid(error.message.clone())
    }
}

impl From<LimitError> for Refusal {
    fn from(error: LimitError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<Need> for Refusal {
    fn from(need: Need) -> Self {
        Self::invalid(need.to_string())
    }
}

impl From<PayloadError> for Refusal {
    fn from(error: PayloadError) -> Self {
        Self::invalid(error.fault.to_string())
    }
}

/// The details of a refusal because of a bound that the principal has for itself.
const OWN_BOUND: &str = r#"{"bound":"principal"}"#;
