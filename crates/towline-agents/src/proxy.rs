//! The network of one job's program: a proxy on a loopback port, which decides by the job's lease and sees to its budget.
//!
//! ```text
//!   the program                        this process                                 elsewhere
//!   ┌────────────────────────┐         ┌────────────────────────────────┐
//!   │ no network but         │  HTTP   │ proxy of the job               │  TCP    hosts of net.fetch,
//!   │ 127.0.0.1:PORT  ───────┼────────▶│ host, port, path by the lease ─┼───────▶ addresses looked at first
//!   │                        │         │                                │
//!   │ OPENAI_API_KEY=jk_…    │         │ model.use, budget, prices     ─┼───────▶ the model service,
//!   │ (of this job alone)    │         │ adds the operator's key        │         with the operator's key
//!   └────────────────────────┘         └────────────────────────────────┘
//! ```
//!
//! What keeps the program to that port is [`confine::Door`](crate::confine::Door)'s business. Everything that is decided here
//! is decided by the same questions to the lease as for agents in this process, and stands in the job's log as
//! `tool_call` and `tool_result`. TLS is not opened: of what goes through a tunnel only host and port are known.

mod answer;
mod fetch;
mod models;
mod outside;
mod serve;

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use base64::Engine as _;
use hyper::{Request, Response, StatusCode, body::Incoming};
use tokio::{net::TcpListener, time::timeout};
use towline_env::Ids;
use towline_runtime::{AgentError, JobContext};
use towline_wire::{ErrorCode, RawJson, Secret};

use crate::mcp::JobServer;
use fetch::Fetches;
use models::Models;
use outside::System;
use serve::Knock;

pub(crate) use answer::{Body, Refused};
pub use models::{Model, ModelError, Price, Style};
pub use outside::Outside;
pub(crate) use serve::Proxy;

/// How long a program has to take its last answer, and end by itself, when its budget is used up.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long calls that nobody waits for any more may take to be paid for.
const SETTLING: Duration = Duration::from_secs(5);

/// What an agent's programs get of the network beside what a lease says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    pub(crate) model: Option<Model>,
    pub(crate) outside: Option<Arc<dyn Outside>>,
}

/// The network of one job's program. Clones are the same.
#[derive(Clone)]
pub(crate) struct Network {
    inner: Arc<Inner>,
}

struct Inner {
    /// Whether the lease lets the program fetch anything, or a person may.
    fetches_any: bool,
    fetches: Fetches,
    models: Option<Arc<Models>>,
    /// The job's own tools.
    tools: Option<Arc<JobServer>>,
}

impl Network {
    /// What a job's program gets; `None` when that is nothing.
    pub(crate) fn of(ctx: &JobContext, settings: &Settings) -> Option<Self> {
        Self::with_tools(ctx, settings, None)
    }

    /// The same, with the job's own tools.
    pub(crate) fn with_tools(
        ctx: &JobContext,
        settings: &Settings,
        tools: Option<Arc<JobServer>>,
    ) -> Option<Self> {
        let fetches_any = fetch::patterns(ctx.lease()).next().is_some();
        if !fetches_any && settings.model.is_none() && tools.is_none() {
            return None;
        }
        let outside = settings.outside.clone();
        let outside = outside.unwrap_or_else(|| Arc::new(System));
        let inner = Inner {
            fetches_any,
            fetches: Fetches::new(ctx, outside),
            models: settings.model.clone().map(|model| Models::new(ctx, model)),
            tools,
        };
        Some(Self {
            inner: Arc::new(inner),
        })
    }

    /// Whether there is something for a program that is not confined, and reaches everything else by itself.
    pub(crate) fn has_own(&self) -> bool {
        self.inner.models.is_some() || self.inner.tools.is_some()
    }

    /// Whether a program has to have it. Without the job's tools it works too, so they open no door that may lead elsewhere.
    #[cfg(target_os = "linux")]
    pub(crate) fn is_needed(&self) -> bool {
        self.inner.fetches_any || self.inner.models.is_some()
    }

    /// What of it commands get that the program has run: all but the job's tools, for which they have no key.
    pub(crate) fn for_commands(&self) -> Option<Self> {
        let Inner { fetches_any, .. } = *self.inner;
        (fetches_any || self.inner.models.is_some()).then(|| self.clone())
    }

    /// Serves whoever connects. `shared` says that others than the program may. Gives what the program has to find in its
    /// environment.
    pub(crate) fn serve(&self, listener: TcpListener, port: u16, shared: Shared) -> Proxy {
        let knock = Knock {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            word: shared.0.map(|pass| {
                let pair = format!("job:{}", pass.expose());
                let pair = base64::engine::general_purpose::STANDARD.encode(pair);
                Secret::new(format!("Basic {pair}"))
            }),
        };
        Proxy::start(self.clone(), listener, port, knock)
    }

    /// What a program finds in its environment. One that is not confined needs no proxy.
    pub(crate) fn variables(
        &self,
        port: u16,
        shared: &Shared,
        confined: bool,
    ) -> Vec<(String, String)> {
        let mut variables = Vec::new();
        if self.inner.fetches_any && confined {
            let user = shared.0.as_ref();
            let user = user.map_or_else(String::new, |pass| format!("job:{}@", pass.expose()));
            let proxy = format!("http://{user}127.0.0.1:{port}");
            let names = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"];
            variables.extend(names.map(|name| (name.to_owned(), proxy.clone())));
            let none = ["NO_PROXY", "no_proxy"];
            variables.extend(none.map(|name| (name.to_owned(), String::new())));
            // Node.js looks at the others only when it is told to.
            variables.push(("NODE_USE_ENV_PROXY".to_owned(), "1".to_owned()));
        }
        let models = self.inner.models.iter();
        variables.extend(models.flat_map(|models| models.variables(port)));
        let tools = self.inner.tools.iter();
        variables.extend(tools.flat_map(|tools| tools.variables(port)));
        variables
    }

    /// Runs an agent that has this network: a call that uses the budget up ends it, once its answer was given [ARCP 18-3].
    pub(crate) async fn run(
        network: Option<Self>,
        agent: impl Future<Output = Result<RawJson, AgentError>>,
    ) -> Result<RawJson, AgentError> {
        let Some(network) = network else {
            return agent.await;
        };
        let gave = {
            let mut agent = pin!(agent);
            tokio::select! {
                gave = &mut agent => Some(gave),
                () = network.spent() => timeout(LAST_WORDS, &mut agent).await.ok(),
            }
        };
        // The program is gone, and so is its proxy; what it asked for and did not wait for is paid for all the same.
        if let Some(models) = &network.inner.models {
            // An upstream that does not let go has to be let go.
            let _ = timeout(SETTLING, models.settled()).await;
        }
        match gave {
            Some(gave) if !network.is_spent() => gave,
            _ => Err(AgentError::new(
                ErrorCode::BUDGET_EXHAUSTED,
                "the budget is used up by the models that the program called",
            )),
        }
    }

    async fn spent(&self) {
        match &self.inner.models {
            Some(models) => models.spent().await,
            None => std::future::pending().await,
        }
    }

    fn is_spent(&self) -> bool {
        let models = self.inner.models.as_ref();
        models.is_some_and(|models| models.is_spent())
    }

    fn fetches(&self) -> &Fetches {
        &self.inner.fetches
    }

    /// A request to the proxy itself.
    async fn own(&self, request: Request<Incoming>) -> Response<Body> {
        let tools = self.inner.tools.as_ref();
        if let Some(tools) = tools.filter(|tools| tools.is_at(request.uri().path())) {
            return tools.answer(request).await;
        }
        if let Some(models) = &self.inner.models {
            return models.answer(request).await;
        }
        let message = "this is the proxy of one job, and its agent has no model";
        let status = StatusCode::NOT_FOUND;
        Refused::new(status, ErrorCode::INVALID_REQUEST, message).plain()
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network")
            .field("fetches", &self.inner.fetches_any)
            .field("models", &self.inner.models)
            .field("tools", &self.inner.tools)
            .finish()
    }
}

/// What a program has to say where others than it may reach its proxy; nothing where nobody can.
#[derive(Debug)]
pub(crate) struct Shared(Option<Secret>);

impl Shared {
    pub(crate) fn new(shared: bool) -> Self {
        Self(shared.then(|| Ids::system().resume_token()))
    }
}
