//! What happens when a handle is not read.

use std::time::Duration;

use serde_json::json;
use tokio::{join, time::timeout};
use towline_client::{ClientError, Connection, Origin};

use crate::peer::*;

const A_WHILE: Duration = Duration::from_secs(1);

/// Sends as much as the client takes; gives how many.
async fn flood(peer: &mut Peer, job: &str, from: u64) -> u64 {
    for seq in from.. {
        if timeout(A_WHILE, peer.try_send(log(job, seq, "x")))
            .await
            .is_err()
        {
            return seq - 1;
        }
        assert!(seq < 100_000, "nothing stops the flood");
    }
    unreachable!()
}

/// A full handle stops the reading, with a bound; reading it sets things going again, with nothing lost.
#[tokio::test(start_paused = true)]
async fn a_full_handle_holds_the_session_back() {
    let (client, mut peer) = connected_with(options().buffer(10), &["ack"]).await;
    let (job, _) = join!(client.submit("burst").send(), peer.accept("job_1"));
    let mut job = job.unwrap();
    let sent = flood(&mut peer, "job_1", 1).await;
    assert!(
        (10..1024).contains(&sent),
        "{sent}: the handle's bound, one read, and what the transport holds"
    );
    for seq in 1..=sent {
        assert_eq!(
            job.next_event()
                .await
                .unwrap()
                .unwrap()
                .event_seq()
                .unwrap()
                .value(),
            seq
        );
    }
    // The flood's last frame was given up, so its number is free.
    peer.send(result("job_1", sent + 1, json!({"result": 1})))
        .await;
    assert!(job.outcome().await.unwrap().is_success());
}

/// [ARCP 6.4-4] A session that is held back is not lost: it pings, and does not mistake its own silence for the runtime's.
#[tokio::test(start_paused = true)]
async fn a_held_session_stays_alive() {
    let (client, mut peer) = connected_with(options().buffer(10), &ALL).await;
    let (job, _) = join!(client.submit("burst").send(), peer.accept("job_1"));
    flood(&mut peer, "job_1", 1).await;
    for _ in 0..10 {
        peer.expect("session.ping").await;
    }
    assert!(matches!(client.connection(), Connection::Live));
    drop(job);
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_is_stuck_behind_a_full_handle_says_so() {
    let (client, mut peer) = connected_with(options().buffer(10), &[]).await;
    let (job, _) = join!(client.submit("burst").send(), peer.accept("job_1"));
    flood(&mut peer, "job_1", 1).await;
    let error = client.submit("echo").send().await.unwrap_err();
    let id = job.as_ref().unwrap().id();
    assert!(
        matches!(&error, ClientError::Timeout { blocked_by: Some(blocker), .. } if blocker == id),
        "{error:?}"
    );
    assert!(error.to_string().contains("job_1"), "{error}");
    assert_eq!(error.origin(), Origin::Local);
}

#[tokio::test(start_paused = true)]
async fn dropping_a_full_handle_sets_the_session_free() {
    let (client, mut peer) = connected_with(options().buffer(10), &[]).await;
    let (job, _) = join!(client.submit("burst").send(), peer.accept("job_1"));
    flood(&mut peer, "job_1", 1).await;
    drop(job);
    let (other, _) = join!(client.submit("echo").send(), async {
        let submit = peer.expect("job.submit").await;
        peer.send(accepted("job_2", &submit)).await;
    });
    assert_eq!(other.unwrap().id().as_str(), "job_2");
}

/// Waiting for the outcome alone never stops the session, however much comes before it.
#[tokio::test(start_paused = true)]
async fn an_outcome_needs_no_reading() {
    let (client, mut peer) = connected_with(options().buffer(4), &[]).await;
    let (job, _) = join!(client.submit("burst").send(), peer.accept("job_1"));
    let mut job = job.unwrap();
    let (outcome, ()) = join!(job.outcome(), async {
        for seq in 1..=20_000 {
            peer.send(log("job_1", seq, "x")).await;
        }
        peer.send(chunk("job_1", 20_001, 0, "done", false)).await;
        peer.send(result("job_1", 20_002, json!({"result_id": "res_1"})))
            .await;
    });
    assert!(outcome.unwrap().is_success());
    assert_eq!(job.result_text().await.unwrap(), "done");
}

/// An outcome that was begun and put aside does not stop the session either.
#[tokio::test(start_paused = true)]
async fn discarded_events_stop_nothing() {
    let (client, mut peer) = connected_with(options().buffer(4), &[]).await;
    let (job, _) = join!(client.submit("burst").send(), peer.accept("job_1"));
    let mut job = job.unwrap();
    job.discard_events();
    for seq in 1..=5_000 {
        peer.send(log("job_1", seq, "x")).await;
    }
    peer.send(result("job_1", 5_001, json!({"result": 1})))
        .await;
    assert!(
        job.next_event().await.unwrap().is_none(),
        "nothing but the end is left"
    );
    assert!(job.outcome().await.unwrap().is_success());
}

/// A stream of the result holds the session back like events do: memory stays bounded.
#[tokio::test(start_paused = true)]
async fn a_result_stream_is_bounded() {
    let (client, mut peer) = connected_with(options().buffer(8), &[]).await;
    let (job, _) = join!(client.submit("stream").send(), peer.accept("job_1"));
    let mut job = job.unwrap();
    let mut stream = job.result_stream();
    peer.send(chunk("job_1", 1, 0, "first", true)).await;
    assert_eq!(stream.next().await.unwrap().unwrap(), "first");
    let mut held = None;
    for number in 1..10_000 {
        if timeout(
            A_WHILE,
            peer.try_send(chunk("job_1", number + 1, number, "x", true)),
        )
        .await
        .is_err()
        {
            held = Some(number);
            break;
        }
    }
    let held = held.expect("nothing stops the flood");
    for _ in 1..held {
        assert_eq!(stream.next().await.unwrap().unwrap(), "x");
    }
}

/// Chunks above the cap are let go while nobody looks; the outcome says so.
#[tokio::test(start_paused = true)]
async fn chunks_nobody_takes_are_bounded_by_the_cap() {
    let (client, mut peer) = connected_with(options().result_cap(1 << 20), &[]).await;
    let (job, _) = join!(client.submit("stream").send(), peer.accept("job_1"));
    let mut job = job.unwrap();
    job.discard_events();
    let piece = "x".repeat(1 << 20);
    for number in 0..40 {
        peer.send(chunk("job_1", number + 1, number, &piece, true))
            .await;
    }
    peer.send(result("job_1", 41, json!({"result_id": "res_1"})))
        .await;
    let error = job.outcome().await.unwrap_err();
    assert!(
        matches!(
            error,
            ClientError::Result(towline_client::AssemblyError::TooBig { .. })
        ),
        "{error:?}"
    );
}

/// A child nobody takes keeps a little and stops nothing; who takes it later is told.
#[tokio::test(start_paused = true)]
async fn unclaimed_jobs_stop_nothing() {
    let (client, mut peer) = connected_with(options(), &[]).await;
    peer.send(
        json!({"id": "a", "type": "job.accepted", "session_id": SESSION, "job_id": "job_c",
        "payload": {"job_id": "job_c", "agent": "child@1", "parent_job_id": "job_p"}}),
    )
    .await;
    for seq in 1..=3_000 {
        peer.send(log("job_c", seq, "x")).await;
    }
    let mut child = client.unsolicited_jobs().next().await.unwrap();
    assert!(matches!(
        child.next_event().await,
        Err(ClientError::EventsDropped { .. })
    ));
    peer.send(log("job_c", 3_001, "x")).await;
    let mut seqs = Vec::new();
    while seqs.last() != Some(&3_001) {
        seqs.push(
            child
                .next_event()
                .await
                .unwrap()
                .unwrap()
                .event_seq()
                .unwrap()
                .value(),
        );
    }
    assert!(
        seqs.len() < 1_000 && seqs.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "whole from there on: {seqs:?}"
    );
}
