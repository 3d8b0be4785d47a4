//! A runtime with the scripted agent, and a client.

use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use towline_agents::{Confinement, Launcher, ProcessAgent};
use towline_client::{Client, ClientOptions, JobFailure, JobHandle, Outcome};
use towline_runtime::{AgentOptions, Runtime, auth::StaticTokens};
use towline_transport::MemoryTransport;
use towline_wire::{JobId, Lease, namespace};

pub(crate) struct Stage {
    pub(crate) place: TempDir,
    _runtime: Runtime,
    pub(crate) client: Client,
}

impl Stage {
    /// The agent as it is.
    pub(crate) async fn new() -> Self {
        Self::with(Confinement::dangerously_off(), AgentOptions::default()).await
    }

    pub(crate) async fn with(confinement: Confinement, options: AgentOptions) -> Self {
        let place = tempfile::tempdir().unwrap();
        let home = place.path().join("home");
        std::fs::create_dir(&home).unwrap();
        let agent = ProcessAgent::acp([env!("CARGO_BIN_EXE_towline-acp-script")])
            .env("HOME", home.to_str().unwrap())
            .launcher(Launcher::program(env!("CARGO_BIN_EXE_towline-confine")))
            .confinement(confinement);
        let runtime = Runtime::builder()
            .authenticator(StaticTokens::new([("me", "t")]).unwrap())
            .agent_with("coder", agent, options)
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

    /// A path in the place of the job.
    pub(crate) fn at(&self, name: &str) -> String {
        let place = self.place.path().canonicalize().unwrap();
        place.join(name).to_str().unwrap().to_owned()
    }

    /// To read in the place of the job.
    pub(crate) fn lease(&self) -> Lease {
        Lease::new().with(namespace::FS_READ, self.at("**"))
    }

    pub(crate) fn input(&self, steps: &Value) -> Value {
        json!({"prompt": steps.to_string(), "cwd": self.at("")})
    }

    pub(crate) async fn submit(&self, steps: Value, lease: Lease) -> JobHandle {
        self.submit_input(self.input(&steps), lease).await
    }

    pub(crate) async fn submit_input(&self, input: Value, lease: Lease) -> JobHandle {
        let submit = self.client.submit("coder").input(input).lease(lease);
        submit.send().await.unwrap()
    }

    /// What a turn gives.
    pub(crate) async fn result(&self, steps: Value) -> Value {
        let mut job = self.submit(steps, self.lease()).await;
        soon(job.result_json()).await.unwrap()
    }

    pub(crate) async fn bodies(&self, job: &JobId, kind: &str) -> Vec<Value> {
        let all = self.events(job).await;
        let of_kind = all.into_iter().filter(|(name, _)| name == kind);
        of_kind.map(|(_, body)| body).collect()
    }

    /// The log of a job that ends.
    pub(crate) async fn events(&self, job: &JobId) -> Vec<(String, Value)> {
        let watch = self.client.subscribe(job.clone()).history(true);
        let mut watched = watch.send().await.unwrap();
        let mut events = Vec::new();
        while let Some(event) = soon(watched.next_event()).await.unwrap() {
            let body = event.payload().unwrap().body.read().unwrap();
            events.push((event.kind().as_str().to_owned(), body));
        }
        events
    }
}

pub(crate) async fn failure(job: &mut JobHandle) -> JobFailure {
    match soon(job.outcome()).await.unwrap() {
        Outcome::Failure(failure) => failure,
        Outcome::Success(success) => panic!("{success:?}"),
    }
}

/// What has to happen, however busy the machine is.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what)
        .await
        .expect("it happens")
}
