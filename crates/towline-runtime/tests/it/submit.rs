//! Submitting (§7.1) and idempotency (§7.2).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use towline_proto::{admission::AdmissionLimits, refusal::Refusal};
use towline_runtime::{
    AgentError, JobContext, Operation, RuntimeOptions,
    policy::{GrantedLease, LeasePolicy, LeaseRequest},
};
use towline_store::{
    MemoryStore,
    testing::{Fault, FaultStore},
};

use crate::{
    agents::{Deaf, Valve, counting, echo, patient},
    peer::{ALICE, Peer, QUIET, kinds, moment, pass, runtime},
};

/// [ARCP 7.1-2, 11-1] what an acceptance says; it is there before any event, and what was not granted is not in it.
#[tokio::test(start_paused = true)]
async fn accepted() {
    let runtime = runtime().agent("echo@1.2.0", echo()).build().await.unwrap();
    let mut peer = Peer::alice(&runtime).await;
    let request = json!({
        "agent": "echo",
        "input": {"a": 1},
        "lease_request": {"fs.read": ["/data/**"], "cost.budget": ["USD:1.50", "EUR:2"]},
        "lease_constraints": {"expires_at": "2026-03-02T00:00:00Z"},
    });
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let id = peer
        .send_with("job.submit", request, json!({"trace_id": trace}))
        .await;
    let accepted = peer.expect("job.accepted").await;
    let payload = &accepted["payload"];
    assert_eq!(payload["request_id"], id);
    assert_eq!(
        (&payload["job_id"], &payload["trace_id"]),
        (&accepted["job_id"], &json!(trace))
    );
    assert_eq!(accepted["trace_id"], trace);
    assert_eq!(payload["agent"], "echo@1.2.0");
    assert_eq!(payload["lease"]["fs.read"], json!(["/data/**"]));
    assert_eq!(
        payload["lease_constraints"]["expires_at"],
        "2026-03-02T00:00:00Z"
    );
    assert_eq!(payload["budget"].to_string(), r#"{"EUR":2,"USD":1.50}"#);
    assert_eq!(payload["accepted_at"], "2026-03-01T12:00:00.000Z");
    assert!(accepted.get("event_seq").is_none());
    let end = peer.until_end(accepted["job_id"].as_str().unwrap()).await;
    assert_eq!(end.last().unwrap()["payload"]["result"], json!({"a": 1}));

    let plain = peer.ask("job.submit", json!({"agent": "echo"})).await;
    let payload = plain["payload"].as_object().unwrap();
    assert_eq!(payload["lease"], json!({}));
    for absent in [
        "budget",
        "lease_constraints",
        "parent_job_id",
        "credentials",
    ] {
        assert!(!payload.contains_key(absent), "{absent}");
    }
    let minted = payload["trace_id"].as_str().unwrap();
    assert!(minted.len() == 32 && minted.bytes().all(|byte| byte.is_ascii_hexdigit()));
}

/// [ARCP 7.1-2] the acceptance is durable before it is sent: until the store has it, nothing is said and nothing runs.
#[tokio::test(start_paused = true)]
async fn durable_first() {
    let disk = FaultStore::new(MemoryStore::new());
    let ran = Arc::new(AtomicU32::new(0));
    let count = counting(&ran);
    let runtime = runtime()
        .shared_store(Arc::new(disk.clone()))
        .agent("count", count)
        .build()
        .await
        .unwrap();
    let mut peer = Peer::open(&runtime, ALICE, QUIET).await;
    pass(1.5).await;
    disk.every_commit(Some(Fault::Hang));
    peer.send("job.submit", json!({"agent": "count"})).await;
    peer.expect_silence().await;
    assert_eq!(ran.load(Ordering::Relaxed), 0);
    disk.every_commit(None);
    disk.release();
    peer.expect("job.accepted").await;
    peer.expect_event("status").await;
    peer.expect_end("success").await;
}

/// A job that nobody waits before costs two commits: one accepts it and begins it, one ends it.
#[tokio::test(start_paused = true)]
async fn two_commits_a_job() {
    let disk = FaultStore::new(MemoryStore::new());
    let runtime = runtime()
        .shared_store(Arc::new(disk.clone()))
        .agent("echo", echo())
        .build()
        .await
        .unwrap();
    let mut peer = Peer::open(&runtime, ALICE, QUIET).await;
    pass(1.5).await;
    for _ in 0..3 {
        let before = disk.commits();
        let job = peer.submit(json!({"agent": "echo"})).await;
        peer.until_end(&job).await;
        assert_eq!(disk.commits() - before, 2);
    }
}

/// [ARCP 7.1-3, 12-1] what is refused never was; the message names what is at fault.
#[tokio::test(start_paused = true)]
async fn refusals() {
    let runtime = runtime().agent("echo@1.0.0", echo()).build().await.unwrap();
    let mut peer = Peer::alice(&runtime).await;
    for (payload, code, named) in [
        (json!({}), "INVALID_REQUEST", "agent"),
        (json!({"agent": "No Agent"}), "INVALID_REQUEST", "agent"),
        (json!({"agent": "nobody"}), "AGENT_NOT_AVAILABLE", "nobody"),
        (
            json!({"agent": "echo@9"}),
            "AGENT_VERSION_NOT_AVAILABLE",
            "echo@9",
        ),
        (
            json!({"agent": "echo", "max_runtime_sec": 0}),
            "INVALID_REQUEST",
            "max_runtime_sec",
        ),
        (
            json!({"agent": "echo", "max_runtime_sec": -2}),
            "INVALID_REQUEST",
            "max_runtime_sec",
        ),
        (
            json!({"agent": "echo", "max_runtime_sec": "5"}),
            "INVALID_REQUEST",
            "max_runtime_sec",
        ),
        (
            json!({"agent": "echo", "lease_request": {"fs.fly": ["/x"]}}),
            "INVALID_REQUEST",
            "fs.fly",
        ),
        (
            json!({"agent": "echo", "lease_request": {"fs.read": ["relative"]}}),
            "INVALID_REQUEST",
            "relative",
        ),
        (
            json!({"agent": "echo", "lease_request": {"fs.read": ["/a/[b"]}}),
            "INVALID_REQUEST",
            "/a/[b",
        ),
        (
            json!({"agent": "echo", "lease_request": {"cost.budget": ["USD"]}}),
            "INVALID_REQUEST",
            "cost.budget",
        ),
        (
            json!({"agent": "echo", "lease_constraints": {"expires_at": "2026-03-01T11:59:59Z"}}),
            "INVALID_REQUEST",
            "expires_at",
        ),
        (
            json!({"agent": "echo", "lease_constraints": {"expires_at": "2027-03-01T12:00:00+01:00"}}),
            "INVALID_REQUEST",
            "expires_at",
        ),
        (
            json!({"agent": "echo", "parent_job_id": "job_none"}),
            "JOB_NOT_FOUND",
            "parent_job_id",
        ),
        (
            json!({"agent": "echo", "idempotency_key": ""}),
            "INVALID_REQUEST",
            "idempotency_key",
        ),
        (
            json!({"agent": "echo", "idempotency_key": "k".repeat(257)}),
            "INVALID_REQUEST",
            "idempotency_key",
        ),
    ] {
        let error = peer.refused("job.submit", payload.clone(), code).await;
        assert!(
            error["message"].as_str().unwrap().contains(named),
            "{payload}: {error}"
        );
        assert_eq!(error["retryable"], code == "AGENT_NOT_AVAILABLE");
    }
    let listed = peer.ask("session.list_jobs", json!({})).await;
    assert_eq!(listed["payload"]["jobs"], json!([]));
    peer.expect_silence().await;
    assert_eq!(runtime.live_jobs(), 0);
}

/// [ARCP 7.1-3, 5-11] several submits may be in flight; their replies come in order, refusals among them.
#[tokio::test(start_paused = true)]
async fn several_in_flight() {
    let runtime = runtime().agent("echo", echo()).build().await.unwrap();
    let mut peer = Peer::alice(&runtime).await;
    let mut asked = Vec::new();
    for number in 0..30 {
        let agent = if number % 3 == 0 { "nobody" } else { "echo" };
        asked.push((
            peer.send("job.submit", json!({"agent": agent, "input": number}))
                .await,
            agent,
        ));
    }
    let mut replies = Vec::new();
    while replies.len() < asked.len() {
        let frame = peer.next().await;
        if let Some(request) = frame["payload"].get("request_id") {
            replies.push((
                request.as_str().unwrap().to_owned(),
                frame["type"].as_str().unwrap().to_owned(),
            ));
        }
    }
    for ((id, agent), (request, kind)) in asked.iter().zip(&replies) {
        assert_eq!(id, request);
        assert_eq!(
            kind,
            if *agent == "echo" {
                "job.accepted"
            } else {
                "session.error"
            }
        );
    }
}

/// Grants tools, nothing else; refuses whoever asks for `net.fetch`.
struct ToolsOnly;

impl LeasePolicy for ToolsOnly {
    fn grant<'a>(
        &'a self,
        request: LeaseRequest<'a>,
    ) -> BoxFuture<'a, Result<GrantedLease, Refusal>> {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_secs(3)).await;
            if !request.lease.patterns("net.fetch").is_empty() {
                let code = towline_wire::ErrorCode::PERMISSION_DENIED;
                return Err(Refusal::new(
                    code,
                    "`lease_request.net.fetch` is not granted here",
                ));
            }
            let mut lease = towline_wire::Lease::new();
            lease.set("tool.call", request.lease.patterns("tool.call").to_vec());
            Ok(GrantedLease {
                lease,
                constraints: request.constraints.clone(),
            })
        })
    }
}

/// [ARCP 7.1-4, 9.3-1] what the policy does not grant is not in the lease, and is denied; a slow policy holds nothing else up.
#[tokio::test(start_paused = true)]
async fn policies() {
    let ask = |ctx: JobContext, _input: Value| async move {
        let tool = ctx.authorize(Operation::ToolCall("search")).await.is_ok();
        let file = ctx.authorize(Operation::FsRead("/data/x")).await;
        Ok::<_, AgentError>(json!([
            tool,
            file.err().map(|denied| denied.code().to_string())
        ]))
    };
    let runtime = runtime()
        .agent("ask", ask)
        .lease_policy(ToolsOnly)
        .build()
        .await
        .unwrap();
    let mut peer = Peer::alice(&runtime).await;
    let lease = json!({"tool.call": ["search"], "fs.read": ["/data/**"]});
    let id = peer
        .send(
            "job.submit",
            json!({"agent": "ask", "lease_request": lease}),
        )
        .await;
    peer.send(
        "job.submit",
        json!({"agent": "ask", "lease_request": {"net.fetch": ["https://example.com/**"]}}),
    )
    .await;
    peer.send("session.ping", json!({"nonce": "n"})).await;
    let started = tokio::time::Instant::now();
    peer.expect("session.pong").await;
    assert_eq!(started.elapsed(), Duration::ZERO);
    let accepted = peer.expect("job.accepted").await;
    assert_eq!(accepted["payload"]["request_id"], id);
    assert_eq!(
        accepted["payload"]["lease"],
        json!({"tool.call": ["search"]})
    );
    assert_eq!(
        started.elapsed().as_secs(),
        3,
        "the second submit was asked about at the same time"
    );
    let rest = peer.until_end(accepted["job_id"].as_str().unwrap()).await;
    assert_eq!(rest[0]["payload"]["code"], "PERMISSION_DENIED");
    assert_eq!(
        rest.last().unwrap()["payload"]["result"],
        json!([true, "PERMISSION_DENIED"])
    );
}

fn limits(per_principal: usize, running: usize, queued: usize) -> RuntimeOptions {
    RuntimeOptions::default().admission(AdmissionLimits {
        per_principal,
        running,
        queued,
        ..Default::default()
    })
}

/// [ARCP 7.1-5, 7.3-1] over the limit of a principal jobs wait as `pending`, in order, up to a bound; beyond it they are
/// refused, however fast they come.
#[tokio::test(start_paused = true)]
async fn the_queue() {
    let valve = Valve::new();
    let runtime = runtime()
        .options(limits(2, 10, 3))
        .agent("valve", valve.agent())
        .build()
        .await
        .unwrap();
    let mut alice = Peer::alice(&runtime).await;
    for _ in 0..7 {
        alice.send("job.submit", json!({"agent": "valve"})).await;
    }
    let (mut jobs, mut refused, mut running) = (Vec::new(), 0, Vec::new());
    while jobs.len() + refused < 7 || running.len() < 2 {
        let frame = alice.next().await;
        match frame["type"].as_str().unwrap() {
            "job.accepted" => jobs.push(frame["job_id"].clone()),
            "session.error" => {
                assert_eq!(frame["payload"]["code"], "INTERNAL_ERROR");
                assert_eq!(frame["payload"]["retryable"], true);
                refused += 1;
            }
            _ => running.push(frame["job_id"].clone()),
        }
    }
    assert_eq!((jobs.len(), refused), (5, 2));
    assert_eq!(running, jobs[..2]);
    let mut bob = Peer::bob(&runtime).await;
    bob.start(json!({"agent": "valve"})).await;
    let pending = alice
        .ask(
            "session.list_jobs",
            json!({"filter": {"status": ["pending"]}}),
        )
        .await;
    assert_eq!(pending["payload"]["jobs"].as_array().unwrap().len(), 3);
    alice.send("job.cancel", json!({"job_id": jobs[0]})).await;
    let frames = alice.until_end(jobs[0].as_str().unwrap()).await;
    assert_eq!(kinds(&frames), ["job.cancelled", "job.error"]);
    assert_eq!(
        alice.expect("job.event").await["job_id"],
        jobs[2],
        "the one that waited longest"
    );
    valve.shut();
    for job in &jobs[3..] {
        alice.until_end(job.as_str().unwrap()).await;
    }
    moment().await;
    assert_eq!(runtime.live_jobs(), 0);
    alice.start(json!({"agent": "valve"})).await;
}

/// [ARCP 7.1-5] principals take turns: a flood of one does not keep another out.
#[tokio::test(start_paused = true)]
async fn the_queue_is_fair() {
    let valve = Valve::new();
    let runtime = runtime()
        .options(limits(10, 1, 100))
        .agent("valve", valve.agent())
        .build()
        .await
        .unwrap();
    let (mut alice, mut bob) = (Peer::alice(&runtime).await, Peer::bob(&runtime).await);
    let mut flood = vec![alice.start(json!({"agent": "valve"})).await];
    for _ in 0..5 {
        flood.push(alice.submit(json!({"agent": "valve"})).await);
    }
    let quiet = bob.submit(json!({"agent": "valve"})).await;
    for job in &flood[..2] {
        alice.send("job.cancel", json!({"job_id": job})).await;
        alice.until_end(job).await;
    }
    moment().await;
    let frames = tokio::time::timeout(Duration::from_secs(1), bob.next()).await;
    assert_eq!(
        frames.unwrap()["job_id"],
        quiet,
        "Bob's turn came second at the latest"
    );
}

/// [ARCP 7.1-5, 7.3-4] after a restart jobs that never began run now.
#[tokio::test(start_paused = true)]
async fn waiting_jobs_survive_a_restart() {
    let disk = FaultStore::new(MemoryStore::new());
    let first = runtime()
        .options(limits(1, 1, 10))
        .shared_store(Arc::new(disk.clone()))
        .agent("deaf", Deaf);
    let first = first
        .agent("echo", echo())
        .agent("patient", patient())
        .build()
        .await
        .unwrap();
    let mut peer = Peer::alice(&first).await;
    let running = peer.start(json!({"agent": "deaf"})).await;
    let waiting = peer.submit(json!({"agent": "echo", "input": "late"})).await;
    disk.every_commit(Some(Fault::Hang));
    let second = runtime()
        .shared_store(disk.inner().clone())
        .agent("deaf", Deaf)
        .agent("echo", echo());
    let second = second.build().await.unwrap();
    let mut peer = Peer::resume(&second, &peer.token, 1).await;
    let (mut ended, mut result) = (None, None);
    while ended.is_none() || result.is_none() {
        let frame = peer.next().await;
        if frame["type"] == "job.error" && frame["job_id"] == running {
            ended = Some(frame["payload"]["details"]["reason"].clone());
        } else if frame["type"] == "job.result" && frame["job_id"] == waiting {
            result = Some(frame["payload"]["result"].clone());
        }
    }
    assert_eq!(
        (ended.unwrap(), result.unwrap()),
        (json!("runtime_restarted"), json!("late"))
    );
}
