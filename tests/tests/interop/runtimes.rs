//! The program `towline`, and the Rust client, and a Python runtime.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};
use towline::{
    ErrorCode, JobStatus, Lease,
    client::{Backoff, Client, ClientError, ClientOptions, Outcome},
    transport::WebSocketTransport,
};
use towline_tests::{
    program::{Place, Ran},
    soon,
};

use crate::python::{PythonRuntime, python};

const TOKEN: &str = "python-token";

async fn towline(runtime: &PythonRuntime, args: &[&str]) -> Ran {
    let flags = ["--url", &runtime.url, "--token", TOKEN];
    Place::new().run(args.iter().chain(&flags)).await
}

async fn client(runtime: &PythonRuntime) -> Client {
    let url = runtime.url.clone();
    let connector = move || {
        let url = url.clone();
        async move { WebSocketTransport::connect(&url).await }
    };
    let backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(50));
    let options = ClientOptions::bearer(TOKEN)
        .connector(connector)
        .backoff(backoff);
    soon("the welcome", Client::dial(options))
        .await
        .expect("the Python runtime welcomes")
}

/// Every kind of event, as lines.
#[tokio::test]
async fn the_program_shows_every_kind() {
    let Some(python) = python() else { return };
    let runtime = python.runtime(TOKEN).await;
    let lines = towline(&runtime, &["run", "kinds", "-o", "ndjson"])
        .await
        .status(0)
        .lines();
    let kinds: BTreeSet<&str> = lines
        .iter()
        .filter_map(|line| line["kind"].as_str())
        .collect();
    let expected = [
        "artifact_ref",
        "log",
        "metric",
        "progress",
        "status",
        "thought",
        "tool_call",
        "tool_result",
        "x-vendor.acme.beat",
    ];
    assert_eq!(kinds, BTreeSet::from(expected));
    assert_eq!(
        lines.first().map(|line| &line["type"]),
        Some(&json!("job.accepted"))
    );
    assert_eq!(
        lines.last().map(|line| &line["result"]),
        Some(&json!({"ok": true}))
    );
}

/// Results: inline, streamed as text, streamed as bytes.
#[tokio::test]
async fn the_program_gets_results() {
    let Some(python) = python() else { return };
    let runtime = python.runtime(TOKEN).await;
    let inline = towline(
        &runtime,
        &["run", "echo", "--input", r#"{"a":[1,2.50]}"#, "-q"],
    )
    .await
    .status(0);
    assert_eq!(inline.json(), json!({"a": [1, 2.5]}));
    for extra in ["", r#","binary":true"#] {
        let input = format!(r#"{{"chunks":5,"bytes":1000{extra}}}"#);
        let streamed = towline(&runtime, &["run", "stream", "--input", &input, "-q"])
            .await
            .status(0);
        assert_eq!(streamed.stdout, "a".repeat(5000));
    }
}

/// Ends that are none of success, and refusals, each with its exit status.
#[tokio::test]
async fn the_program_tells_ends_apart() {
    let Some(python) = python() else { return };
    let runtime = python.runtime(TOKEN).await;
    towline(&runtime, &["run", "fail"])
        .await
        .status(1)
        .says(&["PERMISSION_DENIED", "not today"]);
    let late = [
        "run",
        "sleep",
        "--input",
        r#"{"ms":600000}"#,
        "--max-runtime",
        "1s",
    ];
    towline(&runtime, &late).await.status(1).says(&["TIMEOUT"]);
    towline(&runtime, &["run", "nobody"])
        .await
        .status(7)
        .says(&["AGENT_NOT_AVAILABLE"]);
    towline(&runtime, &["run", "versioned@9.9.9"])
        .await
        .status(8);
    let key = |input: &'static str| ["run", "echo", "--key", "k", "-q", "--input", input];
    assert_eq!(
        towline(&runtime, &key("1")).await.status(0).stdout.trim(),
        "1"
    );
    assert_eq!(
        towline(&runtime, &key("1")).await.status(0).stdout.trim(),
        "1"
    );
    towline(&runtime, &key("2"))
        .await
        .status(6)
        .says(&["DUPLICATE_KEY"]);
    let flags = ["--url", &runtime.url, "--token", "wrong"];
    Place::new()
        .run(["run", "echo"].iter().chain(&flags))
        .await
        .status(16);
}

/// Agents, versions, listings.
#[tokio::test]
async fn the_program_lists() {
    let Some(python) = python() else { return };
    let runtime = python.runtime(TOKEN).await;
    let agents = towline(&runtime, &["agents", "-o", "json"])
        .await
        .status(0)
        .json();
    let agents = agents.as_array().cloned().unwrap_or_default();
    let versioned = agents
        .iter()
        .find(|agent| agent["name"] == "versioned")
        .expect("it is listed");
    assert_eq!(versioned["versions"], json!(["1.0.0", "2.0.0"]));
    assert_eq!(versioned["default"], "2.0.0");
    for (asked, version) in [("versioned", "2.0.0"), ("versioned@1.0.0", "1.0.0")] {
        let ran = towline(&runtime, &["run", asked, "-q"]).await.status(0);
        assert_eq!(ran.json(), json!({"version": version}));
    }
    let jobs = towline(&runtime, &["jobs", "-o", "json"])
        .await
        .status(0)
        .json();
    assert_eq!(jobs.as_array().map(Vec::len), Some(2), "{jobs}");
}

/// A lease and a budget, enforced over there and read here: its amounts are texts.
#[tokio::test]
async fn budgets_are_read() {
    let Some(python) = python() else { return };
    let runtime = python.runtime(TOKEN).await;
    let client = client(&runtime).await;
    let lease = Lease::new()
        .with("cost.budget", "USD:1.00")
        .with("tool.call", "search.*");
    let input = json!({"costs": [["USD", 0.4], ["USD", 0.7], ["USD", 0.1]]});
    let mut job = client
        .submit("spend")
        .input(input)
        .lease(lease)
        .send()
        .await
        .expect("it is accepted");
    let budget = job
        .accepted()
        .and_then(|accepted| accepted.budget.clone())
        .expect("it has a budget");
    assert_eq!(
        budget.get("USD").map(ToString::to_string).as_deref(),
        Some("1.00")
    );
    let outcome = soon("the end", job.outcome()).await.expect("it ends");
    let Outcome::Failure(failure) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(failure.code, ErrorCode::BUDGET_EXHAUSTED);
    client.close("done").await.expect("it closes");
}

/// Cancelling: this runtime confirms nothing, and the end says it.
#[tokio::test]
async fn cancelling() {
    let Some(python) = python() else { return };
    let runtime = python.runtime(TOKEN).await;
    let client = client(&runtime).await;
    let mut job = client
        .submit("sleep")
        .input(json!({"ms": 600_000}))
        .send()
        .await
        .expect("it is accepted");
    soon("the cancel", job.cancel("enough"))
        .await
        .expect("it is taken");
    let outcome = soon("the end", job.outcome()).await.expect("it ends");
    assert_eq!(outcome.status(), JobStatus::Cancelled);
    // A refusal names no request over there, and still reaches the one it is for.
    let refused = soon("the refusal", client.submit("nobody").send())
        .await
        .expect_err("there is no such agent");
    assert_eq!(refused.code(), Some(&ErrorCode::AGENT_NOT_AVAILABLE));
    let jobs = soon("a listing", client.list_jobs().page())
        .await
        .expect("it lists");
    assert_eq!(jobs.jobs.len(), 1);
    client.close("done").await.expect("it closes");
}

/// Watching another session's job, with its history.
#[tokio::test]
async fn subscribing() {
    let Some(python) = python() else { return };
    let runtime = python.runtime(TOKEN).await;
    let (submitter, watcher) = (client(&runtime).await, client(&runtime).await);
    let input = json!({"n": 100, "delay_ms": 2});
    let mut job = submitter
        .submit("chatty")
        .input(input)
        .send()
        .await
        .expect("it is accepted");
    for _ in 0..10 {
        soon("an event", job.next_event())
            .await
            .expect("it goes on")
            .expect("it has not ended");
    }
    let watched = watcher.subscribe(job.id().clone()).history(true).send();
    let mut watched = soon("the subscription", watched)
        .await
        .expect("it may be watched");
    let mut lines = 0;
    while let Some(event) = soon("an event", watched.next_event())
        .await
        .expect("it goes on")
    {
        lines += usize::from(event.kind().as_str() == "log");
    }
    assert_eq!(lines, 100);
    let outcome = soon("the end", watched.outcome()).await.expect("it ends");
    assert!(outcome.is_success());
}

/// Many at once: acceptances and results find their submits.
#[tokio::test]
async fn many_at_once() {
    let Some(python) = python() else { return };
    let runtime = python.runtime(TOKEN).await;
    let client = client(&runtime).await;
    let submits = (0..50).map(|at| {
        let submit = client.submit("echo").input(at);
        async move {
            let mut job = submit.send().await.expect("it is accepted");
            assert_eq!(
                job.result_json::<Value>().await.expect("it succeeds"),
                json!(at)
            );
        }
    });
    soon("fifty jobs", futures_util::future::join_all(submits)).await;
}

/// The heartbeat of a second over there: the client answers, and stays.
#[tokio::test]
async fn heartbeats() {
    let Some(python) = python() else { return };
    let runtime = python.runtime(TOKEN).await;
    let client = client(&runtime).await;
    let mut job = client
        .submit("sleep")
        .input(json!({"ms": 3_500}))
        .send()
        .await
        .expect("it is accepted");
    assert!(
        soon("the end", job.outcome())
            .await
            .expect("it ends")
            .is_success()
    );
    assert_eq!(
        client
            .submit("echo")
            .input(1)
            .send()
            .await
            .expect("the session lives")
            .result_text()
            .await
            .unwrap(),
        "1"
    );
}

/// A submit above what this runtime reads is refused here, before it costs the connection.
#[tokio::test]
async fn too_big_an_input() {
    let Some(python) = python() else { return };
    let runtime = python.runtime(TOKEN).await;
    let client = client(&runtime).await;
    let refused = client
        .submit("echo")
        .input("x".repeat(1 << 20))
        .send()
        .await
        .expect_err("it is too big");
    assert!(
        matches!(&refused, ClientError::Invalid(message) if message.contains("1048576")),
        "{refused}"
    );
    let mut job = client
        .submit("echo")
        .input("x".repeat(1_000_000))
        .send()
        .await
        .expect("it is accepted");
    assert_eq!(
        soon("the result", job.result_text())
            .await
            .expect("it succeeds")
            .len(),
        1_000_000
    );
}
