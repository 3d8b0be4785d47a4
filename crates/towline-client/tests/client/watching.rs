//! Subscriptions and listings.

use futures_util::TryStreamExt as _;
use serde_json::{Value, json};
use tokio::join;
use towline_client::{ClientError, Subscription};
use towline_wire::{ErrorCode, JobId, JobSeq, JobStatus, Timestamp};

use crate::peer::*;

fn job() -> JobId {
    JobId::parse("job_1").unwrap()
}

fn subscribed(request: &Frame, status: &str) -> Value {
    json!({"id": "s", "type": "job.subscribed", "session_id": SESSION, "job_id": "job_1", "payload": {
        "request_id": request.id(), "job_id": "job_1", "current_status": status, "agent": "echo@1.0.0", "lease": {},
        "parent_job_id": null, "subscribed_from": 2, "replayed": true}})
}

/// An event with its place in the job's own log.
fn placed(seq: u64, place: u64) -> Value {
    let mut frame = log("job_1", seq, &format!("line {place}"));
    frame["job_seq"] = json!(place);
    frame
}

async fn places(subscription: &mut Subscription, count: usize) -> Vec<u64> {
    let mut places = Vec::new();
    for _ in 0..count {
        places.push(
            subscription
                .next_event()
                .await
                .unwrap()
                .unwrap()
                .job_seq()
                .unwrap()
                .value(),
        );
    }
    places
}

/// A subscription gives history, then what is live, each event once, then the outcome.
#[tokio::test(start_paused = true)]
async fn history_then_live() {
    let (client, mut peer) = connected().await;
    let (watch, frame) = join!(client.subscribe(job()).history(true).send(), async {
        let request = peer.expect("job.subscribe").await;
        peer.send(subscribed(&request, "running")).await;
        request
    });
    let mut watch = watch.unwrap();
    assert_eq!(frame.0["job_id"], "job_1");
    assert_eq!(
        frame.payload(),
        &json!({"job_id": "job_1", "history": true})
    );
    assert_eq!(
        (
            watch.subscribed().current_status,
            watch.subscribed().subscribed_from.value()
        ),
        (JobStatus::Running, 2)
    );
    for n in 1..=3 {
        peer.send(placed(n, n)).await;
    }
    peer.send(result("job_1", 4, json!({"result": "r"}))).await;
    assert_eq!(places(&mut watch, 3).await, [1, 2, 3]);
    assert!(watch.outcome().await.unwrap().is_success());
}

#[tokio::test(start_paused = true)]
async fn history_from_a_place() {
    let (client, mut peer) = connected().await;
    let (watch, frame) = join!(client.subscribe(job()).from(JobSeq::new(2)).send(), async {
        let request = peer.expect("job.subscribe").await;
        peer.send(subscribed(&request, "running")).await;
        request
    });
    assert_eq!(
        frame.payload(),
        &json!({"job_id": "job_1", "history": true, "from_event_seq": 2})
    );
    peer.send(placed(1, 3)).await;
    assert_eq!(places(&mut watch.unwrap(), 1).await, [3]);
}

/// Of a session's own job, history goes to the subscription alone, and live events to both, once each.
#[tokio::test(start_paused = true)]
async fn watching_an_own_job_doubles_nothing() {
    let (client, mut peer) = connected().await;
    let (own, _) = join!(client.submit("echo").send(), peer.accept("job_1"));
    let mut own = own.unwrap();
    peer.send(placed(1, 1)).await;
    peer.send(placed(2, 2)).await;
    let (watch, ()) = join!(client.subscribe(job()).history(true).send(), async {
        let request = peer.expect("job.subscribe").await;
        peer.send(subscribed(&request, "running")).await;
        for (seq, place) in [(3, 1), (4, 2), (5, 3)] {
            peer.send(placed(seq, place)).await;
        }
        peer.send(result("job_1", 6, json!({"result": 1}))).await;
    });
    let mut watch = watch.unwrap();
    assert_eq!(places(&mut watch, 3).await, [1, 2, 3]);
    let mut seen = Vec::new();
    while let Some(event) = own.next_event().await.unwrap() {
        seen.push(event.job_seq().unwrap().value());
    }
    assert_eq!(seen, [1, 2, 3]);
    assert!(
        own.outcome().await.unwrap().is_success() && watch.outcome().await.unwrap().is_success()
    );
}

/// Of a job that is over, its history has the end; without history there is nothing to wait for.
#[tokio::test(start_paused = true)]
async fn a_job_that_is_over_makes_nobody_wait() {
    let (client, mut peer) = connected().await;
    let (watch, ()) = join!(client.subscribe(job()).send(), async {
        let request = peer.expect("job.subscribe").await;
        peer.send(subscribed(&request, "cancelled")).await;
    });
    let mut watch = watch.unwrap();
    assert!(watch.next_event().await.unwrap().is_none());
    let error = watch.outcome().await.unwrap_err();
    assert!(
        matches!(
            error,
            ClientError::AlreadyEnded {
                status: JobStatus::Cancelled,
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_subscribe_leaves_nothing_behind() {
    let (client, mut peer) = connected().await;
    let (watch, ()) = join!(client.subscribe(job()).send(), async {
        let request = peer.expect("job.subscribe").await;
        peer.send(refusal(Some(&request), "JOB_NOT_FOUND")).await;
    });
    assert_eq!(watch.unwrap_err().code(), Some(&ErrorCode::JOB_NOT_FOUND));
    assert!(
        client
            .resume_state()
            .await
            .unwrap()
            .unwrap()
            .job_ids()
            .is_empty()
    );
}

/// Two subscriptions are one to the runtime: it is told when the last one ends.
#[tokio::test(start_paused = true)]
async fn the_runtime_is_told_of_the_last_unsubscribe() {
    let (client, mut peer) = connected().await;
    let watch = async |peer: &mut Peer| {
        let (watch, ()) = join!(client.subscribe(job()).send(), async {
            let request = peer.expect("job.subscribe").await;
            peer.send(subscribed(&request, "running")).await;
        });
        watch.unwrap()
    };
    let first = watch(&mut peer).await;
    let second = watch(&mut peer).await;
    first.unsubscribe().await.unwrap();
    peer.send(placed(1, 3)).await;
    let mut second = second;
    assert_eq!(places(&mut second, 1).await, [3]);
    second.unsubscribe().await.unwrap();
    let frame = peer.expect("job.unsubscribe").await;
    assert_eq!(
        (&frame.0["job_id"], frame.payload()),
        (&json!("job_1"), &json!({"job_id": "job_1"}))
    );
}

#[tokio::test(start_paused = true)]
async fn a_dropped_subscription_ends_with_the_next_event() {
    let (client, mut peer) = connected().await;
    let (watch, ()) = join!(client.subscribe(job()).send(), async {
        let request = peer.expect("job.subscribe").await;
        peer.send(subscribed(&request, "running")).await;
    });
    drop(watch);
    peer.send(placed(1, 1)).await;
    peer.expect("job.unsubscribe").await;
    // What was under way is nobody's job.
    peer.send(placed(2, 2)).await;
    assert!(client.unsolicited_jobs().try_next().is_none());
}

/// An idempotent submit that finds a running job gives a handle that sees all of it.
#[tokio::test(start_paused = true)]
async fn a_second_handle_of_one_job_sees_its_past() {
    let (client, mut peer) = connected().await;
    let (first, _) = join!(
        client.submit("echo").idempotency_key("k").send(),
        peer.accept("job_1")
    );
    peer.send(placed(1, 1)).await;
    let (second, subscribe) = join!(client.submit("echo").idempotency_key("k").send(), async {
        peer.accept("job_1").await;
        peer.expect("job.subscribe").await
    });
    assert_eq!(
        subscribe.payload(),
        &json!({"job_id": "job_1", "history": true})
    );
    peer.send(subscribed(&subscribe, "running")).await;
    for (seq, place) in [(2, 1), (3, 2)] {
        peer.send(placed(seq, place)).await;
    }
    peer.send(result("job_1", 4, json!({"result": 1}))).await;
    for handle in [first, second] {
        let events: Vec<_> = handle.unwrap().try_collect().await.unwrap();
        assert_eq!(
            events
                .iter()
                .map(|event| event.job_seq().unwrap().value())
                .collect::<Vec<_>>(),
            [1, 2]
        );
    }
}

fn listing(job: &str) -> Value {
    json!({"job_id": job, "agent": "echo@1", "status": "running", "lease": {}, "parent_job_id": null,
        "created_at": "2026-01-01T00:00:00Z", "last_event_seq": 3})
}

/// Filters, limit and cursor are what was asked; pages are followed to the last one.
#[tokio::test(start_paused = true)]
async fn listings_are_paged() {
    let (client, mut peer) = connected().await;
    let list = client
        .list_jobs()
        .status(JobStatus::Running)
        .status(JobStatus::Pending)
        .agent("echo")
        .created_after(Timestamp::from_unix_micros(0))
        .limit(2);
    let (jobs, ()) = join!(
        async { list.stream().try_collect::<Vec<_>>().await },
        async {
            let pages = [
                (vec!["job_1", "job_2"], json!("c1")),
                (vec!["job_3"], Value::Null),
            ];
            let mut cursor = Value::Null;
            for (jobs, next) in pages {
                let request = peer.expect("session.list_jobs").await;
                assert_eq!(
                    request.payload()["filter"],
                    json!({"status": ["running", "pending"], "agent": "echo",
                "created_after": "1970-01-01T00:00:00.000Z"})
                );
                assert_eq!(
                    (&request.payload()["limit"], &request.payload()["cursor"]),
                    (&json!(2), &cursor)
                );
                let jobs: Vec<_> = jobs.into_iter().map(listing).collect();
                let payload =
                    json!({"request_id": request.id(), "jobs": jobs, "next_cursor": next});
                peer.send(json!({"id": "j", "type": "session.jobs", "session_id": SESSION, "payload": payload})).await;
                cursor = next;
            }
        }
    );
    let ids: Vec<_> = jobs
        .unwrap()
        .into_iter()
        .map(|job| job.job_id.to_string())
        .collect();
    assert_eq!(ids, ["job_1", "job_2", "job_3"]);
}

#[tokio::test(start_paused = true)]
async fn a_page_has_at_most_a_thousand_jobs() {
    let (client, _peer) = connected().await;
    for limit in [0, 1001] {
        let page = client.list_jobs().limit(limit).page().await;
        assert!(matches!(page, Err(ClientError::Invalid(_))), "{page:?}");
    }
}
