//! A research agent: a model decides what to look up, a tool looks it up, the model writes the answer. The model here is made
//! of a few lines and costs nothing, so that this runs without a key; what bounds it is real: which tool, which model, how much
//! money.
//!
//! ```sh
//! cargo run -p towline --example research
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use serde::{Deserialize, Serialize};
use serde_json::json;
use towline::{
    Amount, Client, ClientOptions, Lease, MemoryTransport, Runtime,
    client::Outcome,
    runtime::{AgentError, JobContext, auth::StaticTokens},
    wire::RawJson,
};

const LIBRARY: [(&str, &str); 3] = [
    (
        "tide",
        "The moon draws the sea; twice a day there is high water. See also: moon.",
    ),
    (
        "moon",
        "The moon goes round the earth in 27 days. See also: month.",
    ),
    (
        "month",
        "A month is as long as the moon needs, more or less.",
    ),
];

/// The tool: one article of a small library. A server of the Model Context Protocol would be asked here.
async fn look_up(_ctx: JobContext, args: RawJson) -> Result<RawJson, String> {
    #[derive(Deserialize)]
    struct Query {
        word: String,
    }
    let query: Query = args.read().map_err(|error| error.to_string())?;
    let found = LIBRARY.iter().find(|(word, _)| *word == query.word);
    let (_, text) = found.ok_or_else(|| format!("nothing about `{}`", query.word))?;
    let text = (*text).to_owned();
    RawJson::of(&Article { text }).map_err(|error| error.to_string())
}

#[derive(Serialize, Deserialize)]
struct Article {
    text: String,
}

/// What a model wants next.
enum Wish {
    LookUp(String),
    Answer(String),
}

/// The model: follows every reference it has not followed yet, then says what it read.
fn think(question: &str, notes: &[String]) -> Wish {
    let next = match notes.last() {
        None => question.split(' ').next_back(),
        Some(note) => note.split_once("See also: ").map(|(_, word)| word),
    };
    match next {
        Some(word) => Wish::LookUp(word.trim_matches(['?', '.']).to_owned()),
        None => Wish::Answer(notes.join(" ")),
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Findings {
    answer: String,
    looked_up: usize,
}

async fn research(ctx: JobContext, question: String) -> Result<Findings, AgentError> {
    let price: Amount = "0.02".parse()?;
    let mut notes = Vec::new();
    loop {
        // Asked each time: a budget that is used up, or a lease that has expired, ends the job here.
        let permit = ctx.model("library/small").await?;
        let wish = think(&question, &notes);
        ctx.metric("cost.completion", price, Some("USD")).await?;
        drop(permit);
        match wish {
            Wish::LookUp(word) => {
                ctx.thought(format!("I need to know more about `{word}`."))
                    .await?;
                let found = ctx.call_tool("library.look_up", json!({ "word": word }));
                let article: Article = found.await?.read()?;
                notes.push(article.text);
            }
            Wish::Answer(answer) => {
                let looked_up = notes.len();
                return Ok(Findings { answer, looked_up });
            }
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = Runtime::builder()
        .authenticator(StaticTokens::new([("me", "a-token")])?)
        .tool("library.look_up", look_up)
        .agent("research", research)
        .build()
        .await?;
    let (near, far) = MemoryTransport::pair();
    runtime.accept(far);
    let client = Client::connect(near, ClientOptions::bearer("a-token")).await?;
    let lease = Lease::new()
        .with("tool.call", "library.*")
        .with("model.use", "library/*");

    let enough = lease.clone().with("cost.budget", "USD:1.00");
    let job = client.submit("research").input("why is there a tide?");
    let mut job = job.lease(enough).send().await?;
    let findings: Findings = job.result_json().await?;
    println!("{} articles: {}", findings.looked_up, findings.answer);
    assert_eq!(findings.looked_up, 3);

    // The same with money for two thoughts: it ends with the code, and nothing is spent beyond.
    let little = lease.with("cost.budget", "USD:0.04");
    let job = client.submit("research").input("why is there a tide?");
    let mut job = job.lease(little).send().await?;
    match job.outcome().await? {
        Outcome::Failure(failure) => println!("with less money: {failure}"),
        Outcome::Success(_) => return Err("it spent what it did not have".into()),
    }
    runtime.shutdown().await;
    Ok(())
}
