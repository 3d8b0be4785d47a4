//! The trace of a job, as far as it goes without a collector.

use serde_json::{Value, json};
use towline_runtime::{AgentError, JobContext, with_meta};
use towline_wire::RawJson;

use crate::peer::{Peer, runtime};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// [ARCP 11-2] the agent, its child and a tool that takes it are told where they are; the log is not.
#[tokio::test(start_paused = true)]
async fn the_trace_goes_on() {
    let echo = |_ctx: JobContext, args: RawJson| async move { Ok(args) };
    let runtime = runtime()
        .tool("plain", echo)
        .tool("meta", with_meta(echo))
        .agent("child", |ctx: JobContext, _input: Value| async move {
            Ok::<_, AgentError>(json!(ctx.traceparent()))
        })
        .agent("parent", |ctx: JobContext, _input: Value| async move {
            let plain = ctx.call_tool("plain", json!({"a": 1})).await?;
            let meta = ctx
                .call_tool("meta", json!({"a": 1, "_meta": {"b": 2}}))
                .await?;
            let child = ctx.delegate("child").send().await?.outcome().await;
            Ok::<_, AgentError>(json!([plain, meta, child.result, ctx.traceparent()]))
        })
        .build()
        .await
        .unwrap();
    let mut alice = Peer::alice(&runtime).await;
    let lease = json!({"tool.call": ["*"], "agent.delegate": ["child"]});
    let payload = json!({"agent": "parent", "lease_request": lease});
    let frame = json!({"arcp": "1.1", "id": "s", "type": "job.submit", "trace_id": TRACE, "payload": payload});
    alice.send_text(&frame.to_string()).await;
    let job = alice.expect("job.accepted").await["job_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let frames = alice.until_end(&job).await;
    let result = frames.last().unwrap()["payload"]["result"].clone();
    assert_eq!(result[0], json!({"a": 1}));
    assert_eq!(result[1]["_meta"]["b"], 2);
    for traceparent in [&result[1]["_meta"]["traceparent"], &result[2], &result[3]] {
        let parts: Vec<&str> = traceparent.as_str().unwrap().split('-').collect();
        assert_eq!(
            (parts[0], parts[1], parts[2].len(), parts[3]),
            ("00", TRACE, 16, "01")
        );
    }
    let call = frames
        .iter()
        .find(|frame| frame["payload"]["body"]["tool"] == "meta")
        .unwrap();
    assert_eq!(
        call["payload"]["body"]["args"],
        json!({"a": 1, "_meta": {"b": 2}})
    );
    assert!(
        frames.iter().all(|frame| frame["trace_id"] == TRACE),
        "{frames:#?}"
    );
    runtime.shutdown().await;
}

/// [ARCP 11-1] a whole `traceparent` is reduced to its trace; what is no trace is replaced.
#[tokio::test(start_paused = true)]
async fn traces_that_come_in() {
    let runtime = runtime().agent("echo", |_ctx: JobContext, input: Value| async move {
        Ok::<_, AgentError>(input)
    });
    let runtime = runtime.build().await.unwrap();
    let mut alice = Peer::alice(&runtime).await;
    for (sent, taken) in [
        (json!(TRACE), true),
        (json!(format!("00-{TRACE}-00f067aa0ba902b7-01")), true),
        (json!("0".repeat(32)), false),
        (json!(TRACE.to_uppercase()), false),
        (json!("4bf92f"), false),
        (json!(7), false),
        (Value::Null, false),
    ] {
        let payload = json!({"agent": "echo"});
        let frame = json!({"arcp": "1.1", "id": "s", "type": "job.submit", "trace_id": sent, "payload": payload});
        alice.send_text(&frame.to_string()).await;
        let accepted = alice.expect("job.accepted").await;
        let trace = accepted["trace_id"].as_str().unwrap();
        assert_eq!(trace == TRACE, taken, "{sent}: {trace}");
        assert!(
            trace.len() == 32
                && trace
                    .bytes()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')),
            "{trace}"
        );
        alice.until_end(accepted["job_id"].as_str().unwrap()).await;
    }
    runtime.shutdown().await;
}
