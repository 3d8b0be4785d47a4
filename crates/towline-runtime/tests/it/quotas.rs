//! No principal spends what is everybody's (§14).

use serde_json::{Value, json};
use towline_proto::admission::AdmissionLimits;
use towline_runtime::{JobContext, Runtime, RuntimeOptions};

use crate::{
    agents::{echo, patient},
    peer::{ALICE, BOB, Peer, QUIET, pass, runtime},
};

async fn plain(options: RuntimeOptions) -> Runtime {
    runtime()
        .options(options)
        .agent("echo", echo())
        .agent("patient", patient())
        .agent("floods", floods)
        .build()
        .await
        .unwrap()
}

/// Writes lines of so many bytes for as long as it lives, whatever it is told.
async fn floods(ctx: JobContext, bytes: usize) -> Result<Value, towline_runtime::AgentError> {
    let line = "x".repeat(bytes);
    loop {
        let _ = ctx.log("info", line.as_str()).await;
        pass(0.01).await;
    }
}

fn parent() -> Value {
    json!({"agent": "patient", "lease_request": {"agent.delegate": ["*"]}})
}

fn child_of(parent: &str) -> Value {
    json!({"agent": "patient", "parent_job_id": parent, "lease_request": {"agent.delegate": ["*"]}})
}

/// Submits a child and waits until it runs; gives the job.
async fn start_child(peer: &mut Peer, parent: &str) -> String {
    let id = peer.send("job.submit", child_of(parent)).await;
    let (mut job, mut runs) = (None, false);
    while job.is_none() || !runs {
        let frame = peer.next().await;
        if frame["payload"]["request_id"] == id {
            assert_eq!(frame["type"], "job.accepted", "{frame}");
            job = frame["job_id"].as_str().map(str::to_owned);
        }
        runs |= frame["job_id"].as_str() == job.as_deref()
            && frame["payload"]["body"]["phase"] == "running";
    }
    job.unwrap()
}

/// [ARCP 14-6] a principal's children have a quota of their own, are refused beyond it, and keep nobody waiting.
#[tokio::test(start_paused = true)]
async fn children_keep_nobody_waiting() {
    let limits = AdmissionLimits {
        per_principal: 1,
        running: 2,
        children_per_principal: 3,
        ..Default::default()
    };
    let runtime = plain(RuntimeOptions::default().admission(limits)).await;
    let mut alice = Peer::open(&runtime, ALICE, QUIET).await;
    let root = alice.start(parent()).await;
    let mut children = Vec::new();
    for _ in 0..3 {
        children.push(start_child(&mut alice, &root).await);
    }
    let error = alice
        .refused("job.submit", child_of(&root), "INTERNAL_ERROR")
        .await;
    assert_eq!(error["retryable"], true);
    assert!(error["message"].as_str().unwrap().contains("3 child jobs"));
    // There is a place for him, and it is not taken by children.
    Peer::bob(&runtime)
        .await
        .start(json!({"agent": "patient"}))
        .await;
    alice
        .send("job.cancel", json!({"job_id": children[0]}))
        .await;
    alice.until_end(&children[0]).await;
    start_child(&mut alice, &root).await;
}

/// [ARCP 14-6] one root has so many descendants at once, however the tree is built.
#[tokio::test(start_paused = true)]
async fn descendants_of_one_root() {
    let runtime = plain(RuntimeOptions::default().max_descendants(2)).await;
    let mut alice = Peer::open(&runtime, ALICE, QUIET).await;
    let root = alice.start(parent()).await;
    let child = start_child(&mut alice, &root).await;
    let grandchild = start_child(&mut alice, &child).await;
    for parent in [&root, &child, &grandchild] {
        let error = alice
            .refused("job.submit", child_of(parent), "PERMISSION_DENIED")
            .await;
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("2 descendants"), "{message}");
    }
    let other = alice.start(parent()).await;
    start_child(&mut alice, &other).await;
    alice
        .send("job.cancel", json!({"job_id": grandchild}))
        .await;
    alice.until_end(&grandchild).await;
    start_child(&mut alice, &root).await;
}

/// [ARCP 14-6, 6.3-4, 6.3-6] of a principal's detached sessions only so many are kept, and its own oldest go: nobody else's
/// session is pushed out.
#[tokio::test(start_paused = true)]
async fn detached_sessions_of_a_principal() {
    let options = RuntimeOptions::default()
        .detached_sessions_per_principal(2)
        .detached_sessions(3);
    let runtime = plain(options).await;
    let mut bob = Peer::bob(&runtime).await;
    bob.start(json!({"agent": "patient"})).await;
    let last = bob.last;
    let bob = bob.lost().await;
    let mut left = Vec::new();
    for _ in 0..6 {
        left.push(Peer::alice(&runtime).await.lost().await);
        pass(0.1).await;
    }
    pass(2.0).await;
    for token in &left[..4] {
        let mut peer = Peer::asks_to_resume(&runtime, token, 0).await;
        peer.expect_error("RESUME_WINDOW_EXPIRED").await;
    }
    Peer::resume(&runtime, &left[4], 0).await;
    Peer::resume(&runtime, &left[5], 0).await;
    Peer::resume(&runtime, &bob, last).await;
}

/// [ARCP 14-6, 9.4-1] comparing leases has one bound for all their patterns. What takes long and stays within it is decided,
/// and more is refused.
#[tokio::test(start_paused = true)]
async fn comparing_leases_is_bounded() {
    let runtime = plain(RuntimeOptions::default()).await;
    let mut alice = Peer::open(&runtime, ALICE, QUIET).await;
    let lease = json!({"agent.delegate": ["*"], "tool.call": ["*a??????", "*b??????"]});
    let root = alice
        .start(json!({"agent": "patient", "lease_request": lease}))
        .await;
    let child = |count: usize| {
        let patterns: Vec<_> = (0..count).map(|more| "[ab]".repeat(20 + more)).collect();
        json!({"agent": "echo", "parent_job_id": root, "lease_request": {"tool.call": patterns}})
    };
    let error = alice
        .refused("job.submit", child(100), "LEASE_SUBSET_VIOLATION")
        .await;
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("too complex"), "{message}");
    let id = alice.send("job.submit", child(2)).await;
    let mut reply = alice.next().await;
    while reply["payload"]["request_id"] != id {
        reply = alice.next().await;
    }
    assert_eq!(reply["type"], "job.accepted", "{reply}");
}

/// [ARCP 14-6] a log has so many events and bytes. Over them it takes no more, and the job ends, whatever its agent does.
#[tokio::test(start_paused = true)]
async fn a_log_has_bounds() {
    let options = RuntimeOptions::default;
    for (options, most) in [
        (options().log_events(20), 25),
        (options().log_bytes(20_000), 25),
    ] {
        let runtime = plain(options).await;
        let mut alice = Peer::open(&runtime, ALICE, QUIET).await;
        let job = alice.start(json!({"agent": "floods", "input": 1000})).await;
        let frames = alice.until_end(&job).await;
        let end = frames.last().unwrap();
        assert_eq!(end["payload"]["code"], "INTERNAL_ERROR");
        assert_eq!(end["payload"]["details"]["reason"], "log_full");
        let message = end["payload"]["message"].as_str().unwrap();
        assert!(
            message.contains("log_bytes") && message.contains("log_events"),
            "{message}"
        );
        let last = end["job_seq"].as_u64().unwrap();
        assert!((18..=most).contains(&last), "{last}");
    }
}

/// [ARCP 14-6] The logs of a principal's running jobs are bounded together: neither of two jobs passes the bound by itself. What
/// ended counts no more, and others have a bound of their own.
#[tokio::test(start_paused = true)]
async fn logs_are_bounded_for_each_principal() {
    const LINE: usize = 100_000;
    const MOST: usize = 3 << 20;
    let options = RuntimeOptions::default().log_bytes_per_principal(MOST as u64);
    let runtime = plain(options).await;
    let flood = || json!({"agent": "floods", "input": LINE});
    let mut bob = Peer::open(&runtime, BOB, QUIET).await;
    bob.submit(flood()).await;
    let mut alice = Peer::open(&runtime, ALICE, QUIET).await;
    for _ in 0..2 {
        alice.send("job.submit", flood()).await;
    }
    let mut records = Vec::new();
    for round in 0..3 {
        if round == 2 {
            alice.send("job.submit", flood()).await;
        }
        let end = loop {
            let frame = alice.next().await;
            if frame["type"] == "job.error" {
                break frame;
            }
        };
        assert_eq!(end["payload"]["details"]["reason"], "log_full");
        let message = end["payload"]["message"].as_str().unwrap();
        assert!(message.contains("log_bytes_per_principal"), "{message}");
        records.push(usize::try_from(end["job_seq"].as_u64().unwrap()).unwrap());
    }
    let most = MOST / LINE;
    assert!(records[0] < most && records[1] < most, "{records:?}");
    assert!(
        records[2] >= most,
        "what is over counts no more: {records:?}"
    );
}

/// [ARCP 14-6, 7.1-5] what a principal has waiting is bounded in number and in bytes; others still have room.
#[tokio::test(start_paused = true)]
async fn waiting_is_bounded_for_each_principal() {
    let limits = AdmissionLimits {
        running: 1,
        queued: 10,
        waiting_per_principal: 2,
        waiting_bytes_per_principal: 5000,
        ..Default::default()
    };
    let runtime = plain(RuntimeOptions::default().admission(limits)).await;
    let mut alice = Peer::open(&runtime, ALICE, QUIET).await;
    let mut bob = Peer::open(&runtime, BOB, QUIET).await;
    let submit = |bytes: usize| json!({"agent": "patient", "input": "x".repeat(bytes)});
    alice.start(submit(9000)).await;
    for _ in 0..2 {
        alice.submit(submit(10)).await;
    }
    let error = alice
        .refused("job.submit", submit(10), "INTERNAL_ERROR")
        .await;
    assert_eq!(error["retryable"], true);
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("2 jobs of this principal wait"),
        "{message}"
    );
    bob.submit(submit(4000)).await;
    let error = bob
        .refused("job.submit", submit(2000), "INTERNAL_ERROR")
        .await;
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("5000 bytes"), "{message}");
    bob.submit(submit(500)).await;
}
