//! `versioned`: says which of its versions runs.

use serde::Serialize;
use towline::{
    runtime::{AgentError, JobContext},
    wire::RawJson,
};

#[derive(Serialize)]
pub(super) struct Output {
    version: &'static str,
}

pub(super) async fn one(_: JobContext, _: RawJson) -> Result<Output, AgentError> {
    Ok(Output { version: "1.0.0" })
}

pub(super) async fn two(_: JobContext, _: RawJson) -> Result<Output, AgentError> {
    Ok(Output { version: "2.0.0" })
}
