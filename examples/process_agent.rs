//! An agent in a process of its own that speaks ARCP over standard input and output.
//!
//! This program is both: started with `agent` it is the agent, else a runtime that starts the agent for each job, as
//! `towline serve` does for an `[agents.NAME]` of its configuration. Any SDK can be the child.
//!
//! ```sh
//! cargo run -p towline --features agents --example process_agent
//! ```

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example shows what it does"
)]

use std::process::ExitCode;

use towline::{
    Client, ClientOptions, Event, MemoryTransport, Runtime, StdioTransport,
    agents::ProcessAgent,
    runtime::{AgentError, JobContext, auth::StaticTokens},
};

type Done = Result<(), Box<dyn std::error::Error>>;

async fn review(ctx: JobContext, text: String) -> Result<Vec<String>, AgentError> {
    ctx.thought("looking for words that say nothing").await?;
    let empty = ["very", "really", "just"];
    let found = text.split_whitespace().filter(|word| empty.contains(word));
    Ok(found.map(str::to_owned).collect())
}

/// The child. Standard output carries envelopes and nothing else; what it has to say goes to standard error.
async fn agent() -> Done {
    let runtime = Runtime::builder()
        .authenticator(StaticTokens::new([(
            "parent",
            std::env::var("ARCP_TOKEN")?,
        )])?)
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

/// The runtime, and a client of it.
async fn parent() -> Done {
    let this = std::env::current_exe()?;
    let review = ProcessAgent::arcp([this.as_os_str(), "agent".as_ref()]);
    let runtime = Runtime::builder()
        .authenticator(StaticTokens::new([("me", "a-token")])?)
        .agent("review", review)
        .build()
        .await?;
    let (near, far) = MemoryTransport::pair();
    runtime.accept(far);
    let client = Client::connect(near, ClientOptions::bearer("a-token")).await?;
    let mut job = client
        .submit("review")
        .input("it is really just very good")
        .send()
        .await?;
    while let Some(event) = job.next_event().await? {
        match event.event()? {
            Event::Thought(thought) => println!("the agent thinks: {}", thought.text),
            Event::Log(log) => println!("the child says: {}", log.message),
            _ => {}
        }
    }
    let found: Vec<String> = job.result_json().await?;
    println!("found: {found:?}");
    assert_eq!(found, ["really", "just", "very"]);
    client.close("done").await?;
    runtime.shutdown().await;
    Ok(())
}

fn main() -> ExitCode {
    // First of all: this program also starts the agent's process, and keeps together what that starts.
    if let Some(status) = towline::agents::launcher::run_if_asked() {
        return status;
    }
    let done = tokio::runtime::Runtime::new()
        .map_err(Into::into)
        .and_then(|tokio| match std::env::args().nth(1).as_deref() {
            Some("agent") => tokio.block_on(agent()),
            _ => tokio.block_on(parent()),
        });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
