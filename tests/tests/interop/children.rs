//! Over stdio: a Python runtime as the process of an agent, and `towline serve --stdio` as the child of a Python client.

use std::sync::Arc;

use serde_json::{Value, json};
use towline_tests::{
    program::{Place, Ran, binary},
    server::{Serve, Server},
};

use crate::python::{Python, python};

/// A server whose agents are processes of `child.py`.
async fn server(python: &Python, agents: &[&str]) -> Server {
    let place = Arc::new(Place::new());
    let script = crate::python::repository().join("tests/interop/child.py");
    let command = json!([python.interpreter(), script]).to_string();
    // The interpreter's packages, and what the script imports.
    let read = json!([
        python.interpreter().parent().and_then(|bin| bin.parent()),
        script.parent()
    ]);
    let sections: Vec<String> = agents
        .iter()
        .map(|name| {
            let environment = r#"env = { PYTHONDONTWRITEBYTECODE = "1" }"#;
            format!("[agents.{name}]\ncommand = {command}\nprotocol = \"arcp\"\nread = {read}\n{environment}\n")
        })
        .collect();
    place.write("towline.toml", sections.concat());
    Serve::demo()
        .at(&place)
        .with(&["--store", "memory", "--config", "towline.toml"])
        .start()
        .await
}

async fn run(server: &Server, args: &[&str]) -> Ran {
    let flags = server.flags("alice");
    Place::new()
        .run(
            ["run"]
                .iter()
                .copied()
                .chain(args.iter().copied())
                .chain(flags.iter().map(String::as_str)),
        )
        .await
}

/// What a Python agent says and gives is what the job says and gives.
#[tokio::test]
async fn a_python_agent_under_towline() {
    let Some(python) = python() else { return };
    // A name of the demo agents is taken; this one is only the child's.
    let server = server(python, &["environment"]).await;
    let ran = run(
        &server,
        &["environment", "--lease", "fs.read=/data/**", "-o", "json"],
    )
    .await
    .status(0)
    .json();
    assert_eq!(ran["result"]["lease"], json!({"fs.read": ["/data/**"]}));
    assert_eq!(ran["result"]["trace_id"], ran["trace_id"]);
    let parent = ran["result"]["traceparent"]
        .as_str()
        .expect("it was told its trace");
    assert!(
        parent.contains(ran["trace_id"].as_str().expect("the job has a trace")),
        "{parent}"
    );
}

/// Every kind of event, chunks, failure and cancel through two runtimes.
#[tokio::test]
async fn a_python_agent_says_everything() {
    let Some(python) = python() else { return };
    let place = Arc::new(Place::new());
    let script = crate::python::repository().join("tests/interop/child.py");
    let command = json!([python.interpreter(), script]).to_string();
    // The interpreter's packages, and what the script imports.
    let read = json!([
        python.interpreter().parent().and_then(|bin| bin.parent()),
        script.parent()
    ]);
    let sections = ["kinds", "stream", "fail", "sleep", "chatty"].map(|name| {
        format!("[agents.{name}]\ncommand = {command}\nprotocol = \"arcp\"\nread = {read}\n")
    });
    place.write("towline.toml", sections.concat());
    let args = [
        "--listen",
        "127.0.0.1:0",
        "--token",
        "alice:alice-token",
        "--store",
        "memory",
        "--config",
        "towline.toml",
    ];
    let server = Serve::bare(&args).at(&place).start().await;
    let lines = run(&server, &["kinds", "-o", "ndjson"])
        .await
        .status(0)
        .lines();
    let kinds: Vec<&str> = lines
        .iter()
        .filter_map(|line| line["kind"].as_str())
        .collect();
    for kind in [
        "log",
        "thought",
        "tool_call",
        "tool_result",
        "status",
        "metric",
        "artifact_ref",
        "progress",
    ] {
        assert!(kinds.contains(&kind), "{kind} in {kinds:?}");
    }
    assert!(kinds.contains(&"x-vendor.acme.beat"), "{kinds:?}");
    let seqs: Vec<u64> = lines
        .iter()
        .filter_map(|line| line["event_seq"].as_u64())
        .collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
    let streamed = run(
        &server,
        &["stream", "-q", "--input", r#"{"chunks":4,"bytes":30000}"#],
    )
    .await
    .status(0);
    assert_eq!(streamed.stdout.len(), 120_000);
    run(&server, &["fail"])
        .await
        .status(1)
        .says(&["PERMISSION_DENIED", "not today"]);
    let late = [
        "sleep",
        "--input",
        r#"{"ms":600000}"#,
        "--max-runtime",
        "1s",
        "-o",
        "json",
    ];
    let late: Value = run(&server, &late).await.status(1).json();
    assert_eq!(late["status"], "timed_out", "{late}");
    // Input above the 64 KiB a line may have for this SDK is refused before it breaks the child.
    let long = format!("\"{}\"", "x".repeat(70_000));
    run(&server, &["chatty", "--input", &long])
        .await
        .status(1)
        .says(&["65536"]);
}

/// A Python client starts `towline serve --stdio`, and lines stay as short as it needs them.
#[tokio::test]
async fn towline_under_a_python_client() {
    let Some(python) = python() else { return };
    let place = Place::new();
    let mut script = python.script("parent.py");
    script
        .arg(binary())
        .arg("stdio-token")
        .current_dir(place.path());
    python.holds(script).await;
}
