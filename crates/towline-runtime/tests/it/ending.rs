//! A peer on a pair of streams that has said all it will, and reads on.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use towline_runtime::{AgentError, JobContext, Runtime};
use towline_transport::{StdioOptions, StdioTransport};

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
