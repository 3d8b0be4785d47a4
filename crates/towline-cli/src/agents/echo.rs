//! `echo`: gives back what it was given.

use towline::{
    runtime::{AgentError, JobContext},
    wire::RawJson,
};

pub(super) async fn run(_: JobContext, input: RawJson) -> Result<RawJson, AgentError> {
    Ok(input)
}
