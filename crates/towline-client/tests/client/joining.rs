//! Handles of jobs that are under way, or over, when they come: nothing of the job's past is lost or doubled.

use futures_util::TryStreamExt as _;
use serde_json::{Value, json};
use tokio::join;
use towline_client::{JobEvent, JobHandle};
use towline_wire::{JobId, JobSeq};

use crate::peer::*;

fn subscribed(request: &Frame, status: &str, from: u64) -> Value {
    json!({"id": "s", "type": "job.subscribed", "session_id": SESSION, "job_id": "job_1", "payload": {
        "request_id": request.id(), "job_id": "job_1", "current_status": status, "agent": "echo@1.0.0", "lease": {},
        "parent_job_id": null, "subscribed_from": from, "replayed": true}})
}

fn placed(mut frame: Value, place: u64) -> Value {
    frame["job_seq"] = json!(place);
    frame
}

fn line(seq: u64, place: u64) -> Value {
    placed(log("job_1", seq, &format!("line {place}")), place)
}

fn end(seq: u64, place: u64) -> Value {
    placed(result("job_1", seq, json!({"result": 1})), place)
}

fn places(events: Vec<JobEvent>) -> Vec<u64> {
    events
        .iter()
        .map(|event| event.job_seq().unwrap().value())
        .collect()
}

/// A client with a handle that has one event, and a second handle of the same job whose past was asked for.
async fn joined(peer: &mut Peer, client: &towline_client::Client) -> (JobHandle, JobHandle, Frame) {
    let (first, _) = join!(
        client.submit("echo").idempotency_key("k").send(),
        peer.accept("job_1")
    );
    peer.send(line(1, 1)).await;
    let (second, asked) = join!(client.submit("echo").idempotency_key("k").send(), async {
        peer.accept("job_1").await;
        peer.expect("job.subscribe").await
    });
    (first.unwrap(), second.unwrap(), asked)
}

/// [ARCP 7.6-6] Events of before the subscribe that are still under way when it is answered come again with the history;
/// a handle that joins takes them from there.
#[tokio::test(start_paused = true)]
async fn live_events_do_not_overtake_the_past() {
    let (client, mut peer) = connected().await;
    let (first, second, asked) = joined(&mut peer, &client).await;
    peer.send(line(2, 2)).await;
    peer.send(subscribed(&asked, "running", 3)).await;
    peer.send(line(3, 3)).await;
    for (seq, place) in [(4, 1), (5, 2), (6, 3), (7, 4)] {
        peer.send(line(seq, place)).await;
    }
    peer.send(end(8, 5)).await;
    for handle in [first, second] {
        assert_eq!(places(handle.try_collect().await.unwrap()), [1, 2, 3, 4]);
    }
}

/// A job that ends before its past came: the end a joining handle sees is that of the history.
#[tokio::test(start_paused = true)]
async fn an_end_that_overtakes_the_past_is_not_the_end() {
    let (client, mut peer) = connected().await;
    let (first, mut second, asked) = joined(&mut peer, &client).await;
    peer.send(end(2, 2)).await;
    peer.send(subscribed(&asked, "success", 2)).await;
    peer.send(line(3, 1)).await;
    peer.send(end(4, 2)).await;
    assert_eq!(places(first.try_collect().await.unwrap()), [1]);
    assert_eq!(
        second.next_event().await.unwrap().unwrap().job_seq(),
        Some(JobSeq::FIRST)
    );
    assert!(second.next_event().await.unwrap().is_none());
    assert!(second.outcome().await.unwrap().is_success());
}

/// A past that is refused for now is asked for again.
#[tokio::test(start_paused = true)]
async fn a_past_that_is_refused_for_now_is_asked_for_again() {
    let (client, mut peer) = connected().await;
    let (_first, second, asked) = joined(&mut peer, &client).await;
    let mut refused = refusal(Some(&asked), "INTERNAL_ERROR");
    refused["payload"]["retryable"] = json!(true);
    peer.send(refused).await;
    let again = peer.expect("job.subscribe").await;
    peer.send(subscribed(&again, "running", 1)).await;
    peer.send(line(2, 1)).await;
    peer.send(end(3, 2)).await;
    assert_eq!(places(second.try_collect().await.unwrap()), [1]);
}

/// Nothing comes after the end of a job that is over; a subscription from there does not wait for it.
#[tokio::test(start_paused = true)]
async fn there_is_nothing_behind_the_end() {
    let (client, mut peer) = connected().await;
    let job = JobId::parse("job_1").unwrap();
    let (watch, ()) = join!(client.subscribe(job).from(JobSeq::new(7)).send(), async {
        let request = peer.expect("job.subscribe").await;
        peer.send(subscribed(&request, "success", 7)).await;
    });
    assert!(watch.unwrap().next_event().await.unwrap().is_none());
}

/// [ARCP 7.6-1] A subscription without history begins behind `subscribed_from`, whatever another handle of the same job
/// is sent.
#[tokio::test(start_paused = true)]
async fn a_live_subscription_gets_no_history_of_others() {
    let (client, mut peer) = connected().await;
    let (first, second, asked) = joined(&mut peer, &client).await;
    let job = JobId::parse("job_1").unwrap();
    let (live, ()) = join!(client.subscribe(job).send(), async {
        let request = peer.expect("job.subscribe").await;
        peer.send(line(2, 2)).await;
        peer.send(subscribed(&asked, "running", 2)).await;
        peer.send(subscribed(&request, "running", 2)).await;
        for (seq, place) in [(3, 1), (4, 2), (5, 3)] {
            peer.send(line(seq, place)).await;
        }
        peer.send(end(6, 4)).await;
    });
    assert_eq!(places(live.unwrap().try_collect().await.unwrap()), [3]);
    for handle in [first, second] {
        assert_eq!(places(handle.try_collect().await.unwrap()), [1, 2, 3]);
    }
}
