//! A peer on a pair of streams that has said all it will, and reads on.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use towline_runtime::{AgentError, JobContext, Runtime};
use towline_transport::{StdioOptions, StdioTransport};
use towline_wire::ErrorCode;

use crate::{
    agents::{Deaf, echo},
    peer::{ALICE, QUIET, hello, runtime},
};

/// Says everything at once, ends its output, and reads to the end; gives what it read and how long that took.
async fn say(runtime: &Runtime, requests: &[(&str, Value)]) -> (Vec<Value>, Duration) {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let (reader, writer) = tokio::io::split(theirs);
    let connection = runtime.accept(StdioTransport::over(
        reader,
        writer,
        StdioOptions::default(),
    ));
    let (mut reader, mut writer) = tokio::io::split(ours);
    let begun = tokio::time::Instant::now();
    let hello = ("session.hello", hello(ALICE, QUIET));
    for (number, (kind, payload)) in [hello].iter().chain(requests).enumerate() {
        let id = format!("m{number}");
        let frame = json!({"arcp": "1.1", "id": id, "type": kind, "payload": payload});
        writer
            .write_all(format!("{frame}\n").as_bytes())
            .await
            .unwrap();
    }
    writer.shutdown().await.unwrap();
    let mut heard = String::new();
    reader.read_to_string(&mut heard).await.unwrap();
    connection.closed().await;
    let frames = heard
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    (frames.collect(), begun.elapsed())
}

fn kinds(frames: &[Value]) -> Vec<&str> {
    let kinds = frames.iter().map(|frame| frame["type"].as_str().unwrap());
    kinds.filter(|kind| *kind != "job.event").collect()
}

/// [ARCP 4-2, 5-11] What stands right before the end of a peer's output is done and answered, and the jobs it began are told
/// to their end.
#[tokio::test(start_paused = true)]
async fn the_last_requests_are_answered() {
    let slow = |_ctx: JobContext, _input: Value| async move {
        tokio::time::sleep(Duration::from_secs(4)).await;
        Ok::<_, AgentError>(json!("at last"))
    };
    let builder = runtime().agent("echo", echo()).agent("slow", slow);
    let runtime = builder.build().await.unwrap();
    let requests = [
        ("job.submit", json!({"agent": "slow"})),
        ("job.submit", json!({"agent": "echo", "input": [1]})),
        ("session.list_jobs", json!({})),
    ];
    let (frames, took) = say(&runtime, &requests).await;
    let expected = [
        "session.welcome",
        "job.accepted",
        "job.accepted",
        "session.jobs",
        "job.result",
        "job.result",
    ];
    assert_eq!(kinds(&frames), expected);
    let result = &frames[frames.len() - 1]["payload"]["result"];
    assert_eq!(
        (result, took.as_secs()),
        (&json!("at last"), 4),
        "no longer than the job"
    );
    assert_eq!(runtime.attached_sessions(), 0);
}

/// [ARCP 6.7-2] A job that does not end is waited for as long as at a shutdown, and goes on. The shutdown that follows, where that
/// was the only connection, does not wait for it once more.
#[tokio::test(start_paused = true)]
async fn jobs_are_waited_for_within_a_bound() {
    let runtime = runtime().agent("deaf", Deaf).build().await.unwrap();
    let (frames, took) = say(&runtime, &[("job.submit", json!({"agent": "deaf"}))]).await;
    let expected = ["session.welcome", "job.accepted"];
    assert_eq!(kinds(&frames), expected);
    assert_eq!((took.as_secs(), runtime.live_jobs()), (10, 1));
    let begun = tokio::time::Instant::now();
    runtime.shutdown().await;
    let (grace, took) = (5, begun.elapsed().as_secs());
    assert!(took <= grace, "no more than an agent has to stop: {took} s");
}

/// [ARCP 14-6] Whatever an agent says of its failure, the job's end fits into a message to those who wait for it.
#[tokio::test(start_paused = true)]
async fn a_failure_of_any_size_is_delivered() {
    let fails = |_: JobContext, size: usize| async move {
        let error = AgentError::new(ErrorCode::INTERNAL_ERROR, "é".repeat(size));
        Err::<Value, _>(error.with_details(json!({"text": "x".repeat(size)})))
    };
    let runtime = runtime().agent("fails", fails).build().await.unwrap();
    for (size, is_whole) in [(1000, true), (9 << 20, false)] {
        let submit = json!({"agent": "fails", "input": size});
        let (frames, _) = say(&runtime, &[("job.submit", submit)]).await;
        let end = &frames[frames.len() - 1];
        assert_eq!(end["type"], "job.error");
        let message = end["payload"]["message"].as_str().unwrap();
        assert_eq!(message == "é".repeat(size), is_whole);
        assert!(message.starts_with("éé") && end.to_string().len() < 1 << 20);
        let details = &end["payload"]["details"];
        assert_eq!(details["text"].is_string(), is_whole);
        assert_eq!(details["left_out_bytes"].is_u64(), !is_whole);
    }
}

/// [ARCP 14-6] An event that would not fit into a message is refused to the agent, and is not in the log; the job goes on.
#[tokio::test(start_paused = true)]
async fn an_event_that_fits_nowhere_is_refused() {
    let says = |ctx: JobContext, _: Value| async move {
        let text = "x".repeat(15 << 20);
        let refused = ctx.log("info", text).await.err();
        ctx.log("info", "after it").await?;
        Ok::<_, AgentError>(refused.map(|error| error.to_string()))
    };
    let runtime = runtime().agent("says", says).build().await.unwrap();
    let (frames, _) = say(&runtime, &[("job.submit", json!({"agent": "says"}))]).await;
    let text = |frame: &Value| frame["payload"]["body"]["message"] == "after it";
    assert!(frames.iter().any(text), "{}", frames.len());
    let result = frames[frames.len() - 1]["payload"]["result"].as_str();
    assert!(result.unwrap().contains("more than 15728640 bytes"));
}
