//! The built-in agents, each to the letter of its contract.

use serde_json::{Value, json};
use towline_tests::{
    peer::Peer,
    server::{Serve, Server},
};

async fn server() -> Server {
    Serve::demo().with(&["--store", "memory"]).start().await
}

/// A job's bodies without the `status` that says it runs.
fn said(peer: &Peer, job: &str) -> Vec<(String, Value)> {
    let payloads = peer
        .events(job)
        .iter()
        .skip(1)
        .map(|event| &event["payload"]);
    payloads
        .map(|payload| {
            (
                payload["kind"].as_str().unwrap().to_owned(),
                payload["body"].clone(),
            )
        })
        .collect()
}

#[tokio::test]
async fn echo_returns_anything() {
    let server = server().await;
    let mut peer = Peer::open(&server).await;
    for input in [
        json!(null),
        json!(false),
        json!(-1.5),
        json!(""),
        json!("text"),
        json!([]),
        json!({}),
        json!({"a": [1, {"b": null}]}),
    ] {
        assert_eq!(peer.result("echo", input.clone()).await, input);
    }
    let end = peer.run(json!({"agent": "echo"})).await;
    assert_eq!(end["result"], Value::Null, "no input is null: {end}");
}

/// [ARCP 8-1] The bodies of `log` and `progress`.
#[tokio::test]
async fn chatty_alternates() {
    let server = server().await;
    let mut peer = Peer::open(&server).await;
    let job = peer
        .submit(json!({"agent": "chatty", "input": {"n": 3, "delay_ms": 1}}))
        .await;
    assert_eq!(
        peer.end_of(&job).await["payload"]["result"],
        json!({"emitted": 3})
    );
    let expected: Vec<(String, Value)> = (1..=3)
        .flat_map(|line| {
            [
                (
                    "log".to_owned(),
                    json!({"level": "info", "message": format!("line {line}")}),
                ),
                ("progress".to_owned(), json!({"current": line, "total": 3})),
            ]
        })
        .collect();
    assert_eq!(said(&peer, &job), expected);
    assert_eq!(
        peer.result("chatty", json!({"n": 0})).await,
        json!({"emitted": 0})
    );
}

#[tokio::test]
async fn burst_numbers_its_messages() {
    let server = server().await;
    let mut peer = Peer::open(&server).await;
    for (input, bytes) in [
        (json!({"n": 12}), 100),
        (json!({"n": 12, "bytes": 500}), 500),
        (json!({"n": 12, "bytes": 3}), 3),
    ] {
        let job = peer.submit(json!({"agent": "burst", "input": input})).await;
        assert_eq!(
            peer.end_of(&job).await["payload"]["result"],
            json!({"emitted": 12})
        );
        let logs = peer.bodies(&job, "log");
        assert_eq!(logs.len(), 12);
        for (at, log) in logs.iter().enumerate() {
            let message = log["message"].as_str().unwrap();
            assert_eq!(message.len(), bytes);
            let number: String = message.chars().take_while(char::is_ascii_digit).collect();
            assert_eq!(number, (at + 1).to_string(), "{message}");
        }
    }
}

#[tokio::test]
async fn sleep_sleeps() {
    let server = server().await;
    let mut peer = Peer::open(&server).await;
    assert_eq!(
        peer.result("sleep", json!({"ms": 20})).await,
        json!({"slept_ms": 20})
    );
    assert_eq!(
        peer.result("sleep", json!({"ms": 20, "ignore_cancel": true}))
            .await,
        json!({"slept_ms": 20})
    );
    assert_eq!(
        peer.result("sleep", json!({"ms": 0})).await,
        json!({"slept_ms": 0})
    );
}

/// [ARCP 8-1] One event of each kind, with the fields each kind has.
#[tokio::test]
async fn kinds_shows_every_kind() {
    let server = server().await;
    let mut peer = Peer::open(&server).await;
    let job = peer.submit(json!({"agent": "kinds", "input": {}})).await;
    assert_eq!(
        peer.end_of(&job).await["payload"]["result"],
        json!({"ok": true})
    );
    let mut kinds = peer.kinds(&job)[1..].to_vec();
    kinds.sort_unstable();
    assert_eq!(
        kinds,
        [
            "artifact_ref",
            "log",
            "metric",
            "progress",
            "status",
            "thought",
            "tool_call",
            "tool_result"
        ]
    );
    let one = |kind: &str| peer.bodies(&job, kind).pop().unwrap();
    assert!(one("log")["level"].is_string() && one("log")["message"].is_string());
    assert!(one("thought")["text"].is_string());
    assert!(one("tool_call")["tool"].is_string() && !one("tool_call")["args"].is_null());
    assert_eq!(one("tool_call")["call_id"], one("tool_result")["call_id"]);
    assert!(!one("tool_result")["result"].is_null());
    assert!(one("status")["phase"].is_string());
    assert!(one("metric")["name"].is_string() && one("metric")["value"].is_number());
    assert!(
        one("artifact_ref")["uri"].is_string() && one("artifact_ref")["content_type"].is_string()
    );
    assert!(one("progress")["current"].is_number());
    for event in peer.events(&job) {
        assert!(event["payload"]["ts"].is_string(), "{event}");
    }
}

/// [ARCP 12-1] `fail` ends with the code it is given, with that code's word on retrying.
#[tokio::test]
async fn fail_fails_as_told() {
    let server = server().await;
    let mut peer = Peer::open(&server).await;
    for (input, code, message, retryable) in [
        (json!({}), "INTERNAL_ERROR", None, true),
        (Value::Null, "INTERNAL_ERROR", None, true),
        (
            json!({"code": "PERMISSION_DENIED", "message": "not you"}),
            "PERMISSION_DENIED",
            Some("not you"),
            false,
        ),
        (
            json!({"code": "AGENT_NOT_AVAILABLE", "message": "away"}),
            "AGENT_NOT_AVAILABLE",
            Some("away"),
            true,
        ),
        (
            json!({"code": "BUDGET_EXHAUSTED"}),
            "BUDGET_EXHAUSTED",
            None,
            false,
        ),
        (
            json!({"code": "SOMETHING_NEW", "message": "x"}),
            "SOMETHING_NEW",
            Some("x"),
            false,
        ),
    ] {
        let end = peer.run(json!({"agent": "fail", "input": input})).await;
        assert_eq!(
            (&end["final_status"], &end["code"]),
            (&json!("error"), &json!(code)),
            "{end}"
        );
        assert_eq!(end["retryable"], retryable, "{end}");
        assert!(
            end["message"].as_str().is_some_and(|text| !text.is_empty()),
            "{end}"
        );
        assert!(
            message.is_none_or(|message| end["message"] == message),
            "{end}"
        );
    }
}

/// [ARCP 7.3-4] A panic is INTERNAL_ERROR without internals, and hurts nobody else.
#[tokio::test]
async fn a_panic_is_contained() {
    let server = server().await;
    let mut peer = Peer::open(&server).await;
    let bystander = peer
        .submit(json!({"agent": "chatty", "input": {"n": 20, "delay_ms": 5}}))
        .await;
    let end = peer
        .run(json!({"agent": "fail", "input": {"panic": true}}))
        .await;
    assert_eq!(
        (&end["final_status"], &end["code"], &end["retryable"]),
        (&json!("error"), &json!("INTERNAL_ERROR"), &json!(true))
    );
    let text = end.to_string();
    assert!(
        !text.contains(".rs") && !text.contains("told to panic"),
        "no internals: {text}"
    );
    assert_eq!(
        peer.end_of(&bystander).await["payload"]["result"],
        json!({"emitted": 20})
    );
}

/// Input that an agent cannot read ends the job, and the message says what is wrong.
#[tokio::test]
async fn bad_input_is_an_invalid_request() {
    let server = server().await;
    let mut peer = Peer::open(&server).await;
    for (agent, input) in [
        ("chatty", json!({})),
        ("chatty", json!({"n": "three"})),
        ("chatty", json!({"n": -1})),
        ("burst", json!({})),
        ("burst", json!([])),
        ("sleep", Value::Null),
        ("sleep", json!({"ms": "1"})),
        ("stream", json!({"chunks": 1})),
        ("spend", json!({"costs": [["USD"]]})),
        ("spend", json!({"costs": [["USD", "much"]]})),
        ("access", json!({"ops": [["fs.read"]]})),
        ("delegate", json!({})),
        ("fail", json!(7)),
        ("index", json!({})),
        ("exec", json!({"argv": []})),
    ] {
        let end = peer.run(json!({"agent": agent, "input": input})).await;
        assert_eq!(
            (&end["final_status"], &end["code"]),
            (&json!("error"), &json!("INVALID_REQUEST")),
            "{agent} {input}: {end}"
        );
    }
}

/// `delegate` needs the grant, and fails with the refusal's code.
#[tokio::test]
async fn delegate_fails_with_the_refusals_code() {
    let server = server().await;
    let mut peer = Peer::open(&server).await;
    let end = peer
        .run(json!({"agent": "delegate", "input": {"agent": "echo", "input": 1}}))
        .await;
    assert_eq!(
        (&end["final_status"], &end["code"]),
        (&json!("error"), &json!("PERMISSION_DENIED")),
        "{end}"
    );
    let granted = json!({"agent": "delegate", "input": {"agent": "echo"}, "lease_request": {"agent.delegate": ["*"]}});
    let end = peer.run(granted).await;
    assert_eq!(
        (&end["result"]["status"], &end["result"]["result"]),
        (&json!("success"), &Value::Null),
        "{end}"
    );
}

/// `index` describes what the lease lets it see, and `exec` runs what the lease lets it run.
#[tokio::test]
async fn the_real_agents_keep_to_their_lease() {
    let server = server().await;
    let mut peer = Peer::open(&server).await;
    let root = server.place().path().canonicalize().unwrap().join("tree");
    std::fs::create_dir_all(root.join("sub")).unwrap();
    std::fs::write(root.join("a.rs"), "fn main() {}\n").unwrap();
    std::fs::write(root.join("sub/b.txt"), "one\ntwo\n").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", root.join("link")).unwrap();
    let root = root.to_str().unwrap();
    let job = peer.submit(json!({"agent": "index", "input": {"root": root}, "lease_request": {"fs.read": [format!("{root}/**")]}})).await;
    let end = peer.end_of(&job).await["payload"].clone();
    assert_eq!(end["final_status"], "success", "{end}");
    let text: String = peer
        .bodies(&job, "result_chunk")
        .iter()
        .map(|chunk| chunk["data"].as_str().unwrap().to_owned())
        .collect();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let a = lines
        .iter()
        .find(|line| line["path"].as_str().unwrap().ends_with("a.rs"))
        .unwrap();
    assert_eq!((&a["bytes"], &a["lines"]), (&json!(13), &json!(1)), "{a}");
    assert_eq!(
        a["sha256"],
        "536e506bb90914c243a12b397b9a998f85ae2cbd9ba02dfd03a9e155ca5ca0f4"
    );
    assert!(
        a["language"].as_str().unwrap().eq_ignore_ascii_case("rust"),
        "{a}"
    );
    assert!(
        lines
            .iter()
            .any(|line| line["path"].as_str().unwrap().ends_with("b.txt"))
    );
    assert!(!text.contains("root:"), "nothing behind the link");
    assert!(!peer.bodies(&job, "progress").is_empty());

    let end = peer
        .run(json!({"agent": "index", "input": {"root": root}}))
        .await;
    assert_eq!(end["code"], "PERMISSION_DENIED", "{end}");
    assert!(
        end["message"].as_str().unwrap().contains("fs.read"),
        "it says what to grant: {end}"
    );
    let end = peer
        .run(json!({"agent": "exec", "input": {"argv": ["echo", "hello"]}}))
        .await;
    assert_eq!(end["code"], "PERMISSION_DENIED", "{end}");
    let end = peer.run(json!({"agent": "exec", "input": {"argv": ["echo", "hello"]}, "lease_request": {"tool.call": ["exec:echo"]}})).await;
    assert_eq!(end["final_status"], "success", "{end}");
    assert!(end["result"].to_string().contains("hello"), "{end}");
}
