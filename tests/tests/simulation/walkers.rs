//! What runs on several nodes: agents that ask before each step, and write down what they do where no runtime can change it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::sleep;
use towline::runtime::{AgentError, JobContext, RuntimeBuilder};
use towline_proto::lease::Operation;
use towline_wire::{Amount, JobId, Lease};

use crate::life::Life;

/// What agents did, in the order in which they did it. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Journal(Arc<Mutex<BTreeMap<JobId, Vec<Entry>>>>);

/// What was done in an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) attempt: u32,
    pub(crate) what: Deed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// The agent was started.
    Began,
    /// It found this checkpoint.
    Restored(u64),
    /// It was permitted a step.
    Acted,
    /// This checkpoint was acknowledged.
    Kept(u64),
}

impl Journal {
    pub(crate) fn all(&self) -> BTreeMap<JobId, Vec<Entry>> {
        self.0.lock().clone()
    }

    pub(crate) fn of(&self, job: &JobId) -> Vec<Entry> {
        self.0.lock().get(job).cloned().unwrap_or_default()
    }
}

/// The pen of one attempt.
struct Pen {
    journal: Journal,
    life: Life,
    job: JobId,
    attempt: u32,
}

impl Pen {
    fn note(&self, what: Deed) {
        // A process that was killed does nothing any more, though its tasks are still there.
        if !self.life.is_dead() {
            let entry = Entry {
                attempt: self.attempt,
                what,
            };
            let mut journal = self.journal.0.lock();
            journal.entry(self.job.clone()).or_default().push(entry);
        }
    }
}

/// Adds the agents to a node, or, to one that is `idle`, another one.
pub(crate) fn register(
    builder: RuntimeBuilder,
    journal: &Journal,
    life: &Life,
    idle: bool,
) -> RuntimeBuilder {
    if idle {
        return builder.agent(
            "idle",
            |_ctx: JobContext, input: Value| async move { Ok(input) },
        );
    }
    let pen = {
        let (journal, life) = (journal.clone(), life.clone());
        move |ctx: &JobContext| Pen {
            journal: journal.clone(),
            life: life.clone(),
            job: ctx.job_id().clone(),
            attempt: ctx.attempt(),
        }
    };
    let (walking, strolling, heading) = (pen.clone(), pen.clone(), pen);
    builder
        .restartable_agent("walker", move |ctx: JobContext, input: Value| {
            walk(walking(&ctx), ctx, input)
        })
        .agent("stroller", move |ctx: JobContext, input: Value| {
            walk(strolling(&ctx), ctx, input)
        })
        .restartable_agent("family", move |ctx: JobContext, input: Value| {
            head(heading(&ctx), ctx, input)
        })
}

/// Takes `n` steps, each after `pause_ms`, each permitted and paid for; goes on behind the latest checkpoint.
async fn walk(pen: Pen, ctx: JobContext, input: Value) -> Result<Value, AgentError> {
    pen.note(Deed::Began);
    let done = ctx.restored::<u64>().await?.unwrap_or(0);
    pen.note(Deed::Restored(done));
    let n = input["n"].as_u64().unwrap_or(3);
    for step in done + 1..=n {
        sleep(Duration::from_millis(
            input["pause_ms"].as_u64().unwrap_or(0),
        ))
        .await;
        let _permit = ctx.authorize(Operation::ToolCall("step")).await?;
        pen.note(Deed::Acted);
        ctx.metric("cost.step", cost(), Some("USD")).await?;
        ctx.log("info", format!("step {step}")).await?;
        if ctx.may_run_again() && step % 2 == 0 {
            ctx.checkpoint(step).await?;
            pen.note(Deed::Kept(step));
        }
    }
    Ok(json!({ "steps": n }))
}

/// Has two children walk, one after the other, and pays for each.
async fn head(pen: Pen, ctx: JobContext, input: Value) -> Result<Value, AgentError> {
    pen.note(Deed::Began);
    for _ in 0..2 {
        let _permit = ctx.authorize(Operation::ToolCall("step")).await?;
        pen.note(Deed::Acted);
        ctx.metric("cost.step", cost(), Some("USD")).await?;
        let lease = Lease::new()
            .with("tool.call", "step")
            .with("cost.budget", "USD:0.40");
        let child = ctx.delegate("walker").input(&input).lease(lease).send();
        child.await?.outcome().await;
    }
    Ok(Value::Null)
}

/// What a step costs, in cents 5.
fn cost() -> Amount {
    "0.05".parse().expect("an amount")
}
