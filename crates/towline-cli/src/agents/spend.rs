//! `spend`: calls a tool and pays for it, until the lease or the budget says no.

use serde::{Deserialize, Serialize};
use serde_json::json;
use towline::{
    Amount, ErrorCode,
    lease::Operation,
    runtime::{AgentError, EventError, JobContext},
};

#[derive(Deserialize)]
pub(super) struct Input {
    costs: Vec<(String, Amount)>,
}

#[derive(Serialize)]
pub(super) struct Output {
    calls: u32,
    refused: Option<ErrorCode>,
}

const TOOL: &str = "search.web";

pub(super) async fn run(ctx: JobContext, input: Input) -> Result<Output, AgentError> {
    let mut output = Output {
        calls: 0,
        refused: None,
    };
    for (currency, cost) in input.costs {
        let call = ctx.tool_call(TOOL, &json!({"query": "towline"})).await?;
        if let Err(denied) = ctx.authorize_call(Operation::ToolCall(TOOL), &call).await {
            output.refused = Some(denied.code().clone());
            break;
        }
        output.calls += 1;
        ctx.tool_result(&call, &json!({"hits": 3})).await?;
        match ctx.metric("cost.search", cost, Some(&currency)).await {
            // A cost that cannot be (a negative one, say) is refused; that is no reason to stop.
            Err(EventError::Metric(refused)) => ctx.log("warn", refused.to_string()).await?,
            other => other?,
        }
    }
    Ok(output)
}
