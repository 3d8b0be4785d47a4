//! An agent in a process of its own that speaks ARCP over standard input and output.
//!
//! This program is both: started with `agent` it is the agent, else the parent that starts itself. `towline serve` does
//! what the parent does here for each job of an `[agents.NAME]` with `protocol = "arcp"`, and any SDK can be the child.
//!
//! ```sh
//! cargo run -p towline --example process_agent
//! ```

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example shows what it does"
)]

use towline::{
    Client, ClientOptions, Event, Runtime, StdioTransport,
    runtime::{AgentError, JobContext, auth::StaticTokens},
    transport::{ChildOptions, ChildProcess},
};

const TOKEN: &str = "ARCP_TOKEN";

async fn review(ctx: JobContext, text: String) -> Result<Vec<String>, AgentError> {
    ctx.thought("looking for words that say nothing").await?;
    let empty = ["very", "really", "just"];
    let found = text.split_whitespace().filter(|word| empty.contains(word));
    Ok(found.map(str::to_owned).collect())
}

/// The child. Standard output carries envelopes and nothing else; what it has to say goes to standard error.
async fn agent() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = Runtime::builder()
        .authenticator(StaticTokens::new([("parent", std::env::var(TOKEN)?)])?)
        .agent("review", review)
        .build()
        .await?;
    eprintln!("ready");
    runtime
        .accept(StdioTransport::from_process())
        .closed()
        .await;
    runtime.shutdown().await;
    Ok(())
}

async fn parent() -> Result<(), Box<dyn std::error::Error>> {
    let options = ChildOptions::new(std::env::current_exe()?)
        .args(["agent"])
        .env(TOKEN, "between-us")
        .on_stderr(|line| println!("the child says: {line}"));
    let (mut child, transport) = ChildProcess::spawn(&options)?;
    let client = Client::connect(transport, ClientOptions::bearer("between-us")).await?;
    let mut job = client
        .submit("review")
        .input("it is really just very good")
        .send()
        .await?;
    while let Some(event) = job.next_event().await? {
        if let Event::Thought(thought) = event.event()? {
            println!("the agent thinks: {}", thought.text);
        }
    }
    let found: Vec<String> = job.result_json().await?;
    println!("found: {found:?}");
    assert_eq!(found, ["really", "just", "very"]);
    // The end of its input ends the child.
    client.close("done").await?;
    let status = child.wait().await?;
    println!("the child ended with {status}");
    assert!(status.success());
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    match std::env::args().nth(1).as_deref() {
        Some("agent") => agent().await,
        _ => parent().await,
    }
}
