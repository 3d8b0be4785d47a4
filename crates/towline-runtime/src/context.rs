//! What an agent has while it runs a job.

mod approve;
mod ask;
mod checkpoint;
mod child;
mod emit;
mod error;
#[cfg(feature = "files")]
mod files;
mod guard;
#[cfg(feature = "http")]
mod http;
mod key;
mod models;
mod progress;
mod recall;
mod result;
mod tool_servers;
mod tools;
mod trace;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use towline_store::Principal;
use towline_wire::{
    AgentRef, JobId, Lease, LeaseConstraints, RawJson, SessionId, Timestamp, TraceId,
};

use crate::{credentials::JobCredential, hub::Hub, job::JobEntry};

pub use ask::{Answer, AskError, JobMessage, Messages};
pub use child::{ChildEvent, ChildHandle, ChildOutcome, Delegation};
pub use emit::Level;
pub use error::{Denied, EventError};
#[cfg(feature = "files")]
pub use files::{FileEntry, FileError, FileInfo, FileKind, Files, SkipReason, Visit, Walk};
pub use guard::Permit;
#[cfg(feature = "http")]
pub(crate) use http::HttpClients;
#[cfg(feature = "http")]
pub use http::{Http, HttpError, HttpOptions, HttpRequest, HttpResponse};
pub use key::JobKey;
pub use models::{ModelPermit, UpstreamRefusal};
pub use progress::Progress;
pub use result::ResultWriter;
pub(crate) use tool_servers::{Closing, Opened};
pub use tool_servers::{OpenTools, ToolInfo, ToolServer};
pub(crate) use tools::ToolRegistry;
pub use tools::{Tool, ToolError, with_meta};

/// One job, as its agent sees it. Cheap to clone; clones are the same job.
///
/// Events go into the job's log in the order of the calls and reach every observer. Each call waits only while the job
/// has a great deal that is not durable yet, never for a slow observer. After the job has ended every call fails with
/// [`EventError::JobEnded`]; an agent that passes errors on with `?` stops by itself.
///
/// What needs a grant goes through [`JobContext::authorize`], or through the facades that call it first.
#[derive(Clone)]
pub struct JobContext {
    pub(crate) hub: Arc<Hub>,
    pub(crate) job: Arc<JobEntry>,
    equipment: Arc<Equipment>,
    /// The servers of tools that this run of the job has open.
    opened: Arc<Opened>,
}

/// What the agents of a runtime share.
pub(crate) struct Equipment {
    pub(crate) tools: ToolRegistry,
    #[cfg(feature = "http")]
    pub(crate) http: HttpClients,
}

impl JobContext {
    pub(crate) fn new(hub: Arc<Hub>, job: Arc<JobEntry>, equipment: Arc<Equipment>) -> Self {
        Self {
            hub,
            job,
            equipment,
            opened: Arc::default(),
        }
    }

    /// Closes what the run has open when it is dropped.
    pub(crate) fn closing(&self) -> Closing {
        Closing(Arc::clone(&self.opened))
    }

    /// The job.
    pub fn job_id(&self) -> &JobId {
        self.job.id()
    }

    /// The agent the job was resolved to, with its version.
    pub fn agent(&self) -> &AgentRef {
        &self.job.row.agent
    }

    /// Who submitted the job.
    pub fn principal(&self) -> &Principal {
        &self.job.row.principal
    }

    /// The session the job was submitted in.
    pub fn session_id(&self) -> &SessionId {
        &self.job.row.session
    }

    /// The trace the job belongs to (§11).
    pub fn trace_id(&self) -> TraceId {
        self.job.row.trace
    }

    /// The job that delegated this one.
    pub fn parent(&self) -> Option<&JobId> {
        self.job.row.parent.as_ref()
    }

    /// What the job may do.
    pub fn lease(&self) -> &Lease {
        &self.job.row.lease
    }

    /// The bounds beside the lease's patterns.
    pub fn lease_constraints(&self) -> &LeaseConstraints {
        &self.job.row.constraints
    }

    /// What is left of the budget, per currency; empty when nothing is budgeted.
    pub fn budget(&self) -> std::collections::BTreeMap<String, towline_wire::Amount> {
        self.job.lock().budget_now().unwrap_or_default()
    }

    /// The credentials that were issued for the job, with the values they have now; a rotation changes them.
    pub fn credentials(&self) -> Vec<JobCredential> {
        self.hub.services.credentials.of_agent(self.job_id())
    }

    /// When the lease's authority ends.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.job.lock().authority.expires_at()
    }

    /// How long the job may run, counted from its start.
    pub fn max_runtime(&self) -> Option<std::time::Duration> {
        self.job.row.max_runtime
    }

    /// Which run of the job this is, from 1: restarts of the runtime and retries are counted alike.
    pub fn attempt(&self) -> u32 {
        self.job.lock().runs.attempt
    }

    /// Whether another run of the job may follow this one: because the agent is registered as restartable, or has retries
    /// left. What a job streams of its result rules that out; an agent may hold its result back until it is whole.
    pub fn may_run_again(&self) -> bool {
        let core = self.job.lock();
        let options = &core.rules.options;
        options.restartable || core.runs.retried < options.retries.most
    }

    /// Whether the job has to end: cancelled, out of time, or the runtime is shutting down.
    pub fn is_cancelled(&self) -> bool {
        self.job.stop.is_cancelled()
    }

    /// Whether the job is left as it stands to the next start of the runtime: this run of the agent has to stop, and the job goes
    /// on. What works for it elsewhere need not be ended.
    pub fn is_left(&self) -> bool {
        self.job.lock().machine.is_released()
    }

    /// Waits until the job has to end. The agent then has the grace period to stop by itself. Cancel safe.
    pub async fn cancelled(&self) {
        self.job.stop.cancelled().await;
    }

    /// A token that is cancelled when the job has to end, for libraries that take one. Cancelling it oneself only stops
    /// those who listen to it.
    pub fn cancellation_token(&self) -> CancellationToken {
        self.job.stop.child_token()
    }

    /// Keeps a value for a later run of the same job, should the runtime restart; the latest one counts. Returns when the
    /// value is durable.
    ///
    /// An agent registered as restartable is run again after a restart, from its beginning, with the same input. What it
    /// did since its last checkpoint may be done twice: at least once, never less. A job whose runs lead to no checkpoint
    /// is run again only so often ([`RuntimeOptions::max_starts`](crate::RuntimeOptions::max_starts)).
    ///
    /// # Errors
    /// [`EventError`] when the value has no JSON form, or the store failed.
    pub async fn checkpoint(&self, value: impl serde::Serialize) -> Result<(), EventError> {
        let value = RawJson::of(&value).map_err(EventError::unserialisable)?;
        let stopping = &self.hub.scope.stopping;
        let written = checkpoint::keep(&self.hub, &self.job, value).await;
        written.map_err(|error| {
            if stopping.is_cancelled() {
                EventError::JobEnded
            } else {
                EventError::Store(error)
            }
        })
    }

    /// Waits until everything the job has said so far is durable: from then on no crash takes it back. Returns too when the
    /// job is over. Cancel safe.
    pub async fn durable(&self) {
        self.job.durable().await;
    }

    /// The latest checkpoint of an earlier run of this job; `None` when it runs for the first time.
    ///
    /// # Errors
    /// [`EventError`] when the store failed or the value does not read as `T`.
    pub async fn restored<T: serde::de::DeserializeOwned>(&self) -> Result<Option<T>, EventError> {
        let stored = self.hub.services.store.checkpoint(self.job_id()).await?;
        stored
            .map(|value| value.read().map_err(EventError::unserialisable))
            .transpose()
    }
}

impl std::fmt::Debug for JobContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JobContext")
            .field("job", self.job_id())
            .field("agent", self.agent())
            .finish_non_exhaustive()
    }
}
