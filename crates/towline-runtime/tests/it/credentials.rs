//! Credentials that are issued with jobs.

mod crash;
mod issuing;
mod rotation;
mod secrets;
pub mod upstream;

use serde_json::{Value, json};
use towline_runtime::{AgentError, JobContext, RuntimeBuilder};
use towline_wire::ErrorCode;

use self::upstream::{Durable, Upstream};
use crate::peer::{Peer, runtime};

/// A runtime with a store, an upstream, and agents that end in every way there is.
fn builder(store: &Durable, upstream: &Upstream) -> RuntimeBuilder {
    runtime()
        .store(store.clone())
        .credentials(upstream.clone())
        .agent("returns", |_ctx: JobContext, _input: Value| async move {
            Ok::<_, AgentError>(Value::Null)
        })
        .agent("waits", |ctx: JobContext, _input: Value| async move {
            ctx.cancelled().await;
            Ok::<_, AgentError>(Value::Null)
        })
        .agent("ignores", |_ctx: JobContext, _input: Value| async move {
            std::future::pending::<Result<Value, AgentError>>().await
        })
        .agent("fails", |_ctx: JobContext, _input: Value| async move {
            Err::<Value, _>(AgentError::new(ErrorCode::INTERNAL_ERROR, "no"))
        })
        .agent("panics", |_ctx: JobContext, input: Value| async move {
            assert!(input == 1, "what a panic");
            Ok::<_, AgentError>(Value::Null)
        })
}

/// A submit for which a credential is issued.
fn submit(agent: &str) -> Value {
    json!({"agent": agent, "lease_request": {"model.use": ["acme/*"], "cost.budget": ["USD:1.50"]}})
}

/// Submits; gives `job.accepted`.
async fn accepted(peer: &mut Peer, payload: Value) -> Value {
    peer.send("job.submit", payload).await;
    peer.expect("job.accepted").await
}

/// The one credential of a message.
fn credential(frame: &Value) -> &Value {
    let credentials = frame["payload"]["credentials"].as_array().unwrap();
    assert_eq!(credentials.len(), 1, "{frame}");
    &credentials[0]
}

/// The value of the one credential of a message.
fn value(frame: &Value) -> String {
    credential(frame)["value"].as_str().unwrap().to_owned()
}
