//! The only place that knows two sessions at once.

mod books;
mod committer;
mod keys;
mod queue;
mod write;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use towline_env::{Clock, Ids};
use towline_proto::admission::AdmissionQueue;
use towline_store::{EventStore, Principal};
use towline_wire::{FeatureSet, JobId, SessionId, payload::PeerInfo};

use crate::{
    RuntimeOptions,
    agent::Registry,
    auth::{AuthLimiter, Authenticator},
    credentials::Ledger,
    job::JobEntry,
    policy::{LeasePolicy, ObservePolicy},
    session::SessionEntry,
    trace::TraceLink,
};

pub(crate) use books::{JobView, hash_token};
pub(crate) use committer::{Command, Tx};
pub(crate) use keys::{KeyGuard, KeysInFlight};
pub(crate) use queue::CommitQueue;
pub(crate) use write::{EndSession, SaveSession, Trim, Write, WriteAndTell};

/// Everything the parts of a runtime share.
pub(crate) struct Hub {
    pub(crate) info: PeerInfo,
    pub(crate) options: RuntimeOptions,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Ids,
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) agents: Registry,
    pub(crate) authenticator: Arc<dyn Authenticator>,
    pub(crate) limiter: AuthLimiter,
    pub(crate) observe: Arc<dyn ObservePolicy>,
    pub(crate) lease_policy: Option<Arc<dyn LeasePolicy>>,
    pub(crate) features: FeatureSet,
    pub(crate) tools: crate::context::ToolRegistry,
    #[cfg(feature = "http")]
    pub(crate) http: crate::context::HttpClients,
    pub(crate) credentials: Ledger,
    pub(crate) trace_link: Arc<dyn TraceLink>,
    pub(crate) queue: CommitQueue,
    pub(crate) tasks: TaskTracker,
    /// No new sessions, no new jobs.
    pub(crate) draining: CancellationToken,
    /// Everything ends.
    pub(crate) stopping: CancellationToken,
    jobs: Mutex<Jobs>,
    sessions: Mutex<Sessions>,
    pub(crate) admission: Mutex<AdmissionQueue<Principal, crate::life::Waiting>>,
    /// Idempotency keys whose first submit is under way.
    pub(crate) keys: KeysInFlight,
}

/// Jobs in memory.
#[derive(Default)]
struct Jobs {
    entries: HashMap<JobId, Arc<JobEntry>>,
    /// Finished jobs that are still in memory, oldest first.
    recent: VecDeque<JobId>,
    live: usize,
}

/// Sessions in memory.
#[derive(Default)]
struct Sessions {
    entries: HashMap<SessionId, Arc<SessionEntry>>,
    by_token: HashMap<[u8; 32], SessionId>,
    attached: HashMap<Principal, usize>,
}

/// What a hub is made of.
pub(crate) struct HubParts {
    pub(crate) info: PeerInfo,
    pub(crate) options: RuntimeOptions,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Ids,
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) agents: Registry,
    pub(crate) authenticator: Arc<dyn Authenticator>,
    pub(crate) observe: Arc<dyn ObservePolicy>,
    pub(crate) lease_policy: Option<Arc<dyn LeasePolicy>>,
    pub(crate) tools: crate::context::ToolRegistry,
    #[cfg(feature = "http")]
    pub(crate) http: crate::context::HttpClients,
    pub(crate) credentials: Ledger,
    pub(crate) trace_link: Arc<dyn TraceLink>,
}

impl Hub {
    pub(crate) fn new(parts: HubParts) -> Arc<Self> {
        let features = match parts.credentials.is_offered(parts.store.is_durable()) {
            true => FeatureSet::ALL,
            false => FeatureSet::ALL.without(towline_wire::Feature::ProvisionedCredentials),
        };
        let admission = AdmissionQueue::new(parts.options.admission);
        Arc::new(Self {
            info: parts.info,
            options: parts.options,
            clock: parts.clock,
            ids: parts.ids,
            store: parts.store,
            agents: parts.agents,
            authenticator: parts.authenticator,
            limiter: AuthLimiter::new(),
            observe: parts.observe,
            lease_policy: parts.lease_policy,
            features,
            tools: parts.tools,
            #[cfg(feature = "http")]
            http: parts.http,
            credentials: parts.credentials,
            trace_link: parts.trace_link,
            queue: CommitQueue::default(),
            tasks: TaskTracker::new(),
            draining: CancellationToken::new(),
            stopping: CancellationToken::new(),
            jobs: Mutex::default(),
            sessions: Mutex::default(),
            admission: Mutex::new(admission),
            keys: KeysInFlight::default(),
        })
    }

    /// Starts the tasks every runtime has.
    pub(crate) fn start(self: &Arc<Self>) {
        self.tasks.spawn(committer::run(Arc::clone(self)));
        self.tasks
            .spawn(crate::life::janitor::run(Arc::clone(self)));
    }

    /// Hands a command to the committer.
    pub(crate) fn command(&self, command: impl Command + 'static) {
        self.queue.push_command(Box::new(command));
    }

    /// Tells the committer that a job has something to commit.
    pub(crate) fn flush(&self, job: &Arc<JobEntry>) {
        if job.lock().enqueue() {
            self.queue.push_job(Arc::clone(job));
        }
    }

    pub(crate) fn now(&self) -> towline_wire::Timestamp {
        self.clock.now()
    }
}

/// How many finished jobs stay in memory, so that what follows an end at once (a late subscriber, a list) is quick.
const RECENT_JOBS: usize = 1024;
