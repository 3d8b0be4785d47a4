//! `tck-log-emitter`: the agent of the Java SDK's conformance kit that writes log events.
//!
//! The kit gives it an empty object and expects one line at least; how many, and which, can be asked for.

use serde::Deserialize;
use serde_json::{Value, json};
use towline::runtime::{AgentError, JobContext};

#[derive(Deserialize)]
#[serde(default)]
pub(super) struct Input {
    n: u64,
    level: String,
    message: String,
}

impl Default for Input {
    fn default() -> Self {
        Self {
            n: 1,
            level: "info".to_owned(),
            message: "tck-emit".to_owned(),
        }
    }
}

pub(super) async fn run(ctx: JobContext, input: Option<Input>) -> Result<Value, AgentError> {
    let Input { n, level, message } = input.unwrap_or_default();
    for _ in 0..n {
        ctx.log(&level, &message).await?;
    }
    Ok(json!({}))
}
