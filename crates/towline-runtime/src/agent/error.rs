//! Why an agent gives up.

use std::{error::Error, fmt};

use towline_proto::job::Failure;
use towline_wire::{ErrorCode, RawJson};

use crate::context::Denied;

/// Ends a job with an error code.
///
/// `?` turns any error into one: a refusal of the runtime ([`Denied`], also as the cause of another error) keeps its code,
/// everything else becomes INTERNAL_ERROR with the error's text, which the submitter sees. For another code, or to keep
/// internals to yourself, use [`AgentError::new`]. (It is not itself a [`std::error::Error`]; that is what makes the
/// conversion possible.)
pub struct AgentError {
    failure: Failure,
}

impl AgentError {
    /// An end with a code and a message for a person.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            failure: Failure::new(code, message),
        }
    }

    /// The input does not fit the agent.
    pub fn invalid_input(cause: &dyn fmt::Display) -> Self {
        Self::new(
            ErrorCode::INVALID_REQUEST,
            format!("`input` does not fit this agent: {cause}"),
        )
    }

    /// Adds fields for a program.
    #[must_use]
    pub fn with_details(mut self, details: impl Into<RawJson>) -> Self {
        self.failure.details = Some(details.into());
        self
    }

    /// The code.
    pub fn code(&self) -> &ErrorCode {
        &self.failure.code
    }

    /// The message.
    pub fn message(&self) -> &str {
        &self.failure.message
    }

    /// How the job ends with it. Its texts come from whoever works on the job, and have to fit into a message to those who wait
    /// [ARCP 14-6]: a longer message is cut, and details that are too large are left out.
    pub(crate) fn into_failure(self) -> Failure {
        let mut failure = self.failure;
        if failure.message.len() > MESSAGE {
            let mut ends = (0..=MESSAGE).rev();
            let end = ends.find(|end| failure.message.is_char_boundary(*end));
            failure.message.truncate(end.unwrap_or_default());
            failure.message.push('…');
        }
        let size = failure
            .details
            .as_ref()
            .map(|details| details.as_str().len());
        if let Some(size) = size.filter(|size| *size > DETAILS) {
            let told = serde_json::json!({"left_out_bytes": size});
            failure.details = Some(RawJson::from(told));
        }
        if failure.message.is_empty() {
            failure.message = format!("the agent ended with {}", failure.code);
        }
        failure
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for AgentError {
    fn from(error: E) -> Self {
        if let Some(denied) = refusal_in(&error) {
            return Self::new(denied.code().clone(), error.to_string());
        }
        Self::new(ErrorCode::INTERNAL_ERROR, error.to_string())
    }
}

/// The refusal an error is, or came from.
fn refusal_in<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e Denied> {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes
        .take(MAX_CAUSES)
        .find_map(|cause| cause.downcast_ref::<Denied>())
}

impl fmt::Debug for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.failure, f)
    }
}

/// So many bytes of a message are told.
const MESSAGE: usize = 64 << 10;

/// Details have at most so many bytes.
const DETAILS: usize = 1 << 20;

/// A chain of causes that is longer is most likely a circle.
const MAX_CAUSES: usize = 32;
