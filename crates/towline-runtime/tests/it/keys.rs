//! Idempotency keys (§7.2).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use towline_runtime::Runtime;
use towline_store::{
    MemoryStore, StoreError,
    testing::{Fault, FaultStore},
};

use crate::{
    agents::{Valve, counting, echo, lines},
    peer::{ALICE, ALL, BOB, Peer, QUIET, moment, pass, runtime},
};

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
    for payload in &mut payloads {
        for member in ["request_id", "reply_to"] {
            payload.as_object_mut().unwrap().remove(member);
        }
    }
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
    let number = two.last;
    assert_eq!(two.submit(request.clone()).await, job);
    let again = two.next().await;
    assert_eq!(
        (&again["type"], &again["event_seq"]),
        (&json!("job.result"), &json!(number)),
        "it had its end, and gets it once more under its old number"
    );
    let mut late = Peer::alice(&runtime).await;
    assert_eq!(late.submit(request).await, job);
    assert_eq!(late.until_end(&job).await.len(), 5, "also when it is over");
    assert_eq!(
        one.until_end(&job).await.len(),
        4,
        "its own session is not told twice"
    );
}

/// [ARCP 7.2-1] a repeat of a finished job in the session that had its end gets the acceptance and then the end once more
/// under its old number, also after a resume; the stream goes on where it was, and what comes with a replay comes once.
#[tokio::test(start_paused = true)]
async fn the_end_comes_once_more() {
    let runtime = runtime()
        .agent("echo", echo())
        .agent("lines", lines())
        .build()
        .await
        .unwrap();
    let mut peer = Peer::alice(&runtime).await;
    let request = json!({"agent": "echo", "input": 7, "idempotency_key": "k"});
    let job = peer.submit(request.clone()).await;
    let end = peer.until_end(&job).await.pop().unwrap();
    let other = peer
        .submit(json!({"agent": "lines", "input": {"n": 2}}))
        .await;
    peer.until_end(&other).await;
    let mut peer = Peer::resume(&runtime, &peer.lost().await, 6).await;
    for _ in 0..2 {
        assert_eq!(peer.submit(request.clone()).await, job);
        let again = peer.next().await;
        for field in ["type", "job_id", "event_seq", "job_seq", "payload"] {
            assert_eq!(again[field], end[field], "{field}");
        }
    }
    peer.expect_silence().await;
    let more = peer
        .submit(json!({"agent": "lines", "input": {"n": 1}}))
        .await;
    assert_eq!(peer.until_end(&more).await.len(), 3, "numbered on");
    let mut peer = Peer::resume(&runtime, &peer.lost().await, 0).await;
    peer.send("job.submit", request).await;
    let mut ends = 0;
    while let Ok(frame) = tokio::time::timeout(Duration::from_secs(1), peer.next()).await {
        ends += u32::from(frame["job_id"] == job && frame["type"] == "job.result");
    }
    assert!((1..=2).contains(&ends), "{ends}");
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
    peer.expect("job.result").await;
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

    disk.next_commit(Fault::Fail(StoreError::Full("test".into())));
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
    peer.expect("job.result").await;
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
