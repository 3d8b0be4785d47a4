//! How a job ended.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use towline_proto::{
    assembly::{Collected, Delivery},
    client::JobEnd,
    encoding::explain_base64,
};
use towline_wire::{
    ErrorCode, JobStatus, RawJson, ResultId, Timestamp,
    payload::{JobError, JobResult},
};

use crate::ClientError;

/// How a job ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It gave a result.
    Success(Success),
    /// It did not.
    Failure(JobFailure),
}

/// A job's success.
#[derive(Debug, Clone, PartialEq)]
pub struct Success {
    /// What it gave.
    pub result: JobOutput,
    /// For a person.
    pub summary: Option<String>,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
}

/// What a job gave.
#[derive(Debug, Clone, PartialEq)]
pub enum JobOutput {
    /// A JSON value; `null` when there was none.
    Inline {
        /// The value.
        value: RawJson,
        /// `base64` when the value is a string that stands for bytes.
        encoding: Option<String>,
    },
    /// A streamed result, put together.
    Streamed {
        /// Its id.
        id: ResultId,
        /// Its bytes.
        bytes: Bytes,
    },
}

/// A job that ended without success.
#[derive(Debug, Clone, PartialEq)]
pub struct JobFailure {
    /// `error`, `cancelled` or `timed_out`.
    pub final_status: JobStatus,
    /// Why.
    pub code: ErrorCode,
    /// For a person.
    pub message: String,
    /// Whether the same submit may succeed later.
    pub retryable: bool,
    /// For a program.
    pub details: Option<RawJson>,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
}

impl fmt::Display for JobFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the job ended as {} with {}",
            self.final_status, self.code
        )?;
        if self.message.is_empty() {
            Ok(())
        } else {
            write!(f, ": {}", self.message)
        }
    }
}

impl std::error::Error for JobFailure {}

impl Outcome {
    /// Reads the terminal message, with what was collected of a streamed result.
    pub(crate) fn conclude(end: &JobEnd, collected: &mut Collected) -> Result<Self, ClientError> {
        match end {
            JobEnd::Unreadable(cause) => Err(ClientError::Unreadable(cause.clone())),
            JobEnd::Error(error) => Ok(Self::Failure(error.into())),
            JobEnd::Result(result) if result.final_status != JobStatus::Success => {
                Ok(Self::Failure(result.into()))
            }
            JobEnd::Result(result) => {
                let (delivery, bytes) = collected.finish(result)?;
                let output = match delivery {
                    Delivery::Inline => JobOutput::inline(result),
                    Delivery::Streamed { id, .. } => JobOutput::Streamed { id, bytes },
                };
                let summary = result.summary.clone();
                Ok(Self::Success(Success {
                    result: output,
                    summary,
                    completed_at: result.completed_at,
                }))
            }
        }
    }

    /// The success, or the failure as an error.
    ///
    /// # Errors
    /// [`ClientError::JobFailed`] when the job did not succeed.
    pub fn into_success(self) -> Result<Success, ClientError> {
        match self {
            Self::Success(success) => Ok(success),
            Self::Failure(failure) => Err(ClientError::JobFailed(failure)),
        }
    }

    /// Whether the job succeeded.
    pub const fn is_success(&self) -> bool {
        matches!(self, Self::Success(_))
    }

    /// The status the job ended with.
    pub const fn status(&self) -> JobStatus {
        match self {
            Self::Success(_) => JobStatus::Success,
            Self::Failure(failure) => failure.final_status,
        }
    }
}

impl JobOutput {
    pub(crate) fn inline(result: &JobResult) -> Self {
        let value = result.result.clone().unwrap_or(RawJson::NULL);
        Self::Inline {
            value,
            encoding: result.result_encoding.clone(),
        }
    }

    /// The result as bytes: a streamed one as it is, an inline string its text (or the bytes it stands for), another
    /// inline value its JSON.
    ///
    /// # Errors
    /// [`ClientError::ResultFormat`] when an inline string says base64 and is not.
    pub fn to_bytes(&self) -> Result<Bytes, ClientError> {
        let (value, encoding) = match self {
            Self::Streamed { bytes, .. } => return Ok(bytes.clone()),
            Self::Inline { value, encoding } => (value, encoding.as_deref()),
        };
        let Ok(text) = value.read::<String>() else {
            return Ok(value.clone().into_text().into_bytes());
        };
        match encoding {
            Some("base64") => STANDARD
                .decode(text.as_bytes())
                .map(Bytes::from)
                .map_err(|cause| misfit("base64", &explain_base64(&cause))),
            _ => Ok(text.into()),
        }
    }

    /// The result as text.
    ///
    /// # Errors
    /// [`ClientError::ResultFormat`] when it is not UTF-8.
    pub fn to_text(&self) -> Result<String, ClientError> {
        String::from_utf8(self.to_bytes()?.into()).map_err(|cause| misfit("UTF-8 text", &cause))
    }

    /// The result as JSON, read as a type. A streamed result is read as the text of one JSON value.
    ///
    /// # Errors
    /// [`ClientError::ResultFormat`] when it is not JSON, or not of that type.
    pub fn to_json<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        let read = match self {
            Self::Inline { value, .. } => value.read(),
            Self::Streamed { bytes, .. } => serde_json::from_slice(bytes),
        };
        read.map_err(|cause| misfit("the JSON that was asked for", &cause))
    }
}

fn misfit(wanted: &'static str, cause: &dyn fmt::Display) -> ClientError {
    ClientError::ResultFormat {
        wanted,
        reason: cause.to_string(),
    }
}

impl From<&JobError> for JobFailure {
    fn from(error: &JobError) -> Self {
        Self {
            final_status: error.final_status,
            code: error.code.clone(),
            message: error.message.clone(),
            retryable: error.retryable,
            details: error.details.clone(),
            completed_at: error.completed_at,
        }
    }
}

/// Some runtimes report cancels and timeouts in a `job.result`.
impl From<&JobResult> for JobFailure {
    fn from(result: &JobResult) -> Self {
        let code = match result.final_status {
            JobStatus::Cancelled => ErrorCode::CANCELLED,
            JobStatus::TimedOut => ErrorCode::TIMEOUT,
            _ => ErrorCode::INTERNAL_ERROR,
        };
        Self {
            final_status: result.final_status,
            message: result.summary.clone().unwrap_or_default(),
            retryable: code.is_retryable(),
            code,
            details: None,
            completed_at: result.completed_at,
        }
    }
}
