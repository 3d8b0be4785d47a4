//! Agents that speak ACP, and not as they should.

use serde_json::{Value, json};
use towline_agents::ProcessAgent;
use towline_client::JobHandle;
use towline_wire::ErrorCode;

use crate::support::{Stage, bodies, failure, soon};

/// An agent that does what no good one does: says what its prompt asks for, at a length that no message has.
const RUDE: &str = r#"
import json, sys
def put(bytes): sys.stdout.buffer.write(bytes + b"\n"); sys.stdout.flush()
for line in sys.stdin:
    message = json.loads(line)
    method, answer = message.get("method"), {"jsonrpc": "2.0", "id": message.get("id")}
    if method == "initialize": answer["result"] = {"protocolVersion": 1}
    elif method == "session/new": answer["result"] = {"sessionId": "s"}
    elif method == "session/prompt":
        prompt = message["params"]["prompt"][0]["text"]
        if prompt == "stop": answer["result"] = {"stopReason": "x" * 9000000}
        elif prompt == "error": answer["error"] = {"code": 1, "message": "x" * 9000000}
        else:
            put(b"\xff\xfe no text")
            answer["result"] = {"stopReason": "end_turn"}
    else: continue
    put(json.dumps(answer).encode())
"#;

async fn rude(prompt: &str) -> (Stage, JobHandle) {
    let stage = Stage::new(ProcessAgent::acp(["/usr/bin/python3", "-c", RUDE])).await;
    let submit = stage.client.submit("script");
    let submit = submit.input(json!({"prompt": prompt}));
    let job = submit.send().await.unwrap();
    (stage, job)
}

/// [ARCP 14-6] Of an agent's texts an error of the job tells the beginning, however long they are.
#[tokio::test]
async fn errors_tell_the_beginning_of_a_text() {
    for prompt in ["stop", "error"] {
        let (_stage, mut job) = rude(prompt).await;
        let failure = failure(&mut job).await;
        let size = failure.message.len();
        assert!((4096..5000).contains(&size), "{size}");
        let details = failure.details.map_or(0, |details| details.as_str().len());
        assert!(details < 5000, "{details}");
    }
}

/// [ARCP 17-1] A line that is not even text is one that is no message: it is told of, and the turn goes on.
#[tokio::test]
async fn a_line_that_is_no_text_ends_nothing() {
    let (stage, mut job) = rude("bytes").await;
    let gave: Value = soon(job.result_json()).await.unwrap();
    assert_eq!(gave, Value::Null);
    let logs = bodies(&stage.client, job.id(), "log").await;
    let warned = |log: &Value| {
        let text = log["message"].as_str().unwrap();
        log["level"] == "warn" && text.ends_with(" no text")
    };
    assert!(logs.iter().any(warned), "{logs:?}");
}

/// A misspelt step of the scripted agent, in a branch too, is an error that names it; nothing is done before.
#[tokio::test]
async fn a_misspelt_step_is_named() {
    let script = env!("CARGO_BIN_EXE_towline-acp-script");
    for steps in [
        json!([{"say": "first"}, {"sya": 1}]),
        json!([{"say": "first"}, {"read": "/nowhere", "else": [{"sya": 1}]}]),
    ] {
        let stage = Stage::new(ProcessAgent::acp([script])).await;
        let submit = stage.client.submit("script");
        let submit = submit.input(json!({"prompt": steps.to_string()}));
        let mut job = submit.send().await.unwrap();
        let failure = failure(&mut job).await;
        assert_eq!(failure.code, ErrorCode::INTERNAL_ERROR);
        assert!(
            failure.message.contains("no step `sya`"),
            "{}",
            failure.message
        );
        assert!(
            bodies(&stage.client, job.id(), "log")
                .await
                .iter()
                .all(|log| log["message"] != "first")
        );
    }
}
