//! The audit log beside the store: its stream repeats what is durable, and nothing else.

use std::{
    fmt::Debug,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::FutureExt as _;
use serde_json::{Value, json};
use towline_runtime::{
    AgentError, JobContext, Runtime, audit::TARGET, credentials::CredentialOptions,
};
use towline_store::{
    EventStore as _, StoreError,
    testing::{Fault, FaultStore},
};
use towline_wire::CredentialId;
use tracing::{
    field::{Field, Visit},
    subscriber::DefaultGuard,
};
use tracing_subscriber::{Layer, layer::Context, prelude::*};

use crate::{
    credentials::upstream::{Durable, Upstream},
    peer::{ALICE, Peer, QUIET, pass, runtime},
};

/// Hears the audit log, and holds each entry against the store the moment it is said.
#[derive(Clone)]
struct Listener {
    disk: Durable,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Listener {
    /// Listens until the guard goes, on this thread.
    fn to(disk: &Durable) -> (Self, DefaultGuard) {
        let listener = Self {
            disk: disk.clone(),
            heard: Arc::default(),
        };
        let subscriber = tracing_subscriber::registry().with(listener.clone());
        let guard = tracing::subscriber::set_default(subscriber);
        (listener, guard)
    }

    /// What was said since the last call, as `action verdict`, sorted.
    fn heard(&self) -> Vec<String> {
        let mut heard = std::mem::take(&mut *self.heard.lock().unwrap());
        heard.sort();
        heard
    }
}

/// An entry as it is said.
#[derive(Default)]
struct Said {
    action: String,
    verdict: String,
    at: String,
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = format!("{value:?}").trim_matches('"').to_owned();
        match field.name() {
            "action" => self.action = text,
            "verdict" => self.verdict = text,
            "at" => self.at = text,
            _ => {}
        }
    }
}

impl<S: tracing::Subscriber> Layer<S> for Listener {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != TARGET {
            return;
        }
        let mut said = Said::default();
        event.record(&mut said);
        let stored = self.disk.audit(usize::MAX).now_or_never().unwrap().unwrap();
        let is_stored = stored.iter().any(|row| {
            let data: Value = row.data.read().unwrap();
            row.action == said.action
                && row.at.to_string() == said.at
                && data["verdict"].as_str().unwrap_or_default() == said.verdict
        });
        assert!(is_stored, "{} {} is not durable", said.action, said.verdict);
        let line = format!("{} {}", said.action, said.verdict);
        self.heard.lock().unwrap().push(line);
    }
}

async fn start(store: &FaultStore<Durable>, upstream: &Upstream) -> Runtime {
    runtime()
        .store(store.clone())
        .credentials(upstream.clone())
        .credential_options(CredentialOptions::new().unknown_for(Duration::ZERO))
        .agent("waits", |ctx: JobContext, _input: Value| async move {
            ctx.cancelled().await;
            Ok::<_, AgentError>(Value::Null)
        })
        .build()
        .await
        .unwrap()
}

fn failure() -> Fault {
    Fault::Fail(StoreError::Failed("test".into()))
}

/// The entries that come once the store takes something again.
async fn after_all(store: &FaultStore<Durable>, log: &Listener) -> Vec<String> {
    pass(5.0).await;
    assert_eq!(log.heard(), [""; 0], "said while nothing was durable");
    store.every_commit(None);
    pass(10.0).await;
    log.heard()
}

/// [ARCP 14-3] a store that refuses, an audit stream that stays silent: about each kind of entry, until it is durable.
#[tokio::test(start_paused = true)]
async fn the_stream_is_silent_about_what_is_not_durable() {
    let (disk, upstream) = (Durable::new(), Upstream::default());
    let store = FaultStore::new(disk.clone());
    let (log, _guard) = Listener::to(&disk);
    let runtime = start(&store, &upstream).await;
    let mut alice = Peer::open(&runtime, ALICE, QUIET).await;
    pass(1.0).await;
    assert_eq!(log.heard(), ["auth allowed"]);

    store.every_commit(Some(failure()));
    let mut stranger = Peer::raw(&runtime);
    stranger.hello("wrong", QUIET).await;
    stranger.expect_error("UNAUTHENTICATED").await;
    assert_eq!(after_all(&store, &log).await, ["auth refused"]);

    let submit = json!({"agent": "waits", "lease_request": {"model.use": ["m"]}});
    store.every_commit(Some(failure()));
    alice
        .refused("job.submit", submit.clone(), "INTERNAL_ERROR")
        .await;
    let heard = after_all(&store, &log).await;
    let revoked = "credential.revoke allowed";
    assert_eq!(
        heard,
        ["credential.issue failed", revoked, "submit refused"]
    );

    // The intent of the credential is written, the job and what was issued for it are not.
    store.commit_number(store.commits() + 2, failure());
    alice
        .refused("job.submit", submit.clone(), "INTERNAL_ERROR")
        .await;
    pass(10.0).await;
    assert_eq!(log.heard(), [revoked, "submit refused"]);

    alice.send("job.submit", submit).await;
    let accepted = alice.expect("job.accepted").await;
    alice.expect_event("status").await;
    assert_eq!(log.heard(), ["credential.issue allowed", "submit allowed"]);
    let credential = &accepted["payload"]["credentials"][0]["id"];
    let credential = CredentialId::parse(credential.as_str().unwrap()).unwrap();

    // The rotation is decided and made; it is told of in the third commit.
    store.commit_number(store.commits() + 3, failure());
    runtime.rotate_credential(&credential).await.unwrap();
    assert_eq!(log.heard(), ["credential.rotate allowed"]);
    alice.expect_event("status").await;
    pass(1.0).await;
    alice.expect_silence().await;
    assert_eq!(log.heard(), [""; 0], "a rotation is told of once");

    let job = json!({"job_id": accepted["job_id"]});
    let mut watcher = Peer::open(&runtime, ALICE, QUIET).await;
    pass(1.0).await;
    assert_eq!(log.heard(), ["auth allowed"]);
    store.every_commit(Some(failure()));
    watcher
        .refused("job.subscribe", job.clone(), "INTERNAL_ERROR")
        .await;
    assert_eq!(after_all(&store, &log).await, ["subscribe allowed"]);

    store.every_commit(Some(failure()));
    alice.refused("job.cancel", job, "INTERNAL_ERROR").await;
    let heard = after_all(&store, &log).await;
    assert_eq!(heard, ["cancel allowed", revoked]);
    alice.expect_end("cancelled").await;
    runtime.shutdown().await;
}
