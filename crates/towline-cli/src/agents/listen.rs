//! `listen`: hears so many messages and returns them [ARCP 15-9].

use serde::Deserialize;
use towline::{
    runtime::{AgentError, JobContext},
    wire::RawJson,
};

#[derive(Deserialize)]
pub(super) struct Input {
    n: usize,
}

pub(super) async fn run(ctx: JobContext, input: Input) -> Result<Vec<RawJson>, AgentError> {
    let mut heard = Vec::new();
    let mut messages = ctx.messages();
    while heard.len() < input.n {
        let Some(message) = messages.next().await? else {
            break;
        };
        heard.push(message.body);
    }
    Ok(heard)
}
