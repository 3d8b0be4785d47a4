//! Python's runtime.

use super::*;

/// Python has no `job.cancelled`: the end as cancelled answers a cancel, or the pong of the ping behind it.
#[tokio::test(start_paused = true)]
async fn python_cancels_are_answered_by_the_end_or_the_fence() {
    let (client, mut peer) = connected_to(Dialect::Python).await;
    let (job, _) = join!(client.submit("slow").send(), peer.accept("job_1"));
    let mut job = job.unwrap();
    let (cancelled, ()) = join!(job.cancel("x"), async {
        assert_eq!(peer.expect("job.cancel").await.payload()["reason"], "x");
        let fence = peer.expect("session.ping").await;
        peer.send(json!({"id": "r", "type": "job.result", "session_id": SESSION, "job_id": "job_1", "event_seq": 1,
            "payload": {"final_status": "cancelled"}}))
            .await;
        peer.send(pong(&fence)).await;
    });
    cancelled.unwrap();
    let Outcome::Failure(failure) = job.outcome().await.unwrap() else {
        panic!()
    };
    assert_eq!(
        (failure.final_status, failure.code),
        (JobStatus::Cancelled, ErrorCode::CANCELLED)
    );

    let begun = Instant::now();
    let (cancelled, ()) = join!(job.cancel("again"), async {
        peer.expect("job.cancel").await;
        peer.expect("session.ping").await;
        // It says nothing to the cancel of a job that is over but answers the ping.
        peer.send(nameless("JOB_NOT_FOUND")).await;
    });
    assert_eq!(
        cancelled.unwrap_err().code(),
        Some(&ErrorCode::JOB_NOT_FOUND)
    );
    assert_eq!(begun.elapsed(), Duration::ZERO);

    let (cancelled, ()) = join!(
        client.cancel(JobId::parse("job_9").unwrap(), "why"),
        async {
            peer.expect("job.cancel").await;
            let fence = peer.expect("session.ping").await;
            peer.send(pong(&fence)).await;
        }
    );
    cancelled.unwrap();
}

/// Python numbers what a subscription shows apart from the session's own events, and sends history first.
#[tokio::test(start_paused = true)]
async fn python_subscriptions_have_numbers_of_their_own() {
    let (client, mut peer) = connected_to(Dialect::Python).await;
    let job = JobId::parse("job_x").unwrap();
    let (watch, ()) = join!(client.subscribe(job).history(true).send(), async {
        let request = peer.expect("job.subscribe").await;
        for seq in 1..=6 {
            peer.send(log("job_x", seq, "x")).await;
        }
        peer.send(json!({"id": "s", "type": "job.subscribed", "session_id": SESSION, "job_id": "job_x", "payload": {
            "request_id": request.id(), "job_id": "job_x", "current_status": "running", "agent": "chatty", "lease": {},
            "subscribed_from": 3, "replayed": 6}}))
            .await;
    });
    let mut watch = watch.unwrap();
    assert!(watch.subscribed().replayed);
    let (own, _) = join!(client.submit("echo").send(), peer.accept("job_1"));
    peer.send(result("job_1", 1, json!({"result": 1}))).await;
    assert_eq!(
        own.unwrap().result_json::<u8>().await.unwrap(),
        1,
        "its number 1 is no duplicate"
    );
    peer.send(log("job_x", 7, "x")).await;
    peer.send(result("job_x", 8, json!({"result": 2}))).await;
    for _ in 0..7 {
        assert!(watch.next_event().await.unwrap().is_some());
    }
    assert!(watch.outcome().await.unwrap().is_success());
    assert_eq!(client.counters().await.unwrap().gaps, 0);
}

/// Watching its own job, a session gets everything twice: once for the handle, once for the subscription.
#[tokio::test(start_paused = true)]
async fn python_own_jobs_watched_are_not_doubled() {
    let (client, mut peer) = connected_to(Dialect::Python).await;
    let (own, _) = join!(client.submit("echo").send(), peer.accept("job_1"));
    let mut own = own.unwrap();
    for seq in 1..=4 {
        peer.send(log("job_1", seq, "x")).await;
    }
    let (watch, ()) = join!(client.subscribe(own.id().clone()).send(), async {
        let request = peer.expect("job.subscribe").await;
        peer.send(json!({"id": "s", "type": "job.subscribed", "session_id": SESSION, "job_id": "job_1", "payload": {
            "request_id": request.id(), "job_id": "job_1", "current_status": "running"}}))
            .await;
        for (own, watched) in [(5, 1), (6, 2)] {
            peer.send(log("job_1", own, "x")).await;
            peer.send(log("job_1", watched, "x")).await;
        }
        peer.send(result("job_1", 7, json!({"result": 1}))).await;
        peer.send(result("job_1", 3, json!({"result": 1}))).await;
    });
    let mut count = 0;
    while own.next_event().await.unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 6);
    assert!(watch.unwrap().outcome().await.unwrap().is_success());
}

/// Python answers a submit that finds another session's job with that session's frames, and sends no events: the client
/// watches the job by itself.
#[tokio::test(start_paused = true)]
async fn python_jobs_found_by_key_are_watched() {
    let (client, mut peer) = connected_to(Dialect::Python).await;
    let (job, ()) = join!(client.submit("echo").idempotency_key("k").send(), async {
        let submit = peer.expect("job.submit").await;
        let mut frame = accepted("job_1", &submit);
        frame["session_id"] = json!("sess_other");
        peer.send(frame).await;
        assert_eq!(
            peer.expect("job.subscribe").await.payload(),
            &json!({"job_id": "job_1", "history": true})
        );
        peer.send(log("job_1", 1, "x")).await;
        peer.send(result("job_1", 2, json!({"result": 1}))).await;
    });
    let mut job = job.unwrap();
    assert!(job.next_event().await.unwrap().is_some());
    assert!(job.outcome().await.unwrap().is_success());
}

/// Python repeats the end of a job that is over, then sends its past, and only then `job.subscribed`: also when the end is
/// all there is.
#[tokio::test(start_paused = true)]
async fn python_finished_jobs_are_found_by_key() {
    for lines in [0, 1] {
        let (client, mut peer) = connected_to(Dialect::Python).await;
        let (job, ()) = join!(client.submit("echo").idempotency_key("k").send(), async {
            let submit = peer.expect("job.submit").await;
            let mut frame = accepted("job_1", &submit);
            frame["session_id"] = json!("sess_other");
            peer.send(frame).await;
            peer.send(result("job_1", 1, json!({"result": 1}))).await;
            let asked = peer.expect("job.subscribe").await;
            for seq in 1..=lines {
                peer.send(log("job_1", seq, "x")).await;
            }
            peer.send(result("job_1", lines + 1, json!({"result": 1})))
                .await;
            peer.send(json!({"id": "s", "type": "job.subscribed", "job_id": "job_1", "payload": {
                "request_id": asked.id(), "job_id": "job_1", "current_status": "success", "agent": "echo", "lease": {},
                "subscribed_from": lines + 1, "replayed": lines + 1}}))
                .await;
        });
        let mut job = job.unwrap();
        let mut seen = 0;
        while job.next_event().await.unwrap().is_some() {
            seen += 1;
        }
        assert_eq!(seen, lines);
        assert!(job.outcome().await.unwrap().is_success());
    }
}
