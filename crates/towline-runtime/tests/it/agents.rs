//! Agents the tests drive.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use towline_runtime::{Agent, AgentError, AgentFuture, JobContext, agent_fn};

/// Returns its input.
pub fn echo() -> impl Agent {
    agent_fn(|_ctx: JobContext, input: Value| async move { Ok(input) })
}

/// Writes `n` lines at once, then returns `n`.
pub fn lines() -> impl Agent {
    agent_fn(|ctx: JobContext, input: Value| async move {
        let n = input["n"].as_u64().unwrap_or(0);
        for line in 1..=n {
            ctx.log("info", format!("line {line}")).await?;
        }
        Ok(json!(n))
    })
}

/// Writes a line for each permit, until the valve is closed; then returns how many it wrote. Stops when cancelled.
#[derive(Clone)]
pub struct Valve(Arc<Semaphore>);

impl Valve {
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Lets so many lines through.
    pub fn open(&self, lines: usize) {
        self.0.add_permits(lines);
    }

    /// Lets the agents finish.
    pub fn shut(&self) {
        self.0.close();
    }

    pub fn agent(&self) -> impl Agent {
        let valve = self.clone();
        agent_fn(move |ctx: JobContext, _input: Value| {
            let valve = valve.clone();
            async move {
                for line in 1.. {
                    tokio::select! {
                        permit = valve.0.acquire() => match permit {
                            Ok(permit) => permit.forget(),
                            Err(_) => return Ok(json!(line - 1)),
                        },
                        () = ctx.cancelled() => return Ok(json!("stopped")),
                    }
                    ctx.log("info", format!("line {line}")).await?;
                }
                Ok::<Value, AgentError>(Value::Null)
            }
        })
    }
}

/// Sleeps until it is cancelled, then returns normally.
pub fn patient() -> impl Agent {
    agent_fn(|ctx: JobContext, _input: Value| async move {
        ctx.cancelled().await;
        Ok(json!("stopped"))
    })
}

/// Never ends, and hears nothing.
pub struct Deaf;

impl Agent for Deaf {
    fn run(&self, _ctx: JobContext, _input: towline_wire::RawJson) -> AgentFuture {
        Box::pin(std::future::pending())
    }
}

/// Counts how often it runs.
pub fn counting(
    ran: &Arc<AtomicU32>,
) -> impl Fn(JobContext, Value) -> BoxFuture<'static, Result<Value, AgentError>> + use<> {
    let ran = Arc::clone(ran);
    move |_ctx, _input| {
        let run = ran.fetch_add(1, Ordering::Relaxed) + 1;
        Box::pin(async move { Ok(json!(run)) })
    }
}
