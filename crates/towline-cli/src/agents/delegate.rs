//! `delegate`: gives its input to a child job and waits for it.

use serde::{Deserialize, Serialize};
use towline::{
    ErrorCode, JobId, Lease, LeaseConstraints,
    runtime::{AgentError, JobContext},
    wire::RawJson,
};

use super::waiting;

#[derive(Deserialize)]
pub(super) struct Input {
    agent: String,
    #[serde(default)]
    input: Option<RawJson>,
    #[serde(default)]
    lease: Option<Lease>,
    #[serde(default)]
    constraints: Option<LeaseConstraints>,
}

#[derive(Serialize)]
pub(super) struct Output {
    child: JobId,
    /// `success`, `error`, `cancelled` or `timed_out`.
    status: String,
    result: Option<RawJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ChildError>,
}

#[derive(Serialize)]
struct ChildError {
    code: ErrorCode,
    message: String,
}

pub(super) async fn run(ctx: JobContext, input: Input) -> Result<Output, AgentError> {
    let delegation = ctx
        .delegate(&input.agent)
        .input(input.input)
        .lease(input.lease.unwrap_or_default())
        .constraints(input.constraints.unwrap_or_default());
    let child = delegation.send().await?;
    let outcome = tokio::select! {
        outcome = child.outcome() => outcome,
        // The end of this job cancels the child.
        () = ctx.cancelled() => return Err(waiting::cancelled()),
    };
    Ok(Output {
        child: child.job_id().clone(),
        status: outcome.status.to_string(),
        result: outcome.result,
        error: outcome.error.map(|error| ChildError {
            code: error.code,
            message: error.message,
        }),
    })
}
