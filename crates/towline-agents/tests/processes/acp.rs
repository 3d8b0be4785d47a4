//! Agents that speak the Agent Client Protocol: a scripted one, which does what its prompt says.

use std::time::Duration;

use serde_json::{Value, json};
use towline_agents::{Confinement, ProcessAgent};
use towline_client::{Client, ClientOptions, JobHandle, Outcome};
use towline_runtime::{AgentOptions, Runtime, RuntimeOptions, auth::StaticTokens};
use towline_store::SqliteStore;
use towline_transport::MemoryTransport;
use towline_wire::{ErrorCode, Lease};

use crate::support::{Stage, bodies, failure, launcher, soon, until};

fn scripted() -> ProcessAgent {
    ProcessAgent::acp([env!("CARGO_BIN_EXE_towline-acp-script")])
}

async fn stage() -> Stage {
    Stage::new(scripted()).await
}

async fn submit(stage: &Stage, steps: Value, lease: &[(&str, &str)]) -> JobHandle {
    let lease: Lease = lease.iter().copied().collect();
    let submit = stage.client.submit("script").lease(lease);
    let submit = submit.input(json!({"prompt": steps.to_string()}));
    submit.send().await.unwrap()
}

/// [ARCP 17-1, 17-2] Messages and thoughts are joined, calls and their updates have one id, a plan is progress, changes are
/// artifacts, what has no kind is kept; the last message is the result.
#[tokio::test]
async fn a_turn_is_a_job() {
    let stage = stage().await;
    let call = |kind: &str, more: Value| {
        let mut update = json!({"sessionUpdate": kind, "toolCallId": "c1"});
        for (name, value) in more.as_object().unwrap() {
            update[name] = value.clone();
        }
        json!({"update": update})
    };
    let steps = json!([
        {"say": "I look at it"},
        {"think": "is it right?"},
        {"update": {"sessionUpdate": "plan", "entries": [
            {"content": "look", "status": "completed", "priority": "high"},
            {"content": "mend", "status": "in_progress", "priority": "high"},
            {"content": "test", "status": "pending", "priority": "low"}]}},
        call("tool_call", json!({"title": "Edit a", "kind": "edit", "status": "pending", "locations": [{"path": "/w/a"}], "rawInput": {"old": "x"}})),
        call("tool_call_update", json!({"status": "in_progress"})),
        call("tool_call_update", json!({"status": "completed", "content": [
            {"type": "diff", "path": "/w/a", "oldText": "x", "newText": "yy"},
            {"type": "content", "content": {"type": "text", "text": "done"}}]})),
        {"update": {"sessionUpdate": "tool_call", "toolCallId": "c2", "title": "Run", "kind": "execute", "status": "pending"}},
        {"update": {"sessionUpdate": "something_new", "value": 1}},
        {"say": "It is mended"},
    ]);
    let mut job = submit(&stage, steps, &[]).await;
    let gave: Value = soon(job.result_json()).await.unwrap();
    assert_eq!(gave, "It is mended");
    let of = async |kind: &str| bodies(&stage.client, job.id(), kind).await;
    let logs = of("log").await;
    let said: Vec<&Value> = logs
        .iter()
        .filter(|log| log["level"] == "info")
        .map(|log| &log["message"])
        .collect();
    assert_eq!(said, ["I look at it", "It is mended"]);
    assert_eq!(of("thought").await[0]["text"], "is it right?");
    let progress = &of("progress").await[0];
    assert_eq!(
        (
            &progress["current"],
            &progress["total"],
            &progress["message"]
        ),
        (&json!(1), &json!(3), &json!("mend"))
    );
    let (calls, results) = (of("tool_call").await, of("tool_result").await);
    assert_eq!(calls[0]["tool"], "edit");
    assert_eq!(
        calls[0]["args"],
        json!({"title": "Edit a", "locations": [{"path": "/w/a"}], "input": {"old": "x"}})
    );
    assert_eq!(results[0]["call_id"], calls[0]["call_id"]);
    assert_eq!(results[0]["result"]["content"], "done");
    // What was never answered ends with the turn.
    assert_eq!(results[1]["call_id"], calls[1]["call_id"]);
    assert_eq!(results[1]["error"]["code"], "INTERNAL_ERROR");
    assert_eq!(of("artifact_ref").await[0]["uri"], "file:///w/a");
    assert_eq!(of("artifact_ref").await[0]["byte_size"], 2);
    let kept = of("x-vendor.towline.acp").await;
    let has = |holds: &dyn Fn(&Value) -> bool| kept.iter().any(holds);
    assert!(has(&|kept| kept["sessionUpdate"] == "something_new"));
    // What the events of their kinds leave out is kept too.
    assert!(has(&|kept| kept["entries"][2]["content"] == "test"));
    assert!(has(&|kept| kept["status"] == "in_progress"));
    assert!(has(&|kept| kept["content"][0]["newText"] == "yy"));
}

/// [ARCP 17-4] Permission is the lease's, for once; what it does not cover, and what cannot be told, is rejected.
#[tokio::test]
async fn permission_is_the_leases() {
    let stage = stage().await;
    let ask = |call: Value| json!({"ask": call});
    let steps = json!([
        ask(json!({"toolCallId": "1", "kind": "edit", "locations": [{"path": "/w/a"}]})),
        ask(json!({"toolCallId": "2", "kind": "edit", "locations": [{"path": "/w/a"}, {"path": "/etc/passwd"}]})),
        ask(json!({"toolCallId": "3", "kind": "execute", "rawInput": {"command": "git status"}})),
        ask(json!({"toolCallId": "4", "kind": "execute", "rawInput": {"command": "git status; sh"}})),
        ask(json!({"toolCallId": "5", "kind": "read"})),
        {"update": {"sessionUpdate": "tool_call", "toolCallId": "6", "title": "Look", "kind": "read", "locations": [{"path": "/w/b"}]}},
        ask(json!({"toolCallId": "6"})),
        ask(json!({"toolCallId": "7", "kind": "other", "title": "Search the web"})),
    ]);
    let lease = [
        ("fs.write", "/w/**"),
        ("fs.read", "/w/**"),
        ("tool.call", "exec:git"),
    ];
    let mut job = submit(&stage, steps, &lease).await;
    let _gave: Value = soon(job.result_json()).await.unwrap();
    let logs = bodies(&stage.client, job.id(), "log").await;
    let said: Vec<&Value> = logs
        .iter()
        .filter(|log| log["level"] == "info")
        .map(|log| &log["message"])
        .collect();
    assert_eq!(said, ["yes", "no", "yes", "no", "no", "yes", "no"]);
}

/// [ARCP 17-4] A refusal ends the call that it is about, once, whatever the agent tells of it then.
#[tokio::test]
async fn a_refusal_ends_its_call() {
    let stage = stage().await;
    let call = |id: &str, kind: &str| {
        json!({"update": {"sessionUpdate": "tool_call", "toolCallId": id, "title": "Do it", "kind": kind,
        "status": "pending", "locations": [{"path": "/etc/passwd"}]}})
    };
    let failed = |id: &str| json!({"update": {"sessionUpdate": "tool_call_update", "toolCallId": id, "status": "failed"}});
    let steps = json!([
        call("1", "edit"), {"ask": {"toolCallId": "1"}}, failed("1"),
        call("2", "execute"), {"ask": {"toolCallId": "2"}}, failed("2"),
        {"ask": {"toolCallId": "3", "kind": "edit", "locations": [{"path": "/etc/passwd"}]}},
    ]);
    let mut job = submit(&stage, steps, &[("fs.write", "/w/**")]).await;
    let gave: Value = soon(job.result_json()).await.unwrap();
    assert_eq!(gave, "no");
    let calls = bodies(&stage.client, job.id(), "tool_call").await;
    let results = bodies(&stage.client, job.id(), "tool_result").await;
    assert_eq!((calls.len(), results.len()), (2, 3), "{results:?}");
    for (call, result) in calls.iter().zip(&results) {
        assert_eq!(result["call_id"], call["call_id"]);
        assert_eq!(result["error"]["code"], "PERMISSION_DENIED");
    }
    let message = results[0]["error"]["message"].as_str().unwrap();
    assert!(message.contains("/etc/passwd"), "{message}");
}

/// [ARCP 17-4, 15-6] What an ask pattern covers a person is asked; a cancel meanwhile answers the agent `cancelled`.
#[tokio::test]
async fn a_person_may_let_it_through() {
    let stage = stage().await;
    let edit = json!({"ask": {"toolCallId": "1", "kind": "edit", "locations": [{"path": "/w/a"}]}});
    let lease = [("x-vendor.towline.ask", "fs.write=/w/**")];
    for (answer, told) in [(true, "yes"), (false, "no")] {
        let mut job = submit(&stage, json!([edit]), &lease).await;
        let question = asked(&mut job).await;
        job.answer(question, json!(answer)).send().await.unwrap();
        let gave: Value = soon(job.result_json()).await.unwrap();
        assert_eq!(gave, told);
    }
    let mut job = submit(&stage, json!([edit, {"say": "on"}]), &lease).await;
    asked(&mut job).await;
    job.cancel("enough").await.unwrap();
    assert_eq!(failure(&mut job).await.code, ErrorCode::CANCELLED);
    let logs = bodies(&stage.client, job.id(), "log").await;
    assert!(logs.iter().all(|log| log["message"] != "yes"), "{logs:?}");
}

async fn asked(job: &mut JobHandle) -> towline_wire::QuestionId {
    loop {
        let event = soon(job.next_event()).await.unwrap().expect("it asks");
        if event.kind().as_str() == "x-vendor.towline.input_request" {
            let body: Value = event.payload().unwrap().body.read().unwrap();
            return body["question_id"].as_str().unwrap().parse().unwrap();
        }
    }
}

/// Files go through the job's facade, as far as the lease goes; what it does not grant is not offered.
#[tokio::test]
async fn files_are_the_leases() {
    let stage = stage().await;
    let place = stage.place.path().canonicalize().unwrap();
    let place = place.to_str().unwrap();
    std::fs::write(format!("{place}/a"), "one\ntwo\n").unwrap();
    let steps = json!([
        {"read": format!("{place}/a")},
        {"read": "/etc/hostname"},
        {"write": [format!("{place}/b"), "new"]},
    ]);
    let all = format!("{place}/**");
    let mut job = submit(&stage, steps.clone(), &[("fs.read", &all)]).await;
    let _gave: Value = soon(job.result_json()).await.unwrap();
    let said = bodies(&stage.client, job.id(), "log").await;
    let said: Vec<&str> = said
        .iter()
        .filter(|log| log["level"] == "info")
        .filter_map(|log| log["message"].as_str())
        .collect();
    assert_eq!(said[0], r#"{"content":"one\ntwo\n"}"#);
    assert!(
        said[1].contains("error: ") && said[1].contains("/etc/hostname"),
        "{said:?}"
    );
    assert!(said[2].contains("does not offer"), "{said:?}");
    assert!(!std::fs::exists(format!("{place}/b")).unwrap());
    let mut job = submit(&stage, steps, &[("fs.read", &all), ("fs.write", &all)]).await;
    let _gave: Value = soon(job.result_json()).await.unwrap();
    assert_eq!(
        std::fs::read_to_string(format!("{place}/b")).unwrap(),
        "new"
    );
    // What is no text is written nowhere.
    let odd = json!([{"write": [format!("{place}/a"), 5]}]);
    let mut job = submit(&stage, odd, &[("fs.write", &all)]).await;
    let _gave: Value = soon(job.result_json()).await.unwrap();
    assert_eq!(
        std::fs::read_to_string(format!("{place}/a")).unwrap(),
        "one\ntwo\n"
    );
}

/// [ARCP 17-3] The growth of what a session costs is spent, and at nothing the job ends.
#[tokio::test]
async fn the_growth_of_cost_is_spent() {
    let stage = stage().await;
    let steps = json!([{"cost": [0.25, "USD"]}, {"cost": [0.25, "USD"]}, {"cost": [0.4, "USD"]}, {"say": "cheap"}]);
    let mut job = submit(&stage, steps, &[("cost.budget", "USD:1.00")]).await;
    let _gave: Value = soon(job.result_json()).await.unwrap();
    let spent = bodies(&stage.client, job.id(), "metric").await;
    let spent: Vec<String> = spent
        .iter()
        .filter(|metric| metric["name"] == "cost.acp")
        .map(|metric| metric["value"].to_string())
        .collect();
    assert_eq!(spent, ["0.25", "0.15"]);
    let steps =
        json!([{"cost": [0.6, "USD"]}, {"cost": [1.1, "USD"]}, {"wait": "cancel"}, {"say": "on"}]);
    let mut job = submit(&stage, steps, &[("cost.budget", "USD:1.00")]).await;
    assert_eq!(failure(&mut job).await.code, ErrorCode::BUDGET_EXHAUSTED);
}

/// [ARCP 17-1] How a turn stops is how the job ends.
#[tokio::test]
async fn stop_reasons_end_the_job() {
    let stage = stage().await;
    for (reason, code) in [
        ("max_tokens", ErrorCode::INTERNAL_ERROR),
        ("max_turn_requests", ErrorCode::INTERNAL_ERROR),
        ("refusal", ErrorCode::INVALID_REQUEST),
    ] {
        let mut job = submit(&stage, json!([{"stop": reason}]), &[]).await;
        let failure = failure(&mut job).await;
        assert_eq!(failure.code, code, "{failure:?}");
        let details: Value = failure.details.unwrap().read().unwrap();
        assert_eq!(details, json!({"stop_reason": reason}));
    }
    let mut job = submit(&stage, json!([{"stop": "end_turn"}]), &[]).await;
    assert_eq!(soon(job.result_json::<Value>()).await.unwrap(), Value::Null);
    let mut job = submit(&stage, json!([{"say": "x"}, {"wait": "cancel"}]), &[]).await;
    soon(job.next_event()).await.unwrap();
    job.cancel("enough").await.unwrap();
    assert_eq!(failure(&mut job).await.code, ErrorCode::CANCELLED);
    let mut job = submit(&stage, json!([{"exit": 3}]), &[]).await;
    let ended = failure(&mut job).await;
    assert!(ended.message.contains("ended with status 3"), "{ended:?}");
}

/// [ARCP 17-6] After a crash the session is loaded and the prompt is sent again; what loading repeats makes no events.
#[tokio::test]
async fn a_crash_loads_the_session() {
    let options = AgentOptions::default().retries(1).backoff(Duration::ZERO);
    let stage = Stage::with(scripted(), options, Confinement::dangerously_off()).await;
    let steps = json!([{"crash": true}, {"say": "loaded"}]);
    let mut job = submit(&stage, steps, &[]).await;
    let gave: Value = soon(job.result_json()).await.unwrap();
    assert_eq!(gave, "loaded");
    let logs = bodies(&stage.client, job.id(), "log").await;
    assert!(
        logs.iter()
            .all(|log| log["message"] != "what was said before"),
        "{logs:?}"
    );
}

/// [ARCP 17-6] A session that the agent has lost is opened anew, which the log says; one that a job was told to continue is not.
#[tokio::test]
async fn a_lost_session_is_opened_anew() {
    let options = AgentOptions::default().retries(1).backoff(Duration::ZERO);
    let stage = Stage::with(scripted(), options, Confinement::dangerously_off()).await;
    let steps =
        json!([{"cost": [0.5, "USD"]}, {"forget": true}, {"cost": [0.75, "USD"]}, {"say": "anew"}]);
    let mut job = submit(&stage, steps, &[]).await;
    assert_eq!(soon(job.result_json::<Value>()).await.unwrap(), "anew");
    let logs = bodies(&stage.client, job.id(), "log").await;
    let warned = |log: &Value| {
        log["message"]
            .as_str()
            .unwrap_or_default()
            .contains("begins anew")
    };
    assert!(logs.iter().any(warned), "{logs:?}");
    // The new session costs what it costs, from nothing on.
    let spent = bodies(&stage.client, job.id(), "metric").await;
    let spent: Vec<String> = spent
        .iter()
        .map(|metric| metric["value"].to_string())
        .collect();
    assert_eq!(spent, ["0.5", "0.5", "0.25"]);
    let input = json!({"prompt": "x", "continue": job.id()});
    std::fs::remove_file(stage.place.path().join("sessions")).unwrap();
    let mut job = stage
        .client
        .submit("script")
        .input(input)
        .send()
        .await
        .unwrap();
    let ended = failure(&mut job).await;
    assert!(ended.message.contains("refused session/load"), "{ended:?}");
}

/// [ARCP 17-1, 17-3] A job continues the session of an earlier one, and pays for what is new; of other jobs there is none.
#[tokio::test]
async fn a_job_continues_another() {
    let stage = stage().await;
    let first = submit(
        &stage,
        json!([{"cost": [0.25, "USD"]}, {"say": "one"}]),
        &[],
    )
    .await;
    let mut first = first;
    let _gave: Value = soon(first.result_json()).await.unwrap();
    let steps = json!([{"crash": true}, {"cost": [0.3, "USD"]}, {"say": "two"}]).to_string();
    let input = json!({"prompt": steps, "continue": first.id()});
    let mut job = stage
        .client
        .submit("script")
        .input(input)
        .send()
        .await
        .unwrap();
    assert_eq!(soon(job.result_json::<Value>()).await.unwrap(), "two");
    let spent = bodies(&stage.client, job.id(), "metric").await;
    assert_eq!(spent[0]["value"].to_string(), "0.05");
    let input = json!({"prompt": "x", "continue": "job_1"});
    let mut job = stage
        .client
        .submit("script")
        .input(input)
        .send()
        .await
        .unwrap();
    assert_eq!(failure(&mut job).await.code, ErrorCode::JOB_NOT_FOUND);
}

/// [ARCP 17-1] Mode and model are of those that the agent offers; directories are the lease's; what else is wrong is named.
#[tokio::test]
async fn inputs_are_checked() {
    let stage = stage().await;
    let run = async |input: Value, lease: &[(&str, &str)]| {
        let lease: Lease = lease.iter().copied().collect();
        let submit = stage.client.submit("script").lease(lease).input(input);
        let mut job = submit.send().await.unwrap();
        match soon(job.outcome()).await.unwrap() {
            Outcome::Success(success) => (
                ErrorCode::new("OK"),
                success.result.to_json::<Value>().unwrap().to_string(),
            ),
            Outcome::Failure(failure) => (failure.code, failure.message),
        }
    };
    let (code, gave) = run(json!("just say this"), &[]).await;
    assert_eq!((code.as_str(), gave.as_str()), ("OK", "\"just say this\""));
    let (code, gave) = run(
        json!({"prompt": "[]", "mode": "plan", "model": "large"}),
        &[],
    )
    .await;
    assert_eq!((code.as_str(), gave.as_str()), ("OK", "\"set large\""));
    for (input, code, part) in [
        (
            json!({"prompt": "x", "mode": "fast"}),
            ErrorCode::INVALID_REQUEST,
            "code, plan",
        ),
        (
            json!({"prompt": "x", "model": "huge"}),
            ErrorCode::INVALID_REQUEST,
            "small, large",
        ),
        (
            json!({"prompt": "x", "blocks": []}),
            ErrorCode::INVALID_REQUEST,
            "exactly one",
        ),
        (json!({"promt": "x"}), ErrorCode::INVALID_REQUEST, "promt"),
        (
            json!({"prompt": "x", "cwd": "src"}),
            ErrorCode::INVALID_REQUEST,
            "absolute",
        ),
        (
            json!({"prompt": "x", "cwd": "/etc"}),
            ErrorCode::PERMISSION_DENIED,
            "fs.read=/etc/**",
        ),
        (
            json!({"prompt": "x", "dirs": ["/etc"]}),
            ErrorCode::PERMISSION_DENIED,
            "fs.read=/etc/**",
        ),
    ] {
        let (got, why) = run(input, &[("fs.read", "/w/**")]).await;
        assert_eq!(got, code, "{why}");
        assert!(why.contains(part), "{why}");
    }
}

/// [ARCP 7.3-4] A turn is called off when its job ends, and not when the runtime leaves the job to its next start.
#[tokio::test]
async fn a_job_that_is_left_is_not_called_off() {
    let place = tempfile::tempdir().unwrap();
    let script = r#"read -r line; echo '{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":1}}'
        read -r line; echo '{"jsonrpc":"2.0","id":2,"result":{"sessionId":"s"}}'
        while read -r line; do echo "$line" >> $ARCP_JOB_ID; done"#;
    let agent = ProcessAgent::acp(["sh", "-c", script])
        .current_dir(place.path())
        .launcher(launcher())
        .confinement(Confinement::dangerously_off());
    let store = SqliteStore::open(place.path().join("store")).await.unwrap();
    let runtime = Runtime::builder()
        .authenticator(StaticTokens::new([("me", "t")]).unwrap())
        .options(RuntimeOptions::default().drain(Duration::ZERO))
        .store(store)
        .restartable_agent("script", agent)
        .build()
        .await
        .unwrap();
    let (near, far) = MemoryTransport::pair();
    runtime.accept(far);
    let client = Client::connect(near, ClientOptions::bearer("t"))
        .await
        .unwrap();
    let heard = |job: &JobHandle| {
        let file = place.path().join(job.id().as_str());
        std::fs::read_to_string(file).unwrap_or_default()
    };
    let prompted = async || {
        let job = client.submit("script").input(json!("x")).send().await;
        let job = job.unwrap();
        until("the prompt", || {
            heard(&job).contains("session/prompt").then_some(())
        })
        .await;
        job
    };
    let mut cancelled = prompted().await;
    cancelled.cancel("enough").await.unwrap();
    assert_eq!(failure(&mut cancelled).await.code, ErrorCode::CANCELLED);
    assert!(heard(&cancelled).contains("session/cancel"));
    let left = prompted().await;
    soon(runtime.shutdown()).await;
    assert!(!heard(&left).contains("session/cancel"));
}

/// A program that is no such agent, or says nonsense, is told of, and ends.
#[tokio::test]
async fn what_is_no_agent_is_told_of() {
    let says = async |script: &str| {
        let stage = Stage::new(ProcessAgent::acp(["sh", "-c", script])).await;
        stage
            .client
            .submit("script")
            .input(json!("x"))
            .send()
            .await
            .map(|job| (stage, job))
            .unwrap()
    };
    for (script, part) in [
        ("exit 4", "status 4"),
        (
            "read -r line; echo '{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"protocolVersion\":9}}'; read -r line",
            "version 9",
        ),
        (
            "read -r line; echo '{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32000,\"message\":\"log in\"}}'; read -r line",
            "env_pass",
        ),
        (
            "echo hello; exec <&-; exec >&-; sleep 1000",
            "closed its output",
        ),
    ] {
        let (_stage, mut job) = says(script).await;
        let ended = failure(&mut job).await;
        assert!(ended.message.contains(part), "{script}: {ended:?}");
    }
}

/// [ARCP 18-1] Confined, it works the same.
#[tokio::test]
async fn a_confined_agent_works() {
    let stage = Stage::held(scripted()).await;
    let mut job = submit(&stage, json!([{"say": "here"}]), &[]).await;
    assert_eq!(soon(job.result_json::<Value>()).await.unwrap(), "here");
}
