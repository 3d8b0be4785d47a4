//! §14: what one principal has, another has no way to.

use serde_json::{Value, json};

use crate::{
    case::{Case, case},
    check::{Check, ensure, expect_refusal, fail},
    context::Context,
    session::{Session, job_of},
};

pub(super) static CASES: &[Case] = &[
    case!(
        "principals-list",
        ["6.6-3"],
        Draft,
        "a listing shows no job of another principal",
        list
    ),
    case!(
        "principals-watch",
        ["7.6-5"],
        Draft,
        "a job of another principal cannot be watched",
        watch
    ),
    case!(
        "principals-cancel",
        ["7.4-2"],
        Draft,
        "a job of another principal cannot be cancelled, and goes on",
        cancel
    ),
    case!(
        "principals-key",
        ["7.2-1"],
        Draft,
        "idempotency keys of two principals have nothing to do with each other",
        key
    ),
    case!(
        "principals-resume",
        ["6.3-7"],
        Draft,
        "a session cannot be taken up by another principal, and its token stays good",
        resume
    ),
];

/// What answers for a job one may not know of.
const FOREIGN: [&str; 2] = ["PERMISSION_DENIED", "JOB_NOT_FOUND"];

/// A job of the first principal's that runs, and a session of the second's.
async fn job_and_stranger(context: &mut Context) -> Check<(Session, String, Session)> {
    // Whether there is a second principal at all comes first.
    context.as_second(json!({}))?;
    context.needs_two_connections()?;
    let sleep = context.agent("sleep")?;
    let mut own = context.open().await?;
    let submit = json!({"agent": sleep, "input": {"ms": 60_000}});
    let job = job_of(&own.submit(submit).await?)?;
    let stranger = context.open_second().await?;
    Ok((own, job, stranger))
}

/// Ends the job, which has to be alive.
async fn over(mut own: Session, job: &str, stranger: Session) -> Check {
    stranger.done().await?;
    own.ask("job.cancel", json!({"job_id": job}), "job.cancelled")
        .await?;
    own.until_end(job).await?;
    own.done().await
}

async fn list(context: &mut Context) -> Check {
    context.needs("list_jobs")?;
    let (own, job, mut stranger) = job_and_stranger(context).await?;
    let mut cursor = Value::Null;
    loop {
        let payload = json!({"cursor": cursor});
        let listed = stranger
            .ask("session.list_jobs", payload, "session.jobs")
            .await?;
        let jobs = listed["payload"]["jobs"].as_array();
        let shown = jobs
            .into_iter()
            .flatten()
            .any(|entry| entry["job_id"] == job.as_str());
        ensure(!shown, || format!("`{job}` of another principal is listed"))?;
        cursor = listed["payload"]["next_cursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    over(own, &job, stranger).await
}

async fn watch(context: &mut Context) -> Check {
    context.needs("subscribe")?;
    let (own, job, mut stranger) = job_and_stranger(context).await?;
    stranger
        .refused("job.subscribe", json!({"job_id": job}), &FOREIGN)
        .await?;
    over(own, &job, stranger).await
}

async fn cancel(context: &mut Context) -> Check {
    let (own, job, mut stranger) = job_and_stranger(context).await?;
    stranger
        .refused("job.cancel", json!({"job_id": job}), &FOREIGN)
        .await?;
    over(own, &job, stranger).await
}

async fn key(context: &mut Context) -> Check {
    context.as_second(json!({}))?;
    context.needs_two_connections()?;
    let echo = context.agent("echo")?;
    let key = super::jobs::fresh_key("principals");
    let submit = |input: u32| json!({"agent": echo, "input": input, "idempotency_key": key});
    let mut own = context.open().await?;
    let first = job_of(&own.submit(submit(1)).await?)?;
    own.until_end(&first).await?;
    let mut stranger = context.open_second().await?;
    // Other parameters, which would be refused if the key stood for anything.
    let second = job_of(&stranger.submit(submit(2)).await?)?;
    ensure(first != second, || {
        format!("the second principal was given `{first}` for the first one's key")
    })?;
    stranger.until_end(&second).await?;
    stranger.done().await?;
    own.done().await
}

async fn resume(context: &mut Context) -> Check {
    context.as_second(json!({}))?;
    context.needs_two_connections()?;
    let session = context.open().await?;
    let point = session.cut();
    let hello = context.as_second(context.resume_hello(&point))?;
    let mut link = context.link().await?;
    link.send(hello).await?;
    match link.receive().await? {
        crate::link::Came::Frame(refusal) => expect_refusal(&refusal, &["PERMISSION_DENIED"])?,
        _ => return fail("the resume was not answered"),
    }
    context.resume(&point).await?.done().await
}
