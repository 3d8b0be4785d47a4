//! Handshake, heartbeat, acknowledging, closing.

use std::time::Duration;

use serde_json::json;
use tokio::{join, sync::mpsc};
use towline_client::{Client, ClientError, Connection, HandshakeError, Loss, Origin, SessionOver};
use towline_transport::{Inbound, MemoryTransport};
use towline_wire::{Envelope, ErrorCode, Feature, FeatureSet};

use crate::peer::*;

/// The hello names the client, proves the principal and lists encodings and features.
#[tokio::test(start_paused = true)]
async fn the_hello_says_who_and_what() {
    let (mut peer, near) = Peer::pair();
    let (client, hello) = join!(
        Client::connect(near, options().name("nightly", "2")),
        peer.welcome(&ALL)
    );
    client.unwrap();
    assert_eq!(
        hello.payload()["client"],
        json!({"name": "nightly", "version": "2"})
    );
    assert_eq!(
        hello.payload()["auth"],
        json!({"scheme": "bearer", "token": "secret"})
    );
    assert_eq!(
        hello.payload()["capabilities"],
        json!({"encodings": ["json"], "features": ALL})
    );
    let wished = hello.0["session_id"].as_str().unwrap();
    assert!(
        wished.starts_with("sess_"),
        "named by the client for one runtime's sake"
    );
}

/// What is in effect is what both named, also where the runtime lists all of its own.
#[tokio::test(start_paused = true)]
async fn features_are_the_intersection() {
    let wanted = FeatureSet::ALL.without(Feature::Ack);
    let (client, _peer) = connected_with(options().features(wanted), &["ack", "subscribe"]).await;
    let session = client.session().unwrap();
    assert_eq!(
        session.features(),
        FeatureSet::NONE.with(Feature::Subscribe)
    );
    assert_eq!(
        (session.id().as_str(), session.runtime().name.as_str()),
        (SESSION, "script")
    );
    assert_eq!(session.agents()[0].versions, ["1.0.0"]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_hello_is_a_typed_error() {
    let error = refused(|mut peer| async move {
        peer.expect("session.hello").await;
        peer.send(refusal(None, "UNAUTHENTICATED")).await;
        assert_eq!(
            peer.expect_end().await,
            Some(1000),
            "the client does not wait for the peer to close"
        );
    })
    .await;
    assert_eq!(error.code(), Some(&ErrorCode::UNAUTHENTICATED));
    assert_eq!(
        (error.origin(), error.is_retryable()),
        (Origin::Peer, false)
    );
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_does_not_answer_is_left() {
    let error = refused(|mut peer| async move {
        peer.expect("session.hello").await;
        peer.expect_end().await;
    })
    .await;
    let after = Duration::from_secs(10);
    assert!(
        matches!(error, ClientError::Handshake(HandshakeError::Timeout { after: a }) if a == after),
        "{error:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_ends_before_the_welcome_is_an_error() {
    let error = refused(|mut peer| async move {
        peer.expect("session.hello").await;
    })
    .await;
    assert!(
        matches!(error, ClientError::Handshake(HandshakeError::Ended)),
        "{error:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_older_protocol_is_named() {
    for seen in [
        "session.accepted",
        "session.unauthenticated",
        "nack",
        "tool.invoke",
    ] {
        let error = refused(|mut peer| async move {
            peer.expect("session.hello").await;
            peer.send(json!({"id": "1", "type": seen, "payload": {}}))
                .await;
        })
        .await;
        let ClientError::Handshake(cause) = &error else {
            panic!("{error:?}")
        };
        assert!(cause.to_string().contains("older protocol"), "{cause}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_welcome_and_another_answer_are_errors() {
    let error = refused(|mut peer| async move {
        peer.expect("session.hello").await;
        peer.send(json!({"type": "session.welcome", "payload": {"capabilities": 7}}))
            .await;
    })
    .await;
    assert!(
        matches!(error, ClientError::Handshake(HandshakeError::Welcome(_))),
        "{error:?}"
    );
    let error = refused(|mut peer| async move {
        peer.expect("session.hello").await;
        peer.send(json!({"type": "job.event", "payload": {}})).await;
    })
    .await;
    assert!(
        matches!(error, ClientError::Handshake(HandshakeError::Unexpected(_))),
        "{error:?}"
    );
}

/// A ping is answered at once, with its nonce.
#[tokio::test(start_paused = true)]
async fn pings_are_answered() {
    let (_client, mut peer) = connected().await;
    peer.send(json!({"id": "p", "type": "session.ping", "session_id": SESSION, "payload": {"nonce": "n7"}})).await;
    let pong = peer.expect("session.pong").await;
    assert_eq!(pong.payload()["ping_nonce"], "n7");
    assert_eq!(pong.payload()["received_at"], "2026-01-01T00:00:00.000Z");
    assert!(pong.0.get("event_seq").is_none());
}

/// [ARCP 6.4-2, 6.4-4] The client pings when nothing is said for an interval, and leaves after two silent ones.
#[tokio::test(start_paused = true)]
async fn a_silent_runtime_is_pinged_and_then_left() {
    let (client, mut peer) = connected().await;
    let begun = tokio::time::Instant::now();
    let ping = peer.expect("session.ping").await;
    assert_eq!(begun.elapsed(), Duration::from_secs(30));
    assert!(
        ping.payload()["nonce"].as_str().unwrap().starts_with("p_")
            && ping.0.get("event_seq").is_none()
    );
    assert_eq!(peer.expect_end().await, Some(1001));
    assert_eq!(begun.elapsed(), Duration::from_secs(60));
    assert!(matches!(
        client.connection(),
        Connection::Lost {
            cause: Loss::HeartbeatLost
        }
    ));
}

/// [ARCP 6.2-3] Without `heartbeat` there is no ping and no watchdog.
#[tokio::test(start_paused = true)]
async fn without_heartbeat_silence_is_nothing() {
    let (client, mut peer) = connected_with(options(), &["ack"]).await;
    peer.expect_silence(Duration::from_secs(600)).await;
    assert!(matches!(client.connection(), Connection::Live));
    assert!(matches!(
        client.ping().await,
        Err(ClientError::FeatureMissing(Feature::Heartbeat))
    ));
}

#[tokio::test(start_paused = true)]
async fn a_ping_takes_as_long_as_its_pong() {
    let (client, mut peer) = connected().await;
    let (took, ()) = join!(client.ping(), async {
        let ping = peer.expect("session.ping").await;
        tokio::time::sleep(Duration::from_millis(40)).await;
        let nonce = &ping.payload()["nonce"];
        peer.send(json!({"id": "p", "type": "session.pong", "payload": {"ping_nonce": nonce}}))
            .await;
    });
    assert_eq!(took.unwrap(), Duration::from_millis(40));
}

/// [ARCP 6.5-5] The client acknowledges what its handles gave out: after 256 events, and 250 ms.
#[tokio::test(start_paused = true)]
async fn processed_events_are_acknowledged() {
    let (client, mut peer) = connected().await;
    let (job, _) = join!(client.submit("echo").send(), peer.accept("job_1"));
    let mut job = job.unwrap();
    for seq in 1..=300 {
        peer.send(log("job_1", seq, "x")).await;
    }
    peer.expect_silence(Duration::from_secs(1)).await;
    for _ in 0..290 {
        job.next_event().await.unwrap().unwrap();
    }
    let ack = peer.expect("session.ack").await;
    assert_eq!(
        ack.payload()["last_processed_seq"],
        290,
        "what was not read is not processed"
    );
    for _ in 0..10 {
        job.next_event().await.unwrap().unwrap();
    }
    let (closed, ()) = join!(client.close("done"), async {
        assert_eq!(
            peer.expect("session.ack").await.payload()["last_processed_seq"],
            300,
            "flushed at the close"
        );
        assert_eq!(
            peer.expect("session.close").await.payload()["reason"],
            "done"
        );
        peer.send(
            json!({"id": "c", "type": "session.closed", "session_id": SESSION, "payload": {}}),
        )
        .await;
        assert_eq!(peer.expect_end().await, Some(1000));
    });
    closed.unwrap();
}

/// [ARCP 6.2-3] Without `ack` there is none.
#[tokio::test(start_paused = true)]
async fn without_ack_nothing_is_acknowledged() {
    let (client, mut peer) = connected_with(options(), &[]).await;
    let (job, _) = join!(client.submit("echo").send(), peer.accept("job_1"));
    job.unwrap().discard_events();
    for seq in 1..=600 {
        peer.send(log("job_1", seq, "x")).await;
    }
    peer.expect_silence(Duration::from_secs(60)).await;
}

/// A close says why and waits for the answer, but not forever.
#[tokio::test(start_paused = true)]
async fn a_close_ends_whether_it_is_answered_or_not() {
    let (client, mut peer) = connected().await;
    let begun = tokio::time::Instant::now();
    let (closed, ()) = join!(client.close("bye"), async {
        peer.expect("session.close").await;
        peer.expect_end().await;
    });
    closed.unwrap();
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
    assert!(matches!(
        client.connection(),
        Connection::Over(SessionOver::Closed)
    ));
    let late = client.submit("echo").send().await.unwrap_err();
    assert!(
        matches!(late, ClientError::SessionOver(SessionOver::Closed)),
        "{late:?}"
    );
    client.close("again").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_closes_the_session() {
    let (client, mut peer) = connected().await;
    let (job, _) = join!(client.submit("echo").send(), peer.accept("job_1"));
    drop(client);
    peer.expect_silence(Duration::from_secs(20)).await;
    drop(job);
    peer.expect("session.close").await;
    peer.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_taken_over_elsewhere_is_over() {
    let (client, mut peer) = connected().await;
    let changed = client.connection_changed();
    peer.send(json!({"id": "c", "type": "session.closed", "session_id": SESSION, "payload": {"reason": "superseded"}}))
        .await;
    let over = SessionOver::ByRuntime {
        reason: Some("superseded".to_owned()),
    };
    assert!(matches!(changed.await, Connection::Over(why) if why == over));
}

/// [ARCP 5-2] Unknown fields and types, vendor types and frames of another session do no harm.
#[tokio::test(start_paused = true)]
async fn what_is_not_understood_is_passed_over() {
    let (client, mut peer) = connected().await;
    let (job, _) = join!(client.submit("echo").send(), peer.accept("job_1"));
    for odd in [
        json!({"id": "1", "type": "x-vendor.acme.hello", "session_id": SESSION, "payload": {}}),
        json!({"id": "2", "type": "session.news", "session_id": SESSION, "payload": {}}),
        json!({"id": "3", "type": "job.event", "session_id": "sess_other", "job_id": "job_1", "event_seq": 9, "payload": {}}),
        json!({"id": "4", "type": "session.jobs", "session_id": SESSION, "payload": {"jobs": 7}}),
        json!({"id": "5", "type": "session.welcome", "session_id": SESSION, "payload": {}}),
    ] {
        peer.send(odd).await;
    }
    peer.send(
        json!({"id": "6", "type": "job.result", "job_id": "job_1", "event_seq": 1, "future": 1,
        "payload": {"final_status": "success", "result": 5, "future": [1]}}),
    )
    .await;
    assert_eq!(job.unwrap().result_json::<u32>().await.unwrap(), 5);
    assert!(client.counters().await.unwrap().ignored >= 3);
}

async fn injecting() -> (Client, Peer, mpsc::Sender<Inbound>) {
    let (mut peer, near) = Peer::pair();
    let (inject, injected) = mpsc::channel(8);
    let near = Injected {
        inner: near,
        injected,
    };
    let (client, _) = join!(Client::connect(near, options()), peer.welcome(&ALL));
    (client.unwrap(), peer, inject)
}

/// [ARCP 4-6] A frame above the limit is answered with an error and close 1009, and ends the session: it would come again.
#[tokio::test(start_paused = true)]
async fn too_big_a_frame_ends_the_session() {
    let (client, mut peer, inject) = injecting().await;
    let (job, _) = join!(client.submit("echo").send(), peer.accept("job_1"));
    inject
        .send(Inbound::TooBig {
            limit: 16 << 20,
            fatal: true,
        })
        .await
        .unwrap();
    let error = peer.expect("session.error").await;
    assert_eq!(error.payload()["code"], "INVALID_REQUEST");
    assert!(
        error.payload()["message"]
            .as_str()
            .unwrap()
            .contains("16777216")
    );
    assert_eq!(peer.expect_end().await, Some(1009));
    let error = job.unwrap().outcome().await.unwrap_err();
    assert!(
        matches!(
            error,
            ClientError::SessionOver(SessionOver::TooBig { limit: 16_777_216 })
        ),
        "{error:?}"
    );
}

/// What is no envelope is counted and skipped; the session goes on.
#[tokio::test(start_paused = true)]
async fn malformed_frames_are_skipped() {
    let (client, mut peer, inject) = injecting().await;
    let malformed = Envelope::decode_text("{oops").unwrap_err();
    inject.send(Inbound::Malformed(malformed)).await.unwrap();
    inject
        .send(Inbound::TooBig {
            limit: 9,
            fatal: false,
        })
        .await
        .unwrap();
    let (job, _) = join!(client.submit("echo").send(), peer.accept("job_1"));
    peer.send(result("job_1", 1, json!({"result": 1}))).await;
    assert_eq!(job.unwrap().result_json::<u8>().await.unwrap(), 1);
    assert_eq!(client.counters().await.unwrap().ignored, 2);
}

/// Any bytes count as heard.
#[tokio::test(start_paused = true)]
async fn signs_of_life_keep_the_session() {
    let (client, mut peer, inject) = injecting().await;
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(25)).await;
        inject.send(Inbound::Alive).await.unwrap();
    }
    assert!(matches!(client.connection(), Connection::Live));
    peer.expect("session.ping").await;
}

/// A runtime's last word is heard although nothing can be sent to it any more.
#[tokio::test(start_paused = true)]
async fn the_last_word_counts_more_than_a_failed_send() {
    let (client, peer) = connected().await;
    let closed = json!({"id": "c", "type": "session.closed", "session_id": SESSION, "payload": {"reason": "superseded"}});
    let (job, _sink) = join!(
        client.submit("echo").send(),
        peer.stop_reading_and_send(closed)
    );
    let over = SessionOver::ByRuntime {
        reason: Some("superseded".to_owned()),
    };
    assert!(matches!(job, Err(ClientError::SessionOver(why)) if why == over));
}

/// A connection that cannot be written and does not end is given up after a while.
#[tokio::test(start_paused = true)]
async fn a_deaf_runtime_is_left() {
    let (client, peer) = connected().await;
    let (job, _sink) = join!(
        client.submit("echo").send(),
        peer.stop_reading_and_send(log("job_1", 1, "still here"))
    );
    assert!(
        matches!(
            job,
            Err(ClientError::Disconnected {
                maybe_accepted: true
            })
        ),
        "{job:?}"
    );
}

/// [ARCP 6.5-5] A flood that never pauses delays no acknowledgement to its end.
#[tokio::test(start_paused = true)]
async fn a_flood_is_acknowledged_while_it_lasts() {
    let (near, far) = MemoryTransport::pair_with(30_000);
    let mut peer = Peer::on(far);
    let (client, _) = join!(Client::connect(near, options()), peer.welcome(&ALL));
    let client = client.unwrap();
    let (job, _) = join!(client.submit("burst").send(), peer.accept("job_1"));
    job.unwrap().discard_events();
    tokio::time::advance(Duration::from_secs(1)).await;
    for seq in 1..=20_000 {
        peer.send(log("job_1", seq, "x")).await;
    }
    let ack = peer.expect("session.ack").await;
    assert!(
        ack.payload()["last_processed_seq"].as_u64().unwrap() < 10_000,
        "{ack:?}"
    );
}
