//! A peer that stops reading [ARCP 6.5-4].
//!
//! `TOWLINE_BURST=N` sets how many events the job emits (default 1 000 000 in an optimised build, 150 000 otherwise); they are
//! as large as it takes to make several hundred MiB.

use serde_json::json;
use towline_tests::{peer::Peer, server::Serve};

/// What the job says in all.
const SAID: u64 = 512 * 1024 * 1024;
/// How much the server may grow meanwhile: its caches fill up, which are bounded, but nothing is held for the slow peer.
const GROWTH: u64 = SAID * 3 / 8;

/// [ARCP 6.5-3, 6.5-4] While a subscriber does not read, the server's memory stays bounded, the job and its other observers
/// go on at their own speed, the lag is told on the job, and when the subscriber reads on it gets everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_stops_reading_costs_a_position() {
    let default = if cfg!(debug_assertions) { 150_000 } else { 1_000_000 };
    let n: u64 = std::env::var("TOWLINE_BURST").ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let server = Serve::demo().start().await;
    let mut owner = Peer::open(&server).await;
    // Without heartbeats, which would rightly end a connection this silent.
    let mut slow = Peer::open_as(&server, "alice", &["subscribe", "progress", "result_chunk"]).await;
    let t0 = std::time::Instant::now();
    let before = server.resident_bytes();
    let job = owner.submit(json!({"agent": "burst", "input": {"n": n, "bytes": SAID / n}})).await;
    let subscribed = slow.ask("job.subscribe", json!({"job_id": job, "history": true})).await;
    assert_eq!(subscribed["type"], "job.subscribed", "{subscribed}");

    // `slow` does not read from here on, its socket fills up.
    let mut highest = 0;
    let mut heard = 0;
    loop {
        let envelope = owner.next().await;
        if envelope["type"] == "job.result" {
            break;
        }
        heard += u64::from(envelope["job_id"] == job.as_str() && envelope["payload"]["kind"] == "log");
        if heard % 10_000 == 0 {
            highest = highest.max(server.resident_bytes());
            owner.ledger_mut().forget_events();
        }
    }
    assert_eq!(heard, n, "the observer that reads got all of it");
    highest = highest.max(server.resident_bytes());
    assert!(highest < before + GROWTH, "from {before} to {highest} bytes");
    // Another session is served as if nothing were.
    let mut other = Peer::open(&server).await;
    assert_eq!(other.result("echo", json!("quick")).await, "quick");

    eprintln!("{:?}: from {before} to at most {highest} bytes", t0.elapsed());
    let (mut logs, mut pressed) = (0_u64, false);
    loop {
        let envelope = slow.next().await;
        if envelope["type"] == "job.result" {
            break;
        }
        let payload = &envelope["payload"];
        pressed |= payload["kind"] == "status" && payload["body"]["phase"] == "back_pressure";
        if payload["kind"] == "log" {
            logs += 1;
            let message = payload["body"]["message"].as_str().unwrap_or_default();
            assert!(message.starts_with(&format!("{logs} ")), "message {logs} is {message}");
        }
        slow.ledger_mut().forget_events();
    }
    eprintln!("{:?}", t0.elapsed());
    assert_eq!(logs, n, "the slow one got all of it");
    assert!(pressed, "the job was told that somebody lags");
    assert!(server.resident_bytes() < before + GROWTH, "from {before} to {} bytes", server.resident_bytes());
}
