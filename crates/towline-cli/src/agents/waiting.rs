//! How agents wait, and end when they must not wait any longer.

use std::time::Duration;

use towline::{
    ErrorCode,
    runtime::{AgentError, JobContext},
};

/// Waits for so long; `true` when the job has to end instead.
pub(super) async fn interrupted(ctx: &JobContext, time: Duration) -> bool {
    tokio::select! {
        () = tokio::time::sleep(time) => false,
        () = ctx.cancelled() => true,
    }
}

/// How an agent that heard a cancel ends. The runtime knows better why and says so.
pub(super) fn cancelled() -> AgentError {
    AgentError::new(ErrorCode::CANCELLED, "the job was cancelled")
}
