//! From the submit to the last try to revoke.

use std::time::Duration;

use serde_json::{Value, json};
use towline_runtime::{
    AgentError, JobContext, Runtime, RuntimeOptions,
    credentials::{CredentialOptions, CredentialState, InMemoryProvisioner},
};
use towline_store::EventStore as _;
use towline_wire::JobId;

use super::{
    accepted, builder, credential, submit,
    upstream::{Durable, Fault, Upstream},
    value,
};
use crate::peer::{ALICE, ALL, Peer, QUIET, runtime};

async fn offers(runtime: Runtime) -> bool {
    let mut peer = Peer::raw(&runtime);
    peer.hello(ALICE, ALL).await;
    let welcome = peer.welcomed().await;
    let features = welcome["payload"]["capabilities"]["features"]
        .as_array()
        .unwrap()
        .clone();
    runtime.shutdown().await;
    features.contains(&json!("provisioned_credentials"))
}

/// [ARCP 6.2-5] credentials are offered only with a provisioner and a store that survives the process.
#[tokio::test(start_paused = true)]
async fn credentials_are_offered_with_provisioner_and_ledger() {
    let provisioner = || InMemoryProvisioner::new("https://models.example");
    assert!(!offers(runtime().build().await.unwrap()).await);
    assert!(!offers(runtime().store(Durable::new()).build().await.unwrap()).await);
    assert!(!offers(runtime().credentials(provisioner()).build().await.unwrap()).await);
    let both = runtime().credentials(provisioner()).store(Durable::new());
    assert!(offers(both.build().await.unwrap()).await);
}

/// [ARCP 9.8-1, 9.8-4] `job.accepted` carries a credential of its own for each job, bounded as the lease is; sessions without
/// the feature and jobs without models get none, and nobody is asked for one.
#[tokio::test(start_paused = true)]
async fn a_job_gets_its_credential_with_its_acceptance() {
    let (store, upstream) = (Durable::new(), Upstream::default());
    let runtime = builder(&store, &upstream).build().await.unwrap();
    let mut alice = Peer::open(&runtime, ALICE, QUIET).await;
    let mut asked = submit("waits");
    asked["lease_constraints"] = json!({"expires_at": "2026-03-01T13:00:00Z"});
    let first = accepted(&mut alice, asked).await;
    let shown = credential(&first);
    assert!(shown["id"].as_str().unwrap().starts_with("cred_"));
    assert_eq!(
        (&shown["scheme"], &shown["endpoint"], &shown["profile"]),
        (
            &json!("bearer"),
            &json!("https://models.example/v1"),
            &json!("openai")
        )
    );
    let constraints = json!({"cost.budget": ["USD:1.50"], "model.use": ["acme/*"], "expires_at": "2026-03-01T13:00:00Z"});
    assert_eq!(shown["constraints"], constraints);
    assert!(upstream.accepts(&value(&first)));
    let request = &upstream.requests()[0];
    assert_eq!(request.job.as_str(), first["job_id"]);
    assert_eq!(
        (request.principal.as_str(), request.agent.name()),
        ("alice", "waits")
    );
    assert_eq!(
        request.constraints.cost_budget,
        [("USD".to_owned(), "1.50".parse().unwrap())]
    );
    assert_eq!(
        request.constraints.expires_in,
        Some(Duration::from_secs(3600))
    );
    assert!(
        request.constraints.allows_model("acme/x") && !request.constraints.allows_model("other")
    );
    alice.expect_event("status").await;

    let second = accepted(&mut alice, submit("waits")).await;
    assert_ne!(
        (value(&second), &credential(&second)["id"]),
        (value(&first), &shown["id"])
    );
    alice.expect_event("status").await;
    let without = accepted(&mut alice, json!({"agent": "waits"})).await;
    assert!(without["payload"].get("credentials").is_none());

    let features: Vec<_> = QUIET
        .iter()
        .copied()
        .filter(|feature| *feature != "provisioned_credentials")
        .collect();
    let mut plain = Peer::open(&runtime, ALICE, &features).await;
    let without = accepted(&mut plain, submit("waits")).await;
    assert!(without["payload"].get("credentials").is_none());
    assert_eq!(upstream.requests().len(), 2);
    runtime.shutdown().await;
    assert!(upstream.good().is_empty());
}

/// [ARCP 9.8-2] the intent to issue is in the store before the upstream is asked.
#[tokio::test(start_paused = true)]
async fn the_intent_is_durable_first() {
    let (store, upstream) = (Durable::new(), Upstream::default());
    upstream.issues([Some(Fault::Lose)]);
    let runtime = builder(&store, &upstream).build().await.unwrap();
    let mut alice = Peer::open(&runtime, ALICE, QUIET).await;
    alice.send("job.submit", submit("waits")).await;
    while upstream.calls().is_empty() {
        tokio::task::yield_now().await;
    }
    let rows = store.recover().await.unwrap().credentials;
    assert_eq!((rows.len(), rows[0].outstanding), (1, true));
    let info = towline_runtime::credentials::CredentialInfo::of_row(&rows[0]).unwrap();
    assert_eq!(
        (info.state, info.principal.as_str()),
        (CredentialState::Intent, "alice")
    );
    runtime.shutdown().await;
}

/// [ARCP 9.8-1] over a connection that others can read nothing is issued, and no value is repeated.
#[tokio::test(start_paused = true)]
async fn values_go_over_confidential_connections_only() {
    let (store, upstream) = (Durable::new(), Upstream::default());
    let runtime = builder(&store, &upstream).build().await.unwrap();
    let mut open = Peer::overheard(&runtime);
    open.hello(ALICE, QUIET).await;
    open.welcomed().await;
    let refused = open
        .refused("job.submit", submit("waits"), "PERMISSION_DENIED")
        .await;
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("confidential"),
        "{refused}"
    );
    assert!(upstream.calls().is_empty());
    let without = accepted(&mut open, json!({"agent": "waits"})).await;
    assert!(without["payload"].get("credentials").is_none());
    open.expect_event("status").await;

    let mut alice = Peer::open(&runtime, ALICE, QUIET).await;
    let mut repeated = submit("waits");
    repeated["idempotency_key"] = json!("k");
    let secret = value(&accepted(&mut alice, repeated.clone()).await);
    let again = accepted(&mut open, repeated).await;
    assert!(
        again["payload"].get("credentials").is_none() && !again.to_string().contains(&secret),
        "{again}"
    );
    runtime.shutdown().await;
}

/// [ARCP 9.8-2] whichever way a job ends, its credential is revoked.
#[tokio::test(start_paused = true)]
async fn every_end_revokes() {
    for (agent, extra, cancel, status) in [
        ("returns", json!({}), false, "success"),
        ("fails", json!({}), false, "error"),
        ("panics", json!({}), false, "error"),
        ("waits", json!({}), true, "cancelled"),
        ("ignores", json!({}), true, "cancelled"),
        ("ignores", json!({"max_runtime_sec": 2}), false, "timed_out"),
        (
            "waits",
            json!({"lease_constraints": {"expires_at": "2026-03-01T12:00:05Z"}}),
            false,
            "error",
        ),
    ] {
        let (store, upstream) = (Durable::new(), Upstream::default());
        let runtime = builder(&store, &upstream).build().await.unwrap();
        let mut alice = Peer::open(&runtime, ALICE, QUIET).await;
        let mut payload = submit(agent);
        payload
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        let accepted = accepted(&mut alice, payload).await;
        let (job, secret) = (
            accepted["job_id"].as_str().unwrap().to_owned(),
            value(&accepted),
        );
        if cancel {
            alice.send("job.cancel", json!({"job_id": job})).await;
        }
        let frames = alice.until_end(&job).await;
        assert_eq!(
            frames.last().unwrap()["payload"]["final_status"],
            status,
            "{agent}: {frames:?}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!upstream.accepts(&secret), "{agent}");
        assert!(runtime.credentials().is_empty());
        assert!(
            store
                .recover()
                .await
                .unwrap()
                .credentials
                .iter()
                .all(|row| !row.outstanding)
        );
        runtime.shutdown().await;
    }
}

/// [ARCP 9.8-2] a job that is cancelled while it waits in the queue has its credential revoked too.
#[tokio::test(start_paused = true)]
async fn the_end_of_a_queued_job_revokes() {
    let (store, upstream) = (Durable::new(), Upstream::default());
    let limits = towline_proto::admission::AdmissionLimits {
        running: 1,
        ..Default::default()
    };
    let options = RuntimeOptions::default().admission(limits);
    let runtime = builder(&store, &upstream)
        .options(options)
        .build()
        .await
        .unwrap();
    let mut alice = Peer::open(&runtime, ALICE, QUIET).await;
    alice.start(json!({"agent": "waits"})).await;
    let queued = accepted(&mut alice, submit("waits")).await;
    let secret = value(&queued);
    assert!(upstream.accepts(&secret));
    alice
        .send("job.cancel", json!({"job_id": queued["job_id"]}))
        .await;
    alice.until_end(queued["job_id"].as_str().unwrap()).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!upstream.accepts(&secret));
    runtime.shutdown().await;
}

/// [ARCP 9.8-2] revoking is tried again with growing pauses, reported when it goes on failing, and never given up.
#[tokio::test(start_paused = true)]
async fn revoking_is_tried_until_it_works() {
    let (store, upstream) = (Durable::new(), Upstream::default());
    upstream.revocations([Some(Fault::Fail); 12]);
    let runtime = builder(&store, &upstream)
        .credential_options(CredentialOptions::new().alarm_after(4))
        .build()
        .await
        .unwrap();
    let mut alice = Peer::open(&runtime, ALICE, QUIET).await;
    let accepted = accepted(&mut alice, submit("returns")).await;
    alice.until_end(accepted["job_id"].as_str().unwrap()).await;
    let tries = || {
        upstream
            .calls()
            .iter()
            .filter(|call| call.starts_with("revoke"))
            .count()
    };
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!((1..=3).contains(&tries()), "{}", tries());
    tokio::time::sleep(Duration::from_secs(15)).await;
    let out = runtime.credentials();
    assert_eq!(out[0].state, CredentialState::Revoking);
    assert!(
        out[0].failures >= 4 && upstream.accepts(&value(&accepted)),
        "{out:?}"
    );
    let verdicts = |rows: Vec<towline_store::AuditRow>| -> Vec<Value> {
        let revocations = rows
            .into_iter()
            .filter(|row| row.action == "credential.revoke");
        revocations
            .map(|row| row.data.read::<Value>().unwrap()["verdict"].clone())
            .collect()
    };
    assert_eq!(verdicts(store.audit(100).await.unwrap()), ["failed"]);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(tries(), 13);
    assert!(!upstream.accepts(&value(&accepted)) && runtime.credentials().is_empty());
    assert_eq!(
        verdicts(store.audit(100).await.unwrap()),
        ["failed", "allowed"]
    );
    runtime.shutdown().await;
}

/// [ARCP 9.8-2] without a credential there is no job; a call whose answer was lost is looked after, also when it comes true
/// after the first try to revoke.
#[tokio::test(start_paused = true)]
async fn what_was_not_answered_is_revoked() {
    for (fault, code) in [
        (Fault::Fail, "INTERNAL_ERROR"),
        (Fault::Refuse, "PERMISSION_DENIED"),
        (Fault::Lose, "INTERNAL_ERROR"),
        (Fault::Late, "INTERNAL_ERROR"),
    ] {
        let (store, upstream) = (Durable::new(), Upstream::default());
        upstream.issues([Some(fault)]);
        let runtime = builder(&store, &upstream).build().await.unwrap();
        let mut alice = Peer::open(&runtime, ALICE, QUIET).await;
        let refused = alice.refused("job.submit", submit("waits"), code).await;
        assert!(
            !refused["message"]
                .as_str()
                .unwrap()
                .contains("upstream is down"),
            "{refused}"
        );
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert!(
            upstream.good().is_empty(),
            "{fault:?}: {:?}",
            upstream.calls()
        );
        assert!(runtime.credentials().is_empty(), "{fault:?}");
        assert!(
            store
                .recover()
                .await
                .unwrap()
                .credentials
                .iter()
                .all(|row| !row.outstanding),
            "{fault:?}"
        );
        let job = accepted(&mut alice, submit("waits")).await;
        assert!(
            upstream.accepts(&value(&job)),
            "the next one gets its credential"
        );
        runtime.shutdown().await;
    }
}

/// A slow upstream holds up its own submit only.
#[tokio::test(start_paused = true)]
async fn other_requests_do_not_wait_for_an_upstream() {
    let (store, upstream) = (Durable::new(), Upstream::default());
    upstream.issues([Some(Fault::Lose)]);
    let runtime = builder(&store, &upstream).build().await.unwrap();
    let (mut alice, mut other) = (
        Peer::open(&runtime, ALICE, QUIET).await,
        Peer::open(&runtime, ALICE, QUIET).await,
    );
    alice.send("job.submit", submit("waits")).await;
    let started = tokio::time::Instant::now();
    other.start(json!({"agent": "waits"})).await;
    assert!(started.elapsed() < Duration::from_secs(1));
    alice.expect_error("INTERNAL_ERROR").await;
    assert!(started.elapsed() >= Duration::from_secs(15));
    runtime.shutdown().await;
}

/// Waits for the next answer, past events.
async fn next_answer(peer: &mut Peer, kind: &str) {
    let answer = loop {
        let frame = peer.next().await;
        if frame["payload"]["request_id"].is_string() {
            break frame;
        }
    };
    assert_eq!(answer["type"], kind, "{answer}");
}

/// [ARCP 5-11] Within a session a slow upstream holds up the answer to its own submit only where the client has said that it minds
/// no order; otherwise the answers keep it. What is asked for happens at once in both.
#[tokio::test(start_paused = true)]
async fn answers_of_a_session_wait_for_an_upstream_in_order_only() {
    for any_order in [true, false] {
        let (store, upstream) = (Durable::new(), Upstream::default());
        upstream.issues([Some(Fault::Lose)]);
        let runtime = builder(&store, &upstream).build().await.unwrap();
        let mut features = QUIET.to_vec();
        features.extend(any_order.then_some("x-vendor.towline.any_order"));
        let mut alice = Peer::open(&runtime, ALICE, &features).await;
        let job = alice.start(json!({"agent": "waits"})).await;
        let started = tokio::time::Instant::now();
        alice.send("job.submit", submit("waits")).await;
        alice.send("job.cancel", json!({"job_id": job})).await;
        alice.send("session.list_jobs", json!({})).await;
        alice.send("job.submit", json!({"agent": "waits"})).await;
        let late = Duration::from_secs(15);
        if any_order {
            for kind in ["job.cancelled", "session.jobs", "job.accepted"] {
                next_answer(&mut alice, kind).await;
            }
            assert!(started.elapsed() < Duration::from_secs(1));
            next_answer(&mut alice, "session.error").await;
            assert!(started.elapsed() >= late);
        } else {
            for kind in [
                "session.error",
                "job.cancelled",
                "session.jobs",
                "job.accepted",
            ] {
                next_answer(&mut alice, kind).await;
                assert!(started.elapsed() >= late, "{kind}");
            }
        }
        runtime.shutdown().await;
    }
}

/// [ARCP 7.2-1, 9.8-1] a repeated submit gets the same acceptance, with the value while it is good and without it
/// afterwards.
#[tokio::test(start_paused = true)]
async fn a_repeated_submit_shows_the_value_while_it_is_good() {
    let (store, upstream) = (Durable::new(), Upstream::default());
    let runtime = builder(&store, &upstream).build().await.unwrap();
    let mut alice = Peer::open(&runtime, ALICE, QUIET).await;
    let mut payload = submit("waits");
    payload["idempotency_key"] = json!("k");
    let first = accepted(&mut alice, payload.clone()).await;
    alice.expect_event("status").await;
    let again = accepted(&mut alice, payload.clone()).await;
    assert_eq!(credential(&again), credential(&first));
    let mut elsewhere = Peer::open(&runtime, ALICE, QUIET).await;
    assert_eq!(
        credential(&accepted(&mut elsewhere, payload.clone()).await),
        credential(&first)
    );
    alice
        .send("job.cancel", json!({"job_id": first["job_id"]}))
        .await;
    alice.until_end(first["job_id"].as_str().unwrap()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after = accepted(&mut alice, payload).await;
    // [ARCP 6.6-4, 9.8-1] without a value there is no entry, and without an entry no field.
    assert!(after["payload"].get("credentials").is_none(), "{after}");
    assert_eq!(upstream.requests().len(), 1);
    runtime.shutdown().await;
}

/// The agent has the job's credentials, with the values that are good.
#[tokio::test(start_paused = true)]
async fn the_agent_has_its_credentials() {
    let (store, upstream) = (Durable::new(), Upstream::default());
    let runtime = builder(&store, &upstream)
        .agent("shows", |ctx: JobContext, _input: Value| async move {
            let held = ctx.credentials();
            Ok::<_, AgentError>(json!(
                held.iter()
                    .map(|held| held.value.expose().len())
                    .collect::<Vec<_>>()
            ))
        })
        .build()
        .await
        .unwrap();
    let mut alice = Peer::open(&runtime, ALICE, QUIET).await;
    let accepted = accepted(&mut alice, submit("shows")).await;
    let frames = alice.until_end(accepted["job_id"].as_str().unwrap()).await;
    assert_eq!(
        frames.last().unwrap()["payload"]["result"],
        json!([value(&accepted).len()])
    );
    runtime.shutdown().await;
}

/// [ARCP 9.8-4] a child's credential is bounded by the child's lease, and ends with the parent, however long the child takes
/// to stop.
#[tokio::test(start_paused = true)]
async fn a_childs_credential_ends_with_its_parent() {
    let (store, upstream) = (Durable::new(), Upstream::default());
    let runtime = builder(&store, &upstream)
        .agent("delegates", |ctx: JobContext, _input: Value| async move {
            let lease = towline_wire::Lease::new()
                .with("model.use", "acme/small")
                .with("cost.budget", "USD:0.50");
            let child = ctx.delegate("ignores").lease(lease).send().await?;
            tokio::time::sleep(Duration::from_secs(10)).await;
            Ok::<_, AgentError>(json!(child.job_id()))
        })
        .build()
        .await
        .unwrap();
    let mut alice = Peer::open(&runtime, ALICE, QUIET).await;
    let mut payload = submit("delegates");
    payload["lease_request"]["agent.delegate"] = json!(["*"]);
    let parent = accepted(&mut alice, payload).await;
    let mut frames = alice.until_end(parent["job_id"].as_str().unwrap()).await;
    let ended = tokio::time::Instant::now();
    let child = frames
        .iter()
        .find(|frame| frame["type"] == "job.accepted")
        .unwrap()
        .clone();
    assert_eq!(child["payload"]["parent_job_id"], parent["job_id"]);
    let constraints = json!({"cost.budget": ["USD:0.50"], "model.use": ["acme/small"]});
    assert_eq!(credential(&child)["constraints"], constraints);
    let request = &upstream.requests()[1];
    assert_eq!(
        request.constraints.cost_budget,
        [("USD".to_owned(), "0.50".parse().unwrap())]
    );
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!upstream.accepts(&value(&child)) && !upstream.accepts(&value(&parent)));
    frames.extend(alice.until_end(child["job_id"].as_str().unwrap()).await);
    assert!(
        ended.elapsed() > Duration::from_secs(1),
        "the child took its time"
    );
    let child = JobId::parse(child["job_id"].as_str().unwrap()).unwrap();
    assert!(
        store
            .credentials_of(&child)
            .await
            .unwrap()
            .iter()
            .all(|row| !row.outstanding)
    );
    runtime.shutdown().await;
}
