//! `kinds`: one event of each kind, `delegate` and `result_chunk` excepted.

use serde_json::{Value, json};
use towline::{
    Amount,
    runtime::{AgentError, JobContext},
    wire::event,
};

pub(super) async fn run(ctx: JobContext, _: Value) -> Result<Value, AgentError> {
    ctx.log("info", "a line of log").await?;
    ctx.thought("a step of reasoning").await?;
    let call = ctx
        .tool_call("search.web", &json!({"query": "towline"}))
        .await?;
    ctx.tool_result(&call, &json!({"hits": 3})).await?;
    ctx.status("working", Some("a phase of the job")).await?;
    ctx.metric("documents.read", Amount::from(3), Some("documents"))
        .await?;
    let artifact = event::ArtifactRef {
        uri: "https://example.org/report.txt".to_owned(),
        content_type: "text/plain".to_owned(),
        byte_size: Some(11),
        sha256: None,
    };
    ctx.artifact(artifact).await?;
    ctx.progress(1).of(1).units("steps").message("done").await?;
    Ok(json!({"ok": true}))
}
