//! Ends [ARCP 7.3-1 to 7.3-5, 7.4-1 to 7.4-4].

use serde_json::json;
use towline_tests::{
    peer::{FEATURES, Peer},
    server::Serve,
};

/// [ARCP 7.4-1, 7.4-3] Cancelled is acknowledged, then ended, once; the id may stand on the envelope; a finished job says
/// what it is.
#[tokio::test]
async fn a_cancel_is_acknowledged_and_ends_the_job() {
    let server = Serve::demo().with(&["--store", "memory"]).start().await;
    let mut peer = Peer::open(&server).await;
    let job = peer
        .submit(json!({"agent": "sleep", "input": {"ms": 60000}}))
        .await;
    peer.send(
        &json!({"id": "c1", "type": "job.cancel", "job_id": job, "payload": {"reason": "first"}}),
    )
    .await;
    peer.send(
        &json!({"id": "c2", "type": "job.cancel", "job_id": job, "payload": {"job_id": job}}),
    )
    .await;
    let first = peer.reply("c1").await;
    assert_eq!(first["type"], "job.cancelled", "{first}");
    assert_eq!(first["payload"]["reason"], "first");
    assert!(first.get("event_seq").is_none());
    assert_eq!(
        first["trace_id"],
        peer.acceptance(&job).unwrap()["trace_id"]
    );
    let end = peer.end_of(&job).await;
    assert_eq!(end["type"], "job.error");
    assert_eq!(
        (&end["payload"]["final_status"], &end["payload"]["code"]),
        (&json!("cancelled"), &json!("CANCELLED"))
    );
    assert_eq!(end["payload"]["retryable"], false);
    assert!(end["payload"]["completed_at"].is_string());
    peer.reply("c2").await;
    let error = peer
        .refused("job.cancel", json!({"job_id": job}), "INVALID_REQUEST")
        .await;
    assert_eq!(error["details"]["status"], "cancelled");
    let done = peer.submit(json!({"agent": "echo"})).await;
    peer.end_of(&done).await;
    let error = peer
        .refused("job.cancel", json!({"job_id": done}), "INVALID_REQUEST")
        .await;
    assert_eq!(error["details"]["status"], "success");
    peer.send(
        &json!({"id": "d", "type": "job.cancel", "job_id": done, "payload": {"job_id": job}}),
    )
    .await;
    assert_eq!(peer.reply("d").await["payload"]["code"], "INVALID_REQUEST");
    peer.refused("job.cancel", json!({}), "INVALID_REQUEST")
        .await;
}

/// [ARCP 7.4-1] Cancel and a natural end race: whatever wins, acknowledged means cancelled, and there is one terminal.
#[tokio::test]
async fn an_acknowledged_cancel_holds_even_if_the_agent_finishes() {
    let server = Serve::demo().with(&["--store", "memory"]).start().await;
    let mut peer = Peer::open(&server).await;
    for ms in (0..40).map(|step| step / 4) {
        let job = peer
            .submit(json!({"agent": "sleep", "input": {"ms": ms}}))
            .await;
        let reply = peer.ask("job.cancel", json!({"job_id": job})).await;
        let end = peer.end_of(&job).await;
        match reply["type"].as_str().unwrap() {
            "job.cancelled" => assert_eq!(end["payload"]["code"], "CANCELLED", "{end}"),
            _ => {
                assert_eq!(reply["payload"]["code"], "INVALID_REQUEST", "{reply}");
                assert_eq!(end["payload"]["final_status"], "success", "{end}");
            }
        }
    }
}

/// [ARCP 7.3-4, 7.4-1] An agent that ignores cancel is ended after the grace all the same.
#[tokio::test]
async fn an_agent_that_ignores_cancel_is_ended() {
    let server = Serve::demo().with(&["--store", "memory"]).start().await;
    let mut peer = Peer::open(&server).await;
    let job = peer
        .submit(json!({"agent": "sleep", "input": {"ms": 3_600_000, "ignore_cancel": true}}))
        .await;
    assert_eq!(
        peer.ask("job.cancel", json!({"job_id": job})).await["type"],
        "job.cancelled"
    );
    assert_eq!(peer.end_of(&job).await["payload"]["code"], "CANCELLED");
}

/// [ARCP 7.3-2, 7.3-3] A job over its time is `timed_out`, TIMEOUT, retryable.
#[tokio::test]
async fn a_job_over_its_time_times_out() {
    let server = Serve::demo().with(&["--store", "memory"]).start().await;
    let mut peer = Peer::open(&server).await;
    for seconds in [json!(1), json!(0.2)] {
        let end = peer
            .run(json!({"agent": "sleep", "input": {"ms": 60000}, "max_runtime_sec": seconds}))
            .await;
        assert_eq!(
            (&end["final_status"], &end["code"], &end["retryable"]),
            (&json!("timed_out"), &json!("TIMEOUT"), &json!(true)),
            "{end}"
        );
    }
}

/// [ARCP 7.3-1] A job's first event says it runs.
#[tokio::test]
async fn the_first_event_says_running() {
    let server = Serve::demo().with(&["--store", "memory"]).start().await;
    let mut peer = Peer::open(&server).await;
    for agent in ["echo", "kinds", "chatty", "fail"] {
        let input = if agent == "chatty" {
            json!({"n": 1})
        } else {
            json!({})
        };
        let job = peer.submit(json!({"agent": agent, "input": input})).await;
        peer.end_of(&job).await;
        assert_eq!(
            peer.events(&job)[0]["payload"]["body"]["phase"],
            "running",
            "{agent}"
        );
        assert_eq!(peer.events(&job)[0]["job_seq"], 1);
    }
}

/// [ARCP 7.5-1, 7.5-2] Names and versions: chosen, defaulted, refused.
#[tokio::test]
async fn versions_are_resolved() {
    let server = Serve::demo().with(&["--store", "memory"]).start().await;
    let mut peer = Peer::open(&server).await;
    for (asked, version) in [
        ("versioned", "2.0.0"),
        ("versioned@2.0.0", "2.0.0"),
        ("versioned@1.0.0", "1.0.0"),
    ] {
        let job = peer.submit(json!({"agent": asked})).await;
        assert_eq!(
            peer.acceptance(&job).unwrap()["payload"]["agent"],
            format!("versioned@{version}")
        );
        assert_eq!(
            peer.end_of(&job).await["payload"]["result"],
            json!({"version": version})
        );
    }
    peer.refused(
        "job.submit",
        json!({"agent": "nobody"}),
        "AGENT_NOT_AVAILABLE",
    )
    .await;
    peer.refused(
        "job.submit",
        json!({"agent": "nobody@1.0.0"}),
        "AGENT_NOT_AVAILABLE",
    )
    .await;
    peer.refused(
        "job.submit",
        json!({"agent": "versioned@3.0.0"}),
        "AGENT_VERSION_NOT_AVAILABLE",
    )
    .await;
    peer.refused(
        "job.submit",
        json!({"agent": "versioned@1.0"}),
        "AGENT_VERSION_NOT_AVAILABLE",
    )
    .await;
    for bad in [
        "", "Echo", "@1", "echo@", "echo@1@2", "-echo", ".echo", "ec ho", "écho", "echo@1 2",
        "echo/x",
    ] {
        peer.refused("job.submit", json!({"agent": bad}), "INVALID_REQUEST")
            .await;
    }
    peer.refused("job.submit", json!({"agent": 7}), "INVALID_REQUEST")
        .await;
    peer.refused("job.submit", json!({}), "INVALID_REQUEST")
        .await;
}

/// [ARCP 11-1, 11-2] The trace is the client's where it is valid, and on every envelope of the job.
#[tokio::test]
async fn the_trace_goes_through() {
    let server = Serve::demo().with(&["--store", "memory"]).start().await;
    let mut peer = Peer::open(&server).await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    for (sent, kept) in [
        (json!(trace), true),
        (json!(format!("00-{trace}-00f067aa0ba902b7-01")), true),
        (json!("0".repeat(32)), false),
        (json!("abc"), false),
        (json!(trace.to_uppercase()), false),
        (json!(7), false),
    ] {
        peer.send(&json!({"id": "t", "type": "job.submit", "trace_id": sent, "payload": {"agent": "kinds"}})).await;
        let accepted = peer.reply("t").await;
        let given = accepted["trace_id"]
            .as_str()
            .unwrap_or_else(|| panic!("{accepted}"))
            .to_owned();
        assert_eq!(given == trace, kept, "{sent}: {given}");
        assert!(
            given.len() == 32
                && given
                    .bytes()
                    .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        );
        let job = accepted["job_id"].as_str().unwrap().to_owned();
        peer.end_of(&job).await;
        for envelope in peer.events(&job).iter().chain(peer.terminal(&job)) {
            assert_eq!(envelope["trace_id"], given.as_str());
        }
    }
}

/// [ARCP 7.1-5, 7.4-4] Over a hundred jobs at once, a principal's next ones wait their turn; a waiting job that is cancelled
/// never starts; another principal does not wait.
#[tokio::test]
async fn jobs_over_the_limit_wait() {
    let server = Serve::demo().with(&["--store", "memory"]).start().await;
    let mut peer = Peer::open(&server).await;
    let mut running = Vec::new();
    for _ in 0..100 {
        running.push(
            peer.submit(json!({"agent": "sleep", "input": {"ms": 3_600_000}}))
                .await,
        );
    }
    for job in &running {
        peer.event_of(job, "status").await;
    }
    let waits = peer
        .submit(json!({"agent": "echo", "input": "at last"}))
        .await;
    let never = peer
        .submit(json!({"agent": "echo", "input": "never"}))
        .await;
    let mut bob = Peer::open_as(&server, "bob", &FEATURES).await;
    assert_eq!(bob.result("echo", json!("at once")).await, "at once");
    let pending = json!({"filter": {"status": ["pending"]}});
    let listed = peer.ask("session.list_jobs", pending).await;
    let ids: Vec<_> = listed["payload"]["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| &job["job_id"])
        .collect();
    assert_eq!(ids, [waits.as_str(), never.as_str()]);
    let reply = peer.ask("job.cancel", json!({"job_id": never})).await;
    assert_eq!(reply["type"], "job.cancelled", "{reply}");
    assert_eq!(peer.end_of(&never).await["payload"]["code"], "CANCELLED");
    assert!(peer.events(&never).is_empty(), "it never ran");
    assert!(peer.events(&waits).is_empty(), "it still waits");
    peer.ask("job.cancel", json!({"job_id": running[0]})).await;
    assert_eq!(peer.end_of(&waits).await["payload"]["result"], "at last");
}
