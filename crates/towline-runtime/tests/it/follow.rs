//! Lists for pages and people: the vendor feature `x-vendor.towline.list` [ARCP 6.6-1].

use std::time::Duration;

use serde_json::{Value, json};
use towline_runtime::Runtime;

use crate::{
    agents::{echo, patient},
    peer::{ALICE, BOB, Peer, pass, runtime},
};

/// What a page that follows offers.
const LIST: &[&str] = &[
    "list_jobs",
    "subscribe",
    "cost.budget",
    "x-vendor.towline.list",
];

async fn agents() -> Runtime {
    let built = runtime().agent("echo", echo()).agent("patient", patient());
    built.build().await.unwrap()
}

async fn list(peer: &mut Peer, request: Value) -> Value {
    let reply = peer.ask("session.list_jobs", request).await;
    assert_eq!(reply["type"], "session.jobs", "{reply}");
    reply["payload"].clone()
}

/// The next page that was not asked for, whatever else comes before it.
async fn pushed(peer: &mut Peer) -> Vec<Value> {
    loop {
        let message = peer.next().await;
        if message["type"] == "session.jobs" {
            assert!(message["payload"].get("request_id").is_none(), "{message}");
            return message["payload"]["jobs"].as_array().unwrap().clone();
        }
    }
}

/// Reads pushes until one tells of a job that stands so.
async fn told(peer: &mut Peer, job: &str, status: &str) -> Value {
    loop {
        let jobs = pushed(peer).await;
        let found = |told: &&Value| told["job_id"] == job && told["status"] == status;
        if let Some(found) = jobs.iter().find(found) {
            return found.clone();
        }
    }
}

/// [ARCP 6.6-1] The newest come first, page after page; each entry says who, when and how much.
#[tokio::test(start_paused = true)]
async fn the_newest_come_first() {
    let runtime = agents().await;
    let mut peer = Peer::open(&runtime, ALICE, LIST).await;
    let lease = json!({"cost.budget": ["USD:2.00"]});
    let mut jobs = Vec::new();
    for _ in 0..3 {
        let job = peer
            .submit(json!({"agent": "echo", "lease_request": lease}))
            .await;
        peer.expect_event("status").await;
        peer.expect_end("success").await;
        pass(1.0).await;
        jobs.insert(0, job);
    }
    let first = list(&mut peer, json!({"order": "desc", "limit": 2})).await;
    let rest = json!({"order": "desc", "cursor": first["next_cursor"]});
    let rest = list(&mut peer, rest).await;
    assert_eq!(rest["next_cursor"], Value::Null);
    let pages = [&first, &rest];
    let all: Vec<&Value> = pages
        .iter()
        .flat_map(|page| page["jobs"].as_array().unwrap())
        .collect();
    let ids: Vec<_> = all
        .iter()
        .map(|job| job["job_id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, jobs);
    for job in all {
        assert_eq!(job["principal"], "alice");
        assert_eq!(job["open_questions"], 0);
        assert_eq!(job["spent"].to_string(), r#"{"USD":0.00}"#);
        assert!(
            job["started_at"].is_string() && job["completed_at"].is_string(),
            "{job}"
        );
    }
    for order in [json!("down"), json!(7)] {
        let refused = peer
            .ask("session.list_jobs", json!({ "order": order }))
            .await;
        assert_eq!(refused["payload"]["code"], "INVALID_REQUEST", "{refused}");
    }
}

/// [ARCP 6.2-3] Without the feature its members are refused by name, and entries say what they always said.
#[tokio::test(start_paused = true)]
async fn the_feature_has_to_be_in_effect() {
    let runtime = agents().await;
    let mut peer = Peer::alice(&runtime).await;
    for request in [json!({"order": "desc"}), json!({"follow": true})] {
        let refused = peer.ask("session.list_jobs", request).await;
        assert_eq!(refused["payload"]["code"], "INVALID_REQUEST", "{refused}");
        let message = refused["payload"]["message"].as_str().unwrap();
        assert!(message.contains("x-vendor.towline.list"), "{message}");
    }
    peer.submit(json!({"agent": "echo"})).await;
    peer.expect_event("status").await;
    peer.expect_end("success").await;
    let page = list(&mut peer, json!({})).await;
    assert!(page["jobs"][0].get("principal").is_none(), "{page}");
}

/// [ARCP 6.6-1, 6.6-3] Whoever follows is told of new jobs and of what becomes of them, of its own principal alone, and whatever
/// status the list asked for.
#[tokio::test(start_paused = true)]
async fn changes_are_pushed() {
    let runtime = agents().await;
    let mut page = Peer::open(&runtime, ALICE, LIST).await;
    let mut alice = Peer::alice(&runtime).await;
    let mut bob = Peer::open(&runtime, BOB, LIST).await;
    let follow = json!({"follow": true, "order": "desc", "filter": {"status": ["running"]}});
    let first = list(&mut page, follow).await;
    assert_eq!(first["jobs"], json!([]));
    let theirs = bob.submit(json!({"agent": "patient"})).await;
    let job = alice.submit(json!({"agent": "patient"})).await;
    let entry = told(&mut page, &job, "running").await;
    assert_eq!(entry["principal"], "alice");
    assert!(entry["started_at"].is_string(), "{entry}");
    alice.drain(Duration::from_secs(1)).await;
    let cancelled = alice.ask("job.cancel", json!({"job_id": job})).await;
    assert_eq!(cancelled["type"], "job.cancelled");
    let entry = told(&mut page, &job, "cancelled").await;
    assert!(entry["completed_at"].is_string(), "{entry}");
    assert_ne!(entry["job_id"], theirs.as_str());
    // A list that is followed with another agent in mind takes the place of the first.
    page.drain(Duration::from_secs(1)).await;
    let follow = json!({"follow": true, "filter": {"agent": "echo"}});
    list(&mut page, follow).await;
    alice.drain(Duration::from_secs(1)).await;
    let patient = alice.submit(json!({"agent": "patient"})).await;
    alice.drain(Duration::from_secs(1)).await;
    let echo = alice.submit(json!({"agent": "echo"})).await;
    let entry = told(&mut page, &echo, "success").await;
    assert_ne!(entry["job_id"], patient.as_str());
}

/// [ARCP 6.5-4] A follower that does not read is told once, of what stands then: changes do not pile up.
#[tokio::test(start_paused = true)]
async fn a_follower_that_does_not_read_costs_little() {
    let runtime = agents().await;
    let mut page = Peer::open(&runtime, ALICE, LIST).await;
    list(&mut page, json!({"follow": true})).await;
    let mut alice = Peer::alice(&runtime).await;
    let mut last = String::new();
    for _ in 0..300 {
        last = alice.submit(json!({"agent": "echo"})).await;
        alice.expect_event("status").await;
        alice.expect_end("success").await;
    }
    let mut told = 0;
    loop {
        let jobs = pushed(&mut page).await;
        told += jobs.len();
        if jobs
            .iter()
            .any(|job| job["job_id"] == last.as_str() && job["status"] == "success")
        {
            break;
        }
    }
    assert!(told <= 1200, "{told} entries for 300 jobs");
}
