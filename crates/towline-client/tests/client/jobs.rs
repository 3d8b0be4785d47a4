//! Submitting, following, cancelling, results.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};
use tokio::join;
use towline_client::{AssemblyError, ClientError, Outcome};
use towline_wire::{ErrorCode, Feature, FeatureSet, JobStatus, Lease, Timestamp, TraceId};

use crate::peer::*;

#[tokio::test(start_paused = true)]
async fn a_submit_carries_what_was_asked() {
    let (client, mut peer) = connected().await;
    let trace = TraceId::parse("4bf92f3577b34da6a3ce929d0e0e4736").unwrap();
    let submit = client
        .submit("echo@1.0.0")
        .input(json!({"hi": 1}))
        .lease(
            Lease::new()
                .with("fs.read", "/data/**")
                .with("cost.budget", "USD:1.00"),
        )
        .expires_at(Timestamp::from_unix_micros(1_900_000_000_000_000))
        .idempotency_key("k")
        .max_runtime(Duration::from_millis(1500))
        .trace(trace)
        .send();
    let (job, frame) = join!(submit, peer.accept("job_1"));
    let job = job.unwrap();
    assert_eq!(job.id().as_str(), "job_1");
    assert_eq!(job.accepted().unwrap().agent, "echo@1.0.0");
    assert_eq!(frame.0["session_id"], SESSION);
    assert_eq!(frame.0["trace_id"], trace.to_string());
    assert_eq!(
        frame.payload(),
        &json!({"agent": "echo@1.0.0", "input": {"hi": 1}, "idempotency_key": "k", "max_runtime_sec": 1.5,
            "lease_request": {"cost.budget": ["USD:1.00"], "fs.read": ["/data/**"]},
            "lease_constraints": {"expires_at": "2030-03-17T17:46:40.000Z"}})
    );
}

/// [ARCP 5-1] What was not asked for is left out, not null.
#[tokio::test(start_paused = true)]
async fn absent_options_are_left_out() {
    let (client, mut peer) = connected().await;
    let (_job, frame) = join!(
        client.submit("echo").lease(Lease::new()).send(),
        peer.accept("job_1")
    );
    // One runtime asks for an input.
    assert_eq!(frame.payload(), &json!({"agent": "echo", "input": null}));
}

/// [ARCP 6.2-3] What needs a feature the session does not have fails here, and nothing is sent.
#[tokio::test(start_paused = true)]
async fn a_missing_feature_fails_locally() {
    let (client, mut peer) = connected_with(options(), &["heartbeat"]).await;
    let missing = |error: ClientError| match error {
        ClientError::FeatureMissing(feature) => feature,
        other => panic!("{other:?}"),
    };
    let job = towline_wire::JobId::parse("job_1").unwrap();
    let lease = |namespace: &str| Lease::new().with(namespace, "USD:1");
    assert_eq!(
        missing(client.submit("a@1").send().await.unwrap_err()),
        Feature::AgentVersions
    );
    assert_eq!(
        missing(
            client
                .submit("a")
                .lease(lease("cost.budget"))
                .send()
                .await
                .unwrap_err()
        ),
        Feature::CostBudget
    );
    assert_eq!(
        missing(
            client
                .submit("a")
                .lease(lease("model.use"))
                .send()
                .await
                .unwrap_err()
        ),
        Feature::ModelUse
    );
    let expires = client
        .submit("a")
        .expires_at(Timestamp::from_unix_micros(0))
        .send();
    assert_eq!(missing(expires.await.unwrap_err()), Feature::LeaseExpiresAt);
    assert_eq!(
        missing(client.subscribe(job).send().await.unwrap_err()),
        Feature::Subscribe
    );
    assert_eq!(
        missing(client.list_jobs().page().await.unwrap_err()),
        Feature::ListJobs
    );
    peer.expect_silence(Duration::from_secs(10)).await;
}

/// Events come in order and keep what they are; kinds nobody knows pass through.
#[tokio::test(start_paused = true)]
async fn events_then_the_outcome() {
    let (client, mut peer) = connected().await;
    let (job, _) = join!(client.submit("echo").send(), peer.accept("job_1"));
    let mut job = job.unwrap();
    peer.send(log("job_1", 1, "one")).await;
    peer.send(json!({"id": "e", "type": "job.event", "session_id": SESSION, "job_id": "job_1", "event_seq": 2, "job_seq": 2,
        "payload": {"kind": "x-vendor.acme.beat", "ts": "2026-01-01T00:00:00Z", "body": {"bpm": 60}}}))
        .await;
    peer.send(result(
        "job_1",
        3,
        json!({"result": {"ok": true}, "summary": "fine"}),
    ))
    .await;
    let first = job.next_event().await.unwrap().unwrap();
    assert!(
        matches!(first.event().unwrap(), towline_wire::Event::Log(log) if log.message == "one")
    );
    let second = job.next_event().await.unwrap().unwrap();
    assert_eq!(
        (second.kind().as_str(), second.job_seq().unwrap().value()),
        ("x-vendor.acme.beat", 2)
    );
    assert_eq!(second.payload().unwrap().body.as_str(), r#"{"bpm":60}"#);
    assert!(job.next_event().await.unwrap().is_none());
    assert!(job.next_event().await.unwrap().is_none());
    let Outcome::Success(success) = job.outcome().await.unwrap() else {
        panic!()
    };
    assert_eq!(success.summary.as_deref(), Some("fine"));
    assert_eq!(
        job.result_json::<Value>().await.unwrap(),
        json!({"ok": true}),
        "the outcome stays"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_an_outcome_and_an_error_of_the_result() {
    let (client, mut peer) = connected().await;
    let (job, _) = join!(client.submit("echo").send(), peer.accept("job_1"));
    let mut job = job.unwrap();
    peer.send(error("job_1", 1, "timed_out", "TIMEOUT")).await;
    let Outcome::Failure(failure) = job.outcome().await.unwrap() else {
        panic!()
    };
    assert_eq!(
        (failure.final_status, &failure.code),
        (JobStatus::TimedOut, &ErrorCode::TIMEOUT)
    );
    let error = job.result_text().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the job ended as timed_out with TIMEOUT: because"
    );
    assert_eq!(error.code(), Some(&ErrorCode::TIMEOUT));
}

#[tokio::test(start_paused = true)]
async fn a_handle_is_a_stream() {
    let (client, mut peer) = connected().await;
    let (job, _) = join!(client.submit("echo").send(), peer.accept("job_1"));
    for seq in 1..=5 {
        peer.send(log("job_1", seq, "x")).await;
    }
    peer.send(result("job_1", 6, json!({}))).await;
    let events: Vec<_> = job.unwrap().try_collect().await.unwrap();
    assert_eq!(
        events
            .iter()
            .filter_map(|event| event.event_seq())
            .map(|seq| seq.value())
            .collect::<Vec<_>>(),
        [1, 2, 3, 4, 5]
    );
}

/// A cancel names the job twice and gives a reason; the outcome follows.
#[tokio::test(start_paused = true)]
async fn a_cancel_is_answered_and_the_outcome_follows() {
    let (client, mut peer) = connected().await;
    let (job, _) = join!(client.submit("sleep").send(), peer.accept("job_1"));
    let mut job = job.unwrap();
    let (cancelled, frame) = join!(job.cancel("enough"), async {
        let cancel = peer.expect("job.cancel").await;
        let payload = json!({"request_id": cancel.id(), "job_id": "job_1"});
        peer.send(
            json!({"id": "c", "type": "job.cancelled", "session_id": SESSION, "payload": payload}),
        )
        .await;
        peer.send(error("job_1", 1, "cancelled", "CANCELLED")).await;
        cancel
    });
    cancelled.unwrap();
    assert_eq!(frame.0["job_id"], "job_1");
    assert_eq!(
        frame.payload(),
        &json!({"job_id": "job_1", "reason": "enough"})
    );
    assert_eq!(job.outcome().await.unwrap().status(), JobStatus::Cancelled);
}

/// Replies are matched by the request they name, whatever their order.
#[tokio::test(start_paused = true)]
async fn replies_find_their_requests_without_order() {
    let (client, mut peer) = connected().await;
    let (a, b, ()) = join!(
        client.submit("a").send(),
        client.submit("b").send(),
        async {
            let first = peer.expect("job.submit").await;
            let second = peer.expect("job.submit").await;
            peer.send(accepted("job_second", &second)).await;
            peer.send(accepted("job_first", &first)).await;
        }
    );
    assert_eq!(
        (a.unwrap().id().as_str(), b.unwrap().id().as_str()),
        ("job_first", "job_second")
    );
}

/// A refusal ends its own request and nothing else.
#[tokio::test(start_paused = true)]
async fn a_refusal_harms_nothing_else() {
    let (client, mut peer) = connected().await;
    let (running, _) = join!(client.submit("a").send(), peer.accept("job_1"));
    let (a, b, ()) = join!(
        client.submit("a").send(),
        client.submit("b").send(),
        async {
            let first = peer.expect("job.submit").await;
            let second = peer.expect("job.submit").await;
            peer.send(refusal(Some(&second), "AGENT_NOT_AVAILABLE"))
                .await;
            peer.send(accepted("job_2", &first)).await;
        }
    );
    assert_eq!(b.unwrap_err().code(), Some(&ErrorCode::AGENT_NOT_AVAILABLE));
    peer.send(result("job_2", 1, json!({"result": 2}))).await;
    peer.send(result("job_1", 2, json!({"result": 1}))).await;
    assert_eq!(a.unwrap().result_json::<u8>().await.unwrap(), 2);
    assert_eq!(running.unwrap().result_json::<u8>().await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_nobody_answers_fails_in_time() {
    let (client, mut peer) = connected_with(options(), &[]).await;
    let begun = tokio::time::Instant::now();
    let (job, _) = join!(client.submit("a").send(), peer.expect("job.submit"));
    assert!(
        matches!(
            job,
            Err(ClientError::Timeout {
                blocked_by: None,
                ..
            })
        ),
        "{job:?}"
    );
    assert_eq!(begun.elapsed(), Duration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_cannot_be_read_fails_its_request() {
    let (client, mut peer) = connected().await;
    let (page, ()) = join!(async { client.list_jobs().page().await }, async {
        let list = peer.expect("session.list_jobs").await;
        let payload = json!({"request_id": list.id(), "jobs": "many"});
        peer.send(
            json!({"id": "j", "type": "session.jobs", "session_id": SESSION, "payload": payload}),
        )
        .await;
    });
    assert!(matches!(page, Err(ClientError::Unreadable(_))), "{page:?}");
}

/// [ARCP 8.4-4] The assembled result, the byte stream, and the writer give the same bytes.
#[tokio::test(start_paused = true)]
async fn a_streamed_result_three_ways() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("result.txt");
    let mut given = Vec::new();
    for way in 0..4 {
        let (client, mut peer) = connected().await;
        let (job, _) = join!(client.submit("stream").send(), peer.accept("job_1"));
        let mut job = job.unwrap();
        peer.send(chunk("job_1", 1, 0, "héllo ", true)).await;
        peer.send(log("job_1", 2, "half way")).await;
        peer.send(chunk("job_1", 3, 1, "world", true)).await;
        peer.send(chunk("job_1", 4, 2, "", false)).await;
        peer.send(result(
            "job_1",
            5,
            json!({"result_id": "res_1", "result_size": 12}),
        ))
        .await;
        given.push(match way {
            0 => job.result_text().await.unwrap().into_bytes(),
            1 => {
                let pieces: Vec<_> = job
                    .result_stream()
                    .into_stream()
                    .try_collect()
                    .await
                    .unwrap();
                assert_eq!(pieces.len(), 2, "as they came");
                pieces.concat()
            }
            2 => {
                let mut written = Vec::new();
                assert_eq!(job.write_result_to(&mut written).await.unwrap(), 12);
                written
            }
            _ => {
                assert_eq!(job.save_result(&path).await.unwrap(), 12);
                std::fs::read(&path).unwrap()
            }
        });
    }
    assert!(
        given.iter().all(|bytes| bytes == "héllo world".as_bytes()),
        "{given:?}"
    );
}

/// [ARCP 8.4-4] Wrong order, a missing end and the client's own cap are typed errors; no half file is left behind.
#[tokio::test(start_paused = true)]
async fn broken_results_are_typed_errors() {
    let directory = tempfile::tempdir().unwrap();
    let end = |seq| result("job_1", seq, json!({"result_id": "res_1"}));
    let cases = [
        (
            vec![chunk("job_1", 1, 1, "a", true), end(2)],
            AssemblyError::Order {
                expected: 0,
                got: 1,
            },
        ),
        (
            vec![chunk("job_1", 1, 0, "abc", true), end(2)],
            AssemblyError::MissingEnd { size: 3 },
        ),
        (
            vec![chunk("job_1", 1, 0, "123456789", false), end(2)],
            AssemblyError::TooBig { cap: 8 },
        ),
    ];
    for (frames, expected) in cases {
        for to_file in [false, true] {
            let (client, mut peer) = connected_with(options().result_cap(8), &ALL).await;
            let (job, _) = join!(client.submit("stream").send(), peer.accept("job_1"));
            let mut job = job.unwrap();
            for frame in &frames {
                peer.send(frame.clone()).await;
            }
            let error = if to_file {
                job.save_result(directory.path().join("x"))
                    .await
                    .unwrap_err()
            } else {
                job.result_bytes().await.unwrap_err()
            };
            assert!(
                matches!(&error, ClientError::Result(cause) if *cause == expected),
                "{error:?}"
            );
            assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn inline_results_are_bytes_text_and_json() {
    let table = [
        (json!({"result": "text"}), "text"),
        (json!({"result": {"a": 1}}), r#"{"a":1}"#),
        (json!({"result": "aGk=", "result_encoding": "base64"}), "hi"),
        (json!({"output": "go"}), "go"),
        (json!({}), "null"),
    ];
    for (payload, text) in table {
        let (client, mut peer) = connected().await;
        let (job, _) = join!(client.submit("echo").send(), peer.accept("job_1"));
        peer.send(result("job_1", 1, payload.clone())).await;
        let mut job = job.unwrap();
        assert_eq!(job.result_text().await.unwrap(), text, "{payload}");
    }
}

/// A number goes through as its text.
#[tokio::test(start_paused = true)]
async fn numbers_keep_their_digits() {
    let (client, mut peer) = connected().await;
    let big: Value = serde_json::from_str("123456789012345678901234567890.10").unwrap();
    let (job, frame) = join!(
        client.submit("echo").input(&big).send(),
        peer.accept("job_1")
    );
    assert_eq!(frame.payload()["input"].to_string(), big.to_string());
    peer.send(result("job_1", 1, json!({"result": big}))).await;
    assert_eq!(job.unwrap().result_text().await.unwrap(), big.to_string());
}

/// A delegated child's acceptance answers no submit; the child can be followed.
#[tokio::test(start_paused = true)]
async fn delegated_children_are_delivered() {
    let (client, mut peer) = connected().await;
    let mut unsolicited = client.unsolicited_jobs();
    let (parent, _) = join!(client.submit("parent").send(), peer.accept("job_p"));
    let child = |job: &str| {
        json!({"id": "a", "type": "job.accepted", "session_id": SESSION, "job_id": job,
        "payload": {"job_id": job, "agent": "child@1", "lease": {}, "parent_job_id": "job_p"}})
    };
    let (second, ()) = join!(client.submit("echo").send(), async {
        let submit = peer.expect("job.submit").await;
        peer.send(child("job_c")).await;
        peer.send(child("job_d")).await;
        peer.send(accepted("job_2", &submit)).await;
    });
    assert_eq!(second.unwrap().id().as_str(), "job_2");
    peer.send(log("job_c", 1, "from the child")).await;
    peer.send(result("job_c", 2, json!({"result": "c"}))).await;
    peer.send(result("job_d", 3, json!({"result": "d"}))).await;
    let mut c = unsolicited.next().await.unwrap();
    assert_eq!(
        c.accepted().unwrap().parent_job_id.as_ref(),
        Some(parent.unwrap().id())
    );
    assert_eq!(
        c.next_event()
            .await
            .unwrap()
            .unwrap()
            .event_seq()
            .unwrap()
            .value(),
        1
    );
    assert_eq!(c.result_text().await.unwrap(), "c");
    let mut d = client
        .attach(&towline_wire::JobId::parse("job_d").unwrap())
        .unwrap();
    assert_eq!(d.result_text().await.unwrap(), "d");
    assert!(matches!(
        client.attach(c.id()),
        Err(ClientError::NotHere { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn a_handle_without_features_still_runs_jobs() {
    let (client, mut peer) = connected_with(options().features(FeatureSet::NONE), &[]).await;
    let (job, _) = join!(client.submit("echo").send(), peer.accept("job_1"));
    let mut job = job.unwrap();
    peer.send(log("job_1", 1, "x")).await;
    peer.send(result("job_1", 2, json!({"result": 1}))).await;
    assert!(job.next().await.unwrap().is_ok());
    assert!(job.outcome().await.unwrap().is_success());
}
