//! `access`: asks its lease for operations and tells what it answered.

use serde::{Deserialize, Serialize};
use towline::{
    ErrorCode,
    lease::Operation,
    runtime::{AgentError, JobContext},
    wire::namespace,
};

#[derive(Deserialize)]
pub(super) struct Input {
    ops: Vec<(String, String)>,
}

#[derive(Serialize)]
pub(super) struct Answer {
    op: String,
    value: String,
    allowed: bool,
    code: Option<ErrorCode>,
}

pub(super) async fn run(ctx: JobContext, input: Input) -> Result<Vec<Answer>, AgentError> {
    let mut answers = Vec::with_capacity(input.ops.len());
    for (op, value) in input.ops {
        let decision = ctx.authorize(operation(&op, &value)).await;
        let code = decision.err().map(|denied| denied.code().clone());
        answers.push(Answer {
            allowed: code.is_none(),
            op,
            value,
            code,
        });
    }
    Ok(answers)
}

fn operation<'v>(namespace: &'v str, value: &'v str) -> Operation<'v> {
    match namespace {
        namespace::FS_READ => Operation::FsRead(value),
        namespace::FS_WRITE => Operation::FsWrite(value),
        namespace::NET_FETCH => Operation::NetFetch(value),
        namespace::TOOL_CALL => Operation::ToolCall(value),
        namespace::AGENT_DELEGATE => Operation::Delegate(value),
        namespace::MODEL_USE => Operation::ModelUse(value),
        _ => Operation::Other { namespace, value },
    }
}
