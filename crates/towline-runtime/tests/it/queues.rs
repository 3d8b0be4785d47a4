//! Queues, and jobs that wait for a time (§22).

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use towline_runtime::{AgentOptions, QueueRules, Runtime, RuntimeOptions};
use towline_store::EventStore as _;
use towline_wire::JobStatus;

use crate::{
    agents::{echo, patient},
    credentials::upstream::Durable,
    peer::{Peer, QUIET, pass, runtime},
};

async fn with_queue(rules: QueueRules) -> Runtime {
    runtime()
        .options(RuntimeOptions::default().principal_cancels(true))
        .queue("q", rules)
        .agent("echo", echo())
        .agent("patient", patient())
        .agent_with("lined", patient(), AgentOptions::default().queue("q"))
        .build()
        .await
        .unwrap()
}

fn limit(limit: usize) -> QueueRules {
    QueueRules {
        limit: Some(limit),
        ..QueueRules::default()
    }
}

async fn listed(peer: &mut Peer, job: &str) -> Value {
    let payload = json!({"x-vendor.towline.details": true});
    let id = peer.send("session.list_jobs", payload).await;
    loop {
        let frame = peer.next().await;
        if frame["payload"]["request_id"] == id {
            let jobs = frame["payload"]["jobs"].as_array().unwrap().clone();
            return jobs.into_iter().find(|one| one["job_id"] == job).unwrap();
        }
    }
}

/// [ARCP 22-4] jobs of a queue run as its limit says, by the member of the submit or by their agent's queue, and show where
/// they wait; what is unknown or out of bounds is refused.
#[tokio::test(start_paused = true)]
async fn a_queue_runs_one_after_the_other() {
    let runtime = with_queue(limit(1)).await;
    let mut peer = Peer::open(&runtime, "alice-token", QUIET).await;
    let first = peer.start(json!({"agent": "patient", "queue": "q"})).await;
    let low = peer.submit(json!({"agent": "lined"})).await;
    let high = peer
        .submit(json!({"agent": "patient", "queue": "q", "priority": 5}))
        .await;
    let entry = listed(&mut peer, &low).await;
    assert_eq!(entry["status"], "pending");
    assert_eq!(entry["waiting_for"], json!({"queue": "q", "position": 2}));
    let entry = listed(&mut peer, &high).await;
    assert_eq!(entry["waiting_for"], json!({"queue": "q", "position": 1}));
    // Those of no queue do not wait.
    let free = peer.submit(json!({"agent": "echo"})).await;
    peer.until_end(&free).await;
    peer.ask("job.cancel", json!({"job_id": first})).await;
    peer.until_end(&first).await;
    let frame = peer.next().await;
    assert_eq!(frame["job_id"], high.as_str());
    assert_eq!(frame["payload"]["body"]["phase"], "running");
    assert_eq!(listed(&mut peer, &high).await["waiting_for"], Value::Null);
    let refused = [
        (
            json!({"agent": "echo", "queue": "none"}),
            "`queue` is `none`",
        ),
        (
            json!({"agent": "echo", "queue": "q", "priority": 101}),
            "`priority` is 101",
        ),
    ];
    for (submit, says) in refused {
        let error = peer.refused("job.submit", submit, "INVALID_REQUEST").await;
        assert!(error["message"].as_str().unwrap().contains(says), "{error}");
    }
}

/// [ARCP 22-4] what a rate keeps waiting begins by itself.
#[tokio::test(start_paused = true)]
async fn a_rate_lets_jobs_begin_by_themselves() {
    let rules = QueueRules {
        rate: Some("1/m".parse().unwrap()),
        ..QueueRules::default()
    };
    let runtime = with_queue(rules).await;
    let mut peer = Peer::open(&runtime, "alice-token", QUIET).await;
    let begun = Instant::now();
    for seconds in [0, 60, 120] {
        let job = peer.submit(json!({"agent": "echo", "queue": "q"})).await;
        peer.until_end(&job).await;
        let passed = begun.elapsed();
        let due = Duration::from_secs(seconds);
        assert!(
            passed >= due && passed < due + Duration::from_secs(1),
            "{passed:?}"
        );
    }
}

/// [ARCP 22-1] a job that is not to begin before a time is pending until then, also over a restart; a time that is past is now.
#[tokio::test(start_paused = true)]
async fn a_job_waits_for_its_time_over_a_restart() {
    let store = Durable::new();
    let build = || runtime().agent("echo", echo()).store(store.clone()).build();
    let first = build().await.unwrap();
    let mut peer = Peer::open(&first, "alice-token", QUIET).await;
    let past = peer
        .submit(json!({"agent": "echo", "not_before": "2026-02-01T00:00:00Z"}))
        .await;
    peer.until_end(&past).await;
    let later = peer
        .submit(json!({"agent": "echo", "not_before": "2026-03-01T12:10:00Z"}))
        .await;
    pass(1.0).await;
    assert_eq!(listed(&mut peer, &later).await["status"], "pending");
    // Nobody waits for it to shut down.
    let stopped = Instant::now();
    first.shutdown().await;
    assert!(stopped.elapsed() < Duration::from_secs(8));
    let job = later.parse().unwrap();
    let status = async |store: &Durable| store.job(&job).await.unwrap().unwrap().state.status;
    let second = build().await.unwrap();
    pass(10.0).await;
    assert_eq!(status(&store).await, JobStatus::Pending);
    // The clock of the second runtime begins at noon as well.
    pass(595.0).await;
    assert_eq!(status(&store).await, JobStatus::Success);
    second.shutdown().await;
}
