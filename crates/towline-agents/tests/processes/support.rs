//! A runtime in this process, with a client, and the process table.

use std::{path::Path, time::Duration};

use serde_json::Value;
use tempfile::TempDir;
use towline_agents::{Confinement, Launcher, ProcessAgent};
use towline_client::{Client, ClientOptions, JobFailure, JobHandle, Outcome};
use towline_runtime::{AgentError, AgentOptions, JobContext, Runtime, auth::StaticTokens};
use towline_transport::MemoryTransport;
use towline_wire::JobId;

/// The launcher this crate ships.
pub(crate) fn launcher() -> Launcher {
    Launcher::program(env!("CARGO_BIN_EXE_towline-confine"))
}

/// A runtime with an agent `script`, and `echo` to delegate to.
pub(crate) struct Stage {
    pub(crate) place: TempDir,
    _runtime: Runtime,
    pub(crate) client: Client,
}

impl Stage {
    pub(crate) async fn new(agent: ProcessAgent) -> Self {
        Self::with(
            agent,
            AgentOptions::default(),
            Confinement::dangerously_off(),
        )
        .await
    }

    /// An agent whose program is kept to the lease of its job.
    pub(crate) async fn held(agent: ProcessAgent) -> Self {
        Self::with(agent, AgentOptions::default(), Confinement::new()).await
    }

    /// An agent whose jobs are tried again at once when they failed.
    pub(crate) async fn retried(agent: ProcessAgent, retries: u32) -> Self {
        let options = AgentOptions::default()
            .retries(retries)
            .backoff(Duration::ZERO);
        Self::with(agent, options, Confinement::dangerously_off()).await
    }

    pub(crate) async fn with(
        agent: ProcessAgent,
        options: AgentOptions,
        confinement: Confinement,
    ) -> Self {
        let place = tempfile::tempdir().unwrap();
        let agent = agent
            .current_dir(place.path())
            .launcher(launcher())
            .confinement(confinement);
        let echo = |_: JobContext, input: Value| async move { Ok::<_, AgentError>(input) };
        let runtime = Runtime::builder()
            .authenticator(StaticTokens::new([("me", "t")]).unwrap())
            .agent_with("script", agent, options)
            .agent("echo", echo)
            .build()
            .await
            .unwrap();
        let (near, far) = MemoryTransport::pair();
        runtime.accept(far);
        let client = Client::connect(near, ClientOptions::bearer("t"))
            .await
            .unwrap();
        Self {
            place,
            _runtime: runtime,
            client,
        }
    }

    pub(crate) async fn shell(script: &str) -> Self {
        Self::new(ProcessAgent::exec(["sh", "-c", script])).await
    }

    pub(crate) async fn submit(&self) -> JobHandle {
        self.client.submit("script").send().await.unwrap()
    }

    /// What the job gave.
    pub(crate) async fn result(&self) -> Value {
        soon(self.submit().await.result_json()).await.unwrap()
    }

    /// Why it failed.
    pub(crate) async fn failure(&self) -> JobFailure {
        failure(&mut self.submit().await).await
    }

    /// A number that a script wrote to a file.
    pub(crate) async fn pid(&self, file: &str) -> u32 {
        let path = self.place.path().join(file);
        until("a number in the file", || number_in(&path)).await
    }
}

fn number_in(path: &Path) -> Option<u32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

pub(crate) async fn failure(job: &mut JobHandle) -> JobFailure {
    match soon(job.outcome()).await.unwrap() {
        Outcome::Failure(failure) => failure,
        Outcome::Success(success) => panic!("{success:?}"),
    }
}

/// The bodies of a job's events of one kind, from the log.
pub(crate) async fn bodies(client: &Client, job: &JobId, kind: &str) -> Vec<Value> {
    let mut watched = client
        .subscribe(job.clone())
        .history(true)
        .send()
        .await
        .unwrap();
    let mut bodies = Vec::new();
    while let Some(event) = soon(watched.next_event()).await.unwrap() {
        if event.kind().as_str() == kind {
            bodies.push(event.payload().unwrap().body.read().unwrap());
        }
    }
    bodies
}

/// What has to happen, however busy the machine is.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what)
        .await
        .expect("it happens")
}

/// Looks until there is something to see.
pub(crate) async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..6000 {
        if let Some(seen) = look() {
            return seen;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never seen: {what}")
}

/// Whether a process runs; one that is dead and not yet reaped does not.
pub(crate) fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.starts_with(" Z"))
}

pub(crate) async fn is_gone(pid: u32) {
    until("the end of the process", || (!runs(pid)).then_some(())).await;
}
