//! Goodbyes (§6.7).

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use towline_runtime::{AgentError, JobContext, RuntimeOptions};
use towline_store::{EventStore, SqliteStore};

use crate::{
    agents::{Deaf, Valve, echo, lines, patient},
    peer::{ALICE, ALL, Peer, QUIET, moment, pass, runtime},
};

/// [ARCP 6.7-1, 4-7] both words end a session, the reason comes back, and what is said afterwards is ignored.
#[tokio::test(start_paused = true)]
async fn goodbye() {
    let runtime = runtime().agent("patient", patient()).build().await.unwrap();
    for word in ["session.close", "session.bye"] {
        for payload in [json!({"reason": "lunch"}), json!({})] {
            let mut peer = Peer::alice(&runtime).await;
            peer.send(word, payload.clone()).await;
            peer.send("job.submit", json!({"agent": "patient"})).await;
            let closed = peer.expect("session.closed").await;
            assert_eq!(closed["payload"], payload);
            assert_eq!(peer.expect_close().await, 1000);
        }
    }
    assert_eq!((runtime.live_jobs(), runtime.attached_sessions()), (0, 0));
}

/// [ARCP 6.7-1] everything that was queued goes out first: replies, and the events of a slow reader.
#[tokio::test(start_paused = true)]
async fn what_is_queued_goes_first() {
    let valve = Valve::new();
    let runtime = runtime()
        .agent("valve", valve.agent())
        .agent("echo", echo())
        .build()
        .await
        .unwrap();
    let mut peer = Peer::with_room(&runtime, 4);
    peer.hello(ALICE, ALL).await;
    peer.welcomed().await;
    peer.start(json!({"agent": "valve"})).await;
    valve.open(300);
    moment().await;
    peer.send("job.submit", json!({"agent": "echo"})).await;
    peer.send("session.list_jobs", json!({})).await;
    peer.send("session.close", json!({})).await;
    let mut heard = Vec::new();
    while let Some(frame) = peer.try_next().await {
        heard.push(frame["type"].as_str().unwrap().to_owned());
    }
    assert_eq!(peer.close.unwrap().code.0, 1000);
    assert_eq!(heard.pop().unwrap(), "session.closed");
    let count = |kind: &str| heard.iter().filter(|heard| *heard == kind).count();
    assert_eq!((count("job.accepted"), count("session.jobs")), (1, 1));
    assert!(count("job.event") >= 300);
}

/// [ARCP 6.7-2] jobs go on after a goodbye, and the session can be taken up.
#[tokio::test(start_paused = true)]
async fn jobs_go_on() {
    let valve = Valve::new();
    let runtime = runtime()
        .agent("valve", valve.agent())
        .build()
        .await
        .unwrap();
    let mut peer = Peer::alice(&runtime).await;
    let job = peer.start(json!({"agent": "valve"})).await;
    peer.send("session.close", json!({})).await;
    peer.expect("session.closed").await;
    peer.expect_close().await;
    valve.open(2);
    moment().await;
    let mut peer = Peer::resume(&runtime, &peer.token, 1).await;
    valve.shut();
    assert_eq!(peer.until_end(&job).await.len(), 4);
}

/// [ARCP 6.7-3, 4-7] at shutdown sessions are told and closed with 1001, nobody else gets in, no new job begins; a job that
/// ends within the drain ends as it would.
#[tokio::test(start_paused = true)]
async fn a_shutdown_drains() {
    let wrap_up = |ctx: JobContext, _input: Value| async move {
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert!(!ctx.is_cancelled());
        Ok::<_, AgentError>(json!("wrapped up"))
    };
    let runtime = runtime()
        .agent("wrap-up", wrap_up)
        .agent("echo", echo())
        .build()
        .await
        .unwrap();
    let mut peer = Peer::alice(&runtime).await;
    peer.start(json!({"agent": "wrap-up"})).await;
    assert!(runtime.is_ready());
    let stopping = tokio::spawn({
        let runtime = runtime.clone();
        async move { runtime.shutdown().await }
    });
    assert_eq!(
        peer.expect("session.closed").await["payload"]["reason"],
        "shutdown"
    );
    assert_eq!(peer.expect_close().await, 1001);
    assert!(!runtime.is_ready());
    let mut late = Peer::raw(&runtime);
    assert_eq!(late.try_next().await, None);
    assert_eq!(late.close.unwrap().code.0, 1001);
    let started = tokio::time::Instant::now();
    stopping.await.unwrap();
    assert_eq!(
        started.elapsed().as_secs(),
        4,
        "the drain ends with the last job"
    );
    assert_eq!(runtime.live_jobs(), 0);
}

/// [ARCP 6.7-3, 7.3-4] what is left after the drain is ended with `runtime_shutdown`, however deaf, and waiting jobs too.
#[tokio::test]
async fn a_shutdown_ends_what_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("t.db");
    let options = RuntimeOptions::default()
        .drain(Duration::from_millis(20))
        .cancel_grace(Duration::from_millis(20));
    let options = options.admission(towline_proto::admission::AdmissionLimits {
        per_principal: 2,
        ..Default::default()
    });
    let store = Arc::new(SqliteStore::open(&file).await.unwrap());
    let built = runtime()
        .options(options)
        .shared_store(store)
        .agent("deaf", Deaf)
        .agent("patient", patient());
    let runtime = built.agent("lines", lines()).build().await.unwrap();
    let mut peer = Peer::alice(&runtime).await;
    let mut jobs = Vec::new();
    for agent in ["deaf", "patient"] {
        jobs.push(peer.start(json!({"agent": agent})).await);
    }
    jobs.push(peer.submit(json!({"agent": "lines"})).await);
    runtime.shutdown().await;

    let store = SqliteStore::open(&file).await.unwrap();
    for job in jobs {
        let job = job.parse().unwrap();
        let row = store.job(&job).await.unwrap().unwrap();
        assert_eq!(row.state.status.as_str(), "error");
        let blocks = store.read_job(&job, row.state.last_seq, 1).await.unwrap();
        let (_, last) = blocks.last().unwrap().payload(row.state.last_seq).unwrap();
        let last: Value = last.read().unwrap();
        assert_eq!(last["details"]["reason"], "runtime_shutdown", "{last}");
        assert_eq!(last["code"], "INTERNAL_ERROR");
    }
    assert!(store.recover().await.unwrap().jobs.is_empty());
    store.close().await.unwrap();
}

/// [ARCP 14-1] a session without a live job, a subscription or an open request, that sends nothing but heartbeats, is
/// disconnected as idle after the time for that, and can be resumed.
#[tokio::test(start_paused = true)]
async fn idle_sessions_are_disconnected() {
    let valve = Valve::new();
    let options = RuntimeOptions::default().idle_timeout(Duration::from_secs(100));
    let runtime = runtime()
        .options(options)
        .agent("valve", valve.agent())
        .build()
        .await
        .unwrap();
    let mut busy = Peer::open(&runtime, ALICE, QUIET).await;
    let job = busy.start(json!({"agent": "valve"})).await;
    let mut watching = Peer::open(&runtime, ALICE, QUIET).await;
    watching.ask("job.subscribe", json!({"job_id": job})).await;
    let mut beating = Peer::open(&runtime, ALICE, &["heartbeat", "list_jobs"]).await;
    for _ in 0..9 {
        pass(11.0).await;
        beating.send("session.ping", json!({"nonce": "n"})).await;
        while tokio::time::timeout(Duration::from_millis(1), beating.next())
            .await
            .is_ok()
        {}
    }
    assert_eq!(runtime.attached_sessions(), 3);
    pass(2.0).await;
    let closed = beating.expect("session.closed").await;
    assert_eq!(closed["payload"]["reason"], "idle");
    assert_eq!(beating.expect_close().await, 1000);
    pass(500.0).await;
    assert_eq!(runtime.attached_sessions(), 2, "the others have a purpose");
    let mut back = Peer::resume(&runtime, &beating.token, 0).await;
    back.ask("session.list_jobs", json!({})).await;
    valve.shut();
    busy.until_end(&job).await;
    pass(101.0).await;
    assert_eq!(
        busy.expect("session.closed").await["payload"]["reason"],
        "idle"
    );
}
