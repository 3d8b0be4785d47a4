//! §6.4, §6.5, §6.7: heartbeats, acknowledging, closing.

use serde_json::json;

use crate::{
    case::{Case, case},
    check::{Check, ensure, fail},
    context::Context,
    link::Came,
    session::job_of,
};

pub(super) static CASES: &[Case] = &[
    case!(
        "ping",
        ["6.4-1"],
        Draft,
        "a ping is answered with a pong that has its nonce",
        ping
    ),
    case!(
        "ping-busy",
        ["6.4-1"],
        Draft,
        "a ping is answered while a job streams",
        ping_busy
    ),
    case!(
        "ack",
        ["6.5-1"],
        Draft,
        "an acknowledgement has no answer, however odd its number",
        ack
    ),
    case!(
        "close",
        ["6.7-1"],
        Draft,
        "a close is answered with session.closed, then the connection is closed",
        close
    ),
    case!(
        "bye",
        ["6.7-1"],
        Ours,
        "session.bye is the same as session.close",
        bye
    ),
    case!(
        "close-jobs-go-on",
        ["6.7-2"],
        Draft,
        "jobs go on after a close, and the session can be taken up",
        jobs_go_on
    ),
];

async fn ping(context: &mut Context) -> Check {
    context.needs("heartbeat")?;
    let mut session = context.open().await?;
    let before = session.fence().await?;
    ensure(before.is_empty(), || format!("a ping brought {before:?}"))?;
    session.done().await
}

async fn ping_busy(context: &mut Context) -> Check {
    context.needs("heartbeat")?;
    let chatty = context.agent("chatty")?;
    let mut session = context.open().await?;
    let accepted = session
        .submit(json!({"agent": chatty, "input": {"n": 200, "delay_ms": 5}}))
        .await?;
    let job = job_of(&accepted)?;
    session.events(&job, 3).await?;
    let before = session.fence().await?;
    let ended = before
        .iter()
        .any(|frame| frame["type"] == "job.result" && frame["job_id"] == job.as_str());
    ensure(!ended, || {
        "the pong came only with the job's end".to_owned()
    })?;
    session.send("job.cancel", json!({"job_id": job})).await?;
    session.until_end(&job).await?;
    session.done().await
}

async fn ack(context: &mut Context) -> Check {
    context.needs("ack")?;
    context.needs("heartbeat")?;
    let echo = context.agent("echo")?;
    let mut session = context.open().await?;
    session.run(json!({"agent": echo, "input": 1})).await?;
    for seq in [1, 0, 1, 1_000_000] {
        session
            .send("session.ack", json!({"last_processed_seq": seq}))
            .await?;
    }
    let before = session.fence().await?;
    ensure(before.is_empty(), || {
        format!("an acknowledgement brought {before:?}")
    })?;
    session.done().await
}

async fn close(context: &mut Context) -> Check {
    closed_with(context, "session.close").await
}

async fn bye(context: &mut Context) -> Check {
    closed_with(context, "session.bye").await
}

async fn closed_with(context: &mut Context, word: &str) -> Check {
    let mut session = context.open().await?;
    session.send(word, json!({"reason": "kit"})).await?;
    match session.came().await? {
        Came::Frame(frame) if frame["type"] == "session.closed" => {}
        Came::Frame(frame) => return fail(format!("`{word}` brought `{}`", frame["type"])),
        Came::End => return fail("the connection was closed without session.closed"),
        Came::Nothing => return fail(format!("`{word}` was not answered")),
    }
    match session.came().await? {
        Came::End => Ok(()),
        _ => fail("the connection stayed open after session.closed"),
    }
}

async fn jobs_go_on(context: &mut Context) -> Check {
    context.needs_two_connections()?;
    let chatty = context.agent("chatty")?;
    let mut session = context.open().await?;
    let accepted = session
        .submit(json!({"agent": chatty, "input": {"n": 10, "delay_ms": 20}}))
        .await?;
    let job = job_of(&accepted)?;
    session.events(&job, 1).await?;
    let point = session.point();
    session.done().await?;
    let mut session = context.resume(&point).await?;
    let frames = session.until_end(&job).await?;
    let end = crate::session::end_of(&frames);
    ensure(end["type"] == "job.result", || {
        format!("the job ended with {} {}", end["type"], end["payload"])
    })?;
    session.done().await
}
