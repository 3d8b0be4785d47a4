//! Limits, the audit log, and what strangers learn (§12, §14).

use std::{net::SocketAddr, time::Duration};

use serde_json::{Value, json};
use tokio::time::Instant;
use towline_runtime::{Runtime, RuntimeOptions};
use towline_transport::{FrameSink, FrameSource, MemoryTransport, Transport, TransportInfo};

use crate::{
    agents::{Valve, echo, patient},
    peer::{ALICE, ALL, BOB, Peer, QUIET, moment, pass, runtime},
};

async fn plain(options: RuntimeOptions) -> Runtime {
    runtime()
        .options(options)
        .agent("echo", echo())
        .agent("patient", patient())
        .build()
        .await
        .unwrap()
}

/// [ARCP 14-1, 12-1] so many sessions of one principal at once; detached ones do not count, taking one's own over is always
/// possible, and other principals are not concerned.
#[tokio::test(start_paused = true)]
async fn sessions_per_principal() {
    let runtime = plain(RuntimeOptions::default().sessions_per_principal(2)).await;
    let one = Peer::alice(&runtime).await;
    let two = Peer::alice(&runtime).await;
    let mut third = Peer::raw(&runtime);
    third.hello(ALICE, ALL).await;
    let error = third.expect_error("INTERNAL_ERROR").await;
    assert_eq!(error["payload"]["retryable"], true);
    assert_eq!(third.expect_close().await, 1008);
    Peer::bob(&runtime).await;
    let token = one.lost().await;
    let third = Peer::alice(&runtime).await;
    let mut back = Peer::asks_to_resume(&runtime, &token, 0).await;
    back.expect_error("INTERNAL_ERROR").await;
    assert_eq!(back.expect_close().await, 1008);
    let two = Peer::resume(&runtime, &two.token, 0).await;
    drop(third);
    moment().await;
    Peer::resume(&runtime, &token, 0).await;
    drop(two);
    moment().await;
    for _ in 0..10 {
        drop(Peer::alice(&runtime).await);
        moment().await;
    }
    assert_eq!(runtime.attached_sessions(), 0, "the counting is even");
}

/// [ARCP 14-1, 6.3-5] of the detached sessions only so many are kept; those that were left first go.
#[tokio::test(start_paused = true)]
async fn detached_sessions() {
    let runtime = plain(RuntimeOptions::default().detached_sessions(2)).await;
    let mut tokens = Vec::new();
    for _ in 0..4 {
        tokens.push(Peer::alice(&runtime).await.lost().await);
        pass(0.1).await;
    }
    pass(2.0).await;
    for (number, token) in tokens.iter().enumerate() {
        let mut peer = Peer::asks_to_resume(&runtime, token, 0).await;
        match number {
            0 | 1 => drop(peer.expect_error("RESUME_WINDOW_EXPIRED").await),
            _ => drop(peer.welcomed().await),
        }
    }
}

/// [ARCP 14-1, 14-4] beyond so many owed replies nothing more is read, nothing is lost, and the peer does not count as silent.
#[tokio::test(start_paused = true)]
async fn requests_in_flight() {
    let runtime = plain(
        RuntimeOptions::default()
            .requests_in_flight(2)
            .heartbeat(Duration::from_secs(600)),
    )
    .await;
    let mut peer = Peer::with_room(&runtime, 4);
    peer.hello(ALICE, ALL).await;
    peer.welcomed().await;
    let mut sent = 0;
    let asking = async {
        for _ in 0..40 {
            peer.send("session.list_jobs", json!({})).await;
            sent += 1;
        }
    };
    let stuck = tokio::time::timeout(Duration::from_secs(1), asking).await;
    assert!(stuck.is_err(), "the runtime stopped reading");
    assert!(sent < 20, "{sent}");
    let mut replies = 0;
    while let Ok(frame) = tokio::time::timeout(Duration::from_secs(1), peer.next()).await {
        assert_eq!(frame["type"], "session.jobs");
        replies += 1;
    }
    assert!(replies == sent || replies == sent + 1, "{replies} {sent}");
    peer.ask("session.list_jobs", json!({})).await;
}

/// A connection from an address.
struct From(MemoryTransport, SocketAddr);

impl Transport for From {
    fn info(&self) -> TransportInfo {
        self.0.info().at(Some(self.1))
    }

    fn split(self: Box<Self>) -> (Box<dyn FrameSink>, Box<dyn FrameSource>) {
        Box::new(self.0).split()
    }
}

/// How long a try from an address takes.
async fn try_from(runtime: &Runtime, address: &str, token: &str) -> (String, Duration) {
    let address = SocketAddr::new(address.parse().unwrap(), 50_000);
    let mut peer = Peer::over(runtime, |theirs| From(theirs, address));
    let before = Instant::now();
    peer.hello(token, ALL).await;
    let answer = peer.next().await;
    (
        answer["type"].as_str().unwrap().to_owned(),
        before.elapsed(),
    )
}

/// [ARCP 14-2] who guesses is told later and later; a good token never waits, and other addresses are not concerned.
#[tokio::test(start_paused = true)]
async fn guessing_is_slow() {
    let runtime = plain(RuntimeOptions::default()).await;
    for _ in 0..10 {
        let (answer, took) = try_from(&runtime, "192.0.2.7", "guess").await;
        assert_eq!((answer.as_str(), took), ("session.error", Duration::ZERO));
    }
    let (_, first) = try_from(&runtime, "192.0.2.7", "guess").await;
    let (_, second) = try_from(&runtime, "192.0.2.7", "guess").await;
    assert!(
        Duration::ZERO < first && first < second,
        "{first:?} {second:?}"
    );
    for (address, token) in [("192.0.2.7", ALICE), ("192.0.2.8", BOB)] {
        let (answer, took) = try_from(&runtime, address, token).await;
        assert_eq!((answer.as_str(), took), ("session.welcome", Duration::ZERO));
    }
}

/// [ARCP 14-2] Guesses at once gain nothing: one refusal of an address waits, the others are closed with 1013 and no word, and a
/// good token goes by them. What was not told is one number in the audit log.
#[tokio::test(start_paused = true)]
async fn guessing_at_once_gains_nothing() {
    let runtime = plain(RuntimeOptions::default().failed_tokens(1)).await;
    let from = |address: &str| {
        let address = SocketAddr::new(address.parse().unwrap(), 50_000);
        Peer::over(&runtime, |theirs| From(theirs, address))
    };
    try_from(&runtime, "192.0.2.7", "guess").await;
    let mut waiting = from("192.0.2.7");
    waiting.hello("guess", ALL).await;
    moment().await;
    for _ in 0..20 {
        let mut closed = from("192.0.2.7");
        closed.hello("guess", ALL).await;
        assert_eq!(closed.expect_close().await, 1013);
    }
    let mut resuming = from("192.0.2.7");
    let resume = json!({"resume_token": "rt_guess", "last_event_seq": 0});
    resuming.send("session.resume", resume).await;
    assert_eq!(resuming.expect_close().await, 1013);
    let (answer, took) = try_from(&runtime, "192.0.2.7", ALICE).await;
    assert_eq!((answer.as_str(), took), ("session.welcome", Duration::ZERO));
    waiting.expect_error("UNAUTHENTICATED").await;
    try_from(&runtime, "192.0.2.7", "guess").await;
    moment().await;
    let audit = runtime.store().audit(100).await.unwrap();
    let told: Vec<Value> = audit.iter().map(|row| row.data.read().unwrap()).collect();
    let refused: Vec<&Value> = told
        .iter()
        .filter(|row| row["verdict"] == "refused")
        .collect();
    let more: Vec<&Value> = refused.iter().map(|row| &row["more"]).collect();
    assert_eq!(more, [&Value::Null, &Value::Null, &json!(21)], "{told:?}");
}

/// [ARCP 14-2, 14-3] A refused resume counts like a wrong token, and is audited.
#[tokio::test(start_paused = true)]
async fn refused_resumes_count() {
    let runtime = plain(RuntimeOptions::default().failed_tokens(2)).await;
    let address = SocketAddr::new("192.0.2.7".parse().unwrap(), 50_000);
    let mut took = Vec::new();
    for _ in 0..4 {
        let mut peer = Peer::over(&runtime, |theirs| From(theirs, address));
        let before = Instant::now();
        let resume = json!({"resume_token": "rt_guess", "last_event_seq": 0});
        peer.send("session.resume", resume).await;
        peer.expect_error("RESUME_WINDOW_EXPIRED").await;
        took.push(before.elapsed().as_millis());
    }
    assert_eq!(took, [0, 0, 500, 1000]);
    moment().await;
    let audit = runtime.store().audit(100).await.unwrap();
    assert_eq!(audit.len(), 4);
    for row in audit {
        let data: Value = row.data.read().unwrap();
        assert_eq!(row.action, "resume");
        assert_eq!(data["code"], "RESUME_WINDOW_EXPIRED");
        assert_eq!(data["peer"], "192.0.2.7:50000");
    }
}

/// [ARCP 14-6, 14-3] Refusals of one principal have so many entries a minute and one for the rest; what others did stays.
#[tokio::test(start_paused = true)]
async fn refusals_do_not_fill_the_audit_log() {
    let runtime = plain(RuntimeOptions::default()).await;
    let mut alice = Peer::open(&runtime, ALICE, QUIET).await;
    let mut bob = Peer::open(&runtime, BOB, QUIET).await;
    for _ in 0..200 {
        alice
            .refused("job.cancel", json!({"job_id": "job_none"}), "JOB_NOT_FOUND")
            .await;
    }
    bob.refused("job.cancel", json!({"job_id": "job_none"}), "JOB_NOT_FOUND")
        .await;
    moment().await;
    let told = async || -> Vec<Value> {
        let audit = runtime.store().audit(1000).await.unwrap();
        audit.iter().map(|row| row.data.read().unwrap()).collect()
    };
    let of = |rows: &[Value], name: &str| {
        let is_of = |row: &&Value| row["principal"] == name && row["verdict"] == "refused";
        rows.iter().filter(is_of).count()
    };
    let rows = told().await;
    assert_eq!((of(&rows, "alice"), of(&rows, "bob")), (60, 1));
    pass(62.0).await;
    let rows = told().await;
    assert_eq!((of(&rows, "alice"), of(&rows, "bob")), (61, 1));
    assert_eq!(rows.last().unwrap()["more"], 140, "{:?}", rows.last());
}

/// [ARCP 14-3] the audit log tells of authentications, submits, cancels and expirations, and holds neither token nor input.
#[tokio::test(start_paused = true)]
async fn the_audit_log() {
    let runtime = plain(RuntimeOptions::default()).await;
    let mut stranger = Peer::raw(&runtime);
    stranger
        .send(
            "session.hello",
            json!({"auth": {"token": "stranger-token"}}),
        )
        .await;
    stranger.expect_error("UNAUTHENTICATED").await;
    let mut alice = Peer::open(&runtime, ALICE, QUIET).await;
    alice
        .refused(
            "job.submit",
            json!({"agent": "nobody", "input": "private-input"}),
            "AGENT_NOT_AVAILABLE",
        )
        .await;
    let constraints = json!({"expires_at": "2026-03-01T12:00:05Z"});
    let expiring = alice
        .start(
            json!({"agent": "patient", "input": "private-input", "lease_constraints": constraints}),
        )
        .await;
    let job = alice.start(json!({"agent": "patient"})).await;
    Peer::bob(&runtime)
        .await
        .refused("job.cancel", json!({"job_id": job}), "PERMISSION_DENIED")
        .await;
    alice.ask("job.cancel", json!({"job_id": job})).await;
    alice.expect_end("cancelled").await;
    alice.until_end(&expiring).await;
    moment().await;
    let audit = runtime.store().audit(100).await.unwrap();
    let told: Vec<(&str, Value)> = audit
        .iter()
        .map(|row| (row.action.as_str(), row.data.read().unwrap()))
        .collect();
    let actions: Vec<_> = told.iter().map(|(action, _)| *action).collect();
    assert_eq!(
        actions,
        [
            "auth",
            "auth",
            "submit",
            "submit",
            "submit",
            "auth",
            "cancel",
            "cancel",
            "lease.expired"
        ]
    );
    let verdicts: Vec<bool> = told[..8]
        .iter()
        .map(|(_, data)| data["verdict"] == "allowed")
        .collect();
    assert_eq!(
        verdicts,
        [false, true, false, true, true, true, false, true]
    );
    assert_eq!(
        (&told[1].1["principal"], &told[1].1["session"]),
        (&json!("alice"), &json!(alice.session))
    );
    assert_eq!(
        (&told[3].1["job"], &told[3].1["agent"]),
        (&json!(expiring), &json!("patient"))
    );
    assert_eq!(
        (&told[6].1["principal"], &told[7].1["principal"]),
        (&json!("bob"), &json!("alice"))
    );
    assert_eq!(
        (&told[8].1["job"], &told[8].1["owner"]),
        (&json!(expiring), &json!("alice"))
    );
    let all = format!("{told:?}");
    assert!(
        ["stranger-token", ALICE, BOB, "private-input"]
            .iter()
            .all(|secret| !all.contains(secret)),
        "{all}"
    );
}

/// [ARCP 12-2, 14-4] errors of some requests harm no other request, and what they say is bounded whatever was asked.
#[tokio::test(start_paused = true)]
async fn errors_harm_nothing_else() {
    let valve = Valve::new();
    let runtime = runtime()
        .agent("valve", valve.agent())
        .build()
        .await
        .unwrap();
    let mut peer = Peer::alice(&runtime).await;
    let job = peer.start(json!({"agent": "valve"})).await;
    let long = "x".repeat(100_000);
    for (kind, payload) in [
        ("job.submit", json!({"agent": long})),
        (
            "job.submit",
            json!({"agent": "valve", "lease_request": {"fs.read": [long]}}),
        ),
        (
            "job.submit",
            json!({"agent": "valve", "lease_request": {long.clone(): []}}),
        ),
        (
            "job.submit",
            json!({"agent": "valve", "lease_request": {"fs.read": [format!("/{}", "{a,".repeat(2000))]}}),
        ),
        (
            "job.submit",
            json!({"agent": "valve", "lease_constraints": {"expires_at": long}}),
        ),
        (
            "job.submit",
            json!({"agent": "valve", "lease_request": {"cost.budget": [format!("USD:{}", "9".repeat(500))]}}),
        ),
        (
            "job.submit",
            json!({"agent": "valve", "max_runtime_sec": 1e300}),
        ),
        ("job.cancel", json!({"job_id": long})),
        (
            "job.subscribe",
            json!({"job_id": "j", "from_event_seq": 1e18}),
        ),
        ("session.list_jobs", json!({"cursor": long})),
        ("session.list_jobs", json!({"limit": 1e18})),
        ("session.ack", json!({"last_processed_seq": -5})),
    ] {
        let id = peer.send(kind, payload).await;
        loop {
            let reply = peer.next().await;
            if reply["payload"]["request_id"] == id {
                assert!(reply.to_string().len() < 3000, "{kind}");
                break;
            }
        }
    }
    valve.open(1);
    let mut frames = Vec::new();
    while let Ok(frame) = tokio::time::timeout(Duration::from_secs(1), peer.next()).await {
        frames.push(frame);
    }
    assert!(
        frames
            .iter()
            .any(|frame| frame["job_id"] == job && frame["payload"]["kind"] == "log")
    );
}

/// [ARCP 12-3] a code that is not in the table is kept as it is, and is not retryable.
#[tokio::test(start_paused = true)]
async fn unknown_codes() {
    let odd = |_ctx: towline_runtime::JobContext, _input: Value| async move {
        Err::<Value, _>(towline_runtime::AgentError::new(
            towline_wire::ErrorCode::new("ACME_DRY_WELL"),
            "dry",
        ))
    };
    let runtime = runtime().agent("odd", odd).build().await.unwrap();
    let mut peer = Peer::alice(&runtime).await;
    peer.start(json!({"agent": "odd"})).await;
    let end = peer.expect_end("error").await;
    assert_eq!(
        (&end["code"], &end["retryable"]),
        (&json!("ACME_DRY_WELL"), &json!(false))
    );
}
