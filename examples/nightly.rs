//! A nightly job with a budget: it may be started as often as you like, by a timer that fires twice or a machine that comes
//! back from a crash, and runs once a night all the same; it spends what it was given and no more; and the next night begins
//! where the money ended.
//!
//! ```sh
//! cargo run -p towline --example nightly
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use serde::{Deserialize, Serialize};
use towline::{
    Amount, Client, ClientOptions, JobId, Lease, MemoryTransport, Runtime,
    lease::Operation,
    runtime::{AgentError, JobContext, auth::StaticTokens},
    store::SqliteStore,
};

#[derive(Debug, Serialize, Deserialize)]
struct Night {
    /// The pages that were summarised.
    done: Vec<String>,
    /// Those for which there was no money.
    left: Vec<String>,
}

/// Summarises pages, ten cents each, until all are done or the money is gone.
async fn summaries(ctx: JobContext, mut pages: Vec<String>) -> Result<Night, AgentError> {
    let price: Amount = "0.10".parse()?;
    let mut done = Vec::new();
    while let Some(page) = pages.first() {
        if ctx
            .authorize(Operation::ToolCall("summarise"))
            .await
            .is_err()
        {
            break;
        }
        ctx.log("info", format!("summarised {page}")).await?;
        ctx.metric("cost.completion", price, Some("USD")).await?;
        done.push(pages.remove(0));
    }
    Ok(Night { done, left: pages })
}

/// What the timer does. The date is the key: the second one of a date finds the first one's job.
async fn tonight(
    client: &Client,
    date: &str,
    pages: &[String],
) -> Result<(JobId, Night), Box<dyn std::error::Error>> {
    let lease = Lease::new()
        .with("tool.call", "summarise")
        .with("cost.budget", "USD:0.30");
    let mut job = client
        .submit("summaries")
        .input(pages)
        .lease(lease)
        .idempotency_key(format!("summaries of {date}"))
        .send()
        .await?;
    let night = job.result_json().await?;
    Ok((job.id().clone(), night))
}

async fn start(store: &std::path::Path) -> Result<(Runtime, Client), Box<dyn std::error::Error>> {
    let runtime = Runtime::builder()
        .authenticator(StaticTokens::new([("me", "a-token")])?)
        .store(SqliteStore::open(store).await?)
        .agent("summaries", summaries)
        .build()
        .await?;
    let (near, far) = MemoryTransport::pair();
    runtime.accept(far);
    let client = Client::connect(near, ClientOptions::bearer("a-token")).await?;
    Ok((runtime, client))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::temp_dir().join(format!("towline-nightly-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let store = directory.join("towline.db");
    let mut pages: Vec<String> = (1..=5).map(|number| format!("page {number}")).collect();
    for date in ["2026-01-30", "2026-01-31"] {
        let (runtime, client) = start(&store).await?;
        let (first, night) = tonight(&client, date, &pages).await?;
        runtime.shutdown().await;

        // The timer fires again, in another process for all it knows.
        let (runtime, client) = start(&store).await?;
        let (again, _) = tonight(&client, date, &pages).await?;
        runtime.shutdown().await;
        assert_eq!(first, again, "one job a night");
        println!(
            "{date}: {} done, {} left",
            night.done.len(),
            night.left.len()
        );
        pages = night.left;
    }
    assert!(
        pages.is_empty(),
        "two nights are enough: three pages, then two"
    );
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}
