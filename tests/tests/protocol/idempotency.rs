//! One key, one run [ARCP 7.2-1 to 7.2-3].

use serde_json::{Value, json};
use towline_tests::{
    peer::{FEATURES, Peer},
    server::Serve,
};

fn without_request_id(accepted: &Value) -> Value {
    let mut payload = accepted["payload"].clone();
    for of_the_request in ["request_id", "reply_to"] {
        payload.as_object_mut().unwrap().remove(of_the_request);
    }
    payload
}

/// [ARCP 7.2-1] The same submit again, from this session, from another, after the end and after a crash: the same
/// acceptance, one run, and the other session hears the job from its start.
#[tokio::test]
async fn one_key_is_one_run_across_sessions_and_lives() {
    let server = Serve::demo().start().await;
    let submit = json!({"agent": "chatty", "input": {"n": 4}, "idempotency_key": "once", "lease_request": {"fs.read": ["/a/**"]}});
    let mut first = Peer::open(&server).await;
    let accepted = first.ask("job.submit", submit.clone()).await;
    let job = accepted["job_id"].as_str().unwrap().to_owned();
    let again = first.ask("job.submit", submit.clone()).await;
    assert_ne!(
        accepted["payload"]["request_id"],
        again["payload"]["request_id"]
    );
    assert_eq!(without_request_id(&accepted), without_request_id(&again));

    let mut second = Peer::open(&server).await;
    let elsewhere = second.ask("job.submit", submit.clone()).await;
    assert_eq!(
        without_request_id(&accepted),
        without_request_id(&elsewhere)
    );
    let end = second.end_of(&job).await;
    assert_eq!(end["payload"]["result"], json!({"emitted": 4}));
    assert_eq!(second.bodies(&job, "log").len(), 4, "from its start");
    second.assert_whole(&job);
    first.end_of(&job).await;
    // The second submitter watches; it may not cancel.
    let denied = second.ask("job.cancel", json!({"job_id": job})).await;
    assert_eq!(denied["type"], "session.error", "{denied}");

    let server = server.crash_and_restart().await;
    let mut third = Peer::open(&server).await;
    let later = third.ask("job.submit", submit).await;
    assert_eq!(without_request_id(&accepted), without_request_id(&later));
    assert_eq!(
        third.end_of(&job).await["payload"]["result"],
        json!({"emitted": 4})
    );
    assert_eq!(third.events(&job)[0]["job_seq"], 1);
    let listed = third
        .ask("session.list_jobs", json!({"filter": {"agent": "chatty"}}))
        .await;
    assert_eq!(
        listed["payload"]["jobs"].as_array().unwrap().len(),
        1,
        "{listed}"
    );
}

/// [ARCP 7.2-1] Many sessions submit one key at the same moment: one job.
#[tokio::test]
async fn one_key_at_the_same_moment_is_one_job() {
    let server = Serve::demo().start().await;
    let mut peers = Vec::new();
    for _ in 0..24 {
        peers.push(Peer::open(&server).await);
    }
    let mut asked = Vec::new();
    for peer in &mut peers {
        asked.push(
            peer.request(
                "job.submit",
                json!({"agent": "echo", "input": 7, "idempotency_key": "race"}),
            )
            .await,
        );
    }
    let mut jobs = std::collections::BTreeSet::new();
    for (peer, id) in peers.iter_mut().zip(&asked) {
        let reply = peer.reply(id).await;
        assert_eq!(reply["type"], "job.accepted", "{reply}");
        jobs.insert(reply["job_id"].as_str().unwrap().to_owned());
    }
    assert_eq!(jobs.len(), 1);
    let job = jobs.first().unwrap();
    for peer in &mut peers {
        assert_eq!(peer.end_of(job).await["payload"]["result"], 7);
        peer.assert_whole(job);
    }
}

/// [ARCP 7.2-1, 7.6-1] Another session that asks twice, as after a lost answer, hears the job once.
#[tokio::test]
async fn asking_twice_from_elsewhere_is_hearing_once() {
    let server = Serve::demo().start().await;
    let mut first = Peer::open(&server).await;
    for input in [json!({"n": 3}), json!({"n": 30, "delay_ms": 5})] {
        let submit =
            json!({"agent": "chatty", "input": input, "idempotency_key": input.to_string()});
        let job = first.submit(submit.clone()).await;
        first.event_of(&job, "progress").await;
        let mut second = Peer::open(&server).await;
        for _ in 0..3 {
            assert_eq!(second.submit(submit.clone()).await, job);
            second.event_of(&job, "progress").await;
        }
        second.end_of(&job).await;
        assert_eq!(second.submit(submit.clone()).await, job);
        second.assert_alive().await;
        second.assert_whole(&job);
        assert_eq!(
            second.bodies(&job, "log").len() as u64,
            input["n"].as_u64().unwrap()
        );
        first.end_of(&job).await;
    }
}

/// [ARCP 7.2-2] Other parameters under the same key are refused with the job's name; the same in another spelling are not.
#[tokio::test]
async fn parameters_compare_as_values() {
    let server = Serve::demo().with(&["--store", "memory"]).start().await;
    let mut peer = Peer::open(&server).await;
    let submit = |payload: &str| {
        format!(
            "{{\"id\":\"s\",\"type\":\"job.submit\",\"trace_id\":\"4bf92f3577b34da6a3ce929d0e0e4736\",\"payload\":{payload}}}"
        )
    };
    peer.send_text(&submit(
        r#"{"agent":"echo","input":{"a":1.0,"b":[1e2,"x"]},"idempotency_key":"k"}"#,
    ))
    .await;
    let first = peer.reply("s").await;
    let job = first["job_id"].as_str().unwrap().to_owned();
    for same in [
        r#"{"idempotency_key":"k","input":{"b":[100,"\u0078"],"a":1},"agent":"echo"}"#,
        r#"{"agent":"echo","input":{"a":10e-1,"b":[1.00e2,"x"]},"idempotency_key":"k","lease_request":{},"max_runtime_sec":null}"#,
        r#"{"agent":"echo","input":{"a":1.0,"b":[1e2,"x"]},"idempotency_key":"k","lease_request":null,"lease_constraints":null}"#,
    ] {
        peer.send_text(&submit(same)).await;
        let reply = peer.reply("s").await;
        assert_eq!(reply["job_id"], job.as_str(), "{same}: {reply}");
    }
    for other in [
        json!({"agent": "echo", "input": {"a": 2, "b": [100, "x"]}, "idempotency_key": "k"}),
        json!({"agent": "kinds", "input": {"a": 1, "b": [100, "x"]}, "idempotency_key": "k"}),
        json!({"agent": "echo", "input": {"a": 1, "b": ["x", 100]}, "idempotency_key": "k"}),
        json!({"agent": "echo", "input": {"a": 1, "b": [100, "x"]}, "idempotency_key": "k", "max_runtime_sec": 5}),
        json!({"agent": "echo", "input": {"a": 1, "b": [100, "x"]}, "idempotency_key": "k", "lease_request": {"fs.read": ["/a"]}}),
    ] {
        let error = peer.refused("job.submit", other, "DUPLICATE_KEY").await;
        assert_eq!(error["details"]["existing_job_id"], job.as_str(), "{error}");
    }
}

/// [ARCP 7.2-1] Keys belong to a principal: another one's same key is another job, and tells nothing of the first.
#[tokio::test]
async fn keys_belong_to_a_principal() {
    let server = Serve::demo().with(&["--store", "memory"]).start().await;
    let mut alice = Peer::open(&server).await;
    let mut bob = Peer::open_as(&server, "bob", &FEATURES).await;
    let hers = alice
        .submit(json!({"agent": "echo", "input": 1, "idempotency_key": "k"}))
        .await;
    let his = bob
        .submit(json!({"agent": "echo", "input": 2, "idempotency_key": "k"}))
        .await;
    assert_ne!(hers, his);
    assert_eq!(bob.end_of(&his).await["payload"]["result"], 2);
}

/// [ARCP 7.2-3] A key has at most 256 bytes; a refused submit frees its key.
#[tokio::test]
async fn keys_are_bounded_and_refusals_free_them() {
    let server = Serve::demo().with(&["--store", "memory"]).start().await;
    let mut peer = Peer::open(&server).await;
    peer.submit(json!({"agent": "echo", "idempotency_key": "x".repeat(256)}))
        .await;
    for key in [json!("x".repeat(257)), json!(7), json!("")] {
        peer.refused(
            "job.submit",
            json!({"agent": "echo", "idempotency_key": key}),
            "INVALID_REQUEST",
        )
        .await;
    }
    peer.refused(
        "job.submit",
        json!({"agent": "none", "idempotency_key": "k"}),
        "AGENT_NOT_AVAILABLE",
    )
    .await;
    peer.submit(json!({"agent": "echo", "idempotency_key": "k"}))
        .await;
}
