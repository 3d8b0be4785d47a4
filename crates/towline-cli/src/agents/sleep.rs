//! `sleep`: does nothing for a while, and hears a cancel unless it is told not to.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use towline::runtime::{AgentError, JobContext};

use super::waiting;

#[derive(Deserialize)]
pub(super) struct Input {
    ms: u64,
    #[serde(default)]
    ignore_cancel: bool,
}

#[derive(Serialize)]
pub(super) struct Output {
    slept_ms: u64,
}

pub(super) async fn run(ctx: JobContext, input: Input) -> Result<Output, AgentError> {
    let time = Duration::from_millis(input.ms);
    if input.ignore_cancel {
        tokio::time::sleep(time).await;
    } else if waiting::interrupted(&ctx, time).await {
        return Err(waiting::cancelled());
    }
    Ok(Output { slept_ms: input.ms })
}
