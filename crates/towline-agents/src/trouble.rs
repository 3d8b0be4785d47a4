//! How agents' processes fail, in words.

use towline_runtime::AgentError;
use towline_wire::ErrorCode;

/// How errors say that a program did something.
pub(crate) fn failed(subject: &str, what: &str) -> AgentError {
    AgentError::new(ErrorCode::INTERNAL_ERROR, format!("{subject} {what}"))
}

/// What errors call the program of an agent.
pub(crate) fn agent_process(name: &str) -> String {
    format!("the process of the agent `{name}`")
}

/// An error with all its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    for cause in std::iter::successors(error.source(), |cause| cause.source()) {
        let more = cause.to_string();
        // Many errors repeat their cause in their own text.
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
    }
    text
}

/// How an agent that heard a cancel ends. The runtime knows better why and says so.
pub(crate) fn cancelled() -> AgentError {
    AgentError::new(ErrorCode::CANCELLED, "the job was cancelled")
}
