//! A peer that stops reading [ARCP 6.5-4].
//!
//! `TOWLINE_BURST=N` sets how many events the job emits (default 1 000 000 in an optimised build, 100 000 otherwise); they are
//! as large as it takes to say [`SAID`] in all.

use serde_json::{Value, json};
use towline_tests::{
    peer::Peer,
    server::{Serve, Server},
};

/// What a job says in all, in bytes.
const SAID: u64 = 192 * 1024 * 1024;
/// How much more memory the server may use with a slow peer than without one.
const GROWTH: u64 = SAID / 2;

/// [ARCP 6.5-3, 6.5-4] While a subscriber does not read, the server's memory stays bounded, the job and its other observers
/// go on, the lag is told on the subscriber's own job, and when it reads on it gets everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_stops_reading_costs_a_position() {
    let default = if cfg!(debug_assertions) {
        100_000
    } else {
        1_000_000
    };
    let n: u64 = std::env::var("TOWLINE_BURST")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default);
    let server = Serve::demo().start().await;
    let mut owner = Peer::open(&server).await;
    // The same without a slow peer fills the caches, which are bounded, and says what is usual.
    let job = owner.submit(burst(n)).await;
    let usual = read_on(&mut owner, &server, &job, n).await;

    // Without heartbeats, which would rightly end a connection this silent.
    let mut slow =
        Peer::open_as(&server, "alice", &["subscribe", "progress", "result_chunk"]).await;
    let own = slow
        .submit(json!({"agent": "sleep", "input": {"ms": 3_600_000}}))
        .await;
    let job = owner.submit(burst(n)).await;
    let subscribed = slow
        .ask("job.subscribe", json!({"job_id": job, "history": true}))
        .await;
    assert_eq!(subscribed["type"], "job.subscribed", "{subscribed}");
    // `slow` does not read from here on, and its socket fills up.
    let highest = read_on(&mut owner, &server, &job, n).await;
    assert!(
        highest < usual + GROWTH,
        "{usual} bytes without and {highest} with a slow peer"
    );
    // Another session is served as if nothing were.
    let mut other = Peer::open(&server).await;
    assert_eq!(other.result("echo", json!("quick")).await, "quick");

    let mut lag_was_told = false;
    let mut logs = 0_u64;
    loop {
        let envelope = slow.next().await;
        let body = &envelope["payload"]["body"];
        lag_was_told |= envelope["job_id"] == own.as_str() && body["phase"] == "back_pressure";
        if envelope["job_id"] == job.as_str() {
            if envelope["type"] == "job.result" {
                break;
            }
            logs += count(&envelope, logs);
        }
        slow.ledger_mut().forget_events();
    }
    assert_eq!(logs, n, "the slow one got all of it");
    assert!(lag_was_told, "its job was told that it lags");
    let after = server.resident_bytes();
    assert!(
        after < usual + GROWTH,
        "{usual} bytes without and {after} after a slow peer"
    );
}

fn burst(n: u64) -> Value {
    json!({"agent": "burst", "input": {"n": n, "bytes": SAID / n}})
}

/// Reads a job to its end; the most memory the server used meanwhile.
async fn read_on(peer: &mut Peer, server: &Server, job: &str, n: u64) -> u64 {
    let (mut highest, mut logs) = (0, 0);
    loop {
        let envelope = peer.next().await;
        if envelope["type"] == "job.result" {
            assert_eq!(logs, n, "{job}: the observer that reads got all of it");
            return highest.max(server.resident_bytes());
        }
        logs += count(&envelope, logs);
        if logs % 4096 == 0 {
            highest = highest.max(server.resident_bytes());
        }
        peer.ledger_mut().forget_events();
    }
}

/// 1 for the message that follows so many, 0 for what is none.
fn count(envelope: &Value, logs: u64) -> u64 {
    if envelope["payload"]["kind"] != "log" {
        return 0;
    }
    let message = envelope["payload"]["body"]["message"]
        .as_str()
        .unwrap_or_default();
    assert!(
        message.starts_with(&format!("{} ", logs + 1)),
        "message {logs} is {message:.20}"
    );
    1
}
