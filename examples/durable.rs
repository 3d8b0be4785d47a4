//! A job that survives its runtime: it goes on from its last checkpoint, and its client finds it by its key.
//!
//! This program starts itself: the first process dies in the middle of the work, the second one ends it.
//!
//! ```sh
//! cargo run -p towline --example durable
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{path::Path, process::Command, time::Duration};

use towline::{
    Client, ClientOptions, Event, JobHandle, MemoryTransport, Runtime,
    runtime::{AgentError, JobContext, Level, auth::StaticTokens},
    store::SqliteStore,
};

/// Adds up numbers, and notes after each how far it is.
async fn adding(ctx: JobContext, numbers: Vec<u64>) -> Result<u64, AgentError> {
    let (done, mut sum): (u32, u64) = ctx.restored().await?.unwrap_or_default();
    if done > 0 {
        ctx.log(Level::Info, format!("going on after {done} numbers"))
            .await?;
    }
    for (at, number) in (1u32..).zip(numbers).skip(done as usize) {
        sum += number;
        ctx.checkpoint((at, sum)).await?;
        ctx.progress(at).units("numbers").await?;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(sum)
}

async fn start(directory: &Path) -> Result<(Runtime, Client), Box<dyn std::error::Error>> {
    let runtime = Runtime::builder()
        .authenticator(StaticTokens::new([("me", "a-token")])?)
        .store(SqliteStore::open(directory.join("towline.db")).await?)
        .restartable_agent("adding", adding)
        .build()
        .await?;
    let (near, far) = MemoryTransport::pair();
    runtime.accept(far);
    let client = Client::connect(near, ClientOptions::bearer("a-token")).await?;
    Ok((runtime, client))
}

/// The same submit in both lives: the key makes them one job.
async fn submit(client: &Client) -> Result<JobHandle, towline::ClientError> {
    let numbers: Vec<u64> = (1..=100).collect();
    client
        .submit("adding")
        .input(numbers)
        .idempotency_key("the sum")
        .send()
        .await
}

/// Dies without a goodbye.
async fn first_life(directory: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let (_runtime, client) = start(directory).await?;
    let mut job = submit(&client).await?;
    while let Some(event) = job.next_event().await? {
        if let Event::Progress(progress) = event.event()?
            && progress.current == 30u32.into()
        {
            println!("{} has done 30 numbers; the process dies", job.id());
            std::process::exit(1);
        }
    }
    Ok(())
}

async fn second_life(directory: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let (runtime, client) = start(directory).await?;
    let mut job = submit(&client).await?;
    let mut went_on = None;
    while let Some(event) = job.next_event().await? {
        if let Event::Log(log) = event.event()? {
            println!("{}: {}", job.id(), log.message);
            went_on = Some(log.message);
        }
    }
    let sum: u64 = job.result_json().await?;
    println!("the sum is {sum}");
    assert_eq!(sum, 5050);
    assert!(went_on.is_some(), "it did not begin again from nothing");
    runtime.shutdown().await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let Some(directory) = std::env::args().nth(1) {
        return first_life(Path::new(&directory)).await;
    }
    let directory = std::env::temp_dir().join(format!("towline-durable-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let died = Command::new(std::env::current_exe()?)
        .arg(&directory)
        .status()?;
    assert!(!died.success());
    second_life(&directory).await?;
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}
