//! §7.3, §7.4, §12: how jobs end.

use serde_json::{Value, json};

use crate::{
    case::{Case, case},
    check::{Check, ensure},
    context::Context,
    session::{Session, end_of, job_of},
};

pub(super) static CASES: &[Case] = &[
    case!(
        "end-failed",
        ["7.3-2"],
        Draft,
        "a job that fails ends with job.error, status error and its code",
        failed
    ),
    case!(
        "end-timeout",
        ["7.3-3"],
        Draft,
        "max_runtime_sec ends a job as timed_out with TIMEOUT",
        timeout
    ),
    case!(
        "end-timeout-invalid",
        ["7.3-3"],
        Draft,
        "max_runtime_sec has to be positive",
        timeout_invalid
    ),
    case!(
        "cancel",
        ["7.4-1"],
        Draft,
        "a cancel is answered with job.cancelled, then the job ends cancelled",
        cancel
    ),
    case!(
        "cancel-envelope",
        ["7.4-1"],
        Draft,
        "a cancel may name its job on the envelope",
        cancel_envelope
    ),
    case!(
        "cancel-twice",
        ["7.4-3"],
        Draft,
        "cancelling twice gives one terminal",
        cancel_twice
    ),
    case!(
        "cancel-finished",
        ["7.4-3"],
        Draft,
        "a finished job cannot be cancelled: INVALID_REQUEST",
        cancel_finished
    ),
    case!(
        "cancel-unknown",
        ["7.4-2"],
        Draft,
        "an unknown job is JOB_NOT_FOUND",
        cancel_unknown
    ),
    case!(
        "error-isolation",
        ["12-2"],
        Draft,
        "an error of one request harms no other request and no job",
        isolation
    ),
];

async fn failed(context: &mut Context) -> Check {
    let fail = context.agent("fail")?;
    let mut session = context.open().await?;
    for code in ["PERMISSION_DENIED", "INTERNAL_ERROR"] {
        let input = json!({"code": code, "message": "as asked"});
        let frames = session.run(json!({"agent": fail, "input": input})).await?;
        expect_end(end_of(&frames), "error", code)?;
    }
    session.done().await
}

fn expect_end(end: &Value, status: &str, code: &str) -> Check {
    let payload = &end["payload"];
    let fits =
        end["type"] == "job.error" && payload["final_status"] == status && payload["code"] == code;
    ensure(fits, || {
        format!(
            "the job ended with {} {} {}, it has to be job.error {status} {code}",
            end["type"], payload["final_status"], payload["code"]
        )
    })
}

async fn timeout(context: &mut Context) -> Check {
    let sleep = context.agent("sleep")?;
    let mut session = context.open().await?;
    let submit = json!({"agent": sleep, "input": {"ms": 60_000}, "max_runtime_sec": 1});
    let frames = session.run(submit).await?;
    expect_end(end_of(&frames), "timed_out", "TIMEOUT")?;
    session.done().await
}

async fn timeout_invalid(context: &mut Context) -> Check {
    let sleep = context.agent("sleep")?;
    let mut session = context.open().await?;
    for seconds in [0, -1] {
        let submit = json!({"agent": sleep, "input": {"ms": 1}, "max_runtime_sec": seconds});
        session
            .refused("job.submit", submit, &["INVALID_REQUEST"])
            .await?;
    }
    session.done().await
}

async fn sleeping(context: &Context, session: &mut Session) -> Check<String> {
    let sleep = context.agent("sleep")?;
    let accepted = session
        .submit(json!({"agent": sleep, "input": {"ms": 60_000}}))
        .await?;
    job_of(&accepted)
}

async fn cancel(context: &mut Context) -> Check {
    let mut session = context.open().await?;
    let job = sleeping(context, &mut session).await?;
    let payload = json!({"job_id": job, "reason": "kit"});
    session.ask("job.cancel", payload, "job.cancelled").await?;
    let frames = session.until_end(&job).await?;
    expect_end(end_of(&frames), "cancelled", "CANCELLED")?;
    session.done().await
}

async fn cancel_envelope(context: &mut Context) -> Check {
    let mut session = context.open().await?;
    let job = sleeping(context, &mut session).await?;
    let request = session
        .send_with("job.cancel", json!({}), json!({"job_id": job}))
        .await?;
    let reply = session.reply(&request, "job.cancelled").await?;
    ensure(reply["type"] == "job.cancelled", || {
        format!("the cancel was refused: {}", reply["payload"])
    })?;
    session.until_end(&job).await?;
    session.done().await
}

async fn cancel_twice(context: &mut Context) -> Check {
    let mut session = context.open().await?;
    let job = sleeping(context, &mut session).await?;
    let first = session.send("job.cancel", json!({"job_id": job})).await?;
    let second = session.send("job.cancel", json!({"job_id": job})).await?;
    // The second may find the job ended already.
    session.reply(&first, "job.cancelled").await?;
    session.reply(&second, "job.cancelled").await?;
    let frames = session.until_end(&job).await?;
    expect_end(end_of(&frames), "cancelled", "CANCELLED")?;
    session.done().await
}

async fn cancel_finished(context: &mut Context) -> Check {
    let echo = context.agent("echo")?;
    let mut session = context.open().await?;
    let accepted = session.submit(json!({"agent": echo, "input": 1})).await?;
    let job = job_of(&accepted)?;
    session.until_end(&job).await?;
    session
        .refused("job.cancel", json!({"job_id": job}), &["INVALID_REQUEST"])
        .await?;
    session.done().await
}

async fn cancel_unknown(context: &mut Context) -> Check {
    let mut session = context.open().await?;
    let payload = json!({"job_id": "job_00000000000000000000000000"});
    session
        .refused("job.cancel", payload, &["JOB_NOT_FOUND"])
        .await?;
    session.done().await
}

async fn isolation(context: &mut Context) -> Check {
    let chatty = context.agent("chatty")?;
    let mut session = context.open().await?;
    let accepted = session
        .submit(json!({"agent": chatty, "input": {"n": 10, "delay_ms": 10}}))
        .await?;
    let job = job_of(&accepted)?;
    for payload in [
        json!({}),
        json!({"agent": 5}),
        json!({"agent": "kit-nobody-has-this"}),
    ] {
        let codes = ["INVALID_REQUEST", "AGENT_NOT_AVAILABLE"];
        session.refused("job.submit", payload, &codes).await?;
    }
    let frames = session.until_end(&job).await?;
    ensure(end_of(&frames)["type"] == "job.result", || {
        format!("the job ended with {}", end_of(&frames)["payload"])
    })?;
    session.done().await
}
