//! What a client can do beside waiting: many jobs at once, watching from another session, listing, cancelling.
//!
//! ```sh
//! cargo run -p towline --example client
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use futures_util::{TryStreamExt as _, future::try_join_all};
use towline::{
    JobStatus, Runtime,
    client::{Client, ClientOptions},
    runtime::{AgentError, JobContext, auth::StaticTokens},
    transport::MemoryTransport,
};

async fn square(_: JobContext, number: u64) -> Result<u64, AgentError> {
    Ok(number * number)
}

/// Works until it is told to stop.
async fn endless(ctx: JobContext, _: Option<()>) -> Result<(), AgentError> {
    for round in 1u32.. {
        ctx.progress(round).units("rounds").await?;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

async fn session(runtime: &Runtime) -> Result<Client, towline::ClientError> {
    let (near, far) = MemoryTransport::pair();
    runtime.accept(far);
    Client::connect(near, ClientOptions::bearer("a-token")).await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = Runtime::builder()
        .authenticator(StaticTokens::new([("me", "a-token")])?)
        .agent("square", square)
        .agent("endless", endless)
        .build()
        .await?;
    let (client, watcher) = (session(&runtime).await?, session(&runtime).await?);

    // Clones of a client are the same session, and requests do not wait for each other.
    let squares = try_join_all((1..=10u64).map(|number| {
        let submit = client.submit("square").input(number);
        async move { submit.send().await?.result_json::<u64>().await }
    }));
    let squares = squares.await?;
    println!("squares: {squares:?}");
    assert_eq!(squares.iter().sum::<u64>(), 385);

    // Another session of the same principal may watch, from the first event on.
    let mut job = client.submit("endless").send().await?;
    let mut watched = watcher
        .subscribe(job.id().clone())
        .history(true)
        .send()
        .await?;
    for _ in 0..5 {
        watched.next_event().await?.ok_or("it goes on")?;
    }
    // It may not cancel; the session that submitted may.
    let refused = watcher.cancel(job.id().clone(), "enough").await;
    println!("the watcher: {}", refused.expect_err("only watching"));
    job.cancel("enough").await?;
    assert_eq!(job.outcome().await?.status(), JobStatus::Cancelled);
    assert_eq!(watched.outcome().await?.status(), JobStatus::Cancelled);

    let done = client.list_jobs().agent("square").stream();
    let done: Vec<_> = done.try_collect().await?;
    println!("{} jobs of `square` are kept", done.len());
    assert_eq!(done.len(), 10);

    client.close("done").await?;
    runtime.shutdown().await;
    Ok(())
}
