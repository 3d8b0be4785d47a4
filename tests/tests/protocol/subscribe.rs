//! Watching [ARCP 7.6-1 to 7.6-7].

use std::sync::Arc;

use serde_json::json;
use towline_tests::{
    peer::{FEATURES, Peer},
    program::Place,
    server::Serve,
};

/// [ARCP 7.6-1, 7.6-3] History then live, each event once, in the watcher's own numbers, with the times of the original.
#[tokio::test]
async fn history_meets_live_without_a_seam() {
    let server = Serve::demo().start().await;
    let mut owner = Peer::open(&server).await;
    let mut watcher = Peer::open(&server).await;
    // The watcher's numbers are its own: it has heard something before.
    watcher.result("echo", json!(0)).await;
    let before = watcher.last();
    let job = owner.submit(json!({"agent": "chatty", "input": {"n": 60, "delay_ms": 5}, "lease_request": {"cost.budget": ["USD:2"], "fs.read": ["/a"]}})).await;
    while owner.events(&job).len() < 20 {
        owner.next().await;
    }
    let subscribed = watcher
        .ask("job.subscribe", json!({"job_id": job, "history": true}))
        .await;
    let payload = &subscribed["payload"];
    assert_eq!(subscribed["type"], "job.subscribed", "{subscribed}");
    assert_eq!(payload["job_id"], job.as_str());
    assert_eq!(payload["current_status"], "running");
    assert_eq!(payload["agent"], "chatty");
    assert_eq!(payload["lease"]["fs.read"], json!(["/a"]));
    assert_eq!(payload["budget"], json!({"USD": 2}));
    assert_eq!(payload["parent_job_id"], json!(null));
    assert_eq!(
        payload["trace_id"],
        owner.acceptance(&job).unwrap()["trace_id"]
    );
    assert!(
        payload["subscribed_from"].as_u64().unwrap() >= 20,
        "{payload}"
    );
    assert!(payload.get("credentials").is_none());
    watcher.end_of(&job).await;
    owner.end_of(&job).await;
    assert_eq!(watcher.events(&job)[0]["event_seq"], before + 1);
    let heard = |peer: &Peer| -> Vec<_> {
        peer.events(&job)
            .iter()
            .map(|event| (event["job_seq"].clone(), event["payload"].clone()))
            .collect()
    };
    assert_eq!(heard(&watcher), heard(&owner));
    watcher.assert_whole(&job);
    assert_eq!(
        watcher.terminal(&job).unwrap()["payload"],
        owner.terminal(&job).unwrap()["payload"]
    );
}

/// [ARCP 7.6-3, 7.6-4] A finished job: from any of its own numbers to its terminal; beyond the end there is nothing.
#[tokio::test]
async fn a_finished_job_is_replayed_from_anywhere() {
    let server = Serve::demo().start().await;
    let mut owner = Peer::open(&server).await;
    let job = owner
        .submit(json!({"agent": "chatty", "input": {"n": 5}}))
        .await;
    owner.end_of(&job).await;
    let last = owner.terminal(&job).unwrap()["job_seq"].as_u64().unwrap();
    assert_eq!(last, 12, "running, five pairs, the terminal");
    for from in 0..=last + 2 {
        let mut watcher = Peer::open(&server).await;
        let subscribed = watcher
            .ask(
                "job.subscribe",
                json!({"job_id": job, "from_event_seq": from, "history": true}),
            )
            .await;
        assert_eq!(subscribed["payload"]["current_status"], "success");
        assert_eq!(
            subscribed["payload"]["subscribed_from"], last,
            "{subscribed}"
        );
        watcher.request("session.close", json!({})).await;
        let (_, seen) = watcher.closed().await;
        let seqs: Vec<u64> = seen
            .iter()
            .filter_map(|envelope| envelope["job_seq"].as_u64())
            .collect();
        let expected: Vec<u64> = (from + 1..=last).collect();
        assert_eq!(seqs, expected, "from {from}");
    }
    // Without history nothing of the past comes.
    let mut watcher = Peer::open(&server).await;
    watcher.ask("job.subscribe", json!({"job_id": job})).await;
    watcher.assert_alive().await;
    assert_eq!(watcher.last(), 0);
}

/// [ARCP 7.6-6] Own jobs are not doubled, subscribing again replays again, and unsubscribing is silent and idempotent.
#[tokio::test]
async fn nothing_is_heard_twice() {
    let server = Serve::demo().with(&["--store", "memory"]).start().await;
    let mut owner = Peer::open(&server).await;
    let mut watcher = Peer::open(&server).await;
    let job = owner
        .submit(json!({"agent": "chatty", "input": {"n": 100, "delay_ms": 5}}))
        .await;
    owner.ask("job.subscribe", json!({"job_id": job})).await;
    owner.ask("job.subscribe", json!({"job_id": job})).await;
    watcher.ask("job.subscribe", json!({"job_id": job})).await;
    watcher
        .ask("job.subscribe", json!({"job_id": job, "history": true}))
        .await;
    watcher.event_of(&job, "log").await;
    watcher
        .request("job.unsubscribe", json!({"job_id": job}))
        .await;
    watcher
        .request("job.unsubscribe", json!({"job_id": job}))
        .await;
    watcher
        .request("job.unsubscribe", json!({"job_id": "job_none"}))
        .await;
    watcher.assert_alive().await;
    owner.end_of(&job).await;
    owner.assert_whole(&job);
    assert_eq!(owner.bodies(&job, "log").len(), 100);
    watcher.assert_alive().await;
    assert!(watcher.terminal(&job).is_none(), "it no longer watches");
}

/// [ARCP 7.6-5, 7.6-7, 6.6-3, 12-1] Others may not watch, cancel or list a job: to them it does not exist.
#[tokio::test]
async fn other_principals_see_nothing() {
    let server = Serve::demo().with(&["--store", "memory"]).start().await;
    let mut alice = Peer::open(&server).await;
    let mut again = Peer::open(&server).await;
    let mut bob = Peer::open_as(&server, "bob", &FEATURES).await;
    let job = alice
        .submit(json!({"agent": "sleep", "input": {"ms": 60000}}))
        .await;
    bob.refused("job.subscribe", json!({"job_id": job}), "JOB_NOT_FOUND")
        .await;
    bob.refused("job.cancel", json!({"job_id": job}), "JOB_NOT_FOUND")
        .await;
    bob.refused(
        "job.subscribe",
        json!({"job_id": "job_none"}),
        "JOB_NOT_FOUND",
    )
    .await;
    bob.refused("job.cancel", json!({"job_id": "job_none"}), "JOB_NOT_FOUND")
        .await;
    let listed = bob.ask("session.list_jobs", json!({})).await;
    assert_eq!(listed["payload"]["jobs"], json!([]));
    assert_eq!(
        listed["payload"]
            .get("next_cursor")
            .cloned()
            .unwrap_or_default(),
        json!(null)
    );
    again
        .ask("job.subscribe", json!({"job_id": job, "history": true}))
        .await;
    // In the program every session of the principal may cancel [ARCP 7.4-2].
    let cancelled = again.ask("job.cancel", json!({"job_id": job})).await;
    assert_eq!(cancelled["type"], "job.cancelled", "{cancelled}");
    assert_eq!(
        alice.end_of(&job).await["payload"]["final_status"],
        "cancelled"
    );
    assert_eq!(
        again.end_of(&job).await["payload"]["final_status"],
        "cancelled"
    );
}

/// [ARCP 7.6-5] Where the operator wants it, a foreign job is forbidden rather than not found.
#[tokio::test]
async fn foreign_jobs_can_be_shown_as_forbidden() {
    let place = Arc::new(Place::default());
    place.write("towline.toml", "[server]\nconceal_foreign_jobs = false\n");
    let serve = Serve::demo().at(&place);
    let server = serve
        .with(&["--store", "memory", "--config", "towline.toml"])
        .start()
        .await;
    let mut alice = Peer::open(&server).await;
    let mut bob = Peer::open_as(&server, "bob", &FEATURES).await;
    let job = alice
        .submit(json!({"agent": "sleep", "input": {"ms": 60000}}))
        .await;
    for request in ["job.subscribe", "job.cancel"] {
        bob.refused(request, json!({"job_id": job}), "PERMISSION_DENIED")
            .await;
        bob.refused(request, json!({"job_id": "job_none"}), "JOB_NOT_FOUND")
            .await;
    }
}

/// [ARCP 7.6-2] `budget` is what is left now.
#[tokio::test]
async fn the_budget_of_a_subscription_is_what_is_left() {
    let server = Serve::demo().with(&["--store", "memory"]).start().await;
    let mut owner = Peer::open(&server).await;
    let lease = json!({"tool.call": ["search.*"], "cost.budget": ["USD:1.00"]});
    let job = owner
        .submit(
            json!({"agent": "spend", "input": {"costs": [["USD", 0.35]]}, "lease_request": lease}),
        )
        .await;
    owner.end_of(&job).await;
    let mut watcher = Peer::open(&server).await;
    let subscribed = watcher.ask("job.subscribe", json!({"job_id": job})).await;
    assert_eq!(
        subscribed["payload"]["budget"]["USD"].to_string(),
        "0.65",
        "{subscribed}"
    );
    let listed = watcher.ask("session.list_jobs", json!({})).await;
    assert_eq!(
        listed["payload"]["jobs"][0]["budget"]["USD"].to_string(),
        "0.65",
        "{listed}"
    );
}

/// [ARCP 6.2-4] Features fit the stream: without `progress` those events take no numbers; the job's own numbers show what
/// was left out.
#[tokio::test]
async fn a_session_without_progress_gets_none() {
    let server = Serve::demo().with(&["--store", "memory"]).start().await;
    let mut peer = Peer::open_as(&server, "alice", &["subscribe"]).await;
    let job = peer
        .submit(json!({"agent": "chatty", "input": {"n": 6}}))
        .await;
    peer.end_of(&job).await;
    assert_eq!(peer.bodies(&job, "progress").len(), 0);
    assert_eq!(peer.bodies(&job, "log").len(), 6);
    assert_eq!(peer.terminal(&job).unwrap()["event_seq"], 8);
    assert_eq!(peer.terminal(&job).unwrap()["job_seq"], 14);
    let mut watcher = Peer::open_as(&server, "alice", &["subscribe"]).await;
    watcher
        .ask("job.subscribe", json!({"job_id": job, "history": true}))
        .await;
    assert_eq!(watcher.end_of(&job).await["event_seq"], 8);
}
