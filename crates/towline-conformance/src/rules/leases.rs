//! §9 and §10: authority, budgets, delegation.

use serde_json::{Value, json};

use crate::{
    case::{Case, case},
    check::{Check, ensure, fail},
    context::Context,
    session::{Session, end_of, job_of},
};

pub(super) static CASES: &[Case] = &[
    case!(
        "lease-granted",
        ["7.1-2", "9.2-1"],
        Draft,
        "what was granted is in job.accepted",
        granted
    ),
    case!(
        "lease-unknown",
        ["9.2-1"],
        Draft,
        "an unknown namespace is INVALID_REQUEST",
        unknown
    ),
    case!(
        "lease-malformed",
        ["9.2-5", "9.6-1"],
        Draft,
        "a malformed pattern or amount is INVALID_REQUEST",
        malformed
    ),
    case!(
        "expiry-invalid",
        ["9.5-1"],
        Draft,
        "expires_at has to be UTC with Z, and in the future",
        expiry_invalid
    ),
    case!(
        "expiry",
        ["9.5-2"],
        Draft,
        "a job whose lease expires ends LEASE_EXPIRED",
        expiry
    ),
    case!(
        "budget",
        ["9.6-2", "9.6-3"],
        Draft,
        "costs are taken from the budget, and at zero operations are BUDGET_EXHAUSTED",
        budget
    ),
    case!(
        "budget-told",
        ["9.6-4"],
        Draft,
        "what is left of a budget is told",
        budget_told
    ),
    case!(
        "delegate",
        ["10-1"],
        Draft,
        "a child is announced on its parent, runs, and comes in the submitter's stream",
        delegate
    ),
    case!(
        "delegate-denied",
        ["9.3-1", "10-2"],
        Draft,
        "without agent.delegate there is no child",
        delegate_denied
    ),
    case!(
        "delegate-subset",
        ["9.4-1"],
        Draft,
        "a child's lease has to be within its parent's",
        delegate_subset
    ),
];

async fn granted(context: &mut Context) -> Check {
    context.needs("cost.budget")?;
    let echo = context.agent("echo")?;
    let mut session = context.open().await?;
    let lease = json!({"cost.budget": ["USD:5.00"], "tool.call": ["search.*"]});
    let accepted = session
        .submit(json!({"agent": echo, "input": 1, "lease_request": lease}))
        .await?;
    let payload = &accepted["payload"];
    ensure(payload["lease"]["tool.call"] == json!(["search.*"]), || {
        format!("`lease` is {}", payload["lease"])
    })?;
    ensure(payload["budget"]["USD"].as_f64() == Some(5.0), || {
        format!("`budget` is {}", payload["budget"])
    })?;
    session.done().await
}

async fn refused(context: &mut Context, members: &[Value]) -> Check {
    let echo = context.agent("echo")?;
    let mut session = context.open().await?;
    for member in members {
        let mut submit = json!({"agent": echo, "input": 1});
        if let (Value::Object(submit), Value::Object(member)) = (&mut submit, member.clone()) {
            submit.extend(member);
        }
        session
            .refused("job.submit", submit, &["INVALID_REQUEST"])
            .await?;
    }
    session.done().await
}

async fn unknown(context: &mut Context) -> Check {
    refused(context, &[json!({"lease_request": {"kit.unknown": ["*"]}})]).await
}

async fn malformed(context: &mut Context) -> Check {
    context.needs("cost.budget")?;
    let members = [
        json!({"lease_request": {"tool.call": ["search.[b"]}}),
        json!({"lease_request": {"cost.budget": ["USD"]}}),
        json!({"lease_request": {"cost.budget": ["USD:-1"]}}),
        json!({"lease_request": {"cost.budget": ["USD:1e3"]}}),
    ];
    refused(context, &members).await
}

async fn expiry_invalid(context: &mut Context) -> Check {
    context.needs("lease_expires_at")?;
    let members = [
        json!({"lease_constraints": {"expires_at": "2001-01-01T00:00:00Z"}}),
        json!({"lease_constraints": {"expires_at": "2999-01-01T00:00:00+01:00"}}),
        json!({"lease_constraints": {"expires_at": "tomorrow"}}),
    ];
    refused(context, &members).await
}

/// The time of day in so many seconds, as the draft writes it.
fn in_seconds(seconds: u64) -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let micros = since.map_or(0, |since| since.as_micros()) + u128::from(seconds) * 1_000_000;
    let micros = i64::try_from(micros).unwrap_or(i64::MAX);
    towline_wire::Timestamp::from_unix_micros(micros).to_string()
}

async fn expiry(context: &mut Context) -> Check {
    context.needs("lease_expires_at")?;
    let sleep = context.agent("sleep")?;
    let mut session = context.open().await?;
    let constraints = json!({"expires_at": in_seconds(2)});
    let frames = session
        .run(json!({"agent": sleep, "input": {"ms": 60_000}, "lease_constraints": constraints}))
        .await?;
    let end = &end_of(&frames)["payload"];
    ensure(
        end["code"] == "LEASE_EXPIRED" && end["final_status"] == "error",
        || format!("the job ended with {end}"),
    )?;
    session.done().await
}

/// A job that spends 0.4 three times, of 1.
async fn spending(context: &mut Context) -> Check<(Session, Vec<Value>)> {
    context.needs("cost.budget")?;
    let spend = context.agent("spend")?;
    let mut session = context.open().await?;
    let lease = json!({"cost.budget": ["USD:1.00"], "tool.call": ["*"]});
    let costs = json!([["USD", 0.4], ["USD", 0.4], ["USD", 0.4], ["USD", 0.4]]);
    let submit = json!({"agent": spend, "input": {"costs": costs}, "lease_request": lease});
    let frames = session.run(submit).await?;
    Ok((session, frames))
}

async fn budget(context: &mut Context) -> Check {
    let (session, frames) = spending(context).await?;
    let exhausted = frames.iter().any(|frame| {
        let body = &frame["payload"]["body"];
        body["error"]["code"] == "BUDGET_EXHAUSTED"
            || frame["payload"]["code"] == "BUDGET_EXHAUSTED"
    });
    ensure(exhausted, || {
        "4 costs of 0.4 passed a budget of 1.00".to_owned()
    })?;
    session.done().await
}

async fn budget_told(context: &mut Context) -> Check {
    let (session, frames) = spending(context).await?;
    let left: Vec<f64> = frames
        .iter()
        .map(|frame| &frame["payload"]["body"])
        .filter(|body| body["name"] == "cost.budget.remaining")
        .filter_map(|body| body["value"].as_f64())
        .collect();
    let fits =
        left.first().is_some_and(|left| (left - 0.6).abs() < 1e-9) && left.iter().rev().is_sorted();
    ensure(fits, || format!("`cost.budget.remaining` came as {left:?}"))?;
    session.done().await
}

async fn delegating(
    context: &mut Context,
    lease: Value,
    child_lease: Value,
) -> Check<(Session, String, Vec<Value>)> {
    let (delegate, echo) = (context.agent("delegate")?, context.agent("echo")?);
    let mut session = context.open().await?;
    let mut input = json!({"agent": echo, "input": 7});
    if child_lease.is_object() {
        input["lease"] = child_lease;
    }
    let accepted = session
        .submit(json!({"agent": delegate, "input": input, "lease_request": lease}))
        .await?;
    let job = job_of(&accepted)?;
    let mut frames = Vec::new();
    loop {
        let frame = session.next().await?;
        let ended = frame["job_id"] == job.as_str()
            && (frame["type"] == "job.result" || frame["type"] == "job.error");
        frames.push(frame);
        if ended {
            return Ok((session, job, frames));
        }
    }
}

async fn delegate(context: &mut Context) -> Check {
    let echo = context.agent("echo")?;
    let lease = json!({"agent.delegate": [echo]});
    let (session, job, frames) = delegating(context, lease, json!(null)).await?;
    let announced = frames
        .iter()
        .find(|frame| frame["job_id"] == job.as_str() && frame["payload"]["kind"] == "delegate");
    let child = announced.map(|frame| frame["payload"]["body"]["child_job_id"].clone());
    let Some(child) = child else {
        return fail("no `delegate` event came on the parent");
    };
    let ran = frames
        .iter()
        .any(|frame| frame["job_id"] == child && frame["type"] == "job.result");
    ensure(ran, || {
        "the child's end did not come in the submitter's stream before its parent's".to_owned()
    })?;
    session.done().await
}

/// Whether a refusal of this code came to the agent, or ended its job.
fn was_refused(frames: &[Value], code: &str) -> Check {
    let refused = frames.iter().any(|frame| {
        frame["payload"]["body"]["error"]["code"] == code || frame["payload"]["code"] == code
    });
    ensure(refused, || format!("nothing was refused with {code}"))?;
    let delegated = frames
        .iter()
        .any(|frame| frame["payload"]["kind"] == "delegate");
    ensure(!delegated, || "a child was made all the same".to_owned())
}

async fn delegate_denied(context: &mut Context) -> Check {
    let (session, _, frames) = delegating(context, json!({}), json!(null)).await?;
    was_refused(&frames, "PERMISSION_DENIED")?;
    session.done().await
}

async fn delegate_subset(context: &mut Context) -> Check {
    let echo = context.agent("echo")?;
    let lease = json!({"agent.delegate": [echo], "tool.call": ["search.*"]});
    let wider = json!({"tool.call": ["**"]});
    let (session, _, frames) = delegating(context, lease, wider).await?;
    was_refused(&frames, "LEASE_SUBSET_VIOLATION")?;
    session.done().await
}
