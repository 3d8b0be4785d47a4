//! Before the welcome [ARCP 6.1-1 to 6.1-3, 6.2-1, 6.2-2, 6.2-6].

use serde_json::{Value, json};
use towline_tests::{
    peer::{Came, FEATURES, Peer, assert_refusal, hello},
    server::{Serve, Server},
};

async fn server() -> Server {
    Serve::demo().with(&["--store", "memory"]).start().await
}

/// Sends a first frame that must end the connection with this code and close code.
async fn refused(server: &Server, first: &Value, code: &str, close: u16) -> Value {
    let mut peer = Peer::dial(&server.url).await;
    peer.send(first).await;
    let (closed, before) = peer.closed().await;
    assert_eq!((closed, before.len()), (close, 1), "{first}: {before:?}");
    assert_refusal(&before[0], code);
    assert!(
        before[0]["session_id"]
            .as_str()
            .is_some_and(|id| id.starts_with("sess_")),
        "{before:?}"
    );
    before[0].clone()
}

fn with_auth(auth: Value) -> Value {
    let mut hello = hello("", &FEATURES);
    hello["payload"]["auth"] = auth;
    hello
}

/// [ARCP 6.1-1, 4-7] Every bad proof is UNAUTHENTICATED on a session id of its own, then 1008; a good one in any case of
/// scheme is welcome.
#[tokio::test]
async fn bad_tokens_are_unauthenticated() {
    let server = server().await;
    let bad = [
        json!({"scheme": "bearer", "token": "wrong"}),
        json!({"scheme": "bearer", "token": ""}),
        json!({"scheme": "bearer"}),
        json!({"scheme": "basic", "token": "alice-token"}),
        json!({"scheme": "bearer", "token": "alice-tokenx"}),
        json!({"scheme": "bearer", "token": "alice:alice-token"}),
    ];
    for auth in bad {
        let error = refused(&server, &with_auth(auth), "UNAUTHENTICATED", 1008).await;
        assert!(
            !error.to_string().contains("alice-token"),
            "the token is not repeated: {error}"
        );
    }
    let mut without = hello("", &[]);
    without["payload"].as_object_mut().unwrap().remove("auth");
    refused(&server, &without, "UNAUTHENTICATED", 1008).await;
    for auth in [
        json!({"scheme": "Bearer", "token": "alice-token"}),
        json!({"scheme": "BEARER", "token": "alice-token"}),
        json!({"token": "alice-token"}),
    ] {
        let mut peer = Peer::dial(&server.url).await;
        peer.send(&with_auth(auth)).await;
        peer.expect_welcome().await;
    }
}

/// [ARCP 14-2] Guessing is slowed down, but a good token is let in from the same address all the same.
#[tokio::test]
async fn a_good_token_is_let_in_after_many_bad_ones() {
    let server = server().await;
    for _ in 0..12 {
        refused(&server, &hello("guess", &FEATURES), "UNAUTHENTICATED", 1008).await;
    }
    Peer::open(&server).await.assert_alive().await;
}

/// [ARCP 6.1-2] Nothing but hello and resume comes before the welcome.
#[tokio::test]
async fn early_frames_are_unauthenticated() {
    let server = server().await;
    for kind in [
        "job.submit",
        "session.ping",
        "session.close",
        "session.list_jobs",
        "session.ack",
        "no.such",
        "x-vendor.acme.x",
    ] {
        let frame =
            json!({"arcp": "1.1", "id": "early", "type": kind, "payload": {"agent": "echo"}});
        let error = refused(&server, &frame, "UNAUTHENTICATED", 1008).await;
        assert_eq!(error["payload"]["request_id"], "early");
    }
}

/// [ARCP 6.1-3, 4-7] Silence after the upgrade ends with 1008, and other sessions are not touched.
#[tokio::test]
async fn silence_is_bounded() {
    let server = Serve::demo()
        .with(&["--store", "memory", "--hello-timeout", "1"])
        .start()
        .await;
    let mut other = Peer::open(&server).await;
    let mut silent = Peer::dial(&server.url).await;
    let (code, _) = silent.closed().await;
    assert_eq!(code, 1008);
    other.assert_alive().await;
}

/// [ARCP 6.1-3] Socket pings are no hello: who only pings is timed out as well.
#[tokio::test]
async fn socket_pings_do_not_prolong_the_hello() {
    let server = Serve::demo()
        .with(&["--store", "memory", "--hello-timeout", "1"])
        .start()
        .await;
    let mut peer = Peer::dial(&server.url).await;
    loop {
        peer.send_message(tokio_tungstenite::tungstenite::Message::Ping(
            b"x".as_slice().into(),
        ))
        .await;
        match peer.came().await {
            Came::Pong(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
            Came::Envelope(error) => assert_eq!(error["type"], "session.error"),
            Came::Close(code) => break assert_eq!(code, 1008),
            Came::End => panic!("ended without a Close"),
        }
    }
}

/// [ARCP 6.2-1, 6.2-2] The features in effect are the intersection; unknown flags are ignored; the welcome has every field.
#[tokio::test]
async fn features_are_negotiated() {
    let server = server().await;
    let mut peer = Peer::open_as(&server, "alice", &["ack", "progress", "time_travel"]).await;
    let welcome = peer.welcome().clone();
    let payload = &welcome["payload"];
    let mut features: Vec<&str> = payload["capabilities"]["features"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f.as_str().unwrap())
        .collect();
    features.sort_unstable();
    assert_eq!(features, ["ack", "progress"]);
    assert!(payload.get("heartbeat_interval_sec").is_none(), "{payload}");
    assert_eq!(payload["resume_window_sec"], 600);
    assert_eq!(payload["session_id"], welcome["session_id"]);
    assert_eq!(payload["capabilities"]["encodings"], json!(["json"]));
    assert!(payload["runtime"]["name"].is_string() && payload["runtime"]["version"].is_string());
    let agents = payload["capabilities"]["agents"].as_array().unwrap();
    let agent = |name: &str| {
        agents
            .iter()
            .find(|agent| agent["name"] == name)
            .unwrap_or_else(|| panic!("no {name}"))
    };
    for name in [
        "echo", "chatty", "burst", "sleep", "stream", "kinds", "spend", "access", "delegate",
        "fail", "index", "exec",
    ] {
        assert!(agent(name)["versions"].is_array(), "{name}");
        assert!(
            agent(name).get("default").is_none_or(Value::is_string),
            "{name}"
        );
    }
    assert_eq!(
        *agent("versioned"),
        json!({"name": "versioned", "versions": ["1.0.0", "2.0.0"], "default": "2.0.0"})
    );
    // [ARCP 6.2-3] What needs a feature outside of them is refused, and the feature named.
    for (kind, payload, feature) in [
        ("session.list_jobs", json!({}), "list_jobs"),
        ("job.subscribe", json!({"job_id": "job_x"}), "subscribe"),
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
            json!({"agent": "versioned@1.0.0"}),
            "agent_versions",
        ),
        (
            "job.submit",
            json!({"agent": "echo", "lease_constraints": {"expires_at": "2999-01-01T00:00:00Z"}}),
            "lease_expires_at",
        ),
    ] {
        let error = peer.refused(kind, payload, "INVALID_REQUEST").await;
        assert!(
            error["message"].as_str().unwrap().contains(feature),
            "{feature}: {error}"
        );
    }
    assert_eq!(
        Peer::open(&server).await.welcome()["payload"]["heartbeat_interval_sec"],
        30
    );
    // Nobody issues credentials here, so nobody may hope for them [ARCP 6.2-5].
    let all = Peer::open(&server).await;
    assert!(
        !all.welcome()["payload"]["capabilities"]["features"]
            .as_array()
            .unwrap()
            .contains(&json!("provisioned_credentials"))
    );
}

/// [ARCP 6.2-1] No common encoding is INVALID_REQUEST; what is absent takes defaults.
#[tokio::test]
async fn a_hello_may_be_short_but_needs_json() {
    let server = server().await;
    let mut other = hello("alice-token", &FEATURES);
    other["payload"]["capabilities"]["encodings"] = json!(["cbor", "msgpack"]);
    let mut peer = Peer::dial(&server.url).await;
    peer.send(&other).await;
    let (_, before) = peer.closed().await;
    assert_refusal(&before[0], "INVALID_REQUEST");
    for payload in [
        json!({"auth": {"token": "alice-token"}}),
        json!({"auth": {"token": "alice-token"}, "client": null, "capabilities": null}),
        json!({"auth": {"token": "alice-token"}, "capabilities": {"encodings": ["cbor", "json"]}}),
        json!({"auth": {"token": "alice-token"}, "capabilities": {"features": null}}),
    ] {
        let mut peer = Peer::dial(&server.url).await;
        peer.send(&json!({"type": "session.hello", "payload": payload}))
            .await;
        let welcome = peer.expect_welcome().await;
        assert_eq!(welcome["payload"]["capabilities"]["features"], json!([]));
    }
}

/// [ARCP 6.2-6] A second hello is refused and the session kept.
#[tokio::test]
async fn a_second_hello_is_refused() {
    let server = server().await;
    let mut peer = Peer::open(&server).await;
    for kind in ["session.hello", "session.resume"] {
        let mut again = hello("alice-token", &FEATURES);
        again["type"] = json!(kind);
        peer.send(&again).await;
        assert_refusal(&peer.next().await, "INVALID_REQUEST");
    }
    peer.assert_alive().await;
}

/// [ARCP 6.4-2, 6.4-3, 4-7] A peer that goes silent is pinged, then told HEARTBEAT_LOST and dropped with 1001; its job goes
/// on and the session can be resumed.
#[tokio::test]
async fn a_silent_peer_is_let_go_and_its_job_is_not() {
    let server = Serve::demo()
        .with(&["--store", "memory", "--heartbeat", "1"])
        .start()
        .await;
    let mut peer = Peer::open(&server).await;
    assert_eq!(peer.welcome()["payload"]["heartbeat_interval_sec"], 1);
    let job = peer
        .submit(json!({"agent": "sleep", "input": {"ms": 3500}}))
        .await;
    let (code, before) = peer.closed().await;
    assert_eq!(code, 1001);
    assert!(
        before
            .iter()
            .any(|envelope| envelope["type"] == "session.ping"),
        "{before:?}"
    );
    let error = before
        .iter()
        .find(|envelope| envelope["type"] == "session.error")
        .expect("it is told");
    assert_refusal(error, "HEARTBEAT_LOST");
    let mut back = Peer::resume(&server, peer.lose()).await;
    let end = loop {
        let envelope = back.next().await;
        match envelope["type"].as_str() {
            Some("session.ping") => {
                let nonce = envelope["payload"]["nonce"].clone();
                back.request(
                    "session.pong",
                    json!({"ping_nonce": nonce, "received_at": "2026-01-01T00:00:00Z"}),
                )
                .await;
            }
            Some("job.result") if envelope["job_id"] == job.as_str() => break envelope,
            _ => {}
        }
    };
    assert_eq!(end["payload"]["result"], json!({"slept_ms": 3500}));
}
