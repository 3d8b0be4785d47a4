//! A review of a change in a git repository, with approvals: the agent looks at the difference, mends what it finds, and asks a
//! person before it commits. Without a yes nothing is committed. What it looks for is one rule, so that this runs without a
//! model and a key; a person's part is played by `main`.
//!
//! ```sh
//! cargo run -p towline --example review
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde::{Deserialize, Serialize};
use serde_json::json;
use towline::{
    Client, ClientOptions, Event, Lease, MemoryTransport, Runtime,
    runtime::{AgentError, JobContext, auth::StaticTokens},
    wire::RawJson,
};

const FILE: &str = "login.py";
const SECRET: &str = "password = \"hunter2\"\n";
const MENDED: &str = "password = os.environ[\"PASSWORD\"]\n";

fn git(repository: &Path, args: &[&str]) -> Result<String, String> {
    let who = [
        "-c",
        "user.name=review",
        "-c",
        "user.email=review@localhost",
    ];
    let ran = Command::new("git")
        .arg("-C")
        .arg(repository)
        .args(who)
        .args(args)
        .output()
        .map_err(|error| format!("git cannot be run: {error}"))?;
    if ran.status.success() {
        Ok(String::from_utf8_lossy(&ran.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&ran.stderr).into_owned())
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Review {
    findings: Vec<String>,
    committed: bool,
}

async fn review(ctx: JobContext, repository: PathBuf) -> Result<Review, AgentError> {
    let diff: String = ctx.call_tool("git.diff", json!({})).await?.read()?;
    let findings: Vec<String> = diff
        .lines()
        .filter(|line| line.starts_with('+') && line.contains("password = \""))
        .map(|line| format!("a password stands in the code: {}", &line[1..]))
        .collect();
    if findings.is_empty() {
        return Ok(Review {
            findings,
            committed: false,
        });
    }
    let path = repository.join(FILE).to_string_lossy().into_owned();
    let before = ctx.files().read_to_string(&path).await?;
    ctx.files()
        .write(&path, before.replace(SECRET, MENDED))
        .await?;
    // The lease does not grant this tool, but lets it be asked for: the call waits until a person has answered.
    let args = json!({ "message": "Take the password from the environment" });
    let committed = ctx.call_tool("git.commit", args).await.is_ok();
    Ok(Review {
        findings,
        committed,
    })
}

/// A repository with a change that nobody should commit as it is.
fn repository(directory: &Path) -> Result<(), Box<dyn std::error::Error>> {
    fs::create_dir_all(directory)?;
    git(directory, &["init", "--quiet"])?;
    fs::write(directory.join(FILE), "import os\n")?;
    git(directory, &["add", "."])?;
    git(directory, &["commit", "--quiet", "--message", "Begin"])?;
    fs::write(directory.join(FILE), format!("import os\n{SECRET}"))?;
    Ok(())
}

async fn start(directory: &Path) -> Result<(Runtime, Client), Box<dyn std::error::Error>> {
    #[derive(Deserialize)]
    struct Commit {
        message: String,
    }
    let (looked_at, written_to) = (directory.to_owned(), directory.to_owned());
    let diff = move |_: JobContext, _: RawJson| {
        let diff = git(&looked_at, &["diff"]);
        async move { Ok(json!(diff?).into()) }
    };
    let commit = move |_: JobContext, args: RawJson| {
        let message = args.read::<Commit>().map_err(|error| error.to_string());
        let done = message.and_then(|Commit { message }| {
            git(&written_to, &["commit", "--all", "--message", &message])
        });
        async move { Ok(json!(done?).into()) }
    };
    let runtime = Runtime::builder()
        .authenticator(StaticTokens::new([("me", "a-token")])?)
        .tool("git.diff", diff)
        .tool("git.commit", commit)
        .agent("review", review)
        .build()
        .await?;
    let (near, far) = MemoryTransport::pair();
    runtime.accept(far);
    let client = Client::connect(near, ClientOptions::bearer("a-token")).await?;
    Ok((runtime, client))
}

/// Submits the review, and answers what it asks.
async fn reviewed(
    client: &Client,
    directory: &Path,
    yes: bool,
) -> Result<Review, Box<dyn std::error::Error>> {
    let lease = Lease::new()
        .with("fs.read", format!("{}/**", directory.display()))
        .with("fs.write", format!("{}/{FILE}", directory.display()))
        .with("tool.call", "git.diff")
        .with("x-vendor.towline.ask", "tool.call=git.commit");
    let job = client.submit("review").input(directory);
    let mut job = job.lease(lease).send().await?;
    while let Some(event) = job.next_event().await? {
        if let Event::InputRequest(request) = event.event()? {
            println!(
                "asked: {} - {}",
                request.title,
                if yes { "yes" } else { "no" }
            );
            job.answer(request.question_id, yes).await?;
        }
    }
    Ok(job.result_json().await?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let place = std::env::temp_dir().join(format!("towline-review-{}", std::process::id()));
    for yes in [false, true] {
        let directory = place.join(yes.to_string());
        repository(&directory)?;
        // A lease is about where files really are.
        let directory = directory.canonicalize()?;
        let (runtime, client) = start(&directory).await?;
        let review = reviewed(&client, &directory, yes).await?;
        runtime.shutdown().await;
        println!("{review:?}");
        assert_eq!(review.findings.len(), 1);
        assert_eq!(review.committed, yes);
        let commits = git(&directory, &["rev-list", "--count", "HEAD"])?;
        assert_eq!(commits.trim(), if yes { "2" } else { "1" });
    }
    fs::remove_dir_all(place)?;
    Ok(())
}
