//! From the first line to the last: starting, telling how it is, draining.

use nix::sys::signal::Signal;
use serde_json::json;
use towline_tests::{
    peer::{FEATURES, Peer, assert_refusal, hello},
    server::{Serve, is_private},
};

/// A minted token stands on standard output before the listening line, works, and the data are the owner's alone.
#[tokio::test]
async fn a_minted_token_comes_before_the_listening_line() {
    let server = Serve::bare(&["--demo", "--listen", "127.0.0.1:0"])
        .start()
        .await;
    assert_eq!(server.before.len(), 2, "{:?}", server.before);
    let token = server.before[0].rsplit(' ').next().unwrap();
    assert!(
        server.before[1].ends_with(&format!("/#token={token}")),
        "the link of the dashboard signs in: {:?}",
        server.before
    );
    assert!(
        server.url.starts_with("ws://127.0.0.1:") && server.url.ends_with("/arcp"),
        "{}",
        server.url
    );
    let mut peer = Peer::dial(&server.url).await;
    peer.send(&hello(token, &FEATURES)).await;
    peer.expect_welcome().await;
    assert!(!server.log().contains(token), "it is not logged");
    let data = server.place().path().join(".towline");
    assert!(is_private(&data), "the data directory");
    assert!(
        is_private(&data.join("towline.db")),
        "SQLite in the data directory is the default"
    );
}

/// With a token nothing but the dashboard's link, without it, and the listening line is printed, and TOKEN splits at the first colon.
#[tokio::test]
async fn tokens_split_at_the_first_colon() {
    let server = Serve::bare(&[
        "--demo",
        "--listen",
        "127.0.0.1:0",
        "--store",
        "memory",
        "--token",
        "carol:a:b:c",
    ])
    .start()
    .await;
    let address = server.url.split('/').nth(2).unwrap();
    assert_eq!(server.before, [format!("dashboard: http://{address}/")]);
    let mut peer = Peer::dial(&server.url).await;
    peer.send(&hello("a:b:c", &FEATURES)).await;
    peer.expect_welcome().await;
    let mut peer = Peer::dial(&server.url).await;
    peer.send(&hello("c", &FEATURES)).await;
    assert_refusal(&peer.closed().await.1[0], "UNAUTHENTICATED");
}

/// Health, readiness and metrics are plain HTTP beside the endpoint.
#[tokio::test]
async fn operators_are_told_how_it_is() {
    let server = Serve::demo().with(&["--store", "memory"]).start().await;
    let mut peer = Peer::open(&server).await;
    peer.result("chatty", json!({"n": 3})).await;
    for path in ["/healthz", "/readyz"] {
        let answer = server.http(&format!("GET {path}"), &[]).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
    let answer = server.http("GET /metrics", &[]).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("text/plain"),
        "{answer}"
    );
    assert!(
        answer.contains("# TYPE towline_") && answer.contains("towline_events_total"),
        "{answer}"
    );
}

/// [ARCP 6.7-3, 7.3-4] SIGTERM: sessions are told and closed with 1001, what ends within the drain ends well, the rest ends
/// as `runtime_shutdown`, the status is 0; and all of it can be read after the next start.
#[tokio::test]
async fn sigterm_drains() {
    let mut server = Serve::demo().with(&["--drain", "1"]).start().await;
    let mut peer = Peer::open(&server).await;
    let short = peer
        .submit(json!({"agent": "sleep", "input": {"ms": 500}}))
        .await;
    let long = peer
        .submit(json!({"agent": "sleep", "input": {"ms": 60000}}))
        .await;
    peer.event_of(&long, "status").await;
    server.signal(Signal::SIGTERM);
    let (code, before) = peer.closed().await;
    assert_eq!(code, 1001);
    let last = before.last().unwrap();
    assert_eq!(
        (&last["type"], &last["payload"]["reason"]),
        (&json!("session.closed"), &json!("shutdown")),
        "{last}"
    );
    assert_eq!(server.ended().await, (Some(0), String::new()));
    let left = peer.lose();
    let server = server.crash_and_restart().await;
    let mut back = Peer::resume(&server, left).await;
    assert_eq!(
        back.end_of(&short).await["payload"]["result"],
        json!({"slept_ms": 500})
    );
    let end = back.end_of(&long).await["payload"].clone();
    assert_eq!(
        (&end["code"], &end["details"]["reason"]),
        (&json!("INTERNAL_ERROR"), &json!("runtime_shutdown")),
        "{end}"
    );
}

/// A second signal does not wait for the drain.
#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mut server = Serve::demo()
        .with(&["--drain", "3600", "--store", "memory"])
        .start()
        .await;
    let mut peer = Peer::open(&server).await;
    peer.submit(json!({"agent": "sleep", "input": {"ms": 3_600_000}}))
        .await;
    server.signal(Signal::SIGINT);
    peer.closed().await;
    server.signal(Signal::SIGINT);
    let (status, _) = server.ended().await;
    assert_ne!(status, Some(0), "it was not drained");
}

/// [ARCP 4-8] With a certificate the line says `wss://`, and a client that trusts it gets through; plain text does not.
#[tokio::test]
async fn tls_is_wss() {
    let place = std::sync::Arc::new(towline_tests::program::Place::new());
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])
        .unwrap();
    let cert = place.write("cert.pem", made.cert.pem());
    let key = place.write("key.pem", made.signing_key.serialize_pem());
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let server = Serve::demo()
        .at(&place)
        .with(&["--store", "memory", "--tls-cert", cert, "--tls-key", key])
        .start()
        .await;
    assert!(server.url.starts_with("wss://127.0.0.1:"), "{}", server.url);
    let flags = server.flags("alice");
    let run = |more: &[&str]| -> Vec<String> {
        ["run", "echo", "--input", "1"]
            .iter()
            .map(|&arg| arg.to_owned())
            .chain(flags.clone())
            .chain(more.iter().map(|&arg| arg.to_owned()))
            .collect()
    };
    let ran = place.run(run(&["--ca-cert", cert])).await.status(0);
    assert_eq!(ran.stdout, "1\n");
    place.run(run(&[])).await.status(20);
    let plain = [
        "run",
        "echo",
        "--url",
        &server.url.replace("wss:", "ws:"),
        "--token",
        "alice-token",
        "--timeout",
        "5s",
    ];
    place.run(plain).await.status(20);
}

/// [ARCP 14-1] A principal has so many sessions; leaving makes room, and others are not touched.
#[tokio::test]
async fn sessions_are_counted() {
    let server = Serve::demo().with(&["--store", "memory"]).start().await;
    let mut open = Vec::new();
    for _ in 0..64 {
        open.push(Peer::open(&server).await);
    }
    let mut one_more = Peer::dial(&server.url).await;
    one_more.send(&hello("alice-token", &FEATURES)).await;
    let (code, before) = one_more.closed().await;
    assert_eq!(code, 1008);
    assert_refusal(&before[0], "INTERNAL_ERROR");
    Peer::open_as(&server, "bob", &FEATURES)
        .await
        .assert_alive()
        .await;
    open.pop().unwrap().close(1000).await;
    // The place is free once the server noticed.
    loop {
        let mut peer = Peer::dial(&server.url).await;
        peer.send(&hello("alice-token", &FEATURES)).await;
        if peer.next().await["type"] == "session.welcome" {
            break;
        }
    }
}
