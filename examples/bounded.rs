//! What a lease and a budget do: files, a tool that costs money, a child with less than its parent has.
//!
//! ```sh
//! cargo run -p towline --example bounded
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use serde_json::{Value, json};
use towline::{
    Amount, Lease,
    client::{Client, ClientOptions},
    runtime::{AgentError, JobContext, Runtime, auth::StaticTokens},
    transport::MemoryTransport,
    wire::RawJson,
};

/// Reads a file and tries another one. A refusal is an ordinary error: the agent may go on without.
async fn reader(ctx: JobContext, paths: Vec<String>) -> Result<Vec<Value>, AgentError> {
    let mut seen = Vec::new();
    for path in paths {
        seen.push(match ctx.files().read_to_string(&path).await {
            Ok(text) => json!({"path": path, "bytes": text.len()}),
            Err(error) => json!({"path": path, "refused": error.to_string()}),
        });
    }
    Ok(seen)
}

/// Calls a tool that costs 40 cents until the budget is used up.
async fn spender(ctx: JobContext, _: Value) -> Result<Value, AgentError> {
    let cost: Amount = "0.40".parse()?;
    for calls in 0.. {
        let called = ctx
            .guarded_call("search.web", RawJson::NULL, |_| async {
                Ok(RawJson::EMPTY_OBJECT)
            })
            .await;
        if let Err(refused) = called {
            return Ok(json!({"calls": calls, "refused": refused.to_string()}));
        }
        ctx.metric("cost.search", cost, Some("USD")).await?;
    }
    Ok(Value::Null)
}

/// Hands on half of what it has. A child can never get more than its parent.
async fn parent(ctx: JobContext, _: Value) -> Result<Value, AgentError> {
    let half = Lease::new()
        .with("tool.call", "search.web")
        .with("cost.budget", "USD:0.50");
    let child = ctx.delegate("spender").lease(half).send().await?;
    let outcome = child.outcome().await;
    let more = Lease::new().with("tool.call", "**");
    let refused = ctx.delegate("spender").lease(more).send().await.err();
    Ok(json!({"child": outcome.result, "too_much": refused.map(|denied| denied.to_string())}))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = Runtime::builder()
        .authenticator(StaticTokens::new([("me", "a-token")])?)
        .agent("reader", reader)
        .agent("spender", spender)
        .agent("parent", parent)
        .build()
        .await?;
    let (near, far) = MemoryTransport::pair();
    runtime.accept(far);
    let client = Client::connect(near, ClientOptions::bearer("a-token")).await?;

    let here = std::env::current_dir()?;
    let manifest = here.join("Cargo.toml");
    let lease = Lease::new().with("fs.read", format!("{}/**", here.display()));
    let mut job = client
        .submit("reader")
        .input([manifest.to_string_lossy().as_ref(), "/etc/passwd"])
        .lease(lease)
        .send()
        .await?;
    println!("reader:  {}", job.result_text().await?);

    let lease = Lease::new()
        .with("tool.call", "search.*")
        .with("cost.budget", "USD:1.00");
    let mut job = client.submit("spender").lease(lease.clone()).send().await?;
    println!("spender: {}", job.result_text().await?);

    let mut job = client
        .submit("parent")
        .lease(lease.with("agent.delegate", "spender"))
        .send()
        .await?;
    println!("parent:  {}", job.result_text().await?);

    runtime.shutdown().await;
    Ok(())
}
