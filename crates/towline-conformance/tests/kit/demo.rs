//! A runtime with the agents the kit asks for.

use std::time::Duration;

use serde_json::{Value, json};
use towline_runtime::{AgentError, EventError, JobContext, Operation, Runtime, auth::StaticTokens};
use towline_wire::{Amount, ErrorCode, Lease, event};

pub(crate) const TOKEN: &str = "a-token-for-the-kit";

/// The token of somebody else.
pub(crate) const SECOND: &str = "another-token-for-the-kit";

/// The runtime.
pub(crate) async fn runtime() -> Runtime {
    let tokens = StaticTokens::new([("kit", TOKEN), ("other", SECOND)]).unwrap();
    let built = Runtime::builder()
        .name("demo", "1.0.0")
        .authenticator(tokens)
        .agent("echo", |_ctx: JobContext, input: Value| async move {
            Ok::<_, AgentError>(input)
        })
        .agent("chatty", chatty)
        .agent("sleep", sleep)
        .agent("fail", fail)
        .agent("kinds", kinds)
        .agent("stream", stream)
        .agent("spend", spend)
        .agent("delegate", delegate)
        .agent("versioned@1.0.0", versioned)
        .agent("versioned@2.0.0", versioned)
        .default_version("versioned@2.0.0");
    built.build().await.unwrap()
}

async fn chatty(ctx: JobContext, input: Value) -> Result<Value, AgentError> {
    let n = u32::try_from(input["n"].as_u64().unwrap_or(0)).unwrap();
    for i in 1..=n {
        ctx.log("info", &format!("line {i}")).await?;
        ctx.progress(i).of(n).await?;
        if let Some(delay) = input["delay_ms"].as_u64() {
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
    }
    Ok(json!({"emitted": n}))
}

async fn sleep(ctx: JobContext, input: Value) -> Result<Value, AgentError> {
    let ms = input["ms"].as_u64().unwrap_or(0);
    tokio::select! {
        () = tokio::time::sleep(Duration::from_millis(ms)) => Ok(json!({"slept_ms": ms})),
        () = ctx.cancelled() => Err(AgentError::new(ErrorCode::CANCELLED, "cancelled")),
    }
}

async fn fail(_ctx: JobContext, input: Value) -> Result<Value, AgentError> {
    let code = ErrorCode::new(input["code"].as_str().unwrap_or("INTERNAL_ERROR"));
    Err(AgentError::new(code, "as asked"))
}

async fn kinds(ctx: JobContext, _input: Value) -> Result<Value, AgentError> {
    ctx.log("info", "a line").await?;
    ctx.thought("a thought").await?;
    let call = ctx.tool_call("search.web", &json!({"q": 1})).await?;
    ctx.tool_result(&call, &json!({"hits": 3})).await?;
    ctx.status("working", Some("a phase")).await?;
    ctx.metric("documents", Amount::from(3), None).await?;
    let artifact = event::ArtifactRef {
        uri: "https://example.org/a".to_owned(),
        content_type: "text/plain".to_owned(),
        byte_size: Some(1),
        sha256: None,
    };
    ctx.artifact(artifact).await?;
    ctx.progress(1).await?;
    Ok(json!({"ok": true}))
}

async fn stream(ctx: JobContext, input: Value) -> Result<Value, AgentError> {
    let chunks = input["chunks"].as_u64().unwrap_or(0);
    let bytes = usize::try_from(input["bytes"].as_u64().unwrap_or(0)).unwrap();
    let mut result = ctx.stream_result()?;
    for _ in 0..chunks {
        if input["binary"] == true {
            result.write_bytes(&vec![255; bytes]).await?;
        } else {
            result.write_text(&"a".repeat(bytes)).await?;
        }
    }
    result.finish(None).await?;
    Ok(Value::Null)
}

async fn spend(ctx: JobContext, input: Value) -> Result<Value, AgentError> {
    for cost in input["costs"].as_array().into_iter().flatten() {
        let (currency, amount) = (cost[0].as_str().unwrap(), cost[1].to_string());
        let call = ctx.tool_call("search.web", &json!({})).await?;
        let operation = Operation::ToolCall("search.web");
        if ctx.authorize_call(operation, &call).await.is_err() {
            break;
        }
        let amount: Amount = amount.parse().unwrap();
        match ctx.metric("cost.search", amount, Some(currency)).await {
            Err(EventError::Metric(_)) | Ok(()) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Value::Null)
}

async fn delegate(ctx: JobContext, input: Value) -> Result<Value, AgentError> {
    let agent = input["agent"].as_str().unwrap();
    let mut child = ctx.delegate(agent).input(input["input"].clone());
    if input["lease"].is_object() {
        let lease: Lease = serde_json::from_value(input["lease"].clone()).unwrap();
        child = child.lease(lease);
    }
    let child = child.send().await?;
    child.outcome().await;
    Ok(Value::Null)
}

async fn versioned(_ctx: JobContext, _input: Value) -> Result<Value, AgentError> {
    Ok(Value::Null)
}
