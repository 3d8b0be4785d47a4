//! Events and streamed results (§8), and how they are fitted to a session (§6.2).

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use towline_proto::chunks::ChunkLimits;
use towline_runtime::{AgentError, EventError, JobContext, RuntimeOptions};
use towline_wire::{Amount, CallId, EventKind, event};

use crate::peer::{ALICE, ALL, Peer, kinds, runtime};

/// The features but these.
fn without(features: &[&str]) -> Vec<&'static str> {
    ALL.iter()
        .copied()
        .filter(|feature| !features.contains(feature))
        .collect()
}

/// [ARCP 8-1, 8-2, 5-8] every kind an agent emits, with its body and its time; vendors' kinds pass through.
#[tokio::test(start_paused = true)]
async fn kinds_of_events() {
    let every = |ctx: JobContext, _input: Value| async move {
        ctx.log_with("warn", "careful", json!({"k": 1})).await?;
        ctx.thought("hm").await?;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let call = ctx.tool_call("search", json!({"q": "x"})).await?;
        ctx.tool_result(&call, json!([1])).await?;
        let error = event::ToolError {
            code: towline_wire::ErrorCode::TIMEOUT,
            message: "slow".to_owned(),
            retryable: true,
        };
        ctx.tool_failed(&call, error).await?;
        ctx.status("thinking", Some("hard")).await?;
        ctx.metric("latency", "1.50".parse::<Amount>()?, Some("ms"))
            .await?;
        ctx.artifact(event::ArtifactRef {
            uri: "file:///x".to_owned(),
            content_type: "text/plain".to_owned(),
            byte_size: Some(3),
            sha256: None,
        })
        .await?;
        ctx.progress("2.5".parse::<Amount>()?)
            .of(2)
            .units("GB")
            .message("over")
            .await?;
        ctx.emit(
            &EventKind::new("x-vendor.acme.mood"),
            json!({"mood": "good"}),
        )
        .await?;
        Ok::<_, AgentError>(call.to_string())
    };
    let runtime = runtime().agent("every", every).build().await.unwrap();
    let mut peer = Peer::alice(&runtime).await;
    let job = peer.start(json!({"agent": "every"})).await;
    let frames = peer.until_end(&job).await;
    let call = frames.last().unwrap()["payload"]["result"].clone();
    assert!(call.as_str().unwrap().starts_with("call_"));
    let expected = [
        (
            "log",
            json!({"level": "warn", "message": "careful", "attributes": {"k": 1}}),
        ),
        ("thought", json!({"text": "hm"})),
        (
            "tool_call",
            json!({"tool": "search", "args": {"q": "x"}, "call_id": call}),
        ),
        ("tool_result", json!({"call_id": call, "result": [1]})),
        (
            "tool_result",
            json!({"call_id": call, "error": {"code": "TIMEOUT", "message": "slow", "retryable": true}}),
        ),
        ("status", json!({"phase": "thinking", "message": "hard"})),
        (
            "metric",
            json!({"name": "latency", "value": 0, "unit": "ms"}),
        ),
        (
            "artifact_ref",
            json!({"uri": "file:///x", "content_type": "text/plain", "byte_size": 3}),
        ),
        (
            "progress",
            json!({"current": 0, "total": 2, "units": "GB", "message": "over"}),
        ),
        ("x-vendor.acme.mood", json!({"mood": "good"})),
    ];
    assert_eq!(frames.len(), expected.len() + 1);
    for ((kind, mut body), frame) in expected.into_iter().zip(&frames) {
        let payload = &frame["payload"];
        assert_eq!(payload["kind"], kind);
        let ts = if matches!(kind, "log" | "thought") {
            "2026-03-01T12:00:00.000Z"
        } else {
            "2026-03-01T12:00:01.500Z"
        };
        assert_eq!(payload["ts"], ts);
        for exact in ["value", "current"] {
            if let Some(number) = body.get_mut(exact) {
                *number = payload["body"][exact].clone();
            }
        }
        assert_eq!(payload["body"], body);
    }
    assert_eq!(
        frames[6]["payload"]["body"]["value"].to_string(),
        "1.50",
        "the decimal text as it was"
    );
    assert_eq!(frames[8]["payload"]["body"]["current"].to_string(), "2.5");
}

/// [ARCP 8-1, 8-2, 9.6-2] what is no event is refused to the agent, and nothing of it shows.
#[tokio::test(start_paused = true)]
async fn what_is_no_event() {
    let odd = |ctx: JobContext, _input: Value| async move {
        let negative = ctx.progress("-1".parse::<Amount>()?).await;
        let raw = ctx.emit(&EventKind::PROGRESS, json!({"current": -1})).await;
        let unknown = ctx.emit(&EventKind::new("mood"), json!({})).await;
        let runtimes = ctx
            .emit(
                &EventKind::new("delegate"),
                json!({"child_job_id": "job_1", "agent": "a"}),
            )
            .await;
        let chunk = ctx.emit(&EventKind::RESULT_CHUNK, json!({})).await;
        let bodiless = ctx.emit(&EventKind::LOG, json!({"level": "info"})).await;
        let cost = ctx
            .metric("cost.x", "-0.01".parse::<Amount>()?, Some("USD"))
            .await;
        assert!(matches!(cost, Err(EventError::Metric(_))));
        assert_eq!(ctx.budget()["USD"].to_string(), "1");
        let refused = [negative, raw, unknown, runtimes, chunk, bodiless];
        Ok::<_, AgentError>(
            refused
                .iter()
                .filter(|event| matches!(event, Err(EventError::Invalid(_))))
                .count(),
        )
    };
    let runtime = runtime().agent("odd", odd).build().await.unwrap();
    let mut peer = Peer::alice(&runtime).await;
    peer.start(json!({"agent": "odd", "lease_request": {"cost.budget": ["USD:1"]}}))
        .await;
    assert_eq!(peer.expect_end("success").await["result"], 6);
}

/// What the streaming agent is asked for.
async fn stream(ctx: JobContext, input: Value) -> Result<(), AgentError> {
    let mut result = ctx.stream_result()?;
    for piece in input["text"].as_array().into_iter().flatten() {
        result.write_text(piece.as_str().unwrap_or("")).await?;
    }
    if let Some(bytes) = input["bytes"].as_u64() {
        let all: Vec<u8> = (0..bytes).map(|at| at as u8).collect();
        result.write_bytes(&all).await?;
    }
    ctx.progress(1).await?;
    result.finish(input["summary"].as_str()).await?;
    Ok(())
}

/// The decoded bytes of the chunks among some frames, checked for their order.
fn assembled(frames: &[Value]) -> Vec<u8> {
    let chunks: Vec<&Value> = frames
        .iter()
        .map(|frame| &frame["payload"])
        .filter(|payload| payload["kind"] == "result_chunk")
        .collect();
    let mut all = Vec::new();
    for (seq, chunk) in chunks.iter().enumerate() {
        let body = &chunk["body"];
        assert_eq!(body["chunk_seq"], seq);
        assert_eq!(body["result_id"], chunks[0]["body"]["result_id"]);
        assert_eq!(body["more"], seq + 1 < chunks.len());
        let data = body["data"].as_str().unwrap();
        let piece = match body["encoding"].as_str().unwrap() {
            "utf8" => data.as_bytes().to_vec(),
            _ => STANDARD.decode(data).unwrap(),
        };
        assert!(
            piece.len() <= 256 * 1024,
            "[ARCP 8.4-3] every known peer can read it"
        );
        all.extend(piece);
    }
    all
}

/// [ARCP 8.4-1, 8.4-2, 8.4-3] a streamed result: numbered from 0, text never cut inside a character, its size in bytes; no inline
/// result beside it.
#[tokio::test(start_paused = true)]
async fn streamed_results() {
    let runtime = runtime().agent("stream", stream).build().await.unwrap();
    let mut peer = Peer::alice(&runtime).await;
    let long = "zwölf Boxkämpfer ".repeat(40_000);
    for input in [
        json!({"text": ["a", "", "bc"], "summary": "letters"}),
        json!({"text": [long]}),
        json!({"bytes": 600_000}),
        json!({"bytes": 0}),
    ] {
        let job = peer.start(json!({"agent": "stream", "input": input})).await;
        let frames = peer.until_end(&job).await;
        let bytes = assembled(&frames);
        let end = &frames.last().unwrap()["payload"];
        let text: String = input["text"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|piece| piece.as_str().unwrap())
            .collect();
        match input["bytes"].as_u64() {
            Some(size) => assert_eq!(bytes.len() as u64, size),
            None => assert_eq!(bytes, text.as_bytes()),
        }
        assert_eq!(
            (&end["final_status"], &end["result_size"]),
            (&json!("success"), &json!(bytes.len()))
        );
        assert!(end["result_id"].as_str().unwrap().starts_with("res_"));
        assert!(end.get("result").is_none());
        assert_eq!(end.get("summary"), input.get("summary"));
    }
}

/// [ARCP 6.2-4] a session without `result_chunk` gets the result whole: text as text, bytes as base64, numbered without the
/// chunks; too large a one is INTERNAL_ERROR there, and fine elsewhere.
#[tokio::test(start_paused = true)]
async fn assembled_results() {
    let options = RuntimeOptions::default().inline_result(200_000);
    let runtime = runtime()
        .options(options)
        .agent("stream", stream)
        .build()
        .await
        .unwrap();
    let features = without(&["result_chunk", "progress"]);
    let mut peer = Peer::open(&runtime, ALICE, &features).await;
    let mut full = Peer::alice(&runtime).await;
    for (input, expected) in [
        (
            json!({"text": ["ab", "ü", "c"], "summary": "s"}),
            json!({"result": "abüc", "summary": "s"}),
        ),
        (
            json!({"bytes": 3}),
            json!({"result": STANDARD.encode([0, 1, 2]), "result_encoding": "base64"}),
        ),
        (json!({"text": []}), json!({"result": ""})),
    ] {
        let job = peer.start(json!({"agent": "stream", "input": input})).await;
        let end = peer.expect_end("success").await;
        for name in [
            "result",
            "result_encoding",
            "result_id",
            "result_size",
            "summary",
        ] {
            assert_eq!(end.get(name), expected.get(name), "{input} {name}");
        }
        full.ask("job.subscribe", json!({"job_id": job, "history": true}))
            .await;
        let frames = full.until_end(&job).await;
        assert!(frames.last().unwrap()["payload"].get("result_id").is_some());
        assert!(kinds(&frames).contains(&"progress"));
    }
    let job = peer
        .start(json!({"agent": "stream", "input": {"bytes": 200_001}}))
        .await;
    let end = peer.expect_end("error").await;
    assert_eq!(
        (&end["code"], &end["retryable"]),
        (&json!("INTERNAL_ERROR"), &json!(true))
    );
    assert!(
        end["message"].as_str().unwrap().contains("result_chunk"),
        "says what would help: {end}"
    );
    full.ask("job.subscribe", json!({"job_id": job, "history": true}))
        .await;
    assert_eq!(assembled(&full.until_end(&job).await).len(), 200_001);
    let mut late = Peer::open(&runtime, ALICE, &features).await;
    late.ask("job.subscribe", json!({"job_id": job, "history": true}))
        .await;
    late.expect_event("status").await;
    assert_eq!(
        late.expect_end("error").await["code"],
        "INTERNAL_ERROR",
        "the same when it is history"
    );
}

/// [ARCP 6.2-4, 8-3] what a session's features leave out takes no number there.
#[tokio::test(start_paused = true)]
async fn projection() {
    let busy = |ctx: JobContext, _input: Value| async move {
        for step in 0..5 {
            ctx.progress(step).await?;
            ctx.progress(step).await?;
            ctx.log("info", format!("{step}")).await?;
        }
        Ok::<_, AgentError>(Value::Null)
    };
    let runtime = runtime().agent("busy", busy).build().await.unwrap();
    let mut peer = Peer::open(&runtime, ALICE, &without(&["progress"])).await;
    let job = peer.submit(json!({"agent": "busy"})).await;
    let frames = peer.until_end(&job).await;
    assert_eq!(
        kinds(&frames),
        ["status", "log", "log", "log", "log", "log", "job.result"]
    );
    assert_eq!(crate::peer::job_seqs(&frames), [1, 4, 7, 10, 13, 16, 17]);
    assert_eq!(frames[6]["event_seq"], 7);
    let mut again = Peer::resume(&runtime, &peer.lost().await, 3).await;
    assert_eq!(
        kinds(&again.until_end(&job).await),
        ["job.accepted", "log", "log", "log", "job.result"]
    );
}

/// [ARCP 8.4-3, 8.4-2] over a cap the job ends INTERNAL_ERROR, even if its agent looks away; so does one that streams and returns,
/// or leaves its stream open; a second stream is refused.
#[tokio::test(start_paused = true)]
async fn streams_that_fail() {
    let options = RuntimeOptions::default()
        .chunks(ChunkLimits {
            chunk: 1000,
            total: 2500,
        })
        .inline_result(100);
    let odd = |ctx: JobContext, input: Value| async move {
        if input == "inline" {
            return Ok::<_, AgentError>(json!("x".repeat(100)));
        }
        let mut result = ctx.stream_result()?;
        assert!(
            matches!(ctx.stream_result(), Err(EventError::Invalid(_))),
            "one a job"
        );
        match input.as_str() {
            Some("too much") => {
                let _ignored = result.write_text(&"x".repeat(2501)).await;
                let _ignored = result.finish(None).await;
            }
            Some("gives up") => result.write_bytes(&[0; 2501]).await?,
            Some("exactly") => {
                result.write_bytes(&[0; 2500]).await?;
                result.finish(None).await?;
            }
            Some("open") => drop(result),
            _ => {
                result.finish(None).await?;
                return Ok(json!("and this"));
            }
        }
        Ok(Value::Null)
    };
    let runtime = runtime()
        .options(options)
        .agent("odd", odd)
        .build()
        .await
        .unwrap();
    let mut peer = Peer::alice(&runtime).await;
    for (input, status) in [
        ("too much", "error"),
        ("gives up", "error"),
        ("exactly", "success"),
        ("open", "error"),
        ("both", "error"),
        ("inline", "error"),
    ] {
        let job = peer.start(json!({"agent": "odd", "input": input})).await;
        let end = peer.until_end(&job).await.pop().unwrap();
        assert_eq!(end["payload"]["final_status"], status, "{input}");
        if status == "error" {
            assert_eq!(end["payload"]["code"], "INTERNAL_ERROR");
        }
    }
}

/// [ARCP 9.3-1] a refused operation is a `tool_result` error under the call it was for, and the job goes on.
#[tokio::test(start_paused = true)]
async fn denials() {
    let ask = |ctx: JobContext, _input: Value| async move {
        let call = CallId::parse("call_mine")?;
        let denied = ctx
            .authorize_call(towline_runtime::Operation::FsRead("/etc/passwd"), &call)
            .await
            .unwrap_err();
        Ok::<_, AgentError>(json!(denied.code()))
    };
    let runtime = runtime().agent("ask", ask).build().await.unwrap();
    let mut peer = Peer::alice(&runtime).await;
    peer.start(json!({"agent": "ask", "lease_request": {"fs.read": ["/data/**"]}}))
        .await;
    let refusal = peer.expect_event("tool_result").await;
    assert_eq!(refusal["call_id"], "call_mine");
    assert_eq!(
        (&refusal["error"]["code"], &refusal["error"]["retryable"]),
        (&json!("PERMISSION_DENIED"), &json!(false))
    );
    assert_eq!(
        peer.expect_end("success").await["result"],
        "PERMISSION_DENIED"
    );
}
