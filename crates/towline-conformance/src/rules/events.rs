//! §8 and the projection of §6.2: what jobs say.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{
    case::{Case, case},
    check::{Check, ensure},
    context::{Context, FEATURES},
    session::{end_of, kinds_of},
};

pub(super) static CASES: &[Case] = &[
    case!(
        "events-order",
        ["8-1", "8-2", "8-3"],
        Draft,
        "events come in the order in which the agent made them",
        order
    ),
    case!(
        "events-kinds",
        ["8-1"],
        Draft,
        "each kind of event comes with its members",
        kinds
    ),
    case!(
        "events-running",
        ["7.3-1"],
        Ours,
        "a job's first event says that it runs",
        running
    ),
    case!(
        "events-without-progress",
        ["6.2-4"],
        Ours,
        "a session without `progress` gets none, and no gap",
        without_progress
    ),
    case!(
        "stream-text",
        ["8.4-1", "8.4-2"],
        Draft,
        "a streamed text comes in chunks, and nothing inline",
        stream_text
    ),
    case!(
        "stream-bytes",
        ["8.4-1"],
        Draft,
        "streamed bytes come whole",
        stream_bytes
    ),
    case!(
        "stream-assembled",
        ["6.2-4"],
        Ours,
        "a session without `result_chunk` gets the result inline",
        assembled
    ),
];

async fn order(context: &mut Context) -> Check {
    context.needs("progress")?;
    let chatty = context.agent("chatty")?;
    let mut session = context.open().await?;
    let frames = session
        .run(json!({"agent": chatty, "input": {"n": 50}}))
        .await?;
    let kinds = kinds_of(&frames);
    let logs = kinds.iter().filter(|kind| **kind == "log").count();
    ensure(logs == 50, || format!("of 50 log events {logs} came"))?;
    let current = frames
        .iter()
        .filter(|frame| frame["payload"]["kind"] == "progress")
        .map(|frame| frame["payload"]["body"]["current"].as_f64().unwrap_or(-1.0));
    let current: Vec<f64> = current.collect();
    ensure(current.is_sorted() && current.len() == 50, || {
        format!("progress came as {current:?}")
    })?;
    session.done().await
}

async fn kinds(context: &mut Context) -> Check {
    context.needs("progress")?;
    let agent = context.agent("kinds")?;
    let mut session = context.open().await?;
    let frames = session.run(json!({"agent": agent, "input": {}})).await?;
    let got = kinds_of(&frames);
    let needed = [
        "log",
        "thought",
        "tool_call",
        "tool_result",
        "status",
        "metric",
        "artifact_ref",
        "progress",
    ];
    let missing = needed.iter().find(|kind| !got.contains(kind));
    ensure(missing.is_none(), || format!("no event {missing:?} came"))?;
    session.done().await
}

async fn running(context: &mut Context) -> Check {
    let echo = context.agent("echo")?;
    let mut session = context.open().await?;
    let frames = session.run(json!({"agent": echo, "input": 1})).await?;
    let first = &frames[0]["payload"];
    let fits = first["kind"] == "status" && first["body"]["phase"] == "running";
    ensure(fits, || format!("the first event is {first}"))?;
    session.done().await
}

async fn without_progress(context: &mut Context) -> Check {
    context.needs("progress")?;
    let chatty = context.agent("chatty")?;
    let features: Vec<&str> = FEATURES
        .into_iter()
        .filter(|name| *name != "progress")
        .collect();
    let mut session = context.open_with(&features).await?;
    let frames = session
        .run(json!({"agent": chatty, "input": {"n": 5}}))
        .await?;
    let kinds = kinds_of(&frames);
    ensure(!kinds.contains(&"progress"), || {
        "progress came all the same".to_owned()
    })?;
    session.done().await
}

async fn streamed(context: &mut Context, input: Value) -> Check<Vec<u8>> {
    context.needs("result_chunk")?;
    let stream = context.agent("stream")?;
    let mut session = context.open().await?;
    let frames = session
        .run(json!({"agent": stream, "input": input}))
        .await?;
    let end = &end_of(&frames)["payload"];
    ensure(end["result_id"].is_string(), || {
        format!("the job ended with {end}, without `result_id`")
    })?;
    let mut bytes = Vec::new();
    for frame in &frames {
        let body = &frame["payload"]["body"];
        let data = body["data"].as_str().unwrap_or_default();
        if frame["payload"]["kind"] != "result_chunk" {
            continue;
        }
        if body["encoding"] == "base64" {
            bytes.extend(STANDARD.decode(data).unwrap_or_default());
        } else {
            bytes.extend_from_slice(data.as_bytes());
        }
    }
    session.done().await?;
    Ok(bytes)
}

async fn stream_text(context: &mut Context) -> Check {
    let bytes = streamed(context, json!({"chunks": 4, "bytes": 1000})).await?;
    ensure(bytes.len() == 4000, || {
        format!("of 4000 bytes {} came", bytes.len())
    })
}

async fn stream_bytes(context: &mut Context) -> Check {
    let input = json!({"chunks": 3, "bytes": 300, "binary": true});
    let bytes = streamed(context, input).await?;
    ensure(bytes.len() == 900, || {
        format!("of 900 bytes {} came", bytes.len())
    })
}

async fn assembled(context: &mut Context) -> Check {
    context.needs("result_chunk")?;
    let stream = context.agent("stream")?;
    let without: Vec<&str> = FEATURES
        .into_iter()
        .filter(|name| *name != "result_chunk")
        .collect();
    let mut session = context.open_with(&without).await?;
    let frames = session
        .run(json!({"agent": stream, "input": {"chunks": 2, "bytes": 100}}))
        .await?;
    ensure(!kinds_of(&frames).contains(&"result_chunk"), || {
        "chunks came all the same".to_owned()
    })?;
    let result = end_of(&frames)["payload"]["result"].as_str().map(str::len);
    ensure(result == Some(200), || {
        format!("the result has {result:?} bytes, it has to be 200")
    })?;
    session.done().await
}
