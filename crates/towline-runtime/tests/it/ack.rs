//! Acknowledgements, eviction and back pressure (§6.5).

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;
use towline_runtime::{Runtime, RuntimeOptions};
use towline_store::RetentionPolicy;

use crate::{
    agents::{Valve, lines},
    peer::{ALICE, ALL, Peer, QUIET, moment, pass, runtime},
};

async fn with_valve(valve: &Valve, options: RuntimeOptions) -> Runtime {
    runtime()
        .options(options)
        .agent("valve", valve.agent())
        .agent("lines", lines())
        .build()
        .await
        .unwrap()
}

/// What the store says was acknowledged, once the session has no connection.
async fn acknowledged(runtime: &Runtime, peer: Peer) -> u64 {
    peer.lost().await;
    runtime.store().recover().await.unwrap().sessions[0]
        .row
        .acked
        .value()
}

/// [ARCP 6.5-1] an acknowledgement is not answered; one that goes back, or says more than was sent, is ignored.
#[tokio::test(start_paused = true)]
async fn acknowledgements() {
    let runtime = with_valve(&Valve::new(), RuntimeOptions::default()).await;
    let mut peer = Peer::alice(&runtime).await;
    let job = peer
        .submit(json!({"agent": "lines", "input": {"n": 8}}))
        .await;
    peer.until_end(&job).await;
    for seq in [4, 2, 0, 11, 9_007_199_254_740_991_u64] {
        peer.send("session.ack", json!({"last_processed_seq": seq}))
            .await;
    }
    peer.expect_silence().await;
    assert_eq!(acknowledged(&runtime, peer).await, 4);
}

/// [ARCP 6.5-1, 12-2] what is no acknowledgement is refused.
#[tokio::test(start_paused = true)]
async fn odd_acknowledgements() {
    let runtime = with_valve(&Valve::new(), RuntimeOptions::default()).await;
    let mut peer = Peer::alice(&runtime).await;
    for odd in [
        json!({}),
        json!({"last_processed_seq": "1"}),
        json!({"last_processed_seq": -1}),
    ] {
        peer.refused("session.ack", odd, "INVALID_REQUEST").await;
    }
}

/// [ARCP 6.5-2, 6.6-2] what is not acknowledged is kept beyond any age; once it is acknowledged, retention takes it, and a
/// resume from before is refused.
#[tokio::test(start_paused = true)]
async fn what_is_not_acknowledged_is_kept() {
    let day = 24.0 * 3600.0;
    let retention = RetentionPolicy {
        max_age: Duration::from_secs_f64(day),
        ..RetentionPolicy::default()
    };
    let runtime = with_valve(
        &Valve::new(),
        RuntimeOptions::default()
            .retention(retention)
            .idle_timeout(Duration::MAX),
    )
    .await;
    let mut peer = Peer::open(&runtime, ALICE, QUIET).await;
    let job = peer
        .submit(json!({"agent": "lines", "input": {"n": 3}}))
        .await;
    peer.until_end(&job).await;
    pass(3.0 * day).await;
    let mut peer = Peer::resume(&runtime, &peer.lost().await, 0).await;
    assert_eq!(peer.until_end(&job).await.len(), 6);
    peer.send("session.ack", json!({"last_processed_seq": 5}))
        .await;
    pass(61.0).await;
    assert_eq!(runtime.store().stats().await.unwrap().jobs, 0);
    let token = peer.lost().await;
    let mut late = Peer::asks_to_resume(&runtime, &token, 4).await;
    late.expect_error("RESUME_WINDOW_EXPIRED").await;
    assert_eq!(late.expect_close().await, 1008);
    Peer::resume(&runtime, &token, 5)
        .await
        .expect_silence()
        .await;
}

/// Two jobs that take turns, so that each event is a piece of the stream of its own.
async fn alternate(valves: &[Valve; 2], times: usize) {
    for _ in 0..times {
        for valve in valves {
            valve.open(1);
            moment().await;
        }
    }
}

async fn alternating(valves: &[Valve; 2], options: RuntimeOptions) -> Runtime {
    let built = runtime()
        .options(options)
        .agent("one", valves[0].agent())
        .agent("two", valves[1].agent());
    built.build().await.unwrap()
}

/// [ARCP 6.5-2, 6.3-5] over the bound the oldest goes, and a resume from before that is refused: never a silent gap.
#[tokio::test(start_paused = true)]
async fn eviction_refuses_a_resume() {
    let valves = [Valve::new(), Valve::new()];
    let runtime = alternating(&valves, RuntimeOptions::default().spans_per_session(16)).await;
    let mut peer = Peer::alice(&runtime).await;
    peer.start(json!({"agent": "one"})).await;
    peer.start(json!({"agent": "two"})).await;
    let token = peer.lost().await;
    alternate(&valves, 20).await;
    for last in [0, 2] {
        let mut late = Peer::asks_to_resume(&runtime, &token, last).await;
        late.expect_error("RESUME_WINDOW_EXPIRED").await;
        assert_eq!(late.expect_close().await, 1008);
    }
}

/// [ARCP 6.5-2, 6.5-4] a connected peer that falls behind the bound is told so; what it got until then has no gap.
#[tokio::test(start_paused = true)]
async fn eviction_is_told_to_a_connected_peer() {
    let valves = [Valve::new(), Valve::new()];
    let runtime = alternating(&valves, RuntimeOptions::default().spans_per_session(16)).await;
    let mut peer = Peer::with_room(&runtime, 1);
    peer.hello(ALICE, ALL).await;
    peer.welcomed().await;
    peer.start(json!({"agent": "one"})).await;
    peer.start(json!({"agent": "two"})).await;
    alternate(&valves, 40).await;
    let told = loop {
        let frame = peer.next().await;
        if frame["type"] == "session.error" {
            break frame;
        }
    };
    assert_eq!(told["payload"]["code"], "RESUME_WINDOW_EXPIRED");
    assert_eq!(peer.expect_close().await, 1001);
    assert!(peer.last < 30);
    assert_eq!(runtime.live_jobs(), 2);
}

/// Reads what there is; gives how often it says `back_pressure`.
async fn pressures(peer: &mut Peer) -> usize {
    let mut told = 0;
    while let Ok(frame) = tokio::time::timeout(Duration::from_millis(10), peer.next()).await {
        told += usize::from(frame["payload"]["body"]["phase"] == "back_pressure");
    }
    told
}

/// [ARCP 6.5-3] a peer that acknowledges and then lags is told of once, and again only after it has caught up.
#[tokio::test(start_paused = true)]
async fn back_pressure_of_what_is_not_acknowledged() {
    let valve = Valve::new();
    let runtime = with_valve(&valve, RuntimeOptions::default().back_pressure(100)).await;
    let mut peer = Peer::alice(&runtime).await;
    peer.start(json!({"agent": "valve"})).await;
    peer.send("session.ack", json!({"last_processed_seq": 1}))
        .await;
    valve.open(100);
    assert_eq!(
        pressures(&mut peer).await,
        0,
        "at the threshold, not over it"
    );
    valve.open(1);
    assert_eq!(pressures(&mut peer).await, 1);
    valve.open(300);
    assert_eq!(pressures(&mut peer).await, 0, "once");
    let almost = peer.last - 50;
    peer.send("session.ack", json!({"last_processed_seq": almost}))
        .await;
    valve.open(60);
    assert_eq!(pressures(&mut peer).await, 0, "half is not below half");
    let all = peer.last;
    peer.send("session.ack", json!({"last_processed_seq": all}))
        .await;
    valve.open(101);
    assert_eq!(pressures(&mut peer).await, 1, "re-armed");
}

/// [ARCP 6.5-3] a peer that acknowledges and then reads nothing is reported too: what cannot be sent always counts.
#[tokio::test(start_paused = true)]
async fn back_pressure_of_a_peer_that_stalls() {
    let valve = Valve::new();
    let runtime = with_valve(&valve, RuntimeOptions::default().back_pressure(100)).await;
    let mut peer = Peer::with_room(&runtime, 1);
    peer.hello(ALICE, ALL).await;
    peer.welcomed().await;
    peer.start(json!({"agent": "valve"})).await;
    peer.send("session.ack", json!({"last_processed_seq": 1}))
        .await;
    moment().await;
    valve.open(400);
    moment().await;
    let mut told = 0;
    while let Ok(frame) = tokio::time::timeout(Duration::from_millis(10), peer.next()).await {
        told += u32::from(frame["payload"]["body"]["phase"] == "back_pressure");
    }
    assert_eq!(told, 1);
}

/// [ARCP 6.5-3] a session that only watches has no job of its own to be told: neither the job it watches nor anybody else is
/// told anything.
#[tokio::test(start_paused = true)]
async fn back_pressure_of_a_watcher_tells_no_job() {
    let valve = Valve::new();
    let runtime = with_valve(&valve, RuntimeOptions::default().back_pressure(100)).await;
    let mut owner = Peer::alice(&runtime).await;
    let job = owner.start(json!({"agent": "valve"})).await;
    let mut watcher = Peer::with_room(&runtime, 1);
    watcher.hello(ALICE, ALL).await;
    watcher.welcomed().await;
    watcher.ask("job.subscribe", json!({"job_id": job})).await;
    valve.open(300);
    for _ in 0..300 {
        owner.expect_event("log").await;
    }
    owner.expect_silence().await;
}

/// [ARCP 6.5-3] of a peer that never acknowledges, what could not be sent counts; the newest running job is told.
#[tokio::test(start_paused = true)]
async fn back_pressure_of_what_cannot_be_sent() {
    let valve = Valve::new();
    let idle = Valve::new();
    let built = runtime()
        .options(RuntimeOptions::default().back_pressure(100))
        .agent("valve", valve.agent());
    let runtime = built.agent("idle", idle.agent()).build().await.unwrap();
    let mut peer = Peer::with_room(&runtime, 1);
    peer.hello(ALICE, ALL).await;
    peer.welcomed().await;
    peer.start(json!({"agent": "valve"})).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let newest = peer.start(json!({"agent": "idle"})).await;
    for round in 0..2 {
        valve.open(400);
        moment().await;
        let mut told = Vec::new();
        while let Ok(frame) = tokio::time::timeout(Duration::from_millis(10), peer.next()).await {
            if frame["payload"]["body"]["phase"] == "back_pressure" {
                told.push(frame);
            }
        }
        assert_eq!(told.len(), 1, "round {round}");
        assert_eq!(told[0]["job_id"], newest);
        assert!(
            told[0]["payload"]["body"]["message"]
                .as_str()
                .unwrap()
                .contains("behind")
        );
    }
}

/// [ARCP 6.5-4] one that reads nothing holds up neither the agent nor anybody else, and gets everything when it reads.
#[tokio::test(start_paused = true)]
async fn a_slow_consumer_is_alone() {
    let valve = Valve::new();
    let runtime = with_valve(&valve, RuntimeOptions::default().tail_bytes(4096)).await;
    let mut owner = Peer::alice(&runtime).await;
    let job = owner.start(json!({"agent": "valve"})).await;
    let mut slow = Peer::with_room(&runtime, 1);
    slow.hello(ALICE, ALL).await;
    slow.welcomed().await;
    slow.ask("job.subscribe", json!({"job_id": job})).await;
    let before = Instant::now();
    valve.open(5000);
    for line in 1..=5000 {
        assert_eq!(
            owner.expect_event("log").await["message"],
            format!("line {line}")
        );
    }
    assert_eq!(before.elapsed(), Duration::ZERO, "nobody waited");
    valve.shut();
    assert_eq!(owner.expect_end("success").await["result"], 5000);
    let all = slow.until_end(&job).await;
    let logs: Vec<_> = all
        .iter()
        .filter(|frame| frame["payload"]["kind"] == "log")
        .collect();
    assert_eq!(logs.len(), 5000);
    assert_eq!(
        logs[4999]["payload"]["body"],
        json!({"level": "info", "message": "line 5000"})
    );
}
