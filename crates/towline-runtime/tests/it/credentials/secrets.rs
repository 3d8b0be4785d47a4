//! Looking for values where they must not be.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use towline_runtime::{AgentError, JobContext, policy::ObservePolicy};
use towline_store::{EventStore as _, Principal};
use towline_wire::CredentialId;
use tracing_subscriber::fmt::MakeWriter;

use super::{
    accepted, builder, credential, submit,
    upstream::{Durable, Fault, Upstream},
    value,
};
use crate::peer::{ALICE, BOB, Peer, QUIET};

/// Everybody watches everybody.
struct Glass;

impl ObservePolicy for Glass {
    fn may_observe(&self, _observer: &Principal, _owner: &Principal) -> bool {
        true
    }

    fn observable(&self, _observer: &Principal) -> Option<Vec<Principal>> {
        None
    }
}

/// Everything that is traced.
#[derive(Clone, Default)]
struct Traced(Arc<Mutex<Vec<u8>>>);

impl Traced {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl io::Write for Traced {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Traced {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// [ARCP 9.8-5, 7.6-2, 6.6-4] through a whole life, with a rotation and an upstream that quotes what it is given, no value
/// shows to another observer, in a listing, in the audit log, in a trace or in `Debug`; credentials show with
/// their values or not at all.
#[tokio::test(start_paused = true)]
async fn values_show_to_the_submitter_alone() {
    let traced = Traced::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false);
    let _guard = tracing::subscriber::set_default(subscriber.with_writer(traced.clone()).finish());
    let (store, upstream) = (Durable::new(), Upstream::default());
    upstream.revocations([None, Some(Fault::Fail), Some(Fault::Refuse)]);
    let agent = |ctx: JobContext, _input: Value| async move {
        ctx.log("info", format!("{:?} {ctx:?}", ctx.credentials()))
            .await?;
        ctx.cancelled().await;
        Ok::<_, AgentError>(Value::Null)
    };
    let runtime = builder(&store, &upstream)
        .observe_policy(Glass)
        .agent("shows", agent)
        .build()
        .await
        .unwrap();
    let mut alice = Peer::open(&runtime, ALICE, QUIET).await;
    let first = accepted(&mut alice, submit("shows")).await;
    let job = first["job_id"].as_str().unwrap();
    let (mut bob, mut elsewhere) = (
        Peer::open(&runtime, BOB, QUIET).await,
        Peer::open(&runtime, ALICE, QUIET).await,
    );
    let subscribe = json!({"job_id": job, "history": true});
    let mut heard = Vec::new();
    for watcher in [&mut bob, &mut elsewhere] {
        heard.push(watcher.ask("session.list_jobs", json!({})).await);
        heard.push(watcher.ask("job.subscribe", subscribe.clone()).await);
    }
    // Where a value may not be shown the field is left out, whoever asks: an entry without a value is no use to anybody.
    assert!(
        heard
            .iter()
            .all(|frame| !frame.to_string().contains("\"credentials\"")),
        "{heard:?}"
    );
    alice.expect_event("status").await;
    heard.push(json!(alice.expect_event("log").await));
    let listed = alice.ask("session.list_jobs", json!({})).await;
    assert!(!listed.to_string().contains("\"credentials\""), "{listed}");
    heard.push(listed);

    let id = CredentialId::parse(credential(&first)["id"].as_str().unwrap()).unwrap();
    runtime.rotate_credential(&id).await.unwrap();
    let secrets = [
        value(&first),
        alice.expect_event("status").await["value"]
            .as_str()
            .unwrap()
            .to_owned(),
    ];
    alice.send("job.cancel", json!({"job_id": job})).await;
    alice.until_end(job).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(upstream.good().is_empty());
    heard.extend(bob.until_end(job).await);
    heard.extend(elsewhere.until_end(job).await);
    heard.push(bob.ask("session.list_jobs", json!({})).await);

    let audit: Vec<_> = store.audit(1000).await.unwrap();
    let actions: Vec<_> = audit
        .iter()
        .map(|row| row.action.as_str())
        .filter(|action| action.starts_with("cred"))
        .collect();
    assert_eq!(
        actions
            .iter()
            .filter(|action| **action == "credential.issue")
            .count(),
        1
    );
    assert_eq!(
        actions
            .iter()
            .filter(|action| **action == "credential.rotate")
            .count(),
        1
    );
    assert!(actions.contains(&"credential.revoke"), "{actions:?}");
    let rows = store.credentials_of(&job.parse().unwrap()).await.unwrap();
    let debug = format!(
        "{audit:?} {rows:?} {:?} {:?}",
        runtime.credentials(),
        upstream.requests()
    );
    let traces = traced.text();
    assert!(
        traces.contains("revoking failed") && traces.contains("[redacted]"),
        "the trace was caught: {traces}"
    );
    for secret in &secrets {
        assert!(!json!(heard).to_string().contains(secret), "{heard:?}");
        assert!(!debug.contains(secret), "{debug}");
        assert!(!traces.contains(secret), "{traces}");
        assert!(
            rows.iter().all(|row| !row.data.expose().contains(secret)),
            "revoked values are not kept"
        );
    }
    runtime.shutdown().await;
}
