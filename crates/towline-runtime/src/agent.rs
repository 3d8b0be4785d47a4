//! What a runtime runs: agents, by name and version (§7.5).

mod error;
mod host;

use std::{future::Future, pin::Pin, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};
use towline_wire::{RawJson, explain_json};

use crate::JobContext;

pub use error::AgentError;
pub(crate) use host::Host;

/// The future of a running agent.
pub type AgentFuture = Pin<Box<dyn Future<Output = Result<RawJson, AgentError>> + Send>>;

/// Runs jobs.
///
/// One value serves every job of its name, at once. `run` is called once a job (again after a restart, for agents
/// registered as restartable, and again after a failure, for agents registered with retries); its future is dropped when the job has to end and the agent did not stop within the
/// grace period, so it must not rely on running to its end. A panic ends the job with INTERNAL_ERROR and harms nothing
/// else [ARCP 7.3-4].
///
/// Closures are agents too, with typed input and output: see [`agent_fn`].
pub trait Agent: Send + Sync + 'static {
    /// Runs one job. The value returned is the job's inline result, unless the result was streamed.
    fn run(&self, ctx: JobContext, input: RawJson) -> AgentFuture;

    /// Whether it does what it likes without asking the job's lease first, as a program outside of this process does. A job
    /// of such an agent ends with BUDGET_EXHAUSTED as soon as its budget is spent; others are refused their next operation
    /// [ARCP 9.6-3]. Asked when the agent is registered. Default: it asks.
    fn spends_unasked(&self) -> bool {
        false
    }
}

impl<A: Agent + ?Sized> Agent for Arc<A> {
    fn run(&self, ctx: JobContext, input: RawJson) -> AgentFuture {
        (**self).run(ctx, input)
    }

    fn spends_unasked(&self) -> bool {
        (**self).spends_unasked()
    }
}

/// Something that can be registered as an agent: a value of [`Agent`], or a closure `|ctx: JobContext, input: I| async {
/// Ok(output) }` whose input deserialises and whose output serialises. Input that does not deserialise ends the job with
/// INVALID_REQUEST and names the field at fault.
pub trait IntoAgent<Marker> {
    /// The agent.
    fn into_agent(self) -> Arc<dyn Agent>;
}

/// Tells [`IntoAgent`] that the value is an agent already.
#[derive(Debug)]
pub struct IsAgent;

impl<A: Agent> IntoAgent<IsAgent> for A {
    fn into_agent(self) -> Arc<dyn Agent> {
        Arc::new(self)
    }
}

impl<F, I, O, Fut> IntoAgent<fn(I) -> O> for F
where
    F: Fn(JobContext, I) -> Fut + Send + Sync + 'static,
    I: DeserializeOwned + Send + 'static,
    O: Serialize + 'static,
    Fut: Future<Output = Result<O, AgentError>> + Send + 'static,
{
    fn into_agent(self) -> Arc<dyn Agent> {
        Arc::new(agent_fn(self))
    }
}

/// An agent made of a closure.
pub fn agent_fn<F, I, O, Fut>(run: F) -> impl Agent
where
    F: Fn(JobContext, I) -> Fut + Send + Sync + 'static,
    I: DeserializeOwned + Send + 'static,
    O: Serialize + 'static,
    Fut: Future<Output = Result<O, AgentError>> + Send + 'static,
{
    Typed {
        run: Arc::new(run),
        shape: std::marker::PhantomData::<fn(I) -> O>,
    }
}

struct Typed<F, S> {
    run: Arc<F>,
    shape: std::marker::PhantomData<S>,
}

impl<F, I, O, Fut> Agent for Typed<F, fn(I) -> O>
where
    F: Fn(JobContext, I) -> Fut + Send + Sync + 'static,
    I: DeserializeOwned + Send + 'static,
    O: Serialize + 'static,
    Fut: Future<Output = Result<O, AgentError>> + Send + 'static,
{
    fn run(&self, ctx: JobContext, input: RawJson) -> AgentFuture {
        let run = Arc::clone(&self.run);
        Box::pin(async move {
            let input = input
                .read::<I>()
                .map_err(|cause| AgentError::invalid_input(&explain_json(&cause)))?;
            let output = run(ctx, input).await?;
            RawJson::of(&output).map_err(AgentError::from)
        })
    }
}
