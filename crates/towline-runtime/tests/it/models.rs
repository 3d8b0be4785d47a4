//! Models through the lease.

use serde_json::{Value, json};
use towline_runtime::{AgentError, JobContext, RuntimeOptions, UpstreamRefusal};

use crate::peer::{Peer, runtime};

/// Asks for two models; gives what the answers were.
async fn ask(options: RuntimeOptions, lease: Value) -> Vec<Value> {
    let agent = |ctx: JobContext, _input: Value| async move {
        let mut answers = Vec::new();
        for model in ["acme/small", "acme/large"] {
            answers.push(match ctx.model(model).await {
                Ok(permit) => json!(permit.model()),
                Err(denied) => json!(denied.code()),
            });
        }
        Ok::<_, AgentError>(json!(answers))
    };
    let runtime = runtime()
        .options(options)
        .agent("models", agent)
        .build()
        .await
        .unwrap();
    let mut alice = Peer::alice(&runtime).await;
    let job = alice
        .submit(json!({"agent": "models", "lease_request": lease}))
        .await;
    let frames = alice.until_end(&job).await;
    runtime.shutdown().await;
    serde_json::from_value(frames.last().unwrap()["payload"]["result"].clone()).unwrap()
}

/// [ARCP 9.7-1, 9.3-2] a model outside of the lease is denied; a lease without `model.use` means none by default, and any
/// where the deployment says so.
#[tokio::test(start_paused = true)]
async fn models_are_checked_against_the_lease() {
    let strict = RuntimeOptions::default;
    assert_eq!(
        ask(strict(), json!({"model.use": ["acme/s*"]})).await,
        ["acme/small", "PERMISSION_DENIED"]
    );
    assert_eq!(
        ask(strict(), json!({})).await,
        ["PERMISSION_DENIED", "PERMISSION_DENIED"]
    );
    let open = strict().require_model_use(false);
    assert_eq!(
        ask(open.clone(), json!({})).await,
        ["acme/small", "acme/large"]
    );
    assert_eq!(
        ask(open, json!({"model.use": ["acme/s*"]})).await,
        ["acme/small", "PERMISSION_DENIED"]
    );
}

/// [ARCP 9.8-4] an upstream's refusal for budget surfaces as BUDGET_EXHAUSTED, one for the model as PERMISSION_DENIED, and
/// both stand in the log.
#[tokio::test(start_paused = true)]
async fn upstream_refusals_get_the_protocols_codes() {
    let agent = |ctx: JobContext, _input: Value| async move {
        let model = ctx
            .model("acme/small")
            .await?
            .refused(UpstreamRefusal::Model)
            .await;
        assert_eq!(model.code().as_str(), "PERMISSION_DENIED");
        let budget = ctx
            .model("acme/small")
            .await?
            .refused(UpstreamRefusal::Budget)
            .await;
        Err::<Value, _>(AgentError::from(budget))
    };
    let runtime = runtime().agent("models", agent).build().await.unwrap();
    let mut alice = Peer::alice(&runtime).await;
    let job = alice
        .submit(json!({"agent": "models", "lease_request": {"model.use": ["**"]}}))
        .await;
    let frames = alice.until_end(&job).await;
    let codes: Vec<_> = frames
        .iter()
        .filter(|frame| frame["payload"]["kind"] == "tool_result")
        .collect();
    let codes: Vec<_> = codes
        .iter()
        .map(|frame| &frame["payload"]["body"]["error"]["code"])
        .collect();
    assert_eq!(codes, ["PERMISSION_DENIED", "BUDGET_EXHAUSTED"]);
    assert_eq!(
        frames.last().unwrap()["payload"]["code"],
        "BUDGET_EXHAUSTED"
    );
    runtime.shutdown().await;
}
