//! Servers of tools: what a job calls as `SERVER/TOOL`, opened for it when it first needs it, and closed with its run.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use tokio::time::timeout;
use towline_wire::{RawJson, namespace};

use super::{JobContext, ToolError};

/// A tool, as whoever chooses among tools is told of it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ToolInfo {
    /// What it is called by, and what the lease has to cover (`tool.call`).
    pub name: String,
    /// What it is for, if that is known.
    pub description: Option<String>,
    /// A JSON Schema of its arguments.
    pub input_schema: RawJson,
}

impl ToolInfo {
    /// A tool whose arguments are any object.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            description: None,
            input_schema: RawJson::from(serde_json::json!({"type": "object"})),
        }
    }

    /// What it is for.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// A JSON Schema of its arguments.
    #[must_use]
    pub fn input_schema(mut self, schema: impl Into<RawJson>) -> Self {
        self.input_schema = schema.into();
        self
    }
}

/// Tools that a server elsewhere has: in a process, or behind an address. Each job has it for itself, bounded by its own lease.
///
/// Registered as `mcp:github`, its tools are `mcp:github/TOOL` to jobs: they find them with [`JobContext::tools`], and call them
/// with [`JobContext::call_tool`].
pub trait ToolServer: Send + Sync + 'static {
    /// Opens it for one run of a job. The text of an error is shown to the agent and stands in the job's log.
    fn open(&self, ctx: JobContext) -> BoxFuture<'static, Result<Arc<dyn OpenTools>, String>>;
}

/// A server of tools that is open for one run of a job.
pub trait OpenTools: Send + Sync + 'static {
    /// Its tools, by their own names.
    fn list(&self) -> BoxFuture<'_, Result<Vec<ToolInfo>, String>>;

    /// Calls one. The lease was asked. `traceparent` is where the call is in the job's trace [ARCP 11-2].
    fn call<'c>(
        &'c self,
        tool: &'c str,
        args: RawJson,
        traceparent: String,
    ) -> BoxFuture<'c, Result<RawJson, String>>;

    /// Whether it can still be called. One that cannot is opened anew for the next call.
    fn is_open(&self) -> bool;

    /// Ends it, and whatever is being called.
    fn close(&self);
}

/// A place for a server of a run: locked while it is opened, so that it is opened once.
type Slot = Arc<tokio::sync::Mutex<Option<Arc<dyn OpenTools>>>>;

/// The servers that one run of a job has open.
#[derive(Default)]
pub(crate) struct Opened {
    slots: Mutex<BTreeMap<String, Slot>>,
    is_over: AtomicBool,
}

impl Opened {
    /// The server of a name, opened if need be.
    pub(super) async fn server(
        &self,
        name: &str,
        server: &dyn ToolServer,
        ctx: &JobContext,
    ) -> Result<Arc<dyn OpenTools>, String> {
        let slot = Arc::clone(self.slots.lock().entry(name.to_owned()).or_default());
        let mut slot = slot.lock().await;
        if let Some(open) = slot.as_ref().filter(|open| open.is_open()) {
            return Ok(Arc::clone(open));
        }
        let opened = server.open(ctx.clone()).await?;
        // Looked at after it is open: the run may have ended meanwhile, and did not see it.
        *slot = Some(Arc::clone(&opened));
        if self.is_over.load(Ordering::SeqCst) {
            opened.close();
            return Err("the job has ended".to_owned());
        }
        Ok(opened)
    }

    fn close(&self) {
        self.is_over.store(true, Ordering::SeqCst);
        let slots = std::mem::take(&mut *self.slots.lock());
        for slot in slots.values() {
            // One that is being opened is closed by whoever opens it.
            if let Some(open) = slot.try_lock().ok().and_then(|mut slot| slot.take()) {
                open.close();
            }
        }
    }
}

/// Closes what a run has open when it is dropped.
pub(crate) struct Closing(pub(super) Arc<Opened>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl JobContext {
    /// Whether the job may call tools of some server, or a person may let it.
    pub fn has_servers_in_reach(&self) -> bool {
        let mut servers = self.equipment.tools.servers();
        servers.any(|(name, _)| self.has_in_reach(name))
    }

    fn has_in_reach(&self, server: &str) -> bool {
        let beginning = format!("{server}/");
        self.reach().reaches_some(namespace::TOOL_CALL, &beginning)
    }

    /// The tools that the job may call, or that a person may let it call [ARCP 15-6]: those of the runtime, and those of its
    /// servers, which are opened for that. A server that cannot be opened, or does not tell its tools within 30 seconds, is told of
    /// in the log, and left out.
    ///
    /// # Errors
    /// The job has ended.
    pub async fn tools(&self) -> Result<Vec<ToolInfo>, ToolError> {
        let registry = &self.equipment.tools;
        let mut tools: Vec<ToolInfo> = registry.names().map(ToolInfo::new).collect();
        let servers = registry
            .servers()
            .filter(|(name, _)| self.has_in_reach(name));
        // Side by side: one that is slow costs the others nothing.
        let listing = servers.map(|(name, server)| async move {
            let listed = match self.opened.server(name, server, self).await {
                Ok(open) => listed(open.as_ref()).await,
                Err(why) => Err(why),
            };
            (name, listed)
        });
        for (name, listed) in join_all(listing).await {
            match listed {
                Ok(listed) => tools.extend(listed.into_iter().map(|tool| ToolInfo {
                    name: format!("{name}/{}", tool.name),
                    ..tool
                })),
                Err(why) => {
                    let text = format!("the tools of `{name}` cannot be told: {why}");
                    self.log("warn", text).await?;
                }
            }
        }
        let reach = self.reach();
        tools.retain(|tool| reach.reaches(namespace::TOOL_CALL, &tool.name));
        Ok(tools)
    }
}

/// The tools of an open server, if it tells them in time.
async fn listed(open: &dyn OpenTools) -> Result<Vec<ToolInfo>, String> {
    let late = |_| format!("there was no answer in {} seconds", LISTING.as_secs());
    timeout(LISTING, open.list()).await.map_err(late)?
}

/// How long a server may take to tell its tools.
const LISTING: Duration = Duration::from_secs(30);
