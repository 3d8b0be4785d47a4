//! Coming back [ARCP 6.3-1 to 6.3-9].

use serde_json::{Value, json};
use towline_tests::{
    peer::{Came, FEATURES, Left, Peer, assert_refusal, hello},
    server::{Serve, Server, token_of},
};

/// A first frame that resumes, in each of the three forms.
fn resumes(left: &Left, last: u64) -> [Value; 3] {
    let mut object = hello(&token_of("alice"), &FEATURES);
    object["payload"]["resume"] =
        json!({"session_id": left.session(), "resume_token": left.token(), "last_event_seq": last});
    let mut flat = hello(&token_of("alice"), &FEATURES);
    flat["payload"]["resume_token"] = json!(left.token());
    flat["payload"]["last_event_seq"] = json!(last);
    let bare = json!({"arcp": "1.1", "id": "r", "type": "session.resume", "payload": {"resume_token": left.token(), "last_event_seq": last}});
    [bare, object, flat]
}

/// Sends a first frame that must be refused, and checks the close.
async fn refused(server: &Server, first: &Value, code: &str) {
    let mut peer = Peer::dial(&server.url).await;
    peer.send(first).await;
    let (close, before) = peer.closed().await;
    assert_eq!((close, before.len()), (1008, 1), "{before:?}");
    assert_refusal(&before[0], code);
}

/// [ARCP 6.3-1, 6.3-2, 6.3-3] Each form gives a welcome with the same session and a new token, then what was missed with
/// its numbers; the old token is dead as soon as the client was heard.
#[tokio::test]
async fn every_form_of_resume_replays_what_was_missed() {
    let server = Serve::demo().start().await;
    let mut peer = Peer::open(&server).await;
    let session = peer.session().to_owned();
    let job = peer
        .submit(json!({"agent": "chatty", "input": {"n": 10}}))
        .await;
    peer.end_of(&job).await;
    let all: Vec<Value> = peer
        .events(&job)
        .iter()
        .chain(peer.terminal(&job))
        .cloned()
        .collect();
    let mut left = peer.lose();
    for form in 0..3 {
        for last in [0, 5, 22] {
            let frame = resumes(&left, last)[form].clone();
            let mut back = Peer::dial(&server.url).await;
            back.send(&frame).await;
            let welcome = back.next_raw().await;
            assert_eq!(
                (&welcome["type"], &welcome["session_id"]),
                (&json!("session.welcome"), &json!(session)),
                "{welcome}"
            );
            let token = welcome["payload"]["resume_token"]
                .as_str()
                .unwrap()
                .to_owned();
            assert_ne!(token, left.token());
            let mut seen = Vec::new();
            let mut announced = false;
            while seen.len() < all.len() - usize::try_from(last).unwrap() {
                let envelope = back.next_raw().await;
                match envelope["type"].as_str().unwrap() {
                    "job.accepted" => {
                        assert!(
                            seen.is_empty() && !announced,
                            "once, before the first event: {envelope}"
                        );
                        announced = true;
                    }
                    _ => seen.push((envelope["event_seq"].clone(), envelope["payload"].clone())),
                }
            }
            let expected: Vec<_> = all
                .iter()
                .skip(usize::try_from(last).unwrap())
                .map(|e| (e["event_seq"].clone(), e["payload"].clone()))
                .collect();
            assert_eq!(seen, expected, "form {form} from {last}");
            assert_eq!(announced, !seen.is_empty());
            // Heard, so the client has the new token and the old one is good no more.
            back.send(&json!({"arcp": "1.1", "type": "session.ping", "payload": {"nonce": "n"}}))
                .await;
            while back.next_raw().await["type"] != "session.pong" {}
            refused(&server, &resumes(&left, last)[0], "RESUME_WINDOW_EXPIRED").await;
            left.welcome = welcome;
        }
    }
}

/// [ARCP 6.3-4] Jobs go on while nobody listens; the terminal is in the replay; subscriptions and the right to cancel are
/// back.
#[tokio::test]
async fn a_session_comes_back_with_all_it_had() {
    let server = Serve::demo().start().await;
    let mut owner = Peer::open(&server).await;
    let watched = owner
        .submit(json!({"agent": "chatty", "input": {"n": 80, "delay_ms": 10}}))
        .await;
    let mut peer = Peer::open(&server).await;
    peer.ask("job.subscribe", json!({"job_id": watched, "history": true}))
        .await;
    let short = peer
        .submit(json!({"agent": "chatty", "input": {"n": 3, "delay_ms": 10}}))
        .await;
    let long = peer
        .submit(json!({"agent": "sleep", "input": {"ms": 60000}}))
        .await;
    peer.event_of(&long, "status").await;
    let left = peer.lose();
    owner.end_of(&watched).await;
    let mut back = Peer::resume(&server, left).await;
    assert_eq!(
        back.end_of(&short).await["payload"]["result"],
        json!({"emitted": 3})
    );
    back.end_of(&watched).await;
    back.assert_whole(&watched);
    back.assert_whole(&short);
    let cancelled = back
        .ask("job.cancel", json!({"job_id": long, "reason": "enough"}))
        .await;
    assert_eq!(
        (&cancelled["type"], &cancelled["payload"]["reason"]),
        (&json!("job.cancelled"), &json!("enough"))
    );
    assert_eq!(back.end_of(&long).await["payload"]["code"], "CANCELLED");
}

/// [ARCP 6.3-8] Resume while the old connection looks alive takes the session over: the old one is told, and hears no more.
#[tokio::test]
async fn a_takeover_leaves_one_stream() {
    let server = Serve::demo().start().await;
    let mut old = Peer::open(&server).await;
    let job = old
        .submit(json!({"agent": "chatty", "input": {"n": 100, "delay_ms": 5}}))
        .await;
    old.event_of(&job, "progress").await;
    let mut new = Peer::resume(&server, old.remember()).await;
    let (code, before) = old.closed().await;
    assert_eq!(code, 1000);
    let last = before.last().unwrap();
    assert_eq!(
        (&last["type"], &last["payload"]["reason"]),
        (&json!("session.closed"), &json!("superseded")),
        "{last}"
    );
    assert_eq!(
        new.end_of(&job).await["payload"]["result"],
        json!({"emitted": 100})
    );
    new.assert_whole(&job);
}

/// [ARCP 6.3-8] An old connection that does not read is not waited for.
#[tokio::test]
async fn a_takeover_does_not_wait_for_a_peer_that_stopped_reading() {
    let server = Serve::demo().start().await;
    let mut old = Peer::open(&server).await;
    let job = old
        .submit(json!({"agent": "burst", "input": {"n": 20000, "bytes": 2000}}))
        .await;
    let left = old.remember();
    let mut other = Peer::open(&server).await;
    other
        .ask("job.subscribe", json!({"job_id": job, "history": true}))
        .await;
    other.end_of(&job).await;
    // The old socket is full now, and open.
    let mut new = Peer::resume(&server, left).await;
    new.end_of(&job).await;
    assert_eq!(new.bodies(&job, "log").len(), 20000);
    drop(old);
}

/// [ARCP 6.3-5, 6.3-7] What cannot be resumed: unknown tokens, numbers never sent, wrong sessions, other principals; and a
/// failed try costs nothing.
#[tokio::test]
async fn failed_tries_consume_nothing() {
    let server = Serve::demo().start().await;
    let mut peer = Peer::open(&server).await;
    peer.result("echo", json!(1)).await;
    let left = peer.lose();
    let token = format!("rt_{}", "0".repeat(64));
    let mut unknown = left.clone();
    unknown.welcome["payload"]["resume_token"] = json!(token);
    for frame in resumes(&unknown, 0) {
        refused(&server, &frame, "RESUME_WINDOW_EXPIRED").await;
    }
    for frame in resumes(&left, 3) {
        refused(&server, &frame, "INVALID_REQUEST").await;
    }
    let bare = |payload: Value| json!({"type": "session.resume", "payload": payload});
    for last in [json!("1"), json!(-1), json!(1.5), json!([])] {
        let mut peer = Peer::dial(&server.url).await;
        peer.send(&bare(
            json!({"resume_token": left.token(), "last_event_seq": last}),
        ))
        .await;
        assert_refusal(&peer.closed().await.1[0], "INVALID_REQUEST");
    }
    let mut wrong_session = resumes(&left, 0)[1].clone();
    wrong_session["payload"]["resume"]["session_id"] = json!("sess_other");
    refused(&server, &wrong_session, "RESUME_WINDOW_EXPIRED").await;
    for mut frame in resumes(&left, 0).into_iter().skip(1) {
        frame["payload"]["auth"]["token"] = json!(token_of("bob"));
        refused(&server, &frame, "PERMISSION_DENIED").await;
    }
    let bob = json!({"resume_token": left.token(), "last_event_seq": 0, "auth": {"scheme": "bearer", "token": token_of("bob")}});
    refused(&server, &bare(bob), "PERMISSION_DENIED").await;
    let nobody = json!({"resume_token": left.token(), "last_event_seq": 0, "auth": {"scheme": "bearer", "token": "wrong"}});
    refused(&server, &bare(nobody), "UNAUTHENTICATED").await;
    // After all of that the token is good, and a missing number means everything.
    let mut back = Peer::dial(&server.url).await;
    back.send(&bare(json!({"resume_token": left.token()})))
        .await;
    back.expect_welcome().await;
    back.find(|envelope| envelope["event_seq"] == 2).await;
}

/// [ARCP 6.3-5, 6.3-6] The window counts from the loss of the connection; after it, the session is gone.
#[tokio::test]
async fn the_window_closes() {
    let server = Serve::demo().with(&["--resume-window", "1"]).start().await;
    let mut peer = Peer::open(&server).await;
    assert_eq!(peer.welcome()["payload"]["resume_window_sec"], 1);
    // Longer than the window, but connected: it does not run.
    peer.result("sleep", json!({"ms": 1500})).await;
    let left = peer.lose();
    let back = Peer::resume(&server, left).await;
    let left = back.lose();
    tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
    refused(
        &server,
        &resumes(&left, left.ledger.last())[0],
        "RESUME_WINDOW_EXPIRED",
    )
    .await;
}

/// [ARCP 6.3-9, 7.3-4] After SIGKILL and a restart: sessions resume with the numbers they had, finished jobs have their
/// terminals, running ones end as lost, subscriptions are back, and numbers go on.
#[tokio::test]
async fn sessions_survive_a_crash() {
    let server = Serve::demo().start().await;
    let mut peer = Peer::open(&server).await;
    let mut watcher = Peer::open(&server).await;
    let done = peer
        .submit(json!({"agent": "chatty", "input": {"n": 5}}))
        .await;
    peer.end_of(&done).await;
    let running = peer
        .submit(json!({"agent": "chatty", "input": {"n": 1000, "delay_ms": 20}}))
        .await;
    watcher
        .ask("job.subscribe", json!({"job_id": running}))
        .await;
    peer.event_of(&running, "progress").await;
    watcher.event_of(&running, "progress").await;
    let (left, watching) = (peer.lose(), watcher.lose());
    let server = server.crash_and_restart().await;

    let mut back = Peer::resume(&server, left.clone()).await;
    let end = back.end_of(&running).await["payload"].clone();
    assert_eq!(
        (&end["final_status"], &end["code"]),
        (&json!("error"), &json!("INTERNAL_ERROR")),
        "{end}"
    );
    assert_eq!(end["details"]["reason"], "runtime_restarted", "{end}");
    back.assert_whole(&running);
    let seq = back.last();
    assert_eq!(back.result("echo", json!("again")).await, "again");
    assert_eq!(back.last(), seq + 2);
    let mut watching = Peer::resume(&server, watching).await;
    assert_eq!(
        watching.end_of(&running).await["payload"]["details"]["reason"],
        "runtime_restarted"
    );
    watching.assert_whole(&running);

    // From the very beginning it is the same stream.
    let mut whole = Peer::dial(&server.url).await;
    let left = back.lose();
    whole.send(&resumes(&left, 0)[0]).await;
    whole.expect_welcome().await;
    whole.end_of(&running).await;
    assert_eq!(
        whole.events(&done),
        left.ledger
            .events(&done)
            .iter()
            .map(|e| with_id_of(e, whole.events(&done)))
            .collect::<Vec<_>>()
    );
}

/// The envelope with the id it has this time: ids may be new on a replay [ARCP 6.3-3].
fn with_id_of(envelope: &Value, among: &[Value]) -> Value {
    let mut envelope = envelope.clone();
    let twin = among
        .iter()
        .find(|other| other["event_seq"] == envelope["event_seq"]);
    envelope["id"] = twin.map(|twin| twin["id"].clone()).unwrap_or_default();
    envelope
}

/// [ARCP 6.7-1, 6.7-2, 6.3-6] A closed session is told so, ignores what comes after, its jobs go on, and it can come back.
#[tokio::test]
async fn a_closed_session_can_come_back() {
    let server = Serve::demo().start().await;
    for kind in ["session.close", "session.bye"] {
        let mut peer = Peer::open(&server).await;
        let job = peer
            .submit(json!({"agent": "sleep", "input": {"ms": 300}}))
            .await;
        peer.request(kind, json!({"reason": "lunch"})).await;
        let late = peer.request("job.submit", json!({"agent": "echo"})).await;
        let (code, before) = peer.closed().await;
        let last = before.last().unwrap();
        assert_eq!(
            (code, &last["type"], &last["payload"]["reason"]),
            (1000, &json!("session.closed"), &json!("lunch"))
        );
        assert!(
            !before
                .iter()
                .any(|envelope| envelope["payload"]["request_id"] == late.as_str()),
            "{before:?}"
        );
        let mut back = Peer::resume(&server, peer.lose()).await;
        assert_eq!(
            back.end_of(&job).await["payload"]["result"],
            json!({"slept_ms": 300})
        );
    }
}

/// [ARCP 6.5-1, 6.5-2] Acknowledging is silent, never goes back, and what is acknowledged may be gone: never a silent gap.
#[tokio::test]
async fn acknowledgements_are_silent() {
    let server = Serve::demo().start().await;
    let mut peer = Peer::open(&server).await;
    let job = peer
        .submit(json!({"agent": "chatty", "input": {"n": 10}}))
        .await;
    peer.end_of(&job).await;
    for seq in [20, 10, 0, 22, 23, 1_000_000] {
        peer.request("session.ack", json!({"last_processed_seq": seq}))
            .await;
    }
    peer.request("session.ping", json!({"nonce": "n"})).await;
    let next = peer
        .find(|envelope| envelope["type"] == "session.pong" || envelope["type"] == "session.error")
        .await;
    assert_eq!(next["type"], "session.pong", "{next}");
    let last = peer.last();
    let mut back = Peer::resume(&server, peer.lose()).await;
    back.assert_alive().await;
    assert_eq!(
        back.last(),
        last,
        "a caught-up session has nothing to replay"
    );
    let left = back.lose();
    let mut early = Peer::dial(&server.url).await;
    early.send(&resumes(&left, 5)[0]).await;
    match early.came().await {
        Came::Envelope(welcome) if welcome["type"] == "session.welcome" => {
            let first = early
                .find_raw(|envelope| !envelope["event_seq"].is_null())
                .await;
            assert_eq!(first["event_seq"], 6, "all of it or nothing");
        }
        Came::Envelope(error) => assert_refusal(&error, "RESUME_WINDOW_EXPIRED"),
        other => panic!("{other:?}"),
    }
}
