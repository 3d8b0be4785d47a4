//! `fail`: ends as it is told to.

use serde::Deserialize;
use towline::{
    ErrorCode,
    runtime::{AgentError, JobContext},
    wire::RawJson,
};

#[derive(Default, Deserialize)]
pub(super) struct Input {
    #[serde(default)]
    code: Option<ErrorCode>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    panic: bool,
}

pub(super) async fn run(_: JobContext, input: Option<Input>) -> Result<RawJson, AgentError> {
    let input = input.unwrap_or_default();
    assert!(!input.panic, "the agent was told to panic");
    let code = input.code.unwrap_or(ErrorCode::INTERNAL_ERROR);
    Err(AgentError::new(
        code,
        input
            .message
            .unwrap_or_else(|| "the agent was told to fail".to_owned()),
    ))
}
