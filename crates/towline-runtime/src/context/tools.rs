//! Tools: closures the runtime holds, called by name through the lease.

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc};

use serde::Serialize;
use serde_json::{Map, Value};
use towline_proto::lease::Operation;
use towline_wire::{ErrorCode, RawJson, event};
use tracing::Instrument as _;

use super::{Denied, EventError, JobContext, tool_servers::ToolServer};

/// Something an agent can call by name, when its lease has `tool.call` for it.
///
/// Called after the lease was asked. It runs inside the agent's task and is dropped with it.
pub trait Tool: Send + Sync + 'static {
    /// Carries the call out.
    fn call(
        &self,
        ctx: JobContext,
        args: RawJson,
    ) -> Pin<Box<dyn Future<Output = Result<RawJson, String>> + Send>>;

    /// Whether the tool gets `_meta.traceparent` among its arguments, as the Model Context Protocol has it [ARCP 11-2]. The
    /// log shows the arguments without it. Default: no; see [`with_meta`].
    fn takes_meta(&self) -> bool {
        false
    }
}

/// Makes a tool one that gets `_meta.traceparent` among its arguments, where those are an object.
pub fn with_meta(tool: impl Tool) -> impl Tool {
    WithMeta(tool)
}

struct WithMeta<T>(T);

impl<T: Tool> Tool for WithMeta<T> {
    fn call(
        &self,
        ctx: JobContext,
        args: RawJson,
    ) -> Pin<Box<dyn Future<Output = Result<RawJson, String>> + Send>> {
        self.0.call(ctx, args)
    }

    fn takes_meta(&self) -> bool {
        true
    }
}

impl<F, Fut> Tool for F
where
    F: Fn(JobContext, RawJson) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<RawJson, String>> + Send + 'static,
{
    fn call(
        &self,
        ctx: JobContext,
        args: RawJson,
    ) -> Pin<Box<dyn Future<Output = Result<RawJson, String>> + Send>> {
        Box::pin(self(ctx, args))
    }
}

/// The tools of a runtime.
#[derive(Default, Clone)]
pub(crate) struct ToolRegistry {
    tools: BTreeMap<String, Arc<dyn Tool>>,
    servers: BTreeMap<String, Arc<dyn ToolServer>>,
}

/// What a name leads to.
enum Found<'r> {
    Tool(&'r Arc<dyn Tool>),
    /// A tool of a server, by the server's name and its own.
    Of(&'r str, &'r dyn ToolServer, &'r str),
}

impl ToolRegistry {
    pub(crate) fn add(&mut self, name: impl Into<String>, tool: Arc<dyn Tool>) {
        self.tools.insert(name.into(), tool);
    }

    pub(crate) fn add_server(&mut self, name: impl Into<String>, server: Arc<dyn ToolServer>) {
        self.servers.insert(name.into(), server);
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.tools.keys().map(String::as_str)
    }

    pub(super) fn servers(&self) -> impl Iterator<Item = (&str, &dyn ToolServer)> {
        let servers = self.servers.iter();
        servers.map(|(name, server)| (name.as_str(), &**server))
    }

    fn find<'r>(&'r self, name: &'r str) -> Option<Found<'r>> {
        if let Some(tool) = self.tools.get(name) {
            return Some(Found::Tool(tool));
        }
        let (server, tool) = name.split_once('/')?;
        let found = self.servers.get(server)?;
        Some(Found::Of(server, &**found, tool))
    }
}

/// Why a tool call gave nothing.
#[derive(Debug, Clone, thiserror::Error)]
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
    /// Calls a tool of the runtime, or one of its servers' (`SERVER/TOOL`): the call goes into the log, then the lease is asked, then the tool runs, and its
    /// result or error goes into the log.
    ///
    /// # Errors
    /// [`ToolError`].
    pub async fn call_tool(&self, name: &str, args: impl Serialize) -> Result<RawJson, ToolError> {
        let args = RawJson::of(&args).map_err(EventError::unserialisable)?;
        let Some(found) = self.equipment.tools.find(name) else {
            return Err(ToolError::Unknown(name.to_owned()));
        };
        let ctx = self.clone();
        self.guarded_call(name, args, |args| async move {
            match found {
                Found::Tool(tool) => {
                    let args = if tool.takes_meta() {
                        add_meta(args, &ctx.traceparent())
                    } else {
                        args
                    };
                    tool.call(ctx, args).await
                }
                Found::Of(name, server, tool) => {
                    let open = ctx.opened.server(name, server, &ctx).await?;
                    open.call(tool, args, ctx.traceparent()).await
                }
            }
        })
        .await
    }

    /// The same around a tool of the agent's own: `run` is only called when the lease covers `name`.
    ///
    /// # Errors
    /// [`ToolError`].
    pub async fn guarded_call<F, Fut>(
        &self,
        name: &str,
        args: RawJson,
        run: F,
    ) -> Result<RawJson, ToolError>
    where
        F: FnOnce(RawJson) -> Fut,
        Fut: Future<Output = Result<RawJson, String>>,
    {
        let call = self.tool_call(name, &args).await?;
        let permit = self
            .authorize_call(Operation::ToolCall(name), &call)
            .await?;
        match run(args).instrument(permit.span().clone()).await {
            Ok(result) => {
                self.tool_result(&call, &result).await?;
                Ok(result)
            }
            Err(message) => {
                let error = event::ToolError {
                    code: ErrorCode::INTERNAL_ERROR,
                    message: message.clone(),
                    retryable: true,
                };
                self.tool_failed(&call, error).await?;
                Err(ToolError::Failed {
                    tool: name.to_owned(),
                    message,
                })
            }
        }
    }
}

/// Adds the trace to an object's `_meta`, beside what is there.
fn add_meta(args: RawJson, traceparent: &str) -> RawJson {
    let Ok(mut fields) = args.read::<Map<String, Value>>() else {
        return args;
    };
    let meta = fields
        .entry("_meta")
        .or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(meta) = meta {
        meta.insert("traceparent".to_owned(), traceparent.into());
    }
    Value::Object(fields).into()
}
