//! `chatty`: a log line and a progress report, n times.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use towline::runtime::{AgentError, JobContext};

use super::waiting;

#[derive(Deserialize)]
pub(super) struct Input {
    n: u32,
    #[serde(default)]
    delay_ms: u64,
}

#[derive(Serialize)]
pub(super) struct Output {
    emitted: u32,
}

pub(super) async fn run(ctx: JobContext, input: Input) -> Result<Output, AgentError> {
    for i in 1..=input.n {
        if i > 1
            && input.delay_ms > 0
            && waiting::interrupted(&ctx, Duration::from_millis(input.delay_ms)).await
        {
            return Err(waiting::cancelled());
        }
        ctx.log("info", format!("line {i}")).await?;
        ctx.progress(i).of(input.n).send().await?;
    }
    Ok(Output { emitted: input.n })
}
