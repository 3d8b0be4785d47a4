//! Tools: closures the runtime holds, called by name through the lease.

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc};

use serde::Serialize;
use towline_proto::lease::Operation;
use towline_wire::{ErrorCode, RawJson, event};

use super::{Denied, EventError, JobContext};

/// Something an agent can call by name, when its lease has `tool.call` for it.
///
/// Called after the lease was asked. It runs inside the agent's task and is dropped with it.
pub trait Tool: Send + Sync + 'static {
    /// Carries the call out.
    fn call(&self, ctx: JobContext, args: RawJson) -> Pin<Box<dyn Future<Output = Result<RawJson, String>> + Send>>;
}

impl<F, Fut> Tool for F
where
    F: Fn(JobContext, RawJson) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<RawJson, String>> + Send + 'static,
{
    fn call(&self, ctx: JobContext, args: RawJson) -> Pin<Box<dyn Future<Output = Result<RawJson, String>> + Send>> {
        Box::pin(self(ctx, args))
    }
}

/// The tools of a runtime.
#[derive(Default, Clone)]
pub(crate) struct ToolRegistry(BTreeMap<String, Arc<dyn Tool>>);

impl ToolRegistry {
    pub(crate) fn add(&mut self, name: impl Into<String>, tool: Arc<dyn Tool>) {
        self.0.insert(name.into(), tool);
    }
}

/// Why a tool call gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ToolError {
    /// The lease does not cover it.
    #[error("{0}")]
    Denied(#[from] Denied),
    /// There is no such tool.
    #[error("there is no tool `{0}`")]
    Unknown(String),
    /// The tool failed.
    #[error("the tool `{tool}` failed: {message}")]
    Failed {
        /// Which tool.
        tool: String,
        /// What it said.
        message: String,
    },
    /// The job has ended, or the arguments have no JSON form.
    #[error(transparent)]
    Event(#[from] EventError),
}

impl JobContext {
    /// Calls a tool of the runtime: the call goes into the log, then the lease is asked, then the tool runs, and its
    /// result or error goes into the log.
    ///
    /// # Errors
    /// [`ToolError`].
    pub async fn call_tool(&self, name: &str, args: impl Serialize) -> Result<RawJson, ToolError> {
        let args = RawJson::of(&args).map_err(EventError::unserialisable)?;
        let Some(tool) = self.hub.tools.0.get(name).cloned() else { return Err(ToolError::Unknown(name.to_owned())) };
        let ctx = self.clone();
        self.guarded_call(name, args, |args| async move { tool.call(ctx, args).await }).await
    }

    /// The same around a tool of the agent's own: `run` is only called when the lease covers `name`.
    ///
    /// # Errors
    /// [`ToolError`].
    pub async fn guarded_call<F, Fut>(&self, name: &str, args: RawJson, run: F) -> Result<RawJson, ToolError>
    where
        F: FnOnce(RawJson) -> Fut,
        Fut: Future<Output = Result<RawJson, String>>,
    {
        let call = self.tool_call(name, &args).await?;
        let _permit = self.authorize_call(Operation::ToolCall(name), &call).await?;
        match run(args).await {
            Ok(result) => {
                self.tool_result(&call, &result).await?;
                Ok(result)
            }
            Err(message) => {
                let error = event::ToolError { code: ErrorCode::INTERNAL_ERROR, message: message.clone(), retryable: true };
                self.tool_failed(&call, error).await?;
                Err(ToolError::Failed { tool: name.to_owned(), message })
            }
        }
    }
}
