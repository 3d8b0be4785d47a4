//! §7.1, §7.2, §7.5, §11: submitting.

use serde_json::{Value, json};

use crate::{
    case::{Case, case},
    check::{Check, ensure},
    context::Context,
    session::{end_of, job_of},
};

pub(super) static CASES: &[Case] = &[
    case!(
        "submit",
        ["7.1-1", "7.1-2", "7.3-1"],
        Draft,
        "a submit is accepted, runs and gives its result",
        submit
    ),
    case!(
        "submit-refused",
        ["7.1-3", "7.5-2"],
        Draft,
        "an unknown agent is AGENT_NOT_AVAILABLE, and harms nothing else",
        refused
    ),
    case!(
        "submit-many",
        ["7.1-3"],
        Draft,
        "several submits may be in flight, each with its own answer and result",
        many
    ),
    case!(
        "submit-bad-agent",
        ["7.5-1"],
        Draft,
        "a malformed agent is INVALID_REQUEST",
        bad_agent
    ),
    case!(
        "submit-version",
        ["7.5-2"],
        Draft,
        "a bare name means one version, unknown ones are AGENT_VERSION_NOT_AVAILABLE",
        version
    ),
    case!(
        "key-repeat",
        ["7.2-1"],
        Draft,
        "the same key and parameters give the same job, also from another session",
        key_repeat
    ),
    case!(
        "key-repeat-end",
        ["7.2-1"],
        Ours,
        "a repeat of a finished job in its session is told the end once more",
        key_repeat_end
    ),
    case!(
        "key-conflict",
        ["7.2-2"],
        Draft,
        "the same key with other parameters is DUPLICATE_KEY",
        key_conflict
    ),
    case!(
        "key-spelling",
        ["7.2-2"],
        Draft,
        "parameters are compared as values, not as text",
        key_spelling
    ),
    case!(
        "key-conflict-job",
        ["7.2-2"],
        Ours,
        "DUPLICATE_KEY names the existing job",
        key_conflict_job
    ),
    case!(
        "trace",
        ["11-1", "11-2"],
        Draft,
        "all envelopes of a job have the trace it was submitted with",
        trace
    ),
    case!(
        "trace-minted",
        ["11-1"],
        Draft,
        "a job without a trace gets one of 32 hex digits",
        trace_minted
    ),
];

async fn submit(context: &mut Context) -> Check {
    let echo = context.agent("echo")?;
    let mut session = context.open().await?;
    let input = json!({"text": "ü \u{1F680} \" \\", "number": 1.5, "list": [1, null, {"a": true}]});
    let accepted = session
        .submit(json!({"agent": echo, "input": input}))
        .await?;
    let payload = &accepted["payload"];
    let job = job_of(&accepted)?;
    ensure(accepted["job_id"] == job.as_str(), || {
        "job.accepted has no `job_id` on its envelope".to_owned()
    })?;
    ensure(
        payload["agent"].is_string() && payload["lease"].is_object(),
        || "job.accepted lacks `agent` or `lease`".to_owned(),
    )?;
    ensure(payload["accepted_at"].is_string(), || {
        "job.accepted lacks `accepted_at`".to_owned()
    })?;
    let frames = session.until_end(&job).await?;
    let end = end_of(&frames);
    ensure(end["type"] == "job.result", || {
        format!("the job ended with {} {}", end["type"], end["payload"])
    })?;
    ensure(end["payload"]["result"] == input, || {
        format!("the result is {}", end["payload"]["result"])
    })?;
    session.done().await
}

async fn refused(context: &mut Context) -> Check {
    let (echo, chatty) = (context.agent("echo")?, context.agent("chatty")?);
    let mut session = context.open().await?;
    let running = session
        .submit(json!({"agent": chatty, "input": {"n": 5, "delay_ms": 20}}))
        .await?;
    let payload = json!({"agent": "kit-nobody-has-this", "input": 1});
    session
        .refused("job.submit", payload, &["AGENT_NOT_AVAILABLE"])
        .await?;
    let accepted = session.submit(json!({"agent": echo, "input": 2})).await?;
    ensure(job_of(&accepted)? != job_of(&running)?, || {
        "two submits have one job".to_owned()
    })?;
    let frames = session.until_end(&job_of(&running)?).await?;
    ensure(end_of(&frames)["type"] == "job.result", || {
        "a refused submit ended another job".to_owned()
    })?;
    session.done().await
}

async fn many(context: &mut Context) -> Check {
    let echo = context.agent("echo")?;
    let mut session = context.open().await?;
    let mut requests = Vec::new();
    for n in 0..8 {
        let payload = json!({"agent": echo, "input": {"n": n}});
        requests.push(session.send("job.submit", payload).await?);
    }
    let mut open: Vec<(String, Value)> = Vec::new();
    for (n, request) in requests.iter().enumerate() {
        let accepted = session.reply(request, "job.accepted").await?;
        open.push((job_of(&accepted)?, json!({"n": n})));
    }
    while !open.is_empty() {
        let frame = session.next().await?;
        let at = open
            .iter()
            .position(|(job, _)| frame["job_id"] == job.as_str());
        let Some(at) = at.filter(|_| frame["type"] == "job.result") else {
            continue;
        };
        let (job, input) = open.swap_remove(at);
        let result = &frame["payload"]["result"];
        ensure(*result == input, || {
            format!("`{job}` was given {input} and returned {result}")
        })?;
    }
    session.done().await
}

async fn bad_agent(context: &mut Context) -> Check {
    let mut session = context.open().await?;
    for agent in ["", "Echo Agent", "echo@", "@1.0.0", "echo@1 0"] {
        session
            .refused("job.submit", json!({"agent": agent}), &["INVALID_REQUEST"])
            .await?;
    }
    session.done().await
}

async fn version(context: &mut Context) -> Check {
    context.needs("agent_versions")?;
    let versioned = context.agent("versioned")?;
    let mut session = context.open().await?;
    let accepted = session.submit(json!({"agent": versioned})).await?;
    let resolved = accepted["payload"]["agent"].as_str().unwrap_or_default();
    ensure(resolved.starts_with(&format!("{versioned}@")), || {
        format!("`{versioned}` became `{resolved}`, without its version")
    })?;
    let payload = json!({"agent": format!("{versioned}@0.0.0-kit")});
    session
        .refused("job.submit", payload, &["AGENT_VERSION_NOT_AVAILABLE"])
        .await?;
    session.done().await
}

/// A key nobody has used: of the process, the case, and the moment.
pub(super) fn fresh_key(case: &str) -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let nanos = since.map_or(0, |since| since.as_nanos());
    format!("kit-{case}-{}-{nanos}", std::process::id())
}

async fn key_repeat(context: &mut Context) -> Check {
    let echo = context.agent("echo")?;
    let submit = json!({"agent": echo, "input": {"a": 1}, "idempotency_key": fresh_key("repeat")});
    let mut session = context.open().await?;
    let first = session.submit(submit.clone()).await?;
    session.until_end(&job_of(&first)?).await?;
    let second = session.submit(submit.clone()).await?;
    ensure(job_of(&first)? == job_of(&second)?, || {
        "the repeat made another job".to_owned()
    })?;
    session.done().await?;
    context.needs_two_connections()?;
    let mut session = context.open().await?;
    let third = session.submit(submit).await?;
    ensure(job_of(&first)? == job_of(&third)?, || {
        "the repeat from another session made another job".to_owned()
    })?;
    session.done().await
}

async fn key_repeat_end(context: &mut Context) -> Check {
    let echo = context.agent("echo")?;
    let submit = json!({"agent": echo, "input": {"a": 1}, "idempotency_key": fresh_key("end")});
    let mut session = context.open().await?;
    let first = session.run(submit.clone()).await?;
    let again = session.run(submit).await?;
    let (first, again) = (end_of(&first), end_of(&again));
    ensure(again["event_seq"] == first["event_seq"], || {
        let (new, old) = (&again["event_seq"], &first["event_seq"]);
        format!("the end came under {new}, its number was {old}")
    })?;
    session.done().await
}

async fn key_conflict(context: &mut Context) -> Check {
    let echo = context.agent("echo")?;
    let key = fresh_key("conflict");
    let mut session = context.open().await?;
    session
        .run(json!({"agent": echo, "input": {"a": 1}, "idempotency_key": key}))
        .await?;
    let other = json!({"agent": echo, "input": {"a": 2}, "idempotency_key": key});
    session
        .refused("job.submit", other, &["DUPLICATE_KEY"])
        .await?;
    session.done().await
}

async fn key_conflict_job(context: &mut Context) -> Check {
    let echo = context.agent("echo")?;
    let key = fresh_key("conflict-job");
    let mut session = context.open().await?;
    let first = session
        .submit(json!({"agent": echo, "input": 1, "idempotency_key": key}))
        .await?;
    let other = json!({"agent": echo, "input": 2, "idempotency_key": key});
    let refusal = session
        .refused("job.submit", other, &["DUPLICATE_KEY"])
        .await?;
    let named = &refusal["details"]["existing_job_id"];
    ensure(*named == job_of(&first)?.as_str(), || {
        format!("`details.existing_job_id` is {named}")
    })?;
    session.done().await
}

async fn key_spelling(context: &mut Context) -> Check {
    let echo = context.agent("echo")?;
    let key = fresh_key("spelling");
    let mut session = context.open().await?;
    let first = json!({"agent": echo, "input": {"a": 1, "b": 2}, "idempotency_key": key});
    let second = json!({"idempotency_key": key, "input": {"b": 2, "a": 1}, "agent": echo});
    let first = session.submit(first).await?;
    let second = session.submit(second).await?;
    ensure(job_of(&first)? == job_of(&second)?, || {
        "the order of members made another job".to_owned()
    })?;
    session.done().await
}

async fn trace(context: &mut Context) -> Check {
    let echo = context.agent("echo")?;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let mut session = context.open().await?;
    let payload = json!({"agent": echo, "input": 1});
    let request = session
        .send_with("job.submit", payload, json!({"trace_id": trace}))
        .await?;
    let accepted = session.reply(&request, "job.accepted").await?;
    let mut frames = session.until_end(&job_of(&accepted)?).await?;
    frames.push(accepted);
    for frame in &frames {
        ensure(frame["trace_id"] == trace, || {
            format!("`{}` has trace_id {}", frame["type"], frame["trace_id"])
        })?;
    }
    session.done().await
}

async fn trace_minted(context: &mut Context) -> Check {
    let echo = context.agent("echo")?;
    let mut session = context.open().await?;
    let accepted = session.submit(json!({"agent": echo, "input": 1})).await?;
    let trace = accepted["payload"]["trace_id"]
        .as_str()
        .or(accepted["trace_id"].as_str())
        .unwrap_or_default();
    let fits = trace.len() == 32 && trace.bytes().all(|byte| byte.is_ascii_hexdigit());
    ensure(fits, || format!("the job's trace is `{trace}`"))?;
    session.done().await
}
