//! §7.6: watching.

use serde_json::{Value, json};

use crate::{
    case::{Case, case},
    check::{Check, ensure},
    context::Context,
    session::{Session, end_of, job_of},
};

pub(super) static CASES: &[Case] = &[
    case!(
        "watch-live",
        ["7.6-1"],
        Draft,
        "another session sees the history, then what comes, each once and in order",
        live
    ),
    case!(
        "watch-finished",
        ["7.6-4"],
        Draft,
        "of a finished job the history and the terminal are replayed",
        finished
    ),
    case!(
        "watch-answer",
        ["7.6-1"],
        Draft,
        "job.subscribed says what the draft has it say",
        answer
    ),
    case!(
        "watch-from",
        ["7.6-3"],
        Ours,
        "from_event_seq counts the job's own events",
        from
    ),
    case!(
        "watch-unknown",
        ["7.6-5"],
        Draft,
        "an unknown job is JOB_NOT_FOUND",
        unknown
    ),
    case!(
        "watch-no-more",
        ["7.6-6"],
        Draft,
        "an unsubscribe is silent and idempotent, and nothing follows",
        no_more
    ),
];

fn messages(frames: &[Value]) -> Vec<&str> {
    let logs = frames
        .iter()
        .filter(|frame| frame["payload"]["kind"] == "log");
    logs.filter_map(|frame| frame["payload"]["body"]["message"].as_str())
        .collect()
}

/// A job of five lines and its frames, from a session that is closed by now.
async fn ended_chat(context: &mut Context) -> Check<(String, Vec<Value>)> {
    let chatty = context.agent("chatty")?;
    let mut own = context.open().await?;
    let input = json!({"agent": chatty, "input": {"n": 5}});
    let job = job_of(&own.submit(input).await?)?;
    let seen = own.until_end(&job).await?;
    own.done().await?;
    Ok((job, seen))
}

/// Subscribes, and reads the job to its end; gives the answer and the frames.
async fn watch(watcher: &mut Session, job: &str, payload: Value) -> Check<(Value, Vec<Value>)> {
    let told = watcher
        .ask("job.subscribe", payload, "job.subscribed")
        .await?;
    let watched = watcher.until_end(job).await?;
    Ok((told, watched))
}

async fn live(context: &mut Context) -> Check {
    context.needs("subscribe")?;
    context.needs_two_connections()?;
    let chatty = context.agent("chatty")?;
    let mut own = context.open().await?;
    let accepted = own
        .submit(json!({"agent": chatty, "input": {"n": 20, "delay_ms": 10}}))
        .await?;
    let job = job_of(&accepted)?;
    let mut seen = own.events(&job, 5).await?;
    let mut watcher = context.open().await?;
    let payload = json!({"job_id": job, "history": true});
    let (_, watched) = watch(&mut watcher, &job, payload).await?;
    seen.extend(own.until_end(&job).await?);
    ensure(messages(&seen) == messages(&watched), || {
        let (own, watched) = (messages(&seen).len(), messages(&watched).len());
        format!("the submitter saw {own} log events, the watcher {watched}, or in another order")
    })?;
    own.done().await?;
    watcher.done().await
}

async fn finished(context: &mut Context) -> Check {
    context.needs("subscribe")?;
    context.needs_two_connections()?;
    let (job, seen) = ended_chat(context).await?;
    let mut watcher = context.open().await?;
    let payload = json!({"job_id": job, "history": true});
    let (told, watched) = watch(&mut watcher, &job, payload).await?;
    ensure(told["payload"]["current_status"] == "success", || {
        format!("`current_status` is {}", told["payload"]["current_status"])
    })?;
    ensure(messages(&seen) == messages(&watched), || {
        "the history is not what the submitter saw".to_owned()
    })?;
    let (own, replayed) = (
        &end_of(&seen)["payload"]["result"],
        &end_of(&watched)["payload"]["result"],
    );
    ensure(own == replayed, || {
        format!("the result was {own}, replayed {replayed}")
    })?;
    watcher.done().await
}

async fn answer(context: &mut Context) -> Check {
    context.needs("subscribe")?;
    let echo = context.agent("echo")?;
    let mut session = context.open().await?;
    let accepted = session.submit(json!({"agent": echo, "input": 1})).await?;
    let job = job_of(&accepted)?;
    session.until_end(&job).await?;
    let told = session
        .ask("job.subscribe", json!({"job_id": job}), "job.subscribed")
        .await?;
    let payload = &told["payload"];
    ensure(payload["job_id"] == job.as_str(), || {
        "`job_id` is missing".to_owned()
    })?;
    for member in ["current_status", "agent"] {
        ensure(payload[member].is_string(), || {
            format!("`{member}` is missing")
        })?;
    }
    ensure(
        payload["lease"].is_object() && payload["subscribed_from"].is_u64(),
        || "`lease` or `subscribed_from` is missing".to_owned(),
    )?;
    ensure(payload["replayed"].is_boolean(), || {
        "`replayed` is no boolean".to_owned()
    })?;
    session.done().await
}

async fn from(context: &mut Context) -> Check {
    context.needs("subscribe")?;
    context.needs_two_connections()?;
    let (job, seen) = ended_chat(context).await?;
    let mut watcher = context.open().await?;
    let payload = json!({"job_id": job, "history": true, "from_event_seq": 3});
    let (_, watched) = watch(&mut watcher, &job, payload).await?;
    ensure(watched.len() + 3 == seen.len(), || {
        format!(
            "after 3 of {} events {} were replayed",
            seen.len(),
            watched.len()
        )
    })?;
    watcher.done().await
}

async fn unknown(context: &mut Context) -> Check {
    context.needs("subscribe")?;
    let mut session = context.open().await?;
    let payload = json!({"job_id": "job_00000000000000000000000000"});
    session
        .refused("job.subscribe", payload, &["JOB_NOT_FOUND"])
        .await?;
    session.done().await
}

async fn no_more(context: &mut Context) -> Check {
    context.needs("subscribe")?;
    context.needs("heartbeat")?;
    context.needs_two_connections()?;
    let sleep = context.agent("sleep")?;
    let mut own = context.open().await?;
    let accepted = own
        .submit(json!({"agent": sleep, "input": {"ms": 60_000}}))
        .await?;
    let job = job_of(&accepted)?;
    let mut watcher = context.open().await?;
    watcher
        .ask("job.subscribe", json!({"job_id": job}), "job.subscribed")
        .await?;
    watcher.fence().await?;
    for _ in 0..2 {
        watcher
            .send("job.unsubscribe", json!({"job_id": job}))
            .await?;
    }
    let answers = watcher.fence().await?;
    ensure(
        answers.iter().all(|frame| frame["type"] == "job.event"),
        || format!("an unsubscribe brought {answers:?}"),
    )?;
    own.send("job.cancel", json!({"job_id": job})).await?;
    own.until_end(&job).await?;
    let after = watcher.fence().await?;
    ensure(after.is_empty(), || {
        format!("after the unsubscribe came {after:?}")
    })?;
    own.done().await?;
    watcher.done().await
}
