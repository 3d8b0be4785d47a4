//! What runs in the simulation: agents that talk for a while and end in every way there is.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::sleep;
use towline::runtime::{AgentError, JobContext, RuntimeBuilder};
use towline_wire::{ErrorCode, JobId};

/// What was run, by whom and how often. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Runs(Arc<Mutex<BTreeMap<JobId, Run>>>);

/// The runs of one job.
#[derive(Debug, Clone, Default)]
pub(crate) struct Run {
    /// The runtime's lives in which its agent was started, in order.
    pub(crate) lives: Vec<u64>,
    /// The idempotency key its submit had.
    pub(crate) key: Option<String>,
    /// Whether it may run again after a restart.
    pub(crate) restartable: bool,
}

impl Runs {
    fn note(&self, ctx: &JobContext, life: u64, input: &Value, restartable: bool) {
        let mut runs = self.0.lock();
        let run = runs.entry(ctx.job_id().clone()).or_default();
        run.lives.push(life);
        run.key = input["key"].as_str().map(str::to_owned);
        run.restartable = restartable;
    }

    pub(crate) fn all(&self) -> BTreeMap<JobId, Run> {
        self.0.lock().clone()
    }

    /// The jobs that ran for each idempotency key.
    pub(crate) fn by_key(&self) -> BTreeMap<String, BTreeSet<JobId>> {
        let mut keys: BTreeMap<String, BTreeSet<JobId>> = BTreeMap::new();
        for (job, run) in &*self.0.lock() {
            if let Some(key) = &run.key {
                keys.entry(key.clone()).or_default().insert(job.clone());
            }
        }
        keys
    }
}

/// Adds the agents to a runtime in its `life`.
pub(crate) fn register(builder: RuntimeBuilder, runs: &Runs, life: u64) -> RuntimeBuilder {
    let (talking, rising) = (runs.clone(), runs.clone());
    builder
        .agent("talk", move |ctx: JobContext, input: Value| {
            talking.note(&ctx, life, &input, false);
            talk(ctx, input, 0)
        })
        .restartable_agent("phoenix", move |ctx: JobContext, input: Value| {
            rising.note(&ctx, life, &input, true);
            rise(ctx, input)
        })
}

/// Says `n` things, with `pause_ms` between two, and ends as `end` says; stops when it is told to unless it is `stubborn`.
async fn talk(ctx: JobContext, input: Value, said: u32) -> Result<Value, AgentError> {
    let n = input["n"]
        .as_u64()
        .and_then(|n| u32::try_from(n).ok())
        .unwrap_or(3);
    let pause = Duration::from_millis(input["pause_ms"].as_u64().unwrap_or(0));
    let stubborn = input["stubborn"] == true;
    for i in said + 1..=n {
        if ctx.is_cancelled() && !stubborn {
            return Err(AgentError::new(ErrorCode::CANCELLED, "told to stop"));
        }
        ctx.log("info", format!("thing {i}")).await?;
        if i % 3 == 0 {
            ctx.progress(i).of(n).await?;
        }
        if ctx.agent().to_string().starts_with("phoenix") {
            ctx.checkpoint(i).await?;
        }
        if !pause.is_zero() {
            sleep(pause).await;
        }
    }
    end(&ctx, &input, n).await
}

async fn end(ctx: &JobContext, input: &Value, n: u32) -> Result<Value, AgentError> {
    match input["end"].as_str() {
        Some("fail") => Err(AgentError::new(
            ErrorCode::INTERNAL_ERROR,
            "it was not meant to be",
        )),
        Some("panic") => panic!("an agent of the simulation panics"),
        Some("stream") => {
            let mut writer = ctx.stream_result()?;
            for i in 0..n {
                writer.write_text(&format!("piece {i};")).await?;
            }
            writer.finish(Some("in pieces")).await?;
            Ok(Value::Null)
        }
        _ => Ok(json!({ "said": n })),
    }
}

/// Goes on where its last run had come to.
async fn rise(ctx: JobContext, input: Value) -> Result<Value, AgentError> {
    let said = ctx.restored::<u32>().await?.unwrap_or(0);
    talk(ctx, input, said).await
}
