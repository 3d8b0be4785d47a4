//! What agents in processes say, whichever way they say it: events, checkpoints, and what asks something of the runtime.

use serde::Deserialize;
use towline_runtime::{EventError, JobContext};
use towline_wire::{ErrorCode, Event, EventKind, Lease, LeaseConstraints, RawJson, explain_json};

/// What became of it.
pub(crate) enum Said {
    /// It is in the job's log, or on its way there.
    Done,
    /// It breaks a rule; the job goes on without.
    Refused(ErrorCode, String),
}

/// The longest checkpoint that fits into a variable, where some programs are given it back.
pub(crate) const IN_ENVIRONMENT: usize = 64 * 1024;

/// The longest checkpoint otherwise.
pub(crate) const IN_MESSAGE: usize = 1024 * 1024;

/// Kinds of checkpoints: the plain one, and its name among vendors' own for those who may send no others.
const CHECKPOINTS: [&str; 2] = ["checkpoint", "x-vendor.towline.checkpoint"];

/// Whether an event is a checkpoint.
pub(crate) fn is_checkpoint(kind: &EventKind) -> bool {
    CHECKPOINTS.contains(&kind.as_str())
}

/// Whether only the runtime says it of a job: a phase that it puts the job into, or what is left of a budget.
pub(crate) fn is_ours(event: &Event) -> bool {
    match event {
        Event::Status(status) => OURS.contains(&status.phase.as_str()),
        Event::Metric(metric) => metric.name == "cost.budget.remaining",
        _ => false,
    }
}

/// The phases that a runtime tells by itself.
const OURS: [&str; 4] = [
    "running",
    "awaiting_input",
    "back_pressure",
    "credential_rotated",
];

/// A checkpoint's body.
#[derive(Deserialize)]
struct Checkpoint {
    value: RawJson,
}

/// A `delegate` event, as far as it is an order: the child's own number of the job it made means nothing here.
#[derive(Deserialize)]
struct Order {
    agent: String,
    #[serde(default)]
    input: Option<RawJson>,
    #[serde(default, alias = "lease_request")]
    lease: Option<Lease>,
    #[serde(default, alias = "lease_constraints")]
    constraints: Option<LeaseConstraints>,
}

/// Says it for the process. Checkpoints have at most `longest` bytes; they are durable on return.
///
/// # Errors
/// The job takes no more, or the store failed.
pub(crate) async fn say(
    ctx: &JobContext,
    kind: &EventKind,
    body: &RawJson,
    longest: usize,
) -> Result<Said, EventError> {
    if is_checkpoint(kind) {
        return checkpoint(ctx, body, longest).await;
    }
    if *kind == EventKind::DELEGATE {
        return Ok(delegate(ctx, body).await);
    }
    if (*kind == EventKind::STATUS || *kind == EventKind::METRIC)
        && Event::read(kind, body).is_ok_and(|event| is_ours(&event))
    {
        let why = format!("only the runtime says this `{kind}` of a job");
        return Ok(invalid(why));
    }
    match ctx.emit(kind, body).await {
        Err(refused @ (EventError::Invalid(_) | EventError::Metric(_))) => Ok(invalid(refused)),
        other => other.map(|()| Said::Done),
    }
}

async fn checkpoint(ctx: &JobContext, body: &RawJson, longest: usize) -> Result<Said, EventError> {
    let Checkpoint { value } = match body.read() {
        Ok(body) => body,
        Err(cause) => return Ok(invalid(format!("the checkpoint: {}", explain_json(&cause)))),
    };
    let size = value.as_str().len();
    if size > longest {
        return Ok(invalid(format!(
            "the checkpoint has {size} bytes, more than {longest}; keep large state in files and their names in checkpoints"
        )));
    }
    ctx.checkpoint(value).await?;
    Ok(Said::Done)
}

/// What a process delegates is a delegation of its job: asked of its lease, bounded, listed and cancelled like any other
/// [ARCP 10-1]. A refusal goes into the log [ARCP 10-2], and the process goes on.
async fn delegate(ctx: &JobContext, body: &RawJson) -> Said {
    let order: Order = match body.read() {
        Ok(order) => order,
        Err(cause) => {
            let what = explain_json(&cause);
            return invalid(format!("it delegated nothing that can be read: {what}"));
        }
    };
    let delegation = ctx
        .delegate(&order.agent)
        .input(order.input)
        .lease(order.lease.unwrap_or_default())
        .constraints(order.constraints.unwrap_or_default());
    // Its handle is for those who wait for it; the job's end ends it.
    drop(delegation.send().await);
    Said::Done
}

fn invalid(why: impl ToString) -> Said {
    Said::Refused(ErrorCode::INVALID_REQUEST, why.to_string())
}
