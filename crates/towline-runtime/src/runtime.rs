//! The runtime itself: built once, cheap to clone, shut down in phases.

use std::{net::SocketAddr, sync::Arc};

use tokio_util::sync::CancellationToken;
use towline_env::{Clock, Ids, SystemClock};
use towline_proto::{admission::QueueRules, webhook::Allowed};
use towline_store::{EventStore, MemoryStore, StoreError};
use towline_transport::Transport;
use towline_wire::{AgentRef, CredentialId, Feature, FeatureSet, Secret, payload::PeerInfo};

use crate::{
    RuntimeOptions,
    agent::{Host, IntoAgent},
    agent_options::AgentOptions,
    auth::{AuthLimiter, Authenticator, Proven},
    caller::{Caller, NotProven, messages, prove_caller},
    connection::{Connection, accept},
    context::{Equipment, Tool, ToolRegistry, ToolServer},
    courier,
    credentials::{CredentialInfo, CredentialOptions, CredentialProvisioner, Ledger, RotateError},
    hub::{AgentEntry, Hub, RegisterError, Registry, Services},
    job::JobEntry,
    life,
    policy::{AccessPolicy, LeasePolicy, ObservePolicy, OwnJobsOnly},
    roles::Roles,
    schedule::Schedule,
    scheduler,
    store_view::StoreView,
    trace::{TraceLink, Unlinked},
    webhook::{WebhookSender, Webhooks},
};

/// An ARCP runtime: hosts agents, takes connections, runs jobs. Cheap to clone; clones are the same runtime.
///
/// ```
/// use serde_json::{Value, json};
/// use towline_runtime::{AgentError, JobContext, Runtime, auth::StaticTokens};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let runtime = Runtime::builder()
///     .name("my-runtime", "1.0.0")
///     .authenticator(StaticTokens::new([("alice", "a-long-and-secret-token")])?)
///     .agent("echo", |_ctx: JobContext, input: Value| async move { Ok(input) })
///     .build()
///     .await?;
/// runtime.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Runtime {
    hub: Arc<Hub>,
    host: Host,
}

/// Describes a runtime.
#[must_use = "nothing runs before `build`"]
pub struct RuntimeBuilder {
    info: PeerInfo,
    options: RuntimeOptions,
    clock: Arc<dyn Clock>,
    ids: Ids,
    store: Option<Arc<dyn EventStore>>,
    agents: Registry,
    host: Host,
    failed: Option<RegisterError>,
    authenticator: Option<Arc<dyn Authenticator>>,
    observe: Arc<dyn ObservePolicy>,
    access: Option<Arc<dyn AccessPolicy>>,
    lease_policy: Option<Arc<dyn LeasePolicy>>,
    tools: ToolRegistry,
    #[cfg(feature = "http")]
    http: crate::context::HttpOptions,
    provisioner: Option<Arc<dyn CredentialProvisioner>>,
    credential_options: CredentialOptions,
    trace_link: Arc<dyn TraceLink>,
    queues: Vec<(String, QueueRules)>,
    schedules: Vec<Schedule>,
    webhooks: Webhooks,
}

/// Why a runtime could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// An agent could not be registered.
    #[error(transparent)]
    Agent(#[from] RegisterError),
    /// Nobody could be authenticated.
    #[error("the runtime has no authenticator; give it one, such as `StaticTokens`")]
    NoAuthenticator,
    /// A setting cannot be.
    #[error("the setting `{name}` cannot be {value}: {reason}")]
    Setting {
        /// Which.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it would have to be.
        reason: &'static str,
    },
    /// What the store keeps could not be read.
    #[error("the store cannot be recovered: {0}")]
    Store(#[from] StoreError),
}

impl Runtime {
    /// Begins to describe a runtime.
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder {
            info: PeerInfo {
                name: "towline".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            options: RuntimeOptions::default(),
            clock: Arc::new(SystemClock),
            ids: Ids::system(),
            store: None,
            agents: Registry::default(),
            host: Host::default(),
            failed: None,
            authenticator: None,
            observe: Arc::new(OwnJobsOnly),
            access: None,
            lease_policy: None,
            tools: ToolRegistry::default(),
            #[cfg(feature = "http")]
            http: crate::context::HttpOptions::default(),
            provisioner: None,
            credential_options: CredentialOptions::default(),
            trace_link: Arc::new(Unlinked),
            queues: Vec::new(),
            schedules: Vec::new(),
            webhooks: Webhooks::default(),
        }
    }

    /// Takes a connection, which from then on lives by itself. Several transports and endpoints may share a runtime.
    pub fn accept(&self, transport: impl Transport) -> Connection {
        accept(&self.hub, Box::new(transport))
    }

    /// Finds out who a caller is, of whom there is no connection [ARCP 16-1]: `scheme` and `token` are what it showed, `peer` is
    /// where it is. A good token goes on at once; a wrong one is answered later and later [ARCP 14-2].
    ///
    /// # Errors
    /// [`NotProven`].
    pub async fn prove(
        &self,
        scheme: Option<String>,
        token: Option<Secret>,
        peer: Option<SocketAddr>,
    ) -> Result<Proven, NotProven> {
        prove_caller(&self.hub, scheme, token, peer).await
    }

    /// Somebody who asks without a connection. `confidential`: nobody else can read what is answered [ARCP 9.8-1].
    pub fn caller(&self, proven: Proven, confidential: bool) -> Caller {
        Caller::new(&self.hub, proven, confidential)
    }

    /// Adds an agent while the runtime runs [ARCP 7.5-3]. `agent` is `name` or `name@version`.
    ///
    /// # Errors
    /// [`RegisterError`] when the name breaks the grammar or is taken.
    pub fn add_agent<M>(&self, agent: &str, run: impl IntoAgent<M>) -> Result<(), RegisterError> {
        self.add_agent_with(agent, run, AgentOptions::default())
    }

    /// [`Runtime::add_agent`], and how its jobs are run.
    ///
    /// # Errors
    /// As [`Runtime::add_agent`].
    pub fn add_agent_with<M>(
        &self,
        agent: &str,
        run: impl IntoAgent<M>,
        options: AgentOptions,
    ) -> Result<(), RegisterError> {
        let entry = AgentEntry {
            agent: self.host.seat(run.into_agent(), options),
        };
        self.hub
            .services
            .agents
            .add(&AgentRef::parse(agent)?, entry)
    }

    /// Removes an agent: one version, or, without a version, all. Its running jobs go on. `false` when there was none.
    pub fn remove_agent(&self, agent: &str) -> bool {
        AgentRef::parse(agent).is_ok_and(|agent| self.hub.services.agents.remove(&agent))
    }

    /// Looks at what proved each session now, instead of a while later: after tokens, keys or roles were replaced, those whose
    /// access was taken away lose their connection at once [ARCP 14-7], and those who may watch a job no more stop watching it.
    pub fn recheck_sessions(&self) {
        life::end_unproved_sessions(&self.hub);
        self.hub.end_barred_watching();
    }

    /// Whether new sessions are taken: not while shutting down, not while the store refuses what is to be committed, and not
    /// while a runtime that shares its store may have been declared dead.
    pub fn is_ready(&self) -> bool {
        !self.hub.scope.draining.is_cancelled() && self.hub.store_works() && self.hub.is_sound()
    }

    /// Whether the authenticator lets anybody in; see [`crate::auth::check_bind`].
    pub fn lets_anyone_in(&self) -> bool {
        self.hub.services.authenticator.lets_anyone_in()
    }

    /// The names of the agents that are here.
    pub fn agent_names(&self) -> Vec<String> {
        let agents = self.hub.services.agents.listing();
        agents.into_iter().map(|agent| agent.name).collect()
    }

    /// How many jobs are not finished.
    pub fn live_jobs(&self) -> usize {
        self.hub.books.jobs.live()
    }

    /// How many sessions have a connection.
    pub fn attached_sessions(&self) -> usize {
        self.hub.books.sessions.attached()
    }

    /// The credentials that are out, without their values: those jobs use, and those that still have to be revoked.
    pub fn credentials(&self) -> Vec<CredentialInfo> {
        self.hub.services.credentials.infos()
    }

    /// Gives a credential of a running job another value. Its submitter is told, and the value before is revoked
    /// [ARCP 9.8-3]. Cancel safe: a rotation that has begun goes on when nobody waits for it.
    ///
    /// # Errors
    /// [`RotateError`]; the value before stays good then.
    pub async fn rotate_credential(&self, id: &CredentialId) -> Result<(), RotateError> {
        let (hub, id) = (Arc::clone(&self.hub), id.clone());
        let rotation = self
            .hub
            .scope
            .tasks
            .spawn(async move { Ledger::rotate(&hub, &id).await });
        rotation.await.unwrap_or_else(|_| {
            Err(RotateError::Upstream(
                "the rotation was given up".to_owned(),
            ))
        })
    }

    /// What the store keeps, for operators: to read, for all that is written has to go through the runtime.
    pub fn store(&self) -> StoreView<'_> {
        StoreView::of(self.hub.services.store.as_ref())
    }

    /// A token that is cancelled when the shutdown begins.
    pub fn shutting_down(&self) -> CancellationToken {
        self.hub.scope.draining.child_token()
    }

    /// Shuts down in phases [ARCP 6.7-3]: no new sessions and jobs; every session is told and closed; running jobs get
    /// the drain period; what is left of them then is ended, or, where the store is durable and the agent restartable, left
    /// to the next start [ARCP 7.3-4]; the store is closed. Returns when all of it is done. Not cancel safe: a
    /// dropped shutdown stays half done.
    pub async fn shutdown(&self) {
        let hub = &self.hub;
        hub.scope.draining.cancel();
        hub.detach_all();
        life::leave_waiting(hub);
        let drained = self.jobs_ended(|job| !job.lock().was_waited_for);
        let _drained = tokio::time::timeout(hub.services.options.drain, drained).await;
        life::leave_jobs(hub);
        let limit = hub.services.options.cancel_grace + hub.services.options.close_timeout;
        let _ended = tokio::time::timeout(limit, self.jobs_ended(|_| true)).await;
        // Connections say goodbye by themselves, within the close timeout.
        let _closed = tokio::time::timeout(
            hub.services.options.close_timeout,
            self.connections_closed(),
        )
        .await;
        // What cannot be revoked in time is taken up by the next start.
        let _revoked = tokio::time::timeout(
            hub.services.options.close_timeout,
            hub.services.credentials.settled(),
        )
        .await;
        hub.barrier_with_limit(hub.services.options.close_timeout)
            .await;
        // What is not delivered by then is taken up by the next start.
        let quiet = hub.books.webhooks.quiet(|| hub.now());
        let _told = tokio::time::timeout(hub.services.options.close_timeout, quiet).await;
        hub.scope.stopping.cancel();
        hub.scope.tasks.close();
        let _stopped =
            tokio::time::timeout(hub.services.options.close_timeout, hub.scope.tasks.wait()).await;
        if let Err(error) = hub.services.store.close().await {
            tracing::error!(target: "towline::store", %error, "the store did not close");
        }
    }

    async fn jobs_ended(&self, counts: impl Fn(&JobEntry) -> bool) {
        let jobs = self.hub.books.jobs.unfinished().into_iter();
        for job in jobs.filter(|job| counts(job)) {
            tokio::select! {
                () = job.ended.cancelled() => {}
                () = job.left.cancelled() => {}
            }
        }
    }

    async fn connections_closed(&self) {
        while self.hub.books.sessions.attached() > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
}

impl RuntimeBuilder {
    /// What the runtime calls itself in the welcome. Default: `towline` and its version.
    pub fn name(mut self, name: impl Into<String>, version: impl Into<String>) -> Self {
        self.info = PeerInfo {
            name: name.into(),
            version: version.into(),
        };
        self
    }

    /// How the runtime behaves.
    pub fn options(mut self, options: RuntimeOptions) -> Self {
        self.options = options;
        self
    }

    /// Who may connect. There is no default: running without authentication has to be asked for by name
    /// ([`crate::auth::Anonymous::dangerously_allow_anonymous`]).
    pub fn authenticator(mut self, authenticator: impl Authenticator) -> Self {
        self.authenticator = Some(Arc::new(authenticator));
        self
    }

    /// Where everything is kept. Default: in memory.
    pub fn store(mut self, store: impl EventStore) -> Self {
        self.store = Some(Arc::new(store));
        self
    }

    /// [`RuntimeBuilder::store`] for a store that is shared already.
    pub fn shared_store(mut self, store: Arc<dyn EventStore>) -> Self {
        self.store = Some(store);
        self
    }

    /// Adds an agent under `name` or `name@version`.
    pub fn agent<M>(self, agent: &str, run: impl IntoAgent<M>) -> Self {
        self.agent_with(agent, run, AgentOptions::default())
    }

    /// [`RuntimeBuilder::agent`], and how its jobs are run.
    pub fn agent_with<M>(
        mut self,
        agent: &str,
        run: impl IntoAgent<M>,
        options: AgentOptions,
    ) -> Self {
        let entry = AgentEntry {
            agent: self.host.seat(run.into_agent(), options),
        };
        let added = AgentRef::parse(agent).map_err(RegisterError::from);
        let added = added.and_then(|agent| self.agents.add(&agent, entry));
        self.failed = self.failed.or(added.err());
        self
    }

    /// Adds an agent whose jobs are run again after the runtime restarts [ARCP 7.3-4]; see
    /// [`crate::JobContext::checkpoint`].
    pub fn restartable_agent<M>(self, agent: &str, run: impl IntoAgent<M>) -> Self {
        self.agent_with(agent, run, AgentOptions::default().restartable(true))
    }

    /// Makes a version the one a bare name means. Default: the highest.
    pub fn default_version(mut self, agent: &str) -> Self {
        let set = AgentRef::parse(agent).map_err(RegisterError::from);
        let set = set.and_then(|agent| self.agents.set_default(&agent));
        self.failed = self.failed.or(set.err());
        self
    }

    /// Adds a queue: jobs join it by the member `queue` of their submit, or by [`AgentOptions::queue`], and run as its limit and
    /// its rate let them, those with the higher `priority` first [ARCP 22-4].
    pub fn queue(mut self, name: impl Into<String>, rules: QueueRules) -> Self {
        self.queues.push((name.into(), rules));
        self
    }

    /// Adds a schedule: its firings are submits of its principal, for as long as the runtime runs [ARCP 22-1].
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.schedules.push(schedule);
        self
    }

    /// Where jobs may have messages posted to by the member `notify` of their submit, or by [`AgentOptions::notify`], and who
    /// posts them [ARCP 16-6]. A message becomes durable with the event that it tells of. Default: nowhere.
    pub fn webhooks(mut self, allowed: Allowed, sender: impl WebhookSender) -> Self {
        self.webhooks = Webhooks {
            allowed,
            sender: Some(Arc::new(sender)),
        };
        self
    }

    /// Adds a tool that agents call by name through their lease.
    pub fn tool(mut self, name: impl Into<String>, tool: impl Tool) -> Self {
        self.tools.add(name, Arc::new(tool));
        self
    }

    /// Adds a server of tools, which each job opens for itself: its tools are `NAME/TOOL` to the lease, and to agents.
    pub fn tool_server(mut self, name: impl Into<String>, server: impl ToolServer) -> Self {
        self.tools.add_server(name, Arc::new(server));
        self
    }

    /// How agents reach the web through [`crate::JobContext::http`].
    #[cfg(feature = "http")]
    pub fn http(mut self, options: crate::context::HttpOptions) -> Self {
        self.http = options;
        self
    }

    /// Who issues credentials for jobs that may use models [ARCP 9.8-1]. They are offered to clients only when the store is
    /// durable too, for otherwise a crash would leave them behind [ARCP 6.2-5]. Default: nobody.
    pub fn credentials(mut self, provisioner: impl CredentialProvisioner) -> Self {
        self.provisioner = Some(Arc::new(provisioner));
        self
    }

    /// How credentials are issued and revoked.
    pub fn credential_options(mut self, options: CredentialOptions) -> Self {
        self.credential_options = options;
        self
    }

    /// Who may watch whose jobs. Default: everybody their own.
    pub fn observe_policy(mut self, policy: impl ObservePolicy) -> Self {
        self.observe = Arc::new(policy);
        self
    }

    /// Who may run, cancel and answer what, and what a lease may ask for at most. Default: what the protocol says, which lets
    /// only the submitting session cancel [ARCP 7.4-2].
    pub fn access_policy(mut self, policy: impl AccessPolicy) -> Self {
        self.access = Some(Arc::new(policy));
        self
    }

    /// [`RuntimeBuilder::access_policy`] and [`RuntimeBuilder::observe_policy`] by roles.
    pub fn roles(self, roles: Roles) -> Self {
        self.observe_policy(roles.clone()).access_policy(roles)
    }

    /// What of a requested lease is granted. Default: all of it.
    pub fn lease_policy(mut self, policy: impl LeasePolicy) -> Self {
        self.lease_policy = Some(Arc::new(policy));
        self
    }

    /// What ties the runtime's spans to the traces of jobs [ARCP 11-2]. Default: nothing; spans stay among themselves.
    pub fn trace_link(mut self, link: impl TraceLink) -> Self {
        self.trace_link = Arc::new(link);
        self
    }

    /// The clock; for tests.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Where ids come from; for tests.
    pub fn ids(mut self, ids: Ids) -> Self {
        self.ids = ids;
        self
    }

    /// Recovers what the store keeps and starts the runtime, inside the tokio runtime this is called in.
    ///
    /// # Errors
    /// [`BuildError`] when an agent or a setting cannot be, or the store cannot be read.
    pub async fn build(self) -> Result<Runtime, BuildError> {
        if let Some(error) = self.failed {
            return Err(error.into());
        }
        check(&self.options)?;
        let store = self.store.unwrap_or_else(|| Arc::new(MemoryStore::new()));
        let credentials = Ledger::new(self.provisioner, self.credential_options);
        let features = if credentials.is_offered(store.is_durable()) {
            FeatureSet::ALL
        } else {
            FeatureSet::ALL.without(Feature::ProvisionedCredentials)
        };
        let limiter = AuthLimiter::new().free_failures(self.options.failed_tokens);
        let hub = Hub::new(Services {
            info: self.info,
            options: self.options,
            clock: self.clock,
            ids: self.ids,
            store,
            agents: self.agents,
            authenticator: self.authenticator.ok_or(BuildError::NoAuthenticator)?,
            limiter,
            observe: self.observe,
            access: self.access,
            lease_policy: self.lease_policy,
            features,
            credentials,
            trace_link: self.trace_link,
            schedules: self.schedules.into_iter().map(Arc::new).collect(),
            webhooks: self.webhooks,
        });
        let equipment = Equipment {
            tools: self.tools,
            #[cfg(feature = "http")]
            http: crate::context::HttpClients::new(self.http),
        };
        self.host.fill_in(&hub, equipment);
        hub.books.admission.lock().set_queues(self.queues);
        life::begin(&hub, messages).await?;
        Ledger::resume(&hub);
        scheduler::begin(&hub);
        courier::begin(&hub);
        Ok(Runtime {
            hub,
            host: self.host,
        })
    }
}

fn check(options: &RuntimeOptions) -> Result<(), BuildError> {
    let setting = |name, value: String, reason| {
        Err(BuildError::Setting {
            name,
            value,
            reason,
        })
    };
    if options.heartbeat < *towline_proto::limits::HEARTBEAT.start() {
        return setting(
            "heartbeat",
            format!("{:?}", options.heartbeat),
            "it has to be at least one second",
        );
    }
    if options.chunks.chunk < 4 {
        return setting(
            "chunks",
            format!("{:?}", options.chunks),
            "a chunk has to hold any one character, four bytes",
        );
    }
    if options.retention.max_age < towline_store::IDEMPOTENCY_AGE {
        let age = format!("{:?}", options.retention.max_age);
        let reason = "jobs have to be kept for the 24 hours their idempotency keys live";
        return setting("retention.max_age", age, reason);
    }
    if options.requests_in_flight == 0 {
        return setting(
            "requests_in_flight",
            "0".to_owned(),
            "at least one request has to be possible",
        );
    }
    Ok(())
}
