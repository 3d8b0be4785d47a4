//! What clients of the other SDKs get, and that a client which follows the draft gets none of it.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use towline_runtime::{AgentError, JobContext, Runtime};
use towline_wire::EventKind;

use crate::peer::{ALICE, ALL, Peer, runtime};

/// A hello as an SDK's client writes it.
fn hello(sdk: &str) -> Value {
    let mut payload = json!({
        "client": {"name": "test", "version": "0"},
        "auth": {"scheme": "bearer", "token": ALICE},
        "capabilities": {"encodings": ["json"], "features": ALL},
    });
    let mut frame =
        json!({"arcp": "1.1", "id": "msg_01M81RC4HK8JK6ABXKM25FRQAX", "type": "session.hello"});
    match sdk {
        "python" => payload["capabilities"]["agents"] = json!([]),
        "typescript" => payload["capabilities"]["features"] = json!(typescript_features()),
        "java" => {
            let mut features = ALL.to_vec();
            features.sort_unstable();
            payload["capabilities"]["features"] = json!(features);
            frame["id"] = json!("01M81RC4HK8JK6ABXKM25FRQAX");
        }
        "go" => frame["id"] = json!("0192f7c0-1111-7abc-8def-0123456789ab"),
        "csharp" => frame["timestamp"] = json!("2026-01-01T00:00:00Z"),
        "ruby" => {
            frame["session_id"] = json!("ses_01a21ea9-ce9c-7a16-a108-8349615f03a4");
            payload["client"] = Value::Null;
            payload["client_name"] = json!("test");
        }
        "draft" => {}
        other => panic!("{other}"),
    }
    frame["payload"] = payload;
    frame
}

/// What came last to the TypeScript SDK stands last.
fn typescript_features() -> Vec<&'static str> {
    let last = ["model.use", "provisioned_credentials"];
    let first = ALL.iter().copied().filter(|name| !last.contains(name));
    first.chain(last).collect()
}

/// A session of an SDK's client.
async fn speaking(runtime: &Runtime, sdk: &str) -> Peer {
    let mut peer = Peer::raw(runtime);
    peer.send_text(&hello(sdk).to_string()).await;
    peer.welcomed().await;
    peer
}

const SDKS: [&str; 7] = [
    "draft",
    "python",
    "typescript",
    "go",
    "csharp",
    "ruby",
    "java",
];

async fn agents() -> Runtime {
    let sleeping = |ctx: JobContext, _input: Value| async move {
        ctx.cancelled().await;
        Ok::<_, AgentError>(Value::Null)
    };
    let measuring = |ctx: JobContext, _input: Value| async move {
        ctx.emit(
            &EventKind::METRIC,
            json!({"name": "n", "value": 1, "dimensions": {"a": 1, "b": "x"}}),
        )
        .await?;
        Ok::<_, AgentError>(json!({"ok": true}))
    };
    let delegating = |ctx: JobContext, _input: Value| async move {
        let child = ctx.delegate("echo").input(1).send().await?;
        child.outcome().await;
        Ok::<_, AgentError>(json!("parent"))
    };
    let runtime = runtime()
        .agent("sleep", sleeping)
        .agent("measure", measuring)
        .agent("delegate", delegating)
        .agent("echo", |_ctx: JobContext, input: Value| async move {
            Ok::<_, AgentError>(input)
        })
        .build();
    runtime.await.unwrap()
}

async fn end_of(peer: &mut Peer, job: &str) -> Value {
    peer.until_end(job).await.pop().unwrap()
}

/// [ARCP 7.1-3] a refused submit in the form each client takes for one.
#[tokio::test(start_paused = true)]
async fn refused_submits() {
    let runtime = agents().await;
    for sdk in SDKS {
        let mut peer = speaking(&runtime, sdk).await;
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let frame = json!({"arcp": "1.1", "id": "s1", "type": "job.submit", "trace_id": trace, "payload": {"agent": "nobody"}});
        peer.send_text(&frame.to_string()).await;
        let refusal = peer.next().await;
        assert_eq!(
            refusal["payload"]["code"], "AGENT_NOT_AVAILABLE",
            "{sdk}: {refusal}"
        );
        assert_eq!(refusal["payload"]["request_id"], "s1", "{sdk}");
        assert_eq!(refusal["event_seq"], Value::Null, "{sdk}");
        if sdk != "java" {
            assert_eq!(refusal["payload"]["reply_to"], "s1", "{sdk}");
        }
        if sdk == "java" {
            assert_eq!(
                (&refusal["type"], &refusal["id"], &refusal["job_id"]),
                (&json!("job.error"), &json!("s1"), &Value::Null)
            );
        } else if sdk == "typescript" {
            assert_eq!(refusal["type"], "job.error");
            assert!(
                refusal["job_id"].as_str().unwrap().starts_with("job_"),
                "{refusal}"
            );
            assert_eq!(
                (&refusal["trace_id"], &refusal["payload"]["final_status"]),
                (&json!(trace), &json!("error"))
            );
        } else {
            assert_eq!(refusal["type"], "session.error", "{sdk}");
        }
        // A refused subscribe is the end of the job that was asked for, where a client waits for nothing else.
        peer.send("job.subscribe", json!({"job_id": "job_1"})).await;
        let refusal = peer.next().await;
        assert_eq!(refusal["payload"]["code"], "JOB_NOT_FOUND", "{sdk}");
        let as_end = ["java", "ruby"].contains(&sdk);
        let form = if as_end {
            (json!("job.error"), json!("job_1"))
        } else {
            (json!("session.error"), Value::Null)
        };
        let got = (refusal["type"].clone(), refusal["job_id"].clone());
        assert_eq!(got, form, "{sdk}");
        // Other refusals too, in the form each reads.
        let id = peer.send("session.list_jobs", json!({"limit": 0})).await;
        let refusal = peer.next().await;
        assert_eq!(refusal["payload"]["code"], "INVALID_REQUEST", "{sdk}");
        if sdk == "java" {
            assert_eq!(
                (&refusal["type"], &refusal["id"]),
                (&json!("job.error"), &json!(id))
            );
        } else {
            assert_eq!(refusal["type"], "session.error", "{sdk}");
        }
    }
}

/// Budgets are texts for Python alone.
#[tokio::test(start_paused = true)]
async fn budgets() {
    let runtime = agents().await;
    for sdk in SDKS {
        let mut peer = speaking(&runtime, sdk).await;
        let lease = json!({"cost.budget": ["USD:5.00"]});
        peer.send(
            "job.submit",
            json!({"agent": "echo", "lease_request": lease}),
        )
        .await;
        let accepted = peer.expect("job.accepted").await;
        let expected = if sdk == "python" {
            json!("USD:5.00")
        } else {
            serde_json::from_str("5.00").unwrap()
        };
        assert_eq!(accepted["payload"]["budget"]["USD"], expected, "{sdk}");
    }
}

/// [ARCP 7.3-2, 7.3-3] cancelled and timed out, as a `job.result` for Python alone.
#[tokio::test(start_paused = true)]
async fn unfinished_jobs() {
    let runtime = agents().await;
    for sdk in SDKS {
        let mut peer = speaking(&runtime, sdk).await;
        let late = peer
            .submit(json!({"agent": "sleep", "max_runtime_sec": 1}))
            .await;
        let end = end_of(&mut peer, &late).await;
        let job = peer.submit(json!({"agent": "sleep"})).await;
        peer.send("job.cancel", json!({"job_id": job})).await;
        let cancelled = end_of(&mut peer, &job).await;
        let kind = if sdk == "python" {
            "job.result"
        } else {
            "job.error"
        };
        for (end, status) in [(end, "timed_out"), (cancelled, "cancelled")] {
            assert_eq!(
                (&end["type"], &end["payload"]["final_status"]),
                (&json!(kind), &json!(status)),
                "{sdk}"
            );
        }
    }
}

/// Inline results are `output` too for Go; dimensions are `dims` too for TypeScript, and texts for C#.
#[tokio::test(start_paused = true)]
async fn results_and_dimensions() {
    let runtime = agents().await;
    for sdk in SDKS {
        let mut peer = speaking(&runtime, sdk).await;
        let job = peer.submit(json!({"agent": "measure"})).await;
        let frames = peer.until_end(&job).await;
        let metric = frames
            .iter()
            .find(|frame| frame["payload"]["kind"] == "metric")
            .unwrap();
        let body = &metric["payload"]["body"];
        let dimensions = if sdk == "csharp" {
            json!({"a": "1", "b": "x"})
        } else {
            json!({"a": 1, "b": "x"})
        };
        assert_eq!(body["dimensions"], dimensions, "{sdk}");
        assert_eq!(
            body.get("dims"),
            (sdk == "typescript").then_some(&dimensions),
            "{sdk}"
        );
        let end = &frames.last().unwrap()["payload"];
        assert_eq!(end["result"], json!({"ok": true}), "{sdk}");
        assert_eq!(
            end.get("output"),
            (sdk == "go").then(|| &end["result"]),
            "{sdk}"
        );
    }
}

/// [ARCP 10-1] a child's acceptance is for those who can tell it from the one they wait for.
#[tokio::test(start_paused = true)]
async fn acceptances_of_children() {
    let runtime = agents().await;
    for sdk in SDKS {
        let mut peer = speaking(&runtime, sdk).await;
        let job = peer
            .submit(json!({"agent": "delegate", "lease_request": {"agent.delegate": ["echo"]}}))
            .await;
        let frames = peer.until_end(&job).await;
        let accepted = frames
            .iter()
            .filter(|frame| frame["type"] == "job.accepted")
            .count();
        assert_eq!(
            accepted,
            usize::from(["draft", "ruby"].contains(&sdk)),
            "{sdk}"
        );
        // The child's events come in any case.
        let child = frames
            .iter()
            .find(|frame| frame["payload"]["kind"] == "delegate")
            .unwrap();
        let child = &child["payload"]["body"]["child_job_id"];
        assert!(
            frames
                .iter()
                .any(|frame| frame["job_id"] == *child && frame["type"] == "job.result"),
            "{sdk}"
        );
    }
}

/// [ARCP 12-2] a cancel that comes too late costs Python's and TypeScript's clients nothing; others are told.
#[tokio::test(start_paused = true)]
async fn refused_cancels() {
    let runtime = agents().await;
    for sdk in SDKS {
        let mut peer = speaking(&runtime, sdk).await;
        let job = peer.submit(json!({"agent": "echo"})).await;
        peer.until_end(&job).await;
        peer.send("job.cancel", json!({"job_id": job})).await;
        peer.send("session.list_jobs", json!({"limit": 1})).await;
        if !["python", "typescript"].contains(&sdk) {
            assert_eq!(peer.next().await["payload"]["code"], "INVALID_REQUEST");
        }
        peer.expect("session.jobs").await;
    }
}

/// [ARCP 7.2-1] a finished job found by its key: its end comes once more, under its old number; to Python's client, which
/// waits for it and drops numbers it knows, without one.
#[tokio::test(start_paused = true)]
async fn finished_jobs_found_by_key() {
    let runtime = agents().await;
    for sdk in SDKS {
        let mut peer = speaking(&runtime, sdk).await;
        let submit = json!({"agent": "echo", "input": sdk, "idempotency_key": sdk});
        let job = peer.submit(submit.clone()).await;
        peer.until_end(&job).await;
        assert_eq!(peer.submit(submit).await, job);
        let number = if sdk == "python" {
            Value::Null
        } else {
            json!(peer.last)
        };
        let end = peer.expect("job.result").await;
        assert_eq!(
            (&end["payload"]["result"], &end["event_seq"]),
            (&json!(sdk), &number)
        );
        peer.send("session.list_jobs", json!({"limit": 1})).await;
        peer.expect("session.jobs").await;
    }
}

/// Events wait a moment behind `job.subscribed` for Python, whose client would lose them.
#[tokio::test(start_paused = true)]
async fn the_pause_after_subscribed() {
    let runtime = agents().await;
    let mut submitter = speaking(&runtime, "draft").await;
    let job = submitter.submit(json!({"agent": "echo"})).await;
    submitter.until_end(&job).await;
    for sdk in SDKS {
        let mut peer = speaking(&runtime, sdk).await;
        peer.send("job.subscribe", json!({"job_id": job, "history": true}))
            .await;
        peer.expect("job.subscribed").await;
        let told = Instant::now();
        peer.expect("job.event").await;
        let waited = told.elapsed() >= Duration::from_millis(1);
        assert_eq!(waited, sdk == "python", "{sdk}");
    }
}

/// [ARCP 6.4-2] a silent client is pinged also while events stream to it: Go's speaks only when it is spoken to, Python's
/// never pings.
#[tokio::test(start_paused = true)]
async fn silent_clients_are_pinged() {
    let chatting = |ctx: JobContext, _input: Value| async move {
        for _ in 0..100 {
            ctx.log("info", "still here").await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Ok::<_, AgentError>(Value::Null)
    };
    let runtime = runtime().agent("chat", chatting).build().await.unwrap();
    for sdk in SDKS {
        let mut peer = speaking(&runtime, sdk).await;
        let job = peer.submit(json!({"agent": "chat"})).await;
        let mut pings = 0;
        loop {
            let frame = peer.next().await;
            if frame["type"] == "session.ping" {
                pings += 1;
                peer.send(
                    "session.pong",
                    json!({"ping_nonce": frame["payload"]["nonce"]}),
                )
                .await;
            }
            if frame["job_id"] == job && frame["type"] == "job.result" {
                break;
            }
        }
        assert!(
            pings >= 2,
            "{sdk} was pinged {pings} times in 100 s of events"
        );
    }
}

/// [ARCP 6.7-1] both words for a goodbye, from everybody.
#[tokio::test(start_paused = true)]
async fn goodbyes() {
    let runtime = agents().await;
    for sdk in SDKS {
        for word in ["session.close", "session.bye"] {
            let mut peer = speaking(&runtime, sdk).await;
            peer.send(word, json!({"reason": "done"})).await;
            assert_eq!(
                peer.expect("session.closed").await["payload"]["reason"],
                "done",
                "{sdk}"
            );
            assert_eq!(peer.try_next().await, None);
        }
    }
}

/// [ARCP 6.3-2, 6.3-3] each SDK's way to resume, and no acceptance again for those it would confuse.
#[tokio::test(start_paused = true)]
async fn resuming() {
    let runtime = agents().await;
    for sdk in SDKS {
        let mut peer = speaking(&runtime, sdk).await;
        let job = peer.submit(json!({"agent": "sleep"})).await;
        peer.expect("job.event").await;
        let (session, token) = (peer.session.clone(), peer.cut());
        let mut frame = hello(sdk);
        match sdk {
            "ruby" => frame["payload"]["resume"] = json!({"token": token, "last_event_seq": 0}),
            "go" | "java" => {
                frame["payload"]["resume_token"] = json!(token);
                frame["payload"]["last_event_seq"] = json!(0);
            }
            _ => {
                frame["payload"]["resume"] =
                    json!({"session_id": session, "resume_token": token, "last_event_seq": 0})
            }
        }
        let mut again = Peer::raw(&runtime);
        again.send_text(&frame.to_string()).await;
        again.welcomed().await;
        assert_eq!(again.session, session, "{sdk}");
        if ["draft", "ruby"].contains(&sdk) {
            assert_eq!(again.expect("job.accepted").await["job_id"], job);
        }
        assert_eq!(again.expect("job.event").await["event_seq"], 1, "{sdk}");
        again.send("job.cancel", json!({"job_id": job})).await;
        again.until_end(&job).await;
    }
}

/// [ARCP 5-11, 7.3-2] to everybody: replies also name their request in `reply_to`, terminals their job in the payload, for
/// Ruby's client knows them by nothing else.
#[tokio::test(start_paused = true)]
async fn what_ruby_asks_for_everybody_gets() {
    let runtime = agents().await;
    for sdk in SDKS {
        let mut peer = speaking(&runtime, sdk).await;
        let id = peer.send("job.submit", json!({"agent": "echo"})).await;
        let accepted = peer.expect("job.accepted").await;
        assert_eq!(accepted["payload"]["reply_to"], id, "{sdk}");
        let job = accepted["job_id"].as_str().unwrap();
        let end = end_of(&mut peer, job).await;
        assert_eq!(end["payload"]["job_id"], job, "{sdk}");
        for (kind, payload, reply) in [
            ("session.list_jobs", json!({}), "session.jobs"),
            (
                "job.subscribe",
                json!({"job_id": job, "history": true}),
                "job.subscribed",
            ),
        ] {
            let id = peer.send(kind, payload).await;
            let reply = peer.expect(reply).await;
            assert_eq!(reply["payload"]["reply_to"], id, "{sdk}");
        }
        let replayed = end_of(&mut peer, job).await;
        assert_eq!(replayed["payload"]["job_id"], job, "{sdk}");
    }
}

/// Leases are told to everybody but Ruby's client, which reads its own kind alone and asks for it.
#[tokio::test(start_paused = true)]
async fn leases() {
    let runtime = agents().await;
    for sdk in SDKS {
        let mut peer = speaking(&runtime, sdk).await;
        let mut lease = json!({"agent.delegate": ["echo"]});
        if sdk == "ruby" {
            lease["capabilities"] = json!([]);
            lease["expires_at"] = json!("2999-01-01T00:00:00Z");
        }
        let submit = json!({"agent": "delegate", "lease_request": lease});
        peer.send("job.submit", submit).await;
        let accepted = peer.expect("job.accepted").await;
        let told = accepted["payload"].get("lease");
        assert_eq!(told.is_some(), sdk != "ruby", "{accepted}");
        if sdk == "ruby" {
            let constraints = &accepted["payload"]["lease_constraints"];
            assert!(constraints["expires_at"].is_string(), "{accepted}");
        }
        let job = accepted["job_id"].as_str().unwrap().to_owned();
        let frames = peer.until_end(&job).await;
        let delegate = frames
            .iter()
            .find(|frame| frame["payload"]["kind"] == "delegate");
        let body = &delegate.unwrap()["payload"]["body"];
        assert_eq!(body.get("lease").is_some(), sdk != "ruby", "{body}");
        assert_eq!(frames.last().unwrap()["payload"]["result"], "parent");
    }
}

/// [ARCP 6.1-1] a refused hello in the form each client takes for one; it names the hello.
#[tokio::test(start_paused = true)]
async fn refused_hellos() {
    let runtime = agents().await;
    for sdk in SDKS {
        let mut frame = hello(sdk);
        frame["payload"]["auth"]["token"] = json!("wrong");
        let mut peer = Peer::raw(&runtime);
        peer.send_text(&frame.to_string()).await;
        let refusal = peer.next().await;
        assert_eq!(refusal["payload"]["code"], "UNAUTHENTICATED", "{sdk}");
        assert_eq!(refusal["payload"]["request_id"], frame["id"], "{sdk}");
        if sdk == "java" {
            assert_eq!(
                (&refusal["type"], &refusal["id"]),
                (&json!("job.error"), &frame["id"])
            );
        } else {
            assert_eq!(refusal["type"], "session.error", "{sdk}");
        }
    }
}

/// The runtime's name also flat, for Ruby alone.
#[tokio::test(start_paused = true)]
async fn welcomes() {
    let runtime = agents().await;
    for sdk in SDKS {
        let mut peer = Peer::raw(&runtime);
        peer.send_text(&hello(sdk).to_string()).await;
        let welcome = peer.expect("session.welcome").await;
        let flat = welcome["payload"].get("runtime_name");
        let name = &welcome["payload"]["runtime"]["name"];
        assert_eq!(flat, (sdk == "ruby").then_some(name), "{sdk}");
    }
}

/// [ARCP 6.1-2] a client of the older vocabulary is told what it speaks and what is spoken here, once.
#[tokio::test(start_paused = true)]
async fn the_older_vocabulary_gets_one_clear_error() {
    let runtime = agents().await;
    let opening = json!({"arcp": "1.1", "id": "msg_1", "type": "session.open", "timestamp": "2026-01-01T00:00:00Z",
        "payload": {"auth": {"scheme": "bearer", "token": ALICE}, "client": {"kind": "arcp-rs"}}});
    let mut peer = Peer::raw(&runtime);
    peer.send_text(&opening.to_string()).await;
    let refusal = peer.expect_error("UNAUTHENTICATED").await;
    let message = refusal["payload"]["message"].as_str().unwrap();
    for word in ["session.open", "older", "session.hello", "v1.1"] {
        assert!(message.contains(word), "{message}");
    }
    assert_eq!(peer.try_next().await, None);
    let mut peer = speaking(&runtime, "draft").await;
    peer.send("tool.invoke", json!({"tool": "x"})).await;
    let refusal = peer.expect_error("INVALID_REQUEST").await;
    let message = refusal["payload"]["message"].as_str().unwrap();
    assert!(message.contains("older") && message.contains("job.submit"));
}

/// [ARCP 8.4-1] the empty chunk at the end of a binary stream has the stream's encoding: Go's client refuses two in one.
#[tokio::test(start_paused = true)]
async fn a_stream_has_one_encoding() {
    let streaming = |ctx: JobContext, _input: Value| async move {
        let mut result = ctx.stream_result()?;
        result.write_bytes(&[0, 255]).await?;
        result.finish(None).await?;
        Ok::<_, AgentError>(Value::Null)
    };
    let runtime = runtime().agent("stream", streaming).build().await.unwrap();
    let mut peer = speaking(&runtime, "go").await;
    let job = peer.submit(json!({"agent": "stream"})).await;
    let frames = peer.until_end(&job).await;
    let chunks: Vec<_> = frames
        .iter()
        .filter(|frame| frame["payload"]["kind"] == "result_chunk")
        .map(|frame| &frame["payload"]["body"])
        .collect();
    assert_eq!(chunks.len(), 2, "{chunks:?}");
    for chunk in chunks {
        assert_eq!(chunk["encoding"], "base64", "{chunk}");
    }
}
