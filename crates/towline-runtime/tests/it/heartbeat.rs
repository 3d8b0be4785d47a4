//! Silence, and what comes of it (§6.4).

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;
use towline_runtime::{Runtime, RuntimeOptions};

use crate::{
    agents::{Valve, lines},
    peer::{ALICE, ALL, Peer, QUIET, moment, pass, runtime},
};

async fn beating(valve: &Valve) -> Runtime {
    let options = RuntimeOptions::default().heartbeat(Duration::from_secs(10));
    runtime()
        .options(options)
        .agent("valve", valve.agent())
        .agent("lines", lines())
        .build()
        .await
        .unwrap()
}

/// [ARCP 6.4-1, 6.4-4] a ping is answered at once, with its nonce and no number.
#[tokio::test(start_paused = true)]
async fn pongs() {
    let runtime = beating(&Valve::new()).await;
    let mut peer = Peer::alice(&runtime).await;
    let before = Instant::now();
    peer.send(
        "session.ping",
        json!({"nonce": "n-1", "sent_at": "2026-03-01T12:00:00.000Z"}),
    )
    .await;
    let pong = peer.expect("session.pong").await;
    assert_eq!(pong["payload"]["ping_nonce"], "n-1");
    assert_eq!(pong["payload"]["received_at"], "2026-03-01T12:00:00.000Z");
    assert!(pong.get("event_seq").is_none());
    assert_eq!(before.elapsed(), Duration::ZERO);
}

/// [ARCP 6.4-1, 5-11] a pong overtakes the backlog of events.
#[tokio::test(start_paused = true)]
async fn pongs_overtake_the_backlog() {
    let runtime = beating(&Valve::new()).await;
    let mut peer = Peer::with_room(&runtime, 4);
    peer.hello(ALICE, ALL).await;
    peer.welcomed().await;
    let job = peer
        .submit(json!({"agent": "lines", "input": {"n": 900}}))
        .await;
    moment().await;
    peer.send("session.ping", json!({"nonce": "n"})).await;
    moment().await;
    let mut before = 0;
    while peer.next().await["type"] != "session.pong" {
        before += 1;
    }
    assert!(before <= 5, "only what was under way came first: {before}");
    assert_eq!(peer.until_end(&job).await.len() + before, 902);
}

/// [ARCP 6.4-2, 6.4-4] the runtime pings when nothing was sent for an interval, and again an interval later.
#[tokio::test(start_paused = true)]
async fn the_runtime_pings_when_all_is_quiet() {
    let runtime = beating(&Valve::new()).await;
    let mut peer = Peer::alice(&runtime).await;
    let start = Instant::now();
    for beat in 1..=5 {
        let ping = peer.expect("session.ping").await;
        assert!(ping["payload"]["nonce"].as_str().unwrap().starts_with("p_"));
        assert!(ping.get("event_seq").is_none());
        assert_eq!(start.elapsed().as_secs(), 10 * beat);
        peer.send(
            "session.pong",
            json!({"ping_nonce": ping["payload"]["nonce"]}),
        )
        .await;
    }
}

/// [ARCP 6.4-2] it pings too while it sends all the time and hears nothing: some clients speak only then.
#[tokio::test(start_paused = true)]
async fn the_runtime_pings_while_it_streams() {
    let valve = Valve::new();
    let runtime = beating(&valve).await;
    let mut peer = Peer::alice(&runtime).await;
    peer.start(json!({"agent": "valve"})).await;
    let start = Instant::now();
    let mut pings = Vec::new();
    for _ in 0..35 {
        pass(1.0).await;
        valve.open(1);
        while let Ok(frame) = tokio::time::timeout(Duration::from_millis(10), peer.next()).await {
            if frame["type"] == "session.ping" {
                pings.push(start.elapsed().as_secs());
                peer.send(
                    "session.pong",
                    json!({"ping_nonce": frame["payload"]["nonce"]}),
                )
                .await;
            }
        }
    }
    assert_eq!(pings.len(), 3, "{pings:?}");
}

/// [ARCP 6.4-3, 4-7, 12-1] nothing heard for two intervals: HEARTBEAT_LOST and close; no job is touched, and the session lives
/// on.
#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_lost() {
    let valve = Valve::new();
    let runtime = beating(&valve).await;
    let mut peer = Peer::alice(&runtime).await;
    let job = peer.start(json!({"agent": "valve"})).await;
    let start = Instant::now();
    peer.expect("session.ping").await;
    let error = peer.expect_error("HEARTBEAT_LOST").await;
    assert_eq!(
        (start.elapsed().as_secs(), &error["payload"]["retryable"]),
        (20, &json!(true))
    );
    assert_eq!(peer.expect_close().await, 1001);
    assert_eq!(runtime.live_jobs(), 1);
    pass(500.0).await;
    valve.open(1);
    let mut peer = Peer::resume(&runtime, &peer.token, 1).await;
    peer.expect("job.accepted").await;
    peer.expect_event("log").await;
    peer.ask("job.cancel", json!({"job_id": job})).await;
    assert_eq!(peer.expect_end("cancelled").await["code"], "CANCELLED");
}

/// [ARCP 6.4-3] anything that is heard counts, and just in time is in time.
#[tokio::test(start_paused = true)]
async fn any_frame_is_a_sign_of_life() {
    let runtime = beating(&Valve::new()).await;
    let mut peer = Peer::alice(&runtime).await;
    for _ in 0..10 {
        pass(19.0).await;
        peer.send("session.ack", json!({"last_processed_seq": 0}))
            .await;
    }
    moment().await;
    assert_eq!(runtime.attached_sessions(), 1);
}

/// [ARCP 6.2-3, 6.4-2] without the feature there are neither pings nor an end for silence.
#[tokio::test(start_paused = true)]
async fn no_heartbeat_without_the_feature() {
    let runtime = beating(&Valve::new()).await;
    let mut peer = Peer::open(&runtime, ALICE, QUIET).await;
    pass(3600.0).await;
    peer.expect_silence().await;
    assert_eq!(runtime.attached_sessions(), 1);
}
