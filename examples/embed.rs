//! A runtime and a client in one process: an agent with typed input and output, its events, its result.
//!
//! ```sh
//! cargo run -p towline --example embed
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use serde::{Deserialize, Serialize};
use towline::{
    Event,
    client::{Client, ClientOptions, Outcome},
    runtime::{AgentError, JobContext, Level, Runtime, auth::StaticTokens},
    transport::MemoryTransport,
};

#[derive(Serialize, Deserialize)]
struct Order {
    words: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Counted {
    letters: usize,
}

/// Agents are functions. Whatever fails in here with `?` ends the job with INTERNAL_ERROR and the error's text.
async fn count(ctx: JobContext, order: Order) -> Result<Counted, AgentError> {
    let mut letters = 0;
    for word in &order.words {
        letters += word.chars().count();
        ctx.log(Level::Info, format!("{word}: {letters} so far"))
            .await?;
    }
    Ok(Counted { letters })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = Runtime::builder()
        .name("embedded", "1.0.0")
        .authenticator(StaticTokens::new([("me", "a-token")])?)
        .agent("count", count)
        .build()
        .await?;

    let (near, far) = MemoryTransport::pair();
    runtime.accept(far);
    let client = Client::connect(near, ClientOptions::bearer("a-token")).await?;

    let order = Order {
        words: ["long", "lived", "jobs"].map(str::to_owned).to_vec(),
    };
    let mut job = client.submit("count").input(&order).send().await?;
    while let Some(event) = job.next_event().await? {
        if let Event::Log(log) = event.event()? {
            println!("{}: {}", log.level, log.message);
        }
    }
    match job.outcome().await? {
        Outcome::Success(success) => println!("result: {:?}", success.result.to_json::<Counted>()?),
        Outcome::Failure(failure) => println!("{failure}"),
    }

    client.close("done").await?;
    runtime.shutdown().await;
    Ok(())
}
