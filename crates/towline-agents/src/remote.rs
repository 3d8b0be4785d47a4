//! An agent of another runtime.

use std::{fmt, sync::Arc};

use towline_client::{ClientOptions, Connecting, Connector};
use towline_runtime::{Agent, AgentFuture, JobContext};
use towline_wire::{RawJson, Secret};

use crate::relay;

/// An agent of another ARCP runtime, hosted here: each job is a job there, whose events, questions, costs, result and errors are
/// those of the job here.
///
/// The lease goes along, so both runtimes hold to it; what the agent there spends counts here too. `agent.delegate` stays here:
/// what the agent delegates by an event is a delegation of the job here, checked and bounded like any other [ARCP 10-1], and its
/// own runtime starts nothing.
///
/// A lost connection is made again and the session resumed (§6.3), for as long as the other runtime keeps it. With
/// [`AgentOptions::restartable`](towline_runtime::AgentOptions::restartable) the job here goes on with the job there after a
/// restart; after a crash at most the events of the last second stand in the log twice.
///
/// ```
/// use towline_agents::RemoteAgent;
/// use towline_transport::MemoryTransport;
///
/// let agent = RemoteAgent::new(|| async {
///     let (near, _far) = MemoryTransport::pair();
///     Ok(near)
/// });
/// let agent = agent.token("secret").named("review@2.0.0");
/// ```
#[derive(Clone)]
pub struct RemoteAgent {
    connector: Arc<dyn Connector>,
    token: Option<Secret>,
    name: Option<String>,
}

impl RemoteAgent {
    /// An agent at the runtime that these connections lead to. Each job has one of its own.
    pub fn new(connector: impl Connector) -> Self {
        Self {
            connector: Arc::new(connector),
            token: None,
            name: None,
        }
    }

    /// The bearer token that proves who submits there. Default: none, for runtimes that take anybody.
    #[must_use]
    pub fn token(mut self, token: impl Into<Secret>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// What the agent is called there, `name` or `name@version`. Default: as it is called here, without a version.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    fn options(&self) -> ClientOptions {
        let options = match &self.token {
            Some(token) => ClientOptions::bearer(token.clone()),
            None => ClientOptions::new(),
        };
        options.connector(Shared(Arc::clone(&self.connector)))
    }
}

/// The connector of all jobs of an agent.
struct Shared(Arc<dyn Connector>);

impl Connector for Shared {
    fn connect(&self) -> Connecting<'_> {
        self.0.connect()
    }
}

impl Agent for RemoteAgent {
    fn run(&self, ctx: JobContext, input: RawJson) -> AgentFuture {
        let here = ctx.agent().name();
        let name = self.name.clone().unwrap_or_else(|| here.to_owned());
        Box::pin(relay::run_elsewhere(ctx, name, self.options(), input))
    }

    fn spends_unasked(&self) -> bool {
        true
    }
}

impl fmt::Debug for RemoteAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteAgent")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
