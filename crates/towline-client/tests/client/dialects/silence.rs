//! Runtimes that say nothing where an answer is due: they are asked.

use super::*;

fn listing(request: &Frame, jobs: Value) -> Value {
    json!({"id": "l", "type": "session.jobs", "session_id": SESSION,
        "payload": {"request_id": request.id(), "jobs": jobs, "next_cursor": null}})
}

/// A repeat by key of a finished job is answered with the acceptance alone: the runtime is asked which jobs live, then once
/// for the job's past, and the handle ends either way.
#[tokio::test(start_paused = true)]
async fn a_silent_repeat_is_asked_about() {
    for (dialect, told) in [
        (Dialect::Java, true),
        (Dialect::Go, false),
        (Dialect::TypeScript, false),
        (Dialect::Ruby, false),
    ] {
        let (client, mut peer) = connected_to(dialect).await;
        let submit = client.submit("echo").idempotency_key("k").send();
        let (job, _) = join!(submit, peer.accept("job_1"));
        let mut job = job.unwrap();
        let (outcome, ()) = join!(job.outcome(), async {
            let list = peer.expect("session.list_jobs").await;
            peer.send(listing(&list, json!([]))).await;
            let subscribe = peer.expect("job.subscribe").await;
            assert_eq!(subscribe.payload()["history"], true);
            if !told {
                let mut no = refusal(Some(&subscribe), "JOB_NOT_FOUND");
                if dialect == Dialect::TypeScript {
                    no = error("job_1", 1, "error", "JOB_NOT_FOUND");
                }
                return peer.send(no).await;
            }
            peer.send(json!({"id": "s", "type": "job.subscribed", "session_id": SESSION, "job_id": "job_1",
                "payload": {"job_id": "job_1", "current_status": "success", "agent": "echo", "lease": {},
                    "subscribed_from": 0, "replayed": true}}))
                .await;
            peer.send(log("job_1", 1, "again")).await;
            peer.send(result("job_1", 2, json!({"result": 7}))).await;
        });
        match outcome {
            Ok(outcome) if told => assert_eq!(outcome.status(), JobStatus::Success),
            Err(ClientError::OutcomeUnknown { job }) if !told => {
                assert_eq!(job.as_str(), "job_1", "{dialect}");
            }
            other => panic!("{dialect}: {other:?}"),
        }
    }
}

/// A repeat of a job that still runs is left alone, and one that speaks is not asked about again.
#[tokio::test(start_paused = true)]
async fn a_repeat_that_runs_is_waited_for() {
    let (client, mut peer) = connected_to(Dialect::Java).await;
    let submit = client.submit("echo").idempotency_key("k").send();
    let (job, _) = join!(submit, peer.accept("job_1"));
    let mut job = job.unwrap();
    let running = json!([{"job_id": "job_1", "agent": "echo@1", "status": "running", "lease": {}}]);
    let (outcome, ()) = join!(job.outcome(), async {
        for _ in 0..2 {
            let list = peer.expect("session.list_jobs").await;
            peer.send(listing(&list, running.clone())).await;
        }
        peer.send(log("job_1", 1, "here I am")).await;
        peer.expect_silence(Duration::from_secs(20)).await;
        peer.send(result("job_1", 2, json!({"result": 7}))).await;
    });
    assert_eq!(outcome.unwrap().status(), JobStatus::Success);
}

/// Python keeps no events of finished jobs: `job.subscribed` says that the job is over, and nothing follows.
#[tokio::test(start_paused = true)]
async fn a_finished_job_without_its_events_ends_the_wait() {
    let (client, mut peer) = connected_to(Dialect::Python).await;
    let job = JobId::parse("job_1").unwrap();
    let (watched, ()) = join!(client.subscribe(job.clone()).history(true).send(), async {
        let subscribe = peer.expect("job.subscribe").await;
        peer.send(json!({"id": "s", "type": "job.subscribed", "session_id": SESSION, "job_id": "job_1",
            "payload": {"request_id": subscribe.id(), "job_id": "job_1", "current_status": "success", "agent": "echo",
                "lease": {}, "subscribed_from": 0, "replayed": false}}))
            .await;
    });
    let mut watched = watched.unwrap();
    let (outcome, ()) = join!(watched.outcome(), async {
        let ping = peer.expect("session.ping").await;
        peer.send(pong(&ping)).await;
    });
    assert!(
        matches!(
            outcome,
            Err(ClientError::OutcomeUnknown { .. } | ClientError::AlreadyEnded { .. })
        ),
        "{outcome:?}"
    );
}

/// TypeScript's and Python's runtimes send a resumed session no live events: after some silence it is asked which jobs live.
#[tokio::test(start_paused = true)]
async fn a_resumed_session_that_stays_quiet_is_asked_about() {
    for dialect in [Dialect::TypeScript, Dialect::Python] {
        let (options, mut arrivals) = reconnecting(options());
        let (client, mut peer) = join!(Client::dial(options), async {
            let mut peer = arrivals.recv().await.unwrap();
            peer.expect("session.hello").await;
            peer.send(welcome(dialect)).await;
            peer
        });
        let client = client.unwrap();
        let (job, _) = join!(client.submit("echo").send(), peer.accept("job_1"));
        let mut job = job.unwrap();
        peer.send(log("job_1", 1, "one")).await;
        assert!(job.next_event().await.unwrap().is_some());
        peer.close().await;
        let mut again = arrivals.recv().await.unwrap();
        again.expect("session.hello").await;
        again.send(welcome(dialect)).await;
        let (outcome, ()) = join!(job.outcome(), async {
            let list = loop {
                let frame = again.next().await.unwrap();
                if frame.0["type"] == "session.list_jobs" {
                    break frame;
                }
            };
            again.send(listing(&list, json!([]))).await;
            let subscribe = again.expect("job.subscribe").await;
            again.send(refusal(Some(&subscribe), "JOB_NOT_FOUND")).await;
        });
        assert!(
            matches!(outcome, Err(ClientError::OutcomeUnknown { .. })),
            "{dialect}: {outcome:?}"
        );
    }
}
