//! `ask`: asks one question and tells what became of it [ARCP 15-9].

use serde_json::{Value, json};
use towline::{
    agents::AskInput,
    runtime::{AgentError, JobContext},
};

pub(super) async fn run(ctx: JobContext, input: AskInput) -> Result<Value, AgentError> {
    let answer = input.ask(&ctx).await?;
    Ok(json!({"outcome": answer.outcome(), "answer": answer.value()}))
}
