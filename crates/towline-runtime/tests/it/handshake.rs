//! From the first frame to the welcome (§6.1, §6.2).

mod drawn;

use std::time::Duration;

use serde_json::{Value, json};
use towline_runtime::{
    Runtime, RuntimeOptions,
    auth::{AuthRefusal, Credentials, from_fn},
};
use towline_store::Principal;

use crate::{
    agents::echo,
    peer::{ALICE, ALL, Peer, hello, pass, runtime},
};

async fn plain() -> Runtime {
    runtime().agent("echo", echo()).build().await.unwrap()
}

/// Says something first; gives the refusal, after which the connection is closed with this code.
async fn turned_away(
    runtime: &Runtime,
    kind: &str,
    payload: Value,
    code: &str,
    close: u16,
) -> Value {
    let mut peer = Peer::raw(runtime);
    let id = peer.send(kind, payload).await;
    let error = peer.expect_error(code).await;
    assert_eq!(error["payload"]["request_id"].as_str().unwrap_or(&id), id);
    assert_eq!(peer.expect_close().await, close, "{error}");
    assert_eq!(runtime.attached_sessions(), 0);
    error
}

/// [ARCP 6.1-1, 4-7] a token that is missing, unknown, or of another scheme is UNAUTHENTICATED on a session id of its own,
/// then 1008; the scheme may be left out, and its case does not matter.
#[tokio::test(start_paused = true)]
async fn who_proves_nothing_is_turned_away() {
    let runtime = plain().await;
    let mut sessions = Vec::new();
    for auth in [
        json!({}),
        json!({"auth": {}}),
        json!({"auth": {"scheme": "bearer"}}),
        json!({"auth": {"scheme": "bearer", "token": ""}}),
        json!({"auth": {"scheme": "bearer", "token": "guess"}}),
        json!({"auth": {"scheme": "basic", "token": ALICE}}),
    ] {
        let error = turned_away(&runtime, "session.hello", auth, "UNAUTHENTICATED", 1008).await;
        assert_eq!(error["payload"]["retryable"], false);
        assert!(!error.to_string().contains(ALICE));
        sessions.push(error["session_id"].to_string());
    }
    sessions.sort();
    sessions.dedup();
    assert_eq!(sessions.len(), 6, "each has a session id of its own");
    for auth in [
        json!({"token": ALICE}),
        json!({"scheme": "BEARER", "token": ALICE}),
        // Go's client writes what it has none of so.
        json!({"scheme": "", "token": ALICE}),
    ] {
        let mut peer = Peer::raw(&runtime);
        peer.send("session.hello", json!({"auth": auth})).await;
        peer.welcomed().await;
    }
}

/// [ARCP 6.1-2] nothing but a hello or a resume is accepted first.
#[tokio::test(start_paused = true)]
async fn everything_else_comes_after_the_welcome() {
    let runtime = plain().await;
    for kind in [
        "session.ping",
        "session.list_jobs",
        "job.submit",
        "session.close",
        "x-vendor.acme.x",
        "nonsense",
    ] {
        turned_away(
            &runtime,
            kind,
            json!({"agent": "echo", "nonce": "n"}),
            "UNAUTHENTICATED",
            1008,
        )
        .await;
    }
}

/// [ARCP 6.1-3] the hello has ten seconds, by default.
#[tokio::test(start_paused = true)]
async fn a_hello_in_time() {
    let runtime = plain().await;
    let mut late = Peer::raw(&runtime);
    let mut just = Peer::raw(&runtime);
    pass(9.9).await;
    just.hello(ALICE, ALL).await;
    just.welcomed().await;
    late.expect_error("UNAUTHENTICATED").await;
    assert_eq!(late.expect_close().await, 1008);

    let hurried =
        runtime_with(RuntimeOptions::default().hello_timeout(Duration::from_secs(2))).await;
    let mut late = Peer::raw(&hurried);
    let before = tokio::time::Instant::now();
    late.expect_error("UNAUTHENTICATED").await;
    assert_eq!(before.elapsed().as_secs(), 2);
}

async fn runtime_with(options: RuntimeOptions) -> Runtime {
    runtime()
        .options(options)
        .agent("echo", echo())
        .build()
        .await
        .unwrap()
}

/// [ARCP 6.1-5] an authenticator may be slow: nobody else waits for it, and it is not waited for forever.
#[tokio::test(start_paused = true)]
async fn slow_authentication_holds_nobody_up() {
    let slow = from_fn(|credentials: Credentials| async move {
        let token = credentials.token()?.to_owned();
        let seconds = token
            .strip_prefix("after-")
            .map_or(0, |seconds| seconds.parse().unwrap());
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        Ok::<_, AuthRefusal>(Principal::new(token))
    });
    let runtime = Runtime::builder()
        .authenticator(slow)
        .build()
        .await
        .unwrap();
    let started = tokio::time::Instant::now();
    let mut slow = Peer::raw(&runtime);
    slow.hello("after-5", ALL).await;
    let mut endless = Peer::raw(&runtime);
    endless.hello("after-3600", ALL).await;
    Peer::open(&runtime, "at-once", ALL).await;
    assert_eq!(started.elapsed().as_secs(), 0);
    slow.welcomed().await;
    assert_eq!(started.elapsed().as_secs(), 5);
    endless.expect_error("UNAUTHENTICATED").await;
    assert_eq!(endless.expect_close().await, 1008);
    assert_eq!(started.elapsed().as_secs(), 10);
}

/// [ARCP 14-8] Whoever names principals, none of them does something to a terminal or is shown as another one.
#[tokio::test(start_paused = true)]
async fn principals_stand_as_they_are() {
    let anybody = from_fn(|credentials: Credentials| async move {
        Ok::<_, AuthRefusal>(Principal::new(credentials.token()?.to_owned()))
    });
    let runtime = Runtime::builder()
        .authenticator(anybody)
        .build()
        .await
        .unwrap();
    for name in ["a\u{1b}[2J", "al\u{202e}ecila", "a\nb", "a\u{9b}m"] {
        let mut peer = Peer::raw(&runtime);
        peer.hello(name, ALL).await;
        peer.expect_error("UNAUTHENTICATED").await;
        assert_eq!(peer.expect_close().await, 1008, "{name:?}");
    }
    Peer::open(&runtime, "Ålice Müller", ALL).await;
}

/// [ARCP 6.2-1] unknown feature flags are ignored, and what is left out takes its default; no encoding in common is
/// INVALID_REQUEST.
#[tokio::test(start_paused = true)]
async fn negotiation() {
    let runtime = plain().await;
    let mut peer = Peer::raw(&runtime);
    peer.hello(ALICE, &["ack", "teleport", "subscribe"]).await;
    let welcome = peer.welcomed().await;
    assert_eq!(
        welcome["payload"]["capabilities"]["features"],
        json!(["ack", "subscribe"])
    );
    let mut bare = Peer::raw(&runtime);
    bare.send("session.hello", json!({"auth": {"token": ALICE}}))
        .await;
    assert_eq!(
        bare.welcomed().await["payload"]["capabilities"]["features"],
        json!([])
    );
    drop((peer, bare));
    crate::peer::moment().await;
    let mut cbor = hello(ALICE, ALL);
    cbor["capabilities"]["encodings"] = json!(["cbor"]);
    turned_away(&runtime, "session.hello", cbor, "INVALID_REQUEST", 1002).await;
}

/// [ARCP 6.2-2] what a welcome says, and that the heartbeat's interval is only named where there is one.
#[tokio::test(start_paused = true)]
async fn the_welcome() {
    let runtime = runtime()
        .agent("plain", echo())
        .agent("many@1.0.0", echo())
        .agent("many@1.10.0", echo())
        .agent("many@1.9.0", echo())
        .build()
        .await
        .unwrap();
    let mut peer = Peer::raw(&runtime);
    peer.hello(ALICE, ALL).await;
    let welcome = peer.welcomed().await;
    let payload = &welcome["payload"];
    assert_eq!(payload["runtime"], json!({"name": "test", "version": "0"}));
    assert_eq!(payload["session_id"], welcome["session_id"]);
    assert_eq!(payload["resume_window_sec"], 600);
    assert_eq!(payload["heartbeat_interval_sec"], 30);
    assert_eq!(payload["accepted_at"], "2026-03-01T12:00:00.000Z");
    assert_eq!(payload["capabilities"]["encodings"], json!(["json"]));
    assert_eq!(
        payload["capabilities"]["agents"],
        json!([
            {"name": "many", "versions": ["1.0.0", "1.9.0", "1.10.0"], "default": "1.10.0"},
            {"name": "plain", "versions": []},
        ])
    );
    let mut deaf = Peer::raw(&runtime);
    deaf.hello(ALICE, &["ack"]).await;
    assert!(
        deaf.welcomed().await["payload"]
            .get("heartbeat_interval_sec")
            .is_none()
    );
}

/// [ARCP 5-7] session ids and resume tokens are of the form we mint.
#[tokio::test(start_paused = true)]
async fn minted_names() {
    let runtime = plain().await;
    let mut peer = Peer::alice(&runtime).await;
    assert!(peer.session.len() == 31 && peer.session.starts_with("sess_"));
    let token = peer.token.strip_prefix("rt_").unwrap();
    assert!(
        token.len() == 64
            && token
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    );
    let job = peer.submit(json!({"agent": "echo"})).await;
    let suffix = job.strip_prefix("job_").unwrap();
    assert!(
        suffix.len() == 26
            && suffix
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
    );
    assert!(
        !suffix.contains(['I', 'L', 'O', 'U']),
        "Crockford's alphabet: {suffix}"
    );
}

/// [ARCP 6.2-3] a request that needs a feature which is not in effect is INVALID_REQUEST naming it, and the session goes on.
#[tokio::test(start_paused = true)]
async fn features_that_are_not_in_effect() {
    let runtime = plain().await;
    let mut peer = Peer::open(&runtime, ALICE, &[]).await;
    for (kind, payload, feature) in [
        ("session.ping", json!({"nonce": "n"}), "heartbeat"),
        ("session.ack", json!({"last_processed_seq": 1}), "ack"),
        ("session.list_jobs", json!({}), "list_jobs"),
        ("job.subscribe", json!({"job_id": "job_1"}), "subscribe"),
        ("job.submit", json!({"agent": "echo@1"}), "agent_versions"),
        (
            "job.submit",
            json!({"agent": "echo", "lease_request": {"cost.budget": ["USD:1"]}}),
            "cost.budget",
        ),
        (
            "job.submit",
            json!({"agent": "echo", "lease_request": {"model.use": ["m"]}}),
            "model.use",
        ),
        (
            "job.submit",
            json!({"agent": "echo", "lease_constraints": {"expires_at": "2030-01-01T00:00:00Z"}}),
            "lease_expires_at",
        ),
    ] {
        let error = peer.refused(kind, payload, "INVALID_REQUEST").await;
        assert!(
            error["message"].as_str().unwrap().contains(feature),
            "{error}"
        );
    }
    let job = peer.submit(json!({"agent": "echo"})).await;
    peer.until_end(&job).await;
}

/// [ARCP 6.2-6] a second hello, or a resume, on a session that is open.
#[tokio::test(start_paused = true)]
async fn a_second_hello() {
    let runtime = plain().await;
    let mut peer = Peer::alice(&runtime).await;
    let token = peer.token.clone();
    peer.refused("session.hello", hello(ALICE, ALL), "INVALID_REQUEST")
        .await;
    peer.refused(
        "session.resume",
        json!({"resume_token": token}),
        "INVALID_REQUEST",
    )
    .await;
    peer.submit(json!({"agent": "echo"})).await;
}

/// [ARCP 5-4, 5-5, 12-2] unknown types, foreign session ids and odd payloads are answered, one by one, and harm nothing.
#[tokio::test(start_paused = true)]
async fn odd_frames() {
    let runtime = plain().await;
    let mut peer = Peer::alice(&runtime).await;
    peer.refused("session.dance", json!({}), "INVALID_REQUEST")
        .await;
    peer.refused(
        "job.accepted",
        json!({"agent": "echo", "lease": {}}),
        "INVALID_REQUEST",
    )
    .await;
    peer.refused("job.submit", json!({"agent": 7}), "INVALID_REQUEST")
        .await;
    peer.send("x-vendor.acme.dance", json!({})).await;
    let id = peer
        .send_with(
            "session.ping",
            json!({"nonce": "n"}),
            json!({"session_id": "sess_other"}),
        )
        .await;
    assert_eq!(
        peer.expect_error("INVALID_REQUEST").await["payload"]["request_id"],
        id
    );
    let session = peer.session.clone();
    peer.send_with(
        "session.ping",
        json!({"nonce": "n"}),
        json!({"session_id": session}),
    )
    .await;
    peer.expect("session.pong").await;
    peer.send_text(r#"{"type":"job.submit","payload":{"agent":"nobody"}}"#)
        .await;
    let anonymous = peer.expect_error("AGENT_NOT_AVAILABLE").await;
    assert!(anonymous["payload"].get("request_id").is_none());
}
