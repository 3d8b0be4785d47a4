//! A client that its runtime starts: the runtime's process is the parent, and speaks to the child's standard input and output.
//!
//! So a program that hosts agents hands one of its own helpers a session, without a port or a file. This program is both: started
//! with `client` it is the child, else the runtime.
//!
//! ```sh
//! cargo run -p towline --features client,runtime,child --example child_client
//! ```

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example shows what it does"
)]

use std::time::Duration;

use towline::{
    Client, ClientOptions, JobContext, Runtime, StdioTransport,
    runtime::auth::StaticTokens,
    transport::{ChildOptions, ChildProcess},
};

type Done = Result<(), Box<dyn std::error::Error>>;

/// The child. Standard output carries envelopes and nothing else; what it has to say goes to standard error.
async fn client() -> Done {
    let token = std::env::var("ARCP_TOKEN")?;
    let transport = StdioTransport::from_process();
    let client = Client::connect(transport, ClientOptions::bearer(token)).await?;
    let mut job = client.submit("shout").input("hello").send().await?;
    let loud: String = job.result_json().await?;
    eprintln!("the client got {loud}");
    assert_eq!(loud, "HELLO");
    client.close("done").await?;
    // Reading stdin holds a thread that only ends with the process.
    std::process::exit(0);
}

/// The runtime.
async fn parent() -> Done {
    let token = "only-this-child-has-it";
    let runtime = Runtime::builder()
        .authenticator(StaticTokens::new([("helper", token)])?)
        .agent("shout", |_ctx: JobContext, text: String| async move {
            Ok(text.to_uppercase())
        })
        .build()
        .await?;
    let this = std::env::current_exe()?;
    let options = ChildOptions::new(this)
        .args(["client"])
        .env("ARCP_TOKEN", token)
        .on_stderr(|line| println!("the child says: {line}"));
    let (mut child, transport) = ChildProcess::spawn(&options)?;
    runtime.accept(transport).closed().await;
    let status = child.terminate(Duration::from_secs(5)).await?;
    runtime.shutdown().await;
    assert!(status.success(), "{status}");
    Ok(())
}

#[tokio::main]
async fn main() -> Done {
    match std::env::args().nth(1).as_deref() {
        Some("client") => client().await,
        _ => parent().await,
    }
}
