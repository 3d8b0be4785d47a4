//! An agent that hands parts of its work to others and puts together what they give.
//!
//! ```sh
//! cargo run -p towline --example delegation
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use serde_json::json;
use towline::{
    Client, ClientOptions, Event, JobStatus, Lease, MemoryTransport, Runtime,
    runtime::{AgentError, JobContext, Level, auth::StaticTokens},
};

/// Counts the words of one text.
async fn count(ctx: JobContext, text: String) -> Result<usize, AgentError> {
    ctx.log(Level::Info, format!("counting {} bytes", text.len()))
        .await?;
    Ok(text.split_whitespace().count())
}

/// Has every text counted, all at the same time.
async fn total(ctx: JobContext, texts: Vec<String>) -> Result<usize, AgentError> {
    let mut children = Vec::new();
    for text in &texts {
        children.push(ctx.delegate("count").input(text).send().await?);
    }
    let mut sum = 0;
    for child in &children {
        let outcome = child.outcome().await;
        match (outcome.status, outcome.result) {
            (JobStatus::Success, Some(words)) => sum += words.read::<usize>()?,
            (status, _) => {
                ctx.log(Level::Warn, format!("{} ended as {status}", child.job_id()))
                    .await?
            }
        }
    }
    // What the lease does not name cannot be delegated to. A refusal is an ordinary error.
    if let Err(refused) = ctx.delegate("total").input(json!([])).send().await {
        ctx.log(Level::Info, refused.to_string()).await?;
    }
    Ok(sum)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = Runtime::builder()
        .authenticator(StaticTokens::new([("me", "a-token")])?)
        .agent("count", count)
        .agent("total", total)
        .build()
        .await?;
    let (near, far) = MemoryTransport::pair();
    runtime.accept(far);
    let client = Client::connect(near, ClientOptions::bearer("a-token")).await?;

    let mut job = client
        .submit("total")
        .input(["one two", "three", "four five six"])
        .lease(Lease::new().with("agent.delegate", "count"))
        .send()
        .await?;
    let (mut children, mut refusals) = (Vec::new(), 0);
    while let Some(event) = job.next_event().await? {
        match event.event()? {
            Event::Delegate(delegate) => children.push(delegate.child_job_id),
            Event::Log(log) => {
                println!("{}", log.message);
                refusals += 1;
            }
            _ => {}
        }
    }
    // The children's jobs are this session's as well.
    for child in &children {
        let mut child = client.attach(child)?;
        let words: usize = child.result_json().await?;
        println!("{}: {words} words", child.id());
    }
    let words: usize = job.result_json().await?;
    println!("{words} words");
    assert_eq!((words, children.len(), refusals), (6, 3, 1));

    runtime.shutdown().await;
    Ok(())
}
