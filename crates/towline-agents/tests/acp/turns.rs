//! What becomes of a turn, and of what an agent says in it.

use serde_json::{Value, json};
use towline_agents::Confinement;
use towline_runtime::AgentOptions;
use towline_wire::{Lease, namespace};

use crate::stage::{Stage, failure, soon};

/// [ARCP 17-1] the last message is the result; null when there was none.
#[tokio::test]
async fn the_last_message_is_the_result() {
    let stage = Stage::new().await;
    let said = json!([{"say": "a "}, {"say": "b"}, {"think": "hm"}, {"say": "c"}]);
    assert_eq!(stage.result(said).await, "c");
    assert_eq!(stage.result(json!([{"think": "hm"}])).await, Value::Null);
}

/// [ARCP 17-1] what else a turn stops for is an error that says so.
#[tokio::test]
async fn stop_reasons_end_the_job() {
    let stage = Stage::new().await;
    for (reason, code) in [
        ("max_tokens", "INTERNAL_ERROR"),
        ("max_turn_requests", "INTERNAL_ERROR"),
        ("refusal", "INVALID_REQUEST"),
    ] {
        let mut job = stage.submit(json!([{"stop": reason}]), stage.lease()).await;
        let failure = failure(&mut job).await;
        assert_eq!(failure.code.as_str(), code, "{failure}");
        let details: Value = failure.details.unwrap().read().unwrap();
        assert_eq!(details["stop_reason"], reason);
    }
}

/// [ARCP 17-1] a directory outside of the lease is denied, and a mode that is not offered is refused.
#[tokio::test]
async fn inputs_are_checked() {
    let stage = Stage::new().await;
    let mut outside = stage.submit(json!([]), Lease::new()).await;
    let denied = failure(&mut outside).await;
    assert_eq!(denied.code.as_str(), "PERMISSION_DENIED", "{denied}");
    let mut input = stage.input(&json!([{"say": "planned"}]));
    input["mode"] = "plan".into();
    let mut job = stage.submit_input(input.clone(), stage.lease()).await;
    assert_eq!(soon(job.result_json::<Value>()).await.unwrap(), "planned");
    input["mode"] = "fly".into();
    let mut job = stage.submit_input(input, stage.lease()).await;
    let refused = failure(&mut job).await;
    assert_eq!(refused.code.as_str(), "INVALID_REQUEST", "{refused}");
    let neither = json!({"cwd": stage.at("")});
    let mut job = stage.submit_input(neither, stage.lease()).await;
    assert_eq!(failure(&mut job).await.code.as_str(), "INVALID_REQUEST");
}

/// [ARCP 17-2] every kind of update is an event, and nothing is dropped.
#[tokio::test]
async fn updates_are_events() {
    let stage = Stage::new().await;
    let diff = json!({"type": "diff", "path": "/a/b.rs", "oldText": "x", "newText": "xyz"});
    let plan = json!([
        {"content": "look", "priority": "high", "status": "completed"},
        {"content": "write", "priority": "low", "status": "in_progress"},
    ]);
    let mut job = stage
        .submit(
            json!([
                {"think": "a"}, {"think": "b"}, {"say": "c"}, {"say": "d"},
                {"update": {"sessionUpdate": "plan", "entries": plan}},
                {"update": {"sessionUpdate": "tool_call", "toolCallId": "1", "title": "Edit", "kind": "edit", "status": "pending"}},
                {"update": {"sessionUpdate": "tool_call_update", "toolCallId": "1", "status": "in_progress"}},
                {"update": {"sessionUpdate": "tool_call_update", "toolCallId": "1", "status": "completed", "content": [diff]}},
                {"update": {"sessionUpdate": "tool_call", "toolCallId": "2", "title": "Open"}},
                {"update": {"sessionUpdate": "available_commands_update", "availableCommands": []}},
            ]),
            stage.lease(),
        )
        .await;
    assert_eq!(soon(job.result_json::<Value>()).await.unwrap(), "cd");
    let events = stage.events(job.id()).await;
    let of = |kind: &str| -> Vec<Value> {
        let found = events.iter().filter(|(name, _)| name == kind);
        found.map(|(_, body)| body.clone()).collect()
    };
    assert_eq!(of("thought"), [json!({"text": "ab"})]);
    assert!(of("log").contains(&json!({"level": "info", "message": "cd"})));
    let progress = &of("progress")[0];
    assert_eq!(progress["message"], "write");
    let calls = of("tool_call");
    let results = of("tool_result");
    assert_eq!((calls.len(), results.len()), (2, 2));
    assert_eq!(calls[0]["call_id"], results[0]["call_id"]);
    assert_eq!(results[0]["result"]["content"][0]["newText"], "xyz");
    assert_eq!(calls[1]["call_id"], results[1]["call_id"]);
    assert!(results[1]["error"].is_object(), "an open call is closed");
    assert_eq!(of("artifact_ref")[0]["uri"], "file:///a/b.rs");
    let kept = of("x-vendor.towline.acp");
    let kinds: Vec<&Value> = kept.iter().map(|body| &body["sessionUpdate"]).collect();
    assert_eq!(
        kinds,
        ["plan", "tool_call_update", "available_commands_update"]
    );
}

fn cost(amount: &str) -> Value {
    let number: serde_json::Number = amount.parse().unwrap();
    json!({"update": {"sessionUpdate": "usage_update", "used": 1, "size": 2, "cost": {"amount": number, "currency": "USD"}}})
}

/// [ARCP 17-3] the growth of the cost is what is spent, and a spent budget ends the job.
#[tokio::test]
async fn costs_are_spent() {
    let stage = Stage::new().await;
    let lease = || stage.lease().with(namespace::COST_BUDGET, "USD:1.00");
    let steps = json!([cost("0.10"), cost("0.05"), cost("0.30"), {"say": "cheap"}]);
    let mut job = stage.submit(steps, lease()).await;
    assert_eq!(soon(job.result_json::<Value>()).await.unwrap(), "cheap");
    let metrics = stage.bodies(job.id(), "metric").await;
    let costs = metrics.iter().filter(|metric| metric["name"] == "cost.acp");
    let values: Vec<String> = costs.map(|cost| cost["value"].to_string()).collect();
    let values: Vec<&str> = values.iter().map(|value| value.trim_matches('"')).collect();
    assert_eq!(values.len(), 2, "{values:?}");
    assert!(
        values[0].starts_with("0.1") && values[1].starts_with("0.2"),
        "{values:?}"
    );
    let dear = json!([cost("1.00"), {"wait": "cancel"}]);
    let mut job = stage.submit(dear, lease()).await;
    assert_eq!(failure(&mut job).await.code.as_str(), "BUDGET_EXHAUSTED");
}

/// [ARCP 17-1] a cancelled job cancels the turn.
#[tokio::test]
async fn a_cancel_reaches_the_agent() {
    let stage = Stage::new().await;
    let steps = json!([{"say": "here"}, {"think": "hm"}, {"wait": "cancel"}]);
    let mut job = stage.submit(steps, stage.lease()).await;
    while let Some(event) = soon(job.next_event()).await.unwrap() {
        let body: Value = event.payload().unwrap().body.read().unwrap();
        if body["message"] == "here" {
            break;
        }
    }
    job.cancel("enough").await.unwrap();
    assert_eq!(failure(&mut job).await.code.as_str(), "CANCELLED");
}

/// An agent that ends in the middle of its turn has ended its job, and its complaints are in the log.
#[tokio::test]
async fn a_crash_ends_the_job() {
    let stage = Stage::new().await;
    let steps = json!([{"write": "no more"}, {"crash": 7}]);
    let mut job = stage.submit(steps, stage.lease()).await;
    let failure = failure(&mut job).await;
    assert!(failure.message.contains("ended with status 7"), "{failure}");
    let logged = stage.bodies(job.id(), "log").await;
    assert!(logged.contains(&json!({"level": "debug", "message": "no more"})));
}

/// [ARCP 17-6] another run of the job loads its session, hears nothing of what was said before, and prompts it again.
#[tokio::test]
async fn another_run_loads_the_session() {
    let options = AgentOptions::default()
        .retries(1)
        .backoff(std::time::Duration::ZERO);
    let stage = Stage::with(Confinement::dangerously_off(), options).await;
    let steps = json!([{"once": [{"crash": 1}]}, {"say": "done"}]);
    let mut job = stage.submit(steps, stage.lease()).await;
    assert_eq!(soon(job.result_json::<Value>()).await.unwrap(), "done");
    let logged = stage.bodies(job.id(), "log").await;
    assert!(logged.iter().all(|line| line["message"] != "said before"));
    let sessions = std::fs::read_dir(stage.at("home")).unwrap().count();
    assert_eq!(sessions, 1, "the session was loaded");
}

/// [ARCP 17-1] a job goes on with the session of an earlier one; [ARCP 17-3] from what that one reported.
#[tokio::test]
async fn a_job_continues_another() {
    let stage = Stage::new().await;
    let mut first = stage.submit(json!([cost("0.50")]), stage.lease()).await;
    soon(first.result_json::<Value>()).await.unwrap();
    let mut input = stage.input(&json!([{"once": [{"crash": 1}]}, cost("0.75"), {"say": "more"}]));
    input["continue"] = first.id().as_str().into();
    let mut second = stage.submit_input(input.clone(), stage.lease()).await;
    assert_eq!(soon(second.result_json::<Value>()).await.unwrap(), "more");
    let metrics = stage.bodies(second.id(), "metric").await;
    assert_eq!(metrics.len(), 1);
    assert!(
        metrics[0]["value"]
            .to_string()
            .trim_matches('"')
            .starts_with("0.25")
    );
    input["continue"] = "job_nobody".into();
    let mut job = stage.submit_input(input, stage.lease()).await;
    assert_eq!(failure(&mut job).await.code.as_str(), "INVALID_REQUEST");
}
