//! Taking a session up again (§6.3).

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use towline_runtime::{JobContext, Runtime, RuntimeOptions};
use towline_store::{
    MemoryStore, SqliteOptions, SqliteStore,
    testing::{Fault, FaultStore},
};

use crate::{
    agents::{Deaf, Valve, echo, lines, patient},
    peer::{ALICE, ALL, BOB, Peer, QUIET, hello, kinds, moment, pass, runtime},
};

pub(crate) async fn valved(valve: &Valve) -> Runtime {
    valved_with(valve, RuntimeOptions::default()).await
}

async fn valved_with(valve: &Valve, options: RuntimeOptions) -> Runtime {
    let built = runtime()
        .options(options)
        .agent("valve", valve.agent())
        .agent("lines", lines())
        .agent("deaf", Deaf);
    built
        .agent("patient", patient())
        .agent("echo", echo())
        .build()
        .await
        .unwrap()
}

/// A refused resume: the code, and that the connection is closed with 1008.
pub(crate) async fn cannot_resume(runtime: &Runtime, payload: Value, code: &str) -> Value {
    let mut peer = Peer::raw(runtime);
    peer.send("session.resume", payload).await;
    let error = peer.expect_error(code).await;
    let close = peer.expect_close().await;
    assert!(close == 1008 || close == 1002, "{close}: {error}");
    error
}

pub(crate) fn bare(token: &str, last: u64) -> Value {
    json!({"resume_token": token, "last_event_seq": last})
}

/// [ARCP 6.3-2] three ways in, and the fields other SDKs write.
#[tokio::test(start_paused = true)]
async fn ways_in() {
    let runtime = valved(&Valve::new()).await;
    let mut peer = Peer::alice(&runtime).await;
    let job = peer
        .submit(json!({"agent": "lines", "input": {"n": 3}}))
        .await;
    peer.until_end(&job).await;
    let session = peer.session.clone();
    let mut token = peer.lost().await;
    type Way = fn(&str, &str) -> (&'static str, Value);
    let with = |mut base: Value, more: Value| {
        base.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        base
    };
    let ways: [Way; 6] = [
        |_, token| {
            (
                "session.resume",
                json!({"resume_token": token, "last_event_seq": 3}),
            )
        },
        |_, token| {
            (
                "session.resume",
                json!({"resume_token": token, "last_event_seq": 3, "auth": {"token": ALICE}}),
            )
        },
        |_, token| {
            (
                "session.resume",
                json!({"token": token, "last_event_seq": 3}),
            )
        },
        |session, token| {
            (
                "session.hello",
                json!({"resume": {"session_id": session, "resume_token": token, "last_event_seq": 3}}),
            )
        },
        |_, token| {
            (
                "session.hello",
                json!({"resume_token": token, "last_event_seq": 3}),
            )
        },
        |_, token| {
            let resume = json!({"resume_token": token, "last_event_seq": 3});
            (
                "session.hello",
                json!({"resume": resume, "resume_token": "rt_wrong", "last_event_seq": 1}),
            )
        },
    ];
    for way in ways {
        let (kind, payload) = way(&session, &token);
        let payload = if kind == "session.hello" {
            with(hello(ALICE, ALL), payload)
        } else {
            payload
        };
        let mut peer = Peer::raw(&runtime);
        peer.last = 3;
        peer.send(kind, payload).await;
        peer.welcomed().await;
        assert_eq!(peer.session, session);
        let frames = peer.until_end(&job).await;
        assert_eq!(kinds(&frames), ["job.accepted", "log", "job.result"]);
        token = peer.lost().await;
    }
    let elsewhere = json!({"resume_token": token, "last_event_seq": 0, "session_id": "sess_other"});
    cannot_resume(&runtime, elsewhere, "RESUME_WINDOW_EXPIRED").await;
    Peer::resume(&runtime, &token, 0).await;
}

/// [ARCP 6.3-3, 10-1] welcome, then what was missed under its first numbers, each job announced anew, then what comes.
#[tokio::test(start_paused = true)]
async fn the_stream_goes_on() {
    let valve = Valve::new();
    let runtime = valved(&valve).await;
    let mut peer = Peer::alice(&runtime).await;
    let one = peer.start(json!({"agent": "valve"})).await;
    let two = peer
        .start(json!({"agent": "lines", "input": {"n": 2}}))
        .await;
    let mut seen = peer.until_end(&two).await;
    assert_eq!(peer.last, 5);
    let token = peer.lost().await;
    valve.open(2);
    moment().await;
    let mut again = Peer::resume(&runtime, &token, 1).await;
    valve.open(1);
    let accepted = again.expect("job.accepted").await;
    assert_eq!(
        (&accepted["job_id"], &accepted["payload"]["job_id"]),
        (&json!(two), &json!(two))
    );
    assert_eq!(accepted["payload"]["request_id"], "m3");
    let replayed = [
        again.next().await,
        again.next().await,
        again.next().await,
        again.next().await,
    ];
    assert_eq!(replayed[0]["payload"]["body"]["phase"], "running");
    for (before, after) in seen.iter_mut().zip(&replayed[1..]) {
        before["id"] = after["id"].clone();
        assert_eq!(
            before, after,
            "everything but the envelope's id is as it was"
        );
    }
    assert_eq!(again.expect("job.accepted").await["job_id"], one);
    for line in ["line 1", "line 2", "line 3"] {
        assert_eq!(again.expect_event("log").await["message"], line);
    }
    again.expect_silence().await;
}

/// [ARCP 6.3-4, 7.4-2] jobs run on without their client; the session taken up again may cancel, and watches what it watched.
#[tokio::test(start_paused = true)]
async fn nothing_is_lost_while_away() {
    let valve = Valve::new();
    let runtime = valved(&valve).await;
    let mut owner = Peer::alice(&runtime).await;
    let mut watcher = Peer::alice(&runtime).await;
    let watched = owner.start(json!({"agent": "valve"})).await;
    watcher
        .ask("job.subscribe", json!({"job_id": watched}))
        .await;
    let own = watcher.start(json!({"agent": "deaf"})).await;
    let done = watcher
        .submit(json!({"agent": "lines", "input": {"n": 1}}))
        .await;
    let last = watcher.last;
    let token = watcher.lost().await;
    valve.open(2);
    moment().await;
    let mut watcher = Peer::resume(&runtime, &token, last).await;
    let missed = [
        watcher.next().await,
        watcher.next().await,
        watcher.next().await,
        watcher.next().await,
    ];
    assert_eq!(
        kinds(&missed),
        ["job.accepted", "status", "log", "job.result"]
    );
    assert!(missed.iter().all(|frame| frame["job_id"] == done));
    let missed = [watcher.next().await, watcher.next().await];
    assert!(missed.iter().all(|frame| frame["job_id"] == watched));
    valve.open(1);
    assert_eq!(watcher.expect_event("log").await["message"], "line 3");
    assert_eq!(
        watcher.ask("job.cancel", json!({"job_id": own})).await["type"],
        "job.cancelled"
    );
    let frames = watcher.until_end(&own).await;
    assert_eq!(
        frames.last().unwrap()["payload"]["final_status"],
        "cancelled"
    );
}

/// [ARCP 6.3-5] an unknown token, a number that was never sent, one that is no number; and that being caught up is fine.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_resumed() {
    let runtime = valved(&Valve::new()).await;
    cannot_resume(&runtime, bare("rt_unknown", 0), "RESUME_WINDOW_EXPIRED").await;
    cannot_resume(&runtime, json!({}), "INVALID_REQUEST").await;
    let mut peer = Peer::alice(&runtime).await;
    let job = peer
        .submit(json!({"agent": "lines", "input": {"n": 1}}))
        .await;
    peer.until_end(&job).await;
    let token = peer.lost().await;
    let error = cannot_resume(&runtime, bare(&token, 4), "INVALID_REQUEST").await;
    assert!(
        error["payload"]["message"]
            .as_str()
            .unwrap()
            .contains("last_event_seq")
    );
    for odd in [json!("3"), json!(-1), json!(1.5)] {
        let payload = json!({"resume_token": token, "last_event_seq": odd});
        cannot_resume(&runtime, payload, "INVALID_REQUEST").await;
    }
    let mut caught_up = Peer::resume(&runtime, &token, 3).await;
    caught_up.expect_silence().await;
    let token = caught_up.lost().await;
    let mut from_start = Peer::raw(&runtime);
    from_start
        .send("session.resume", json!({"resume_token": token}))
        .await;
    from_start.welcomed().await;
    assert_eq!(
        from_start.until_end(&job).await.len(),
        4,
        "no number means from the start"
    );
}

/// [ARCP 6.3-5] what was numbered while the client was away was never sent, and cannot be claimed.
#[tokio::test(start_paused = true)]
async fn what_was_not_sent_cannot_be_claimed() {
    let valve = Valve::new();
    let runtime = valved(&valve).await;
    let mut peer = Peer::alice(&runtime).await;
    peer.start(json!({"agent": "valve"})).await;
    let token = peer.lost().await;
    valve.open(10);
    moment().await;
    cannot_resume(&runtime, bare(&token, 11), "INVALID_REQUEST").await;
    let refused = cannot_resume(&runtime, bare(&token, 2), "INVALID_REQUEST").await;
    let message = refused["payload"]["message"].as_str().unwrap();
    assert!(message.contains("open a new session"), "{message}");
    let mut peer = Peer::resume(&runtime, &token, 1).await;
    peer.expect("job.accepted").await;
    for _ in 0..10 {
        peer.expect_event("log").await;
    }
}

/// [ARCP 6.3-6, 6.3-5] the window counts from the loss, however long the session stood before; once it has passed, so has the
/// session.
#[tokio::test(start_paused = true)]
async fn the_window() {
    let runtime = valved_with(
        &Valve::new(),
        RuntimeOptions::default().resume_window(Duration::from_secs(60)),
    )
    .await;
    let mut peer = Peer::open(&runtime, ALICE, QUIET).await;
    let job = peer
        .submit(json!({"agent": "lines", "input": {"n": 1}}))
        .await;
    peer.until_end(&job).await;
    pass(600.0).await;
    let token = peer.lost().await;
    pass(59.0).await;
    let peer = Peer::resume(&runtime, &token, 0).await;
    pass(600.0).await;
    let token = peer.lost().await;
    pass(59.0).await;
    let mut peer = Peer::resume(&runtime, &token, 3).await;
    peer.send("session.close", json!({})).await;
    peer.expect("session.closed").await;
    peer.expect_close().await;
    let token = peer.lost().await;
    pass(61.5).await;
    cannot_resume(&runtime, bare(&token, 3), "RESUME_WINDOW_EXPIRED").await;
    let recovered = runtime.store().recover().await.unwrap();
    assert!(
        recovered.sessions.is_empty(),
        "the session is gone from the store too"
    );
}

/// [ARCP 6.3-7, 6.1-1] a session is its principal's; a failed try consumes nothing.
#[tokio::test(start_paused = true)]
async fn sessions_are_their_principals() {
    let runtime = valved(&Valve::new()).await;
    let alice = Peer::alice(&runtime).await;
    let token = alice.token.clone();
    for (auth, code) in [(BOB, "PERMISSION_DENIED"), ("nobody", "UNAUTHENTICATED")] {
        let mut payload = hello(auth, ALL);
        payload["resume"] = bare(&token, 0);
        let mut thief = Peer::raw(&runtime);
        thief.send("session.hello", payload).await;
        let error = thief.expect_error(code).await;
        assert_ne!(
            error["session_id"], alice.session,
            "the session is not named to others"
        );
        assert_eq!(thief.expect_close().await, 1008);
        let with_auth =
            json!({"resume_token": token, "last_event_seq": 0, "auth": {"token": auth}});
        cannot_resume(&runtime, with_auth, code).await;
    }
    cannot_resume(&runtime, bare(&token, 99), "INVALID_REQUEST").await;
    assert_eq!(runtime.attached_sessions(), 1, "Alice was not disturbed");
    let session = alice.session.clone();
    alice.lost().await;
    assert_eq!(Peer::resume(&runtime, &token, 0).await.session, session);
}

/// [ARCP 6.3-8, 4-7] a resume takes a live transport over: the old one hears `superseded`, and nothing after that.
#[tokio::test(start_paused = true)]
async fn a_takeover() {
    let valve = Valve::new();
    let runtime = valved(&valve).await;
    let mut old = Peer::alice(&runtime).await;
    old.start(json!({"agent": "valve"})).await;
    let mut new = Peer::resume(&runtime, &old.token, 1).await;
    valve.open(1);
    assert_eq!(
        old.expect("session.closed").await["payload"]["reason"],
        "superseded"
    );
    assert_eq!(old.expect_close().await, 1000);
    new.expect("job.accepted").await;
    new.expect_event("log").await;
    assert_eq!(runtime.attached_sessions(), 1);
}

/// [ARCP 6.3-8] a takeover does not wait for an old peer that reads nothing.
#[tokio::test(start_paused = true)]
async fn a_takeover_does_not_wait() {
    let runtime = valved(&Valve::new()).await;
    let mut old = Peer::with_room(&runtime, 1);
    old.hello(ALICE, ALL).await;
    old.welcomed().await;
    old.send("job.submit", json!({"agent": "lines", "input": {"n": 500}}))
        .await;
    moment().await;
    let before = tokio::time::Instant::now();
    let mut new = Peer::resume(&runtime, &old.token, 0).await;
    assert_eq!(
        new.expect("job.accepted").await["payload"]["request_id"],
        "m2"
    );
    for _ in 0..502 {
        new.next().await;
    }
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert_eq!(runtime.attached_sessions(), 1);
}

/// [ARCP 6.3-3, 6.2-4] a hello negotiates anew, a bare resume keeps what there was; numbers given out before stay.
#[tokio::test(start_paused = true)]
async fn features_of_a_later_resume() {
    let report = |ctx: JobContext, _input: Value| async move {
        ctx.progress(1).await?;
        ctx.cancelled().await;
        Ok(Value::Null)
    };
    let runtime = runtime().agent("report", report).build().await.unwrap();
    let mut peer = Peer::alice(&runtime).await;
    peer.start(json!({"agent": "report"})).await;
    peer.expect_event("progress").await;
    let token = peer.lost().await;
    let mut payload = hello(ALICE, &["ack"]);
    payload["resume"] = bare(&token, 0);
    let mut peer = Peer::raw(&runtime);
    peer.send("session.hello", payload).await;
    assert_eq!(
        peer.welcomed().await["payload"]["capabilities"]["features"],
        json!(["ack"])
    );
    peer.expect("job.accepted").await;
    peer.expect_event("status").await;
    peer.expect_event("progress").await;
    peer.start(json!({"agent": "report"})).await;
    peer.expect_silence().await;
    let token = peer.lost().await;
    let mut peer = Peer::asks_to_resume(&runtime, &token, 3).await;
    assert_eq!(
        peer.welcomed().await["payload"]["capabilities"]["features"],
        json!(["ack"])
    );
    peer.start(json!({"agent": "report"})).await;
    peer.expect_silence().await;
}

/// [ARCP 6.3-4, 6.3-9] a session that has many jobs comes back with all of them after the runtime died.
#[tokio::test(start_paused = true)]
async fn a_crash() {
    let valve = Valve::new();
    let disk = FaultStore::new(MemoryStore::new());
    let first = runtime()
        .shared_store(Arc::new(disk.clone()))
        .agent("valve", valve.agent())
        .agent("lines", lines());
    let first = first.build().await.unwrap();
    let mut peer = Peer::alice(&first).await;
    let mut watcher = Peer::alice(&first).await;
    let running = peer.start(json!({"agent": "valve"})).await;
    watcher
        .ask("job.subscribe", json!({"job_id": running, "history": true}))
        .await;
    watcher.expect_event("status").await;
    let done = peer
        .submit(json!({"agent": "lines", "input": {"n": 2}}))
        .await;
    let before = peer.until_end(&done).await;
    let (token, watching) = (peer.token.clone(), watcher.token.clone());
    // From here on nothing of the first runtime is kept.
    disk.every_commit(Some(Fault::Hang));
    valve.open(5);
    moment().await;
    peer.expect_silence().await;

    let second = runtime()
        .shared_store(disk.inner().clone())
        .agent("valve", valve.agent())
        .agent("lines", lines());
    let second = second.build().await.unwrap();
    pass(599.0).await;
    let mut peer = Peer::resume(&second, &token, 1).await;
    let after = peer.until_end(&done).await;
    assert_eq!(
        kinds(&after),
        ["job.accepted", "status", "log", "log", "job.result"]
    );
    for (mut old, new) in before.into_iter().zip(&after[1..]) {
        old["id"] = new["id"].clone();
        assert_eq!(old, *new);
    }
    peer.expect("job.accepted").await;
    let end = peer.expect_end("error").await;
    assert_eq!(end["details"]["reason"], "runtime_restarted");
    let mut watcher = Peer::resume(&second, &watching, 1).await;
    assert_eq!(watcher.expect_end("error").await["code"], "INTERNAL_ERROR");
    let job = peer
        .submit(json!({"agent": "lines", "input": {"n": 1}}))
        .await;
    peer.until_end(&job).await;
}

/// [ARCP 6.3-9] the same from a file that was opened anew.
#[tokio::test]
async fn a_restart_from_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("t.db");
    let store = Arc::new(
        SqliteStore::open_with(&file, SqliteOptions::default())
            .await
            .unwrap(),
    );
    let first = runtime()
        .shared_store(store)
        .agent("lines", lines())
        .agent("patient", patient())
        .build()
        .await
        .unwrap();
    let mut peer = Peer::alice(&first).await;
    let job = peer
        .submit(json!({"agent": "lines", "input": {"n": 5}}))
        .await;
    peer.until_end(&job).await;
    let (token, session) = (peer.token.clone(), peer.session.clone());
    first.shutdown().await;

    let store = SqliteStore::open_with(&file, SqliteOptions::default())
        .await
        .unwrap();
    let second = runtime()
        .store(store)
        .agent("lines", lines())
        .build()
        .await
        .unwrap();
    let mut peer = Peer::resume(&second, &token, 4).await;
    assert_eq!(peer.session, session);
    assert_eq!(
        kinds(&peer.until_end(&job).await),
        ["job.accepted", "log", "log", "job.result"]
    );
    let job = peer
        .submit(json!({"agent": "lines", "input": {"n": 1}}))
        .await;
    peer.until_end(&job).await;
    assert_eq!(peer.last, 10);
    second.shutdown().await;
}
