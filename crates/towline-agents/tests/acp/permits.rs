//! What an agent may do: by the lease, by a person, by nobody.

use serde_json::{Value, json};
use towline_agents::Confinement;
use towline_runtime::AgentOptions;
use towline_wire::{Lease, RawJson, namespace};

use crate::stage::{Stage, soon};

/// Has the agent ask for leave; gives the option that was chosen.
async fn chosen(stage: &Stage, call: Value, lease: Lease) -> Value {
    let mut job = stage
        .submit(json!([{"ask": {"toolCall": call}}]), lease)
        .await;
    soon(job.result_json()).await.unwrap()
}

fn on(kind: &str, path: &str) -> Value {
    json!({"toolCallId": "1", "title": kind, "kind": kind, "locations": [{"path": path}]})
}

/// [ARCP 17-4] what the lease covers is allowed once, what it does not is rejected; never for always.
#[tokio::test]
async fn the_lease_answers() {
    let stage = Stage::new().await;
    let run = |command: Value| json!({"toolCallId": "1", "kind": "execute", "title": "run", "rawInput": {"command": command}});
    let fetch = json!({"toolCallId": "1", "kind": "fetch", "title": "get", "rawInput": {"url": "https://a.test/x"}});
    let lease = || {
        stage
            .lease()
            .with(namespace::FS_WRITE, stage.at("w/**"))
            .with(namespace::TOOL_CALL, "exec:git")
            .with(namespace::TOOL_CALL, "acp:known")
            .with(namespace::NET_FETCH, "https://a.test/**")
    };
    for (call, expected) in [
        (on("read", &stage.at("x")), "once"),
        (on("search", "/etc/passwd"), "no"),
        (on("edit", &stage.at("w/x")), "once"),
        (on("delete", &stage.at("x")), "no"),
        (
            json!({"toolCallId": "1", "kind": "edit", "title": "t"}),
            "no",
        ),
        (run(json!(["git", "status"])), "once"),
        (run(json!("git status")), "once"),
        (run(json!("git status; ls")), "no"),
        (run(json!(["ls"])), "no"),
        (fetch, "once"),
        (json!({"toolCallId": "1", "title": "known"}), "once"),
        (json!({"toolCallId": "1", "title": "unknown"}), "no"),
    ] {
        assert_eq!(
            chosen(&stage, call.clone(), lease()).await,
            expected,
            "{call}"
        );
    }
}

/// [ARCP 17-4] without a way to allow once nothing is allowed, and without a way to reject it is cancelled.
#[tokio::test]
async fn nothing_is_allowed_for_always() {
    let stage = Stage::new().await;
    let always = json!({"optionId": "always", "name": "Always", "kind": "allow_always"});
    let no = json!({"optionId": "no", "name": "No", "kind": "reject_once"});
    for (options, expected) in [(json!([always, no]), "no"), (json!([always]), "cancelled")] {
        let ask = json!({"toolCall": on("read", &stage.at("x")), "options": options});
        assert_eq!(stage.result(json!([{"ask": ask}])).await, expected);
    }
}

/// [ARCP 17-4] a refusal is the result of its call, and there is no second one.
#[tokio::test]
async fn a_refusal_is_the_calls_result() {
    let stage = Stage::new().await;
    let mut job = stage
        .submit(
            json!([
                {"ask": {"toolCall": on("edit", "/etc/passwd")}},
                {"update": {"sessionUpdate": "tool_call_update", "toolCallId": "1", "status": "failed"}},
            ]),
            stage.lease(),
        )
        .await;
    soon(job.result_json::<Value>()).await.unwrap();
    let calls = stage.bodies(job.id(), "tool_call").await;
    let results = stage.bodies(job.id(), "tool_result").await;
    assert_eq!((calls.len(), results.len()), (1, 1));
    assert_eq!(results[0]["error"]["code"], "PERMISSION_DENIED");
    assert_eq!(results[0]["call_id"], calls[0]["call_id"]);
}

/// [ARCP 15-6] [ARCP 17-4] what the lease leaves open to ask about, a person answers.
#[tokio::test]
async fn a_person_answers() {
    let stage = Stage::new().await;
    for (answer, expected) in [("true", "once"), ("false", "no")] {
        let ask = format!("fs.write={}", stage.at("**"));
        let lease = stage.lease().with("x-vendor.towline.ask", ask);
        let steps = json!([{"ask": {"toolCall": on("edit", &stage.at("x"))}}]);
        let mut job = stage.submit(steps, lease).await;
        loop {
            let event = soon(job.next_event()).await.unwrap().expect("it waits");
            if event.kind().as_str() != "x-vendor.towline.input_request" {
                continue;
            }
            let body: Value = event.payload().unwrap().body.read().unwrap();
            let question = body["question_id"].as_str().unwrap().parse().unwrap();
            let answer = RawJson::parse(answer).unwrap();
            job.answer(question, answer).await.unwrap();
            break;
        }
        assert_eq!(soon(job.result_json::<Value>()).await.unwrap(), expected);
    }
}

/// [ARCP 17-5] files are read and written through the lease.
#[tokio::test]
async fn files_go_through_the_lease() {
    let stage = Stage::new().await;
    std::fs::write(stage.at("in"), "1\n2\n3\n").unwrap();
    let read = |params: Value| json!([{"call": {"method": "fs/read_text_file", "params": params}}]);
    let answer = |text: Value| -> Value { serde_json::from_str(text.as_str().unwrap()).unwrap() };
    let whole = answer(stage.result(read(json!({"path": stage.at("in")}))).await);
    assert_eq!(whole["result"]["content"], "1\n2\n3\n");
    let line = json!({"path": stage.at("in"), "line": 2, "limit": 1});
    assert_eq!(
        answer(stage.result(read(line)).await)["result"]["content"],
        "2\n"
    );
    let outside = answer(stage.result(read(json!({"path": "/etc/passwd"}))).await);
    assert!(outside["error"]["message"].is_string(), "{outside}");
    let params = json!({"path": stage.at("out"), "content": "new"});
    let write = json!([{"call": {"method": "fs/write_text_file", "params": params}}]);
    let denied = answer(stage.result(write.clone()).await);
    assert!(denied["error"].is_object(), "{denied}");
    assert!(!std::path::Path::new(&stage.at("out")).exists());
    let lease = stage.lease().with(namespace::FS_WRITE, stage.at("**"));
    let mut job = stage.submit(write, lease).await;
    soon(job.result_json::<Value>()).await.unwrap();
    assert_eq!(std::fs::read_to_string(stage.at("out")).unwrap(), "new");
}

/// [ARCP 18-1] what an agent does without asking is bound by the lease as well.
#[tokio::test]
async fn an_agent_that_does_not_ask_is_confined() {
    let stage = Stage::with(Confinement::new(), AgentOptions::default()).await;
    std::fs::create_dir(stage.at("w")).unwrap();
    let lease = || stage.lease().with(namespace::FS_WRITE, stage.at("w/**"));
    for (path, expected) in [("w/x", "written"), ("x", "not written")] {
        let steps = json!([{"file": {"path": stage.at(path), "text": "x"}}]);
        let mut job = stage.submit(steps, lease()).await;
        assert_eq!(soon(job.result_json::<Value>()).await.unwrap(), expected);
    }
}
