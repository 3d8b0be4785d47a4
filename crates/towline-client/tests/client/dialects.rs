//! Runtimes that read the draft differently.

mod python;
mod silence;

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{join, time::Instant};
use towline_client::{Client, ClientError, ClientOptions, Dialect, Outcome};
use towline_wire::{ErrorCode, JobId, JobStatus};

use crate::peer::*;

const TS_TOKEN: &str = "rt_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const ULID: &str = "01M81RC4HK8JK6ABXKM25FRQAX";

/// A welcome as the SDK writes it.
fn welcome(dialect: Dialect) -> Value {
    let capabilities =
        |agents: Value| json!({"encodings": ["json"], "features": ALL, "agents": agents});
    let runtime = json!({"name": "other", "version": "1"});
    match dialect {
        Dialect::Python => {
            json!({"id": ULID, "type": "session.welcome", "session_id": SESSION, "payload": {
            "runtime": runtime, "session_id": SESSION, "resume_token": format!("rtk_{ULID}"), "resume_window_sec": 600,
            "heartbeat_interval_sec": 30, "capabilities": capabilities(json!([{"name": "echo", "versions": []}]))}})
        }
        Dialect::TypeScript => {
            json!({"id": format!("msg_{ULID}"), "type": "session.welcome", "session_id": SESSION,
            "payload": {"runtime": runtime, "resume_token": TS_TOKEN, "resume_window_sec": 600,
            "heartbeat_interval_sec": 30, "capabilities": capabilities(json!([{"name": "echo", "versions": []}]))}})
        }
        Dialect::Go => {
            json!({"id": "0192f7c0-1111-7abc-8def-0123456789ab", "type": "session.welcome",
            "session_id": SESSION, "payload": {"runtime": runtime, "resume_token": ULID, "resume_window_sec": 600,
            "heartbeat_interval_sec": 30, "capabilities": capabilities(json!([{"name": "echo", "bare": true}]))}})
        }
        Dialect::CSharp => json!({"id": "abc", "type": "session.welcome", "session_id": SESSION,
            "timestamp": "2026-01-01T00:00:00Z", "payload": {"runtime": runtime, "resume_token": "t",
            "heartbeat_interval_sec": 30, "capabilities": capabilities(json!(["echo"]))}}),
        Dialect::Java => {
            json!({"id": ULID, "type": "session.welcome", "session_id": SESSION, "payload": {
            "runtime": runtime, "resume_token": "08775c1c-610d-4c92-9f87-5be4501283c7", "resume_window_sec": 60,
            "heartbeat_interval_sec": 30, "capabilities": capabilities(json!([{"name": "echo", "versions": ["1.0.0"]}]))}})
        }
        Dialect::Ruby => {
            json!({"id": "0192f7c0-1111-7abc-8def-0123456789ab", "type": "session.welcome",
            "session_id": SESSION, "payload": {"runtime_name": "other", "runtime_version": "1", "resume_token": "rt_1",
            "heartbeat_interval_sec": 30, "capabilities": capabilities(json!([{"name": "echo", "versions": []}]))}})
        }
        Dialect::Draft => panic!("no other SDK speaks it"),
    }
}

async fn connected_to(dialect: Dialect) -> (Client, Peer) {
    let (mut peer, near) = Peer::pair();
    let (client, ()) = join!(Client::connect(near, options()), async {
        peer.expect("session.hello").await;
        peer.send(welcome(dialect)).await;
    });
    let client = client.unwrap();
    assert_eq!(client.session().unwrap().dialect(), dialect);
    assert_eq!(client.session().unwrap().agents()[0].name, "echo");
    (client, peer)
}

fn pong(ping: &Frame) -> Value {
    json!({"id": "p", "type": "session.pong", "session_id": SESSION, "payload": {"ping_nonce": ping.payload()["nonce"]}})
}

/// A refusal as runtimes write it that name no request.
fn nameless(code: &str) -> Value {
    json!({"id": "x", "type": "session.error", "session_id": SESSION,
        "payload": {"code": code, "message": "no", "retryable": false, "details": null}})
}

#[tokio::test(start_paused = true)]
async fn each_is_closed_in_its_own_words() {
    let words = [
        (Dialect::Python, "session.bye"),
        (Dialect::TypeScript, "session.bye"),
        (Dialect::Go, "session.close"),
        (Dialect::CSharp, "session.close"),
        (Dialect::Ruby, "session.bye"),
        (Dialect::Java, "session.close"),
    ];
    for (dialect, word) in words {
        let (client, mut peer) = connected_to(dialect).await;
        let (closed, ()) = join!(client.close("done"), async {
            assert_eq!(peer.expect(word).await.payload()["reason"], "done");
            peer.close().await;
        });
        closed.unwrap();
    }
}

/// An option forces a dialect where the welcome shows none.
#[tokio::test(start_paused = true)]
async fn a_dialect_can_be_forced() {
    let (client, mut peer) = connected_with(options().dialect(Dialect::Python), &ALL).await;
    assert_eq!(client.session().unwrap().dialect(), Dialect::Python);
    let (closed, ()) = join!(client.close(""), async {
        peer.expect("session.bye").await;
        peer.close().await;
    });
    closed.unwrap();
}

/// Nameless refusals are matched by order, and replies that are named keep their names.
#[tokio::test(start_paused = true)]
async fn nameless_refusals_go_to_the_oldest_request() {
    for dialect in [Dialect::Python, Dialect::CSharp, Dialect::TypeScript] {
        let (client, mut peer) = connected_to(dialect).await;
        let (a, b, c, ()) = join!(
            client.submit("a").send(),
            client.submit("b").send(),
            client.submit("c").send(),
            async {
                let first = peer.expect("job.submit").await;
                peer.expect("job.submit").await;
                let third = peer.expect("job.submit").await;
                let accept = |job: &str, submit: &Frame| {
                    let mut frame = accepted(job, submit);
                    if dialect != Dialect::Python {
                        frame["payload"]
                            .as_object_mut()
                            .unwrap()
                            .remove("request_id");
                    }
                    frame["trace_id"] = submit.0["trace_id"].clone();
                    frame
                };
                let (first, third) = (accept("job_a", &first), accept("job_c", &third));
                peer.send(first).await;
                peer.send(nameless("AGENT_NOT_AVAILABLE")).await;
                peer.send(third).await;
            }
        );
        assert_eq!(a.unwrap().id().as_str(), "job_a");
        assert_eq!(
            b.unwrap_err().code(),
            Some(&ErrorCode::AGENT_NOT_AVAILABLE),
            "{dialect}"
        );
        assert_eq!(c.unwrap().id().as_str(), "job_c");
    }
}

/// TypeScript refuses a submit with the `job.error` of a job nobody has heard of, which takes a number.
#[tokio::test(start_paused = true)]
async fn typescript_refuses_submits_with_a_job_error() {
    for with_trace in [true, false] {
        let (client, mut peer) = connected_to(Dialect::TypeScript).await;
        let (running, _) = join!(client.submit("slow").send(), peer.accept("job_1"));
        let (refused, ()) = join!(client.submit("ghost").send(), async {
            let submit = peer.expect("job.submit").await;
            let mut frame = error("job_ghost", 1, "error", "AGENT_NOT_AVAILABLE");
            if with_trace {
                frame["trace_id"] = submit.0["trace_id"].clone();
            }
            peer.send(frame).await;
        });
        assert_eq!(
            refused.unwrap_err().code(),
            Some(&ErrorCode::AGENT_NOT_AVAILABLE)
        );
        peer.send(result("job_1", 2, json!({"result": 1}))).await;
        assert_eq!(running.unwrap().result_json::<u8>().await.unwrap(), 1);
        assert_eq!(client.counters().await.unwrap().gaps, 0);
    }
}

/// TypeScript's acceptances carry no request: they are matched by trace, so a delegated child takes nobody's place.
#[tokio::test(start_paused = true)]
async fn typescript_acceptances_are_matched_by_trace() {
    let (client, mut peer) = connected_to(Dialect::TypeScript).await;
    let (a, b, ()) = join!(
        client.submit("parent").send(),
        client.submit("echo").send(),
        async {
            let parent = peer.expect("job.submit").await;
            let echo = peer.expect("job.submit").await;
            let accept = |job: &str, trace: &Value, parent: Option<&str>| {
                let mut frame = json!({"id": "a", "type": "job.accepted", "session_id": SESSION, "job_id": job,
                "trace_id": trace, "payload": {"job_id": job, "agent": "x", "lease": {}, "trace_id": trace}});
                if let Some(parent) = parent {
                    frame["payload"]["parent_job_id"] = json!(parent);
                }
                frame
            };
            peer.send(accept("job_p", &parent.0["trace_id"], None))
                .await;
            peer.send(accept("job_child", &parent.0["trace_id"], Some("job_p")))
                .await;
            peer.send(accept("job_e", &echo.0["trace_id"], None)).await;
        }
    );
    assert_eq!(
        (a.unwrap().id().as_str(), b.unwrap().id().as_str()),
        ("job_p", "job_e")
    );
    assert!(client.attach(&JobId::parse("job_child").unwrap()).is_ok());
}

/// TypeScript refuses a resume that has nothing to replay: one event is asked for again, and dropped.
#[tokio::test(start_paused = true)]
async fn typescript_resumes_ask_for_one_event_more() {
    let (options, mut arrivals) = reconnecting(options());
    let (client, mut peer) = join!(Client::dial(options), async {
        let mut peer = arrivals.recv().await.unwrap();
        peer.expect("session.hello").await;
        peer.send(welcome(Dialect::TypeScript)).await;
        peer
    });
    let client = client.unwrap();
    let (job, _) = join!(client.submit("echo").send(), peer.accept("job_1"));
    let mut job = job.unwrap();
    peer.send(log("job_1", 1, "one")).await;
    peer.send(log("job_1", 2, "two")).await;
    job.next_event().await.unwrap();
    drop(peer);
    let mut peer = arrivals.recv().await.unwrap();
    let hello = peer.expect("session.hello").await;
    assert_eq!(hello.payload()["resume"]["last_event_seq"], 1);
    peer.send(welcome(Dialect::TypeScript)).await;
    peer.send(log("job_1", 2, "two")).await;
    peer.send(log("job_1", 3, "three")).await;
    peer.send(result("job_1", 4, json!({}))).await;
    let mut seqs = Vec::new();
    while let Some(event) = job.next_event().await.unwrap() {
        seqs.push(event.event_seq().unwrap().value());
    }
    assert_eq!(seqs, [2, 3]);
}

/// Go closes sessions that are silent for two intervals, also while it streams: so the client speaks each interval.
#[tokio::test(start_paused = true)]
async fn go_hears_from_the_client_each_interval_while_it_streams() {
    let (client, mut peer) = connected_to(Dialect::Go).await;
    let (job, _) = join!(client.submit("chatty").send(), peer.accept("job_1"));
    job.unwrap().discard_events();
    let mut spoken = Instant::now();
    for seq in 1..=200 {
        peer.send(log("job_1", seq, "x")).await;
        if let Ok(frame) = tokio::time::timeout(Duration::from_secs(1), peer.next()).await {
            frame.unwrap();
            spoken = Instant::now();
        }
        assert!(
            spoken.elapsed() <= Duration::from_secs(31),
            "silent since {:?}",
            spoken.elapsed()
        );
    }
    let (job, _) = join!(client.submit("echo").send(), peer.accept("job_2"));
    peer.send(json!({"id": "r", "type": "job.result", "job_id": "job_2", "payload": {"output": {"a": 1}}})).await;
    let echoed: Value = job.unwrap().result_json().await.unwrap();
    assert_eq!(
        echoed,
        json!({"a": 1}),
        "its result is called output, and has no number"
    );
}

/// C# answers nothing to a bad token and leaves the connection open.
#[tokio::test(start_paused = true)]
async fn a_connection_left_open_after_a_refusal_is_closed_from_here() {
    let error = refused(|mut peer| async move {
        peer.expect("session.hello").await;
        peer.send(
            json!({"id": "x", "type": "session.error", "timestamp": "2026-01-01T00:00:00Z",
            "payload": {"code": "UNAUTHENTICATED", "message": "bad token"}}),
        )
        .await;
        peer.expect_end().await;
    })
    .await;
    assert_eq!(error.code(), Some(&ErrorCode::UNAUTHENTICATED));
}

/// The small differences: budgets as text, levels in upper case, `reply_to`, offsets, events that name no job.
#[tokio::test(start_paused = true)]
async fn spellings_that_are_accepted() {
    let (client, mut peer) = connected_with(ClientOptions::bearer("t"), &ALL).await;
    let (job, _) = join!(client.submit("echo").send(), async {
        let submit = peer.expect("job.submit").await;
        peer.send(json!({"id": "a", "type": "job.accepted", "job_id": "job_1", "payload": {"reply_to": submit.id(),
            "budget": {"USD": "USD:5.00", "EUR": "1.5", "JPY": 3}, "lease_constraints": null, "trace_id": null}}))
            .await;
    });
    let mut job = job.unwrap();
    let budget = job.accepted().unwrap().budget.clone().unwrap();
    assert_eq!(budget["USD"].to_string(), "5.00");
    peer.send(
        json!({"id": "e", "type": "job.event", "event_seq": 1, "payload": {"kind": "log",
        "body": {"level": "WARN", "message": "m"}}}),
    )
    .await;
    peer.send(
        json!({"id": "e", "type": "job.event", "event_seq": 2, "payload": {"kind": "metric",
        "ts": "2026-01-01T01:00:00+01:00", "body": {"name": "n", "value": 1, "dims": {"a": "b"}}}}),
    )
    .await;
    peer.send(json!({"id": "r", "type": "job.error", "job_id": "job_1", "payload": {"final_status": "timedout",
        "code": "TIMEOUT", "detail": {"after": 1}}}))
        .await;
    for kind in ["log", "metric"] {
        let event = job.next_event().await.unwrap().unwrap();
        assert_eq!(event.kind().as_str(), kind);
        event.event().unwrap();
    }
    let Outcome::Failure(failure) = job.outcome().await.unwrap() else {
        panic!()
    };
    assert_eq!(failure.final_status, JobStatus::TimedOut);
    assert_eq!(failure.details.unwrap().as_str(), r#"{"after":1}"#);
}

/// An error that answers no request is reported and does no harm, once the runtime is known to name requests.
#[tokio::test(start_paused = true)]
async fn an_error_of_the_session_answers_no_request_of_a_runtime_that_names_them() {
    let (client, mut peer) = connected().await;
    let (first, ()) = join!(client.submit("ghost").send(), async {
        let submit = peer.expect("job.submit").await;
        peer.send(refusal(Some(&submit), "AGENT_NOT_AVAILABLE"))
            .await;
    });
    assert!(matches!(first, Err(ClientError::Refused(_))));
    let (second, ()) = join!(client.submit("echo").send(), async {
        let submit = peer.expect("job.submit").await;
        peer.send(refusal(None, "INVALID_REQUEST")).await;
        peer.send(accepted("job_1", &submit)).await;
    });
    assert_eq!(second.unwrap().id().as_str(), "job_1");
}

/// What every hello carries for one runtime's sake: a session of our own for Ruby's, both spellings of a resume for Java's,
/// `token` for Ruby's, and an input that is there for Java's.
#[tokio::test(start_paused = true)]
async fn what_a_runtime_asks_for_every_runtime_gets() {
    let (options, mut arrivals) = reconnecting(options());
    let (client, mut peer) = join!(Client::dial(options), async {
        let mut peer = arrivals.recv().await.unwrap();
        let hello = peer.welcome(&ALL).await;
        let wished = hello.0["session_id"].as_str().unwrap();
        assert!(wished.starts_with("sess_"), "{wished}");
        peer
    });
    let client = client.unwrap();
    let (job, submit) = join!(client.submit("echo").send(), peer.accept("job_1"));
    let _job = job.unwrap();
    let payload = submit.payload().as_object().unwrap();
    assert_eq!(payload.get("input"), Some(&Value::Null));
    peer.send(log("job_1", 1, "one")).await;
    peer.close().await;
    let mut again = arrivals.recv().await.unwrap();
    let hello = again.expect("session.hello").await;
    let (payload, resume) = (hello.payload(), &hello.payload()["resume"]);
    assert_eq!(hello.0["session_id"], SESSION);
    for (member, value) in [("resume_token", "rt_1"), ("token", "rt_1")] {
        assert_eq!(resume[member], value, "{hello:?}");
    }
    assert_eq!(payload["resume_token"], "rt_1");
    assert_eq!(payload["last_event_seq"], resume["last_event_seq"]);
}

/// Ruby's runtime sends a job's events, even its end, before its acceptance.
#[tokio::test(start_paused = true)]
async fn events_before_the_acceptance_are_the_jobs() {
    let (client, mut peer) = connected_to(Dialect::Ruby).await;
    let (job, ()) = join!(client.submit("echo").send(), async {
        let submit = peer.expect("job.submit").await;
        peer.send(log("job_1", 1, "early")).await;
        let mut end = result("job_1", 2, json!({"result": 7}));
        end.as_object_mut().unwrap().remove("event_seq");
        peer.send(end).await;
        let mut acceptance = accepted("job_1", &submit);
        acceptance["payload"] = json!({"job_id": "job_1", "agent": "echo@1.0.0", "reply_to": submit.id(),
            "lease": {"id": "lse_1", "capabilities": ["x"], "cost.budget": ["USD:1"], "issued_at": "t"}});
        peer.send(acceptance).await;
    });
    let mut job = job.unwrap();
    let granted = &job.accepted().unwrap().lease;
    assert_eq!(granted.patterns("cost.budget"), ["USD:1"]);
    assert_eq!(granted.iter().count(), 1, "the rest is no pattern");
    let event = job.next_event().await.unwrap().unwrap();
    assert_eq!(event.event_seq().unwrap().value(), 1);
    let outcome = job.outcome().await.unwrap();
    assert_eq!(outcome.status(), JobStatus::Success);
}

/// What comes of an unknown job while a submit of another trace waits is not kept for that submit.
#[tokio::test(start_paused = true)]
async fn events_of_others_do_not_wait_for_a_submit() {
    let (client, mut peer) = connected().await;
    let ((), job) = join!(
        async {
            let submit = peer.expect("job.submit").await;
            let mut other = log("job_other", 1, "of another trace");
            other["trace_id"] = json!("4bf92f3577b34da6a3ce929d0e0e4736");
            peer.send(other).await;
            peer.send(accepted("job_1", &submit)).await;
        },
        client.submit("echo").send()
    );
    assert_eq!(job.unwrap().id().as_str(), "job_1");
    let other = client.attach(&JobId::parse("job_other").unwrap());
    let mut other = other.unwrap();
    assert!(other.next_event().await.unwrap().is_some());
}

/// Java's runtime refuses with a `job.error` of no job that has the request's id: it ends that request, and neither the only
/// job there is nor the session.
#[tokio::test(start_paused = true)]
async fn java_refuses_by_the_requests_id() {
    let (client, mut peer) = connected_to(Dialect::Java).await;
    let (job, _) = join!(client.submit("slow").send(), peer.accept("job_1"));
    let mut job = job.unwrap();
    let (refused, ()) = join!(client.submit("nobody").send(), async {
        let submit = peer.expect("job.submit").await;
        peer.send(json!({"id": submit.id(), "type": "job.error", "session_id": SESSION,
            "payload": {"final_status": "error", "code": "AGENT_NOT_AVAILABLE", "message": "no", "retryable": true}}))
            .await;
    });
    let code = refused.unwrap_err().code().cloned();
    assert_eq!(code, Some(ErrorCode::AGENT_NOT_AVAILABLE));
    peer.send(result("job_1", 1, json!({"result": 1}))).await;
    let outcome = job.outcome().await.unwrap();
    assert_eq!(outcome.status(), JobStatus::Success);
}

/// A `job.error` instead of a welcome is a refusal.
#[tokio::test(start_paused = true)]
async fn java_refuses_hellos_as_jobs() {
    let error = refused(|mut peer| async move {
        let hello = peer.expect("session.hello").await;
        peer.send(json!({"id": hello.id(), "type": "job.error", "payload":
            {"final_status": "error", "code": "RESUME_WINDOW_EXPIRED", "message": "no", "retryable": false}}))
            .await;
    });
    assert_eq!(error.await.code(), Some(&ErrorCode::RESUME_WINDOW_EXPIRED));
}

/// Java's runtime has nothing to resume until it saw the old connection end, and says that the token is unknown: the client
/// asks again, some times.
#[tokio::test(start_paused = true)]
async fn java_is_asked_again_for_a_resume() {
    for (refusals, resumes) in [(3, true), (9, false)] {
        let (options, mut arrivals) = reconnecting(options().dialect(Dialect::Java));
        let (client, mut peer) = join!(Client::dial(options), async {
            let mut peer = arrivals.recv().await.unwrap();
            peer.welcome(&ALL).await;
            peer
        });
        let client = client.unwrap();
        let (job, _) = join!(client.submit("slow").send(), peer.accept("job_1"));
        let mut job = job.unwrap();
        drop(peer);
        let (outcome, ()) = join!(job.outcome(), async {
            for _ in 0..refusals {
                let Some(mut peer) = arrivals.recv().await else {
                    return;
                };
                let hello = peer.expect("session.hello").await;
                assert_eq!(hello.payload()["resume_token"], "rt_1");
                peer.send(json!({"id": "01M8H9J4QNSC686YD9GR5XGP73", "type": "job.error", "payload":
                    {"final_status": "error", "code": "RESUME_WINDOW_EXPIRED", "message": "resume token unknown or expired",
                        "retryable": false}}))
                    .await;
            }
            let Some(mut peer) = arrivals.recv().await else {
                return;
            };
            peer.welcome_with(&ALL, json!({"resume_token": "rt_2"}))
                .await;
            peer.send(result("job_1", 1, json!({"result": 1}))).await;
        });
        assert_eq!(outcome.is_ok(), resumes, "{outcome:?}");
    }
}

/// TypeScript's runtime refuses a subscribe with the `job.error` of the job that was asked for.
#[tokio::test(start_paused = true)]
async fn typescript_refuses_subscribes_as_jobs() {
    let (client, mut peer) = connected_to(Dialect::TypeScript).await;
    let job = JobId::parse("job_1").unwrap();
    let (refused, ()) = join!(client.subscribe(job.clone()).history(true).send(), async {
        peer.expect("job.subscribe").await;
        peer.send(error("job_1", 1, "error", "JOB_NOT_FOUND")).await;
    });
    assert_eq!(refused.unwrap_err().code(), Some(&ErrorCode::JOB_NOT_FOUND));
}

/// It refuses a cancel likewise, where the job is another session's.
#[tokio::test(start_paused = true)]
async fn typescript_refuses_cancels_as_jobs() {
    let (client, mut peer) = connected_to(Dialect::TypeScript).await;
    let job = JobId::parse("job_1").unwrap();
    let (refused, ()) = join!(client.cancel(job, "asked for"), async {
        peer.expect("job.cancel").await;
        peer.send(error("job_1", 1, "error", "PERMISSION_DENIED"))
            .await;
    });
    assert_eq!(
        refused.unwrap_err().code(),
        Some(&ErrorCode::PERMISSION_DENIED)
    );
}

/// A client that leaves neither acknowledges nor closes: the connection just ends.
#[tokio::test(start_paused = true)]
async fn leaving_says_nothing() {
    let (client, mut peer) = connected_with(options().acknowledge(None), &ALL).await;
    let (job, _) = join!(client.submit("slow").send(), peer.accept("job_1"));
    let job = job.unwrap();
    peer.send(log("job_1", 1, "one")).await;
    let state = client.resume_state().await.unwrap().unwrap();
    assert_eq!(state.last_event_seq().value(), 0, "nobody has read it");
    let (left, end) = join!(client.leave(), peer.expect_end());
    left.unwrap();
    assert_eq!(end, None, "lost, not closed");
    drop(job);
}
