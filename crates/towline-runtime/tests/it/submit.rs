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
    AgentError, JobContext, Operation, Runtime, RuntimeOptions,
    policy::{GrantedLease, LeasePolicy, LeaseRequest},
};
use towline_store::{
    MemoryStore, StoreError,
    testing::{Fault, FaultStore},
};

use crate::{
    agents::{Deaf, Valve, echo, lines, patient},
    peer::{ALICE, ALL, BOB, Peer, QUIET, kinds, moment, pass, runtime},
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

/// Counts how often it runs.
fn counting(
    ran: &Arc<AtomicU32>,
) -> impl Fn(JobContext, Value) -> BoxFuture<'static, Result<Value, AgentError>> + use<> {
    let ran = Arc::clone(ran);
    move |_ctx, _input| {
        let run = ran.fetch_add(1, Ordering::Relaxed) + 1;
        Box::pin(async move { Ok(json!(run)) })
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

/// [ARCP 7.2-1] one key, one job: at once from one session and from several, and later.
#[tokio::test(start_paused = true)]
async fn one_key_one_job() {
    let ran = Arc::new(AtomicU32::new(0));
    let runtime = runtime()
        .agent("count", counting(&ran))
        .build()
        .await
        .unwrap();
    let (mut one, mut two) = (Peer::alice(&runtime).await, Peer::alice(&runtime).await);
    let request = json!({"agent": "count", "input": {"x": 1, "y": [2.0]}, "idempotency_key": "k"});
    let same = json!({"idempotency_key": "k", "input": {"y": [2], "x": 1e0}, "agent": "count", "lease_request": {}, "max_runtime_sec": null});
    for _ in 0..3 {
        one.send("job.submit", request.clone()).await;
        two.send("job.submit", same.clone()).await;
    }
    let mut accepted = Vec::new();
    for peer in [&mut one, &mut two] {
        let mut frames = Vec::new();
        while let Ok(frame) = tokio::time::timeout(Duration::from_secs(1), peer.next()).await {
            frames.push(frame);
        }
        let (replies, events): (Vec<_>, Vec<_>) = frames
            .into_iter()
            .partition(|frame| frame["type"] == "job.accepted");
        assert_eq!(replies.len(), 3);
        assert!(
            events.iter().any(|frame| frame["type"] == "job.result"),
            "each sees the outcome"
        );
        accepted.extend(replies);
    }
    accepted.push(one.ask("job.submit", request).await);
    let mut payloads: Vec<_> = accepted
        .iter()
        .map(|frame| frame["payload"].clone())
        .collect();
    payloads
        .iter_mut()
        .for_each(|payload| drop(payload.as_object_mut().unwrap().remove("request_id")));
    assert!(
        payloads.windows(2).all(|pair| pair[0] == pair[1]),
        "the same payload each time"
    );
    assert_eq!(ran.load(Ordering::Relaxed), 1);
}

/// [ARCP 7.2-1, 7.6-7] another session that repeats the submit watches the job from its start and sees how it ends, but may
/// not cancel it.
#[tokio::test(start_paused = true)]
async fn another_session_sees_the_outcome() {
    let valve = Valve::new();
    let runtime = runtime()
        .agent("valve", valve.agent())
        .build()
        .await
        .unwrap();
    let (mut one, mut two) = (Peer::alice(&runtime).await, Peer::alice(&runtime).await);
    let request = json!({"agent": "valve", "idempotency_key": "k"});
    let job = one.start(request.clone()).await;
    valve.open(2);
    moment().await;
    assert_eq!(two.submit(request.clone()).await, job);
    assert_eq!(two.expect_event("status").await["phase"], "running");
    two.expect_event("log").await;
    two.expect_event("log").await;
    two.refused("job.cancel", json!({"job_id": job}), "PERMISSION_DENIED")
        .await;
    valve.open(1);
    assert_eq!(two.expect_event("log").await["message"], "line 3");
    valve.shut();
    assert_eq!(two.expect_end("success").await["result"], 3);
    let mut late = Peer::alice(&runtime).await;
    assert_eq!(late.submit(request).await, job);
    assert_eq!(late.until_end(&job).await.len(), 5, "also when it is over");
    assert_eq!(
        one.until_end(&job).await.len(),
        4,
        "its own session is not told twice"
    );
}

/// [ARCP 7.2-2] the same key for something else; another principal's key is another key.
#[tokio::test(start_paused = true)]
async fn a_key_for_something_else() {
    let runtime = runtime()
        .agent("echo", echo())
        .agent("lines", lines())
        .build()
        .await
        .unwrap();
    let mut peer = Peer::open(&runtime, ALICE, QUIET).await;
    let job = peer
        .submit(json!({"agent": "echo", "input": 1, "idempotency_key": "k"}))
        .await;
    peer.until_end(&job).await;
    for other in [
        json!({"agent": "echo", "input": 2, "idempotency_key": "k"}),
        json!({"agent": "lines", "input": 1, "idempotency_key": "k"}),
        json!({"agent": "echo", "input": 1, "max_runtime_sec": 5, "idempotency_key": "k"}),
        json!({"agent": "nobody", "idempotency_key": "k"}),
    ] {
        let error = peer.refused("job.submit", other, "DUPLICATE_KEY").await;
        assert_eq!(error["details"]["existing_job_id"], job);
        assert_eq!(error["retryable"], false);
    }
    let mut bob = Peer::open(&runtime, BOB, ALL).await;
    assert_ne!(
        bob.submit(json!({"agent": "echo", "input": 3, "idempotency_key": "k"}))
            .await,
        job
    );
}

/// [ARCP 7.2-3] a key lives for a day, and has up to 256 bytes.
#[tokio::test(start_paused = true)]
async fn keys_live_for_a_day() {
    let runtime = runtime().agent("echo", echo()).build().await.unwrap();
    let mut peer = Peer::open(&runtime, ALICE, QUIET).await;
    let request = json!({"agent": "echo", "idempotency_key": "k".repeat(256)});
    let job = peer.submit(request.clone()).await;
    peer.until_end(&job).await;
    pass(24.0 * 3600.0 - 10.0).await;
    assert_eq!(peer.submit(request.clone()).await, job);
    pass(10.0).await;
    let anew = peer.submit(request).await;
    assert_ne!(anew, job);
    peer.until_end(&anew).await;
}

/// [ARCP 7.2-1, 7.2-2] a refused submit frees its key; a repeat finds its job even when its times have passed by now.
#[tokio::test(start_paused = true)]
async fn keys_and_validation() {
    let disk = FaultStore::new(MemoryStore::new());
    let runtime = runtime()
        .shared_store(Arc::new(disk.clone()))
        .agent("echo", echo())
        .build()
        .await
        .unwrap();
    let mut peer = Peer::open(&runtime, ALICE, QUIET).await;
    peer.refused(
        "job.submit",
        json!({"agent": "nobody", "idempotency_key": "a"}),
        "AGENT_NOT_AVAILABLE",
    )
    .await;
    let job = peer
        .submit(json!({"agent": "echo", "idempotency_key": "a"}))
        .await;
    peer.until_end(&job).await;

    disk.next_commit(Fault::Fail(StoreError::Full("test".to_owned())));
    let error = peer
        .refused(
            "job.submit",
            json!({"agent": "echo", "idempotency_key": "b"}),
            "INTERNAL_ERROR",
        )
        .await;
    assert_eq!(error["retryable"], true);
    let job = peer
        .submit(json!({"agent": "echo", "idempotency_key": "b"}))
        .await;
    peer.until_end(&job).await;

    let brief = json!({"agent": "echo", "lease_constraints": {"expires_at": "2026-03-01T12:01:00Z"}, "idempotency_key": "c"});
    let job = peer.submit(brief.clone()).await;
    peer.until_end(&job).await;
    pass(120.0).await;
    assert_eq!(peer.submit(brief.clone()).await, job);
    let mut anew = brief;
    anew["idempotency_key"] = json!("d");
    peer.refused("job.submit", anew, "INVALID_REQUEST").await;
}

/// [ARCP 7.2-1, 6.3-9] a key stands for its job after a restart too.
#[tokio::test(start_paused = true)]
async fn keys_survive_a_restart() {
    let ran = Arc::new(AtomicU32::new(0));
    let disk = FaultStore::new(MemoryStore::new());
    let build = async |store: Arc<dyn towline_store::EventStore>| -> Runtime {
        runtime()
            .shared_store(store)
            .agent("count", counting(&ran))
            .build()
            .await
            .unwrap()
    };
    let first = build(Arc::new(disk.clone())).await;
    let request = json!({"agent": "count", "idempotency_key": "k"});
    let mut peer = Peer::alice(&first).await;
    let job = peer.submit(request.clone()).await;
    peer.until_end(&job).await;
    disk.every_commit(Some(Fault::Hang));
    let second = build(disk.inner().clone()).await;
    let mut peer = Peer::alice(&second).await;
    assert_eq!(peer.submit(request).await, job);
    assert_eq!(peer.until_end(&job).await.len(), 2);
    assert_eq!(ran.load(Ordering::Relaxed), 1);
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
