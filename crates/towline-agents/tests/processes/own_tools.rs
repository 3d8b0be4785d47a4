//! The tools that a job has for an agent that speaks the Agent Client Protocol [ARCP 17-7].

use std::time::Duration;

use serde_json::{Value, json};
use towline_agents::{Confinement, ProcessAgent};
use towline_client::JobHandle;
use towline_runtime::AgentOptions;
use towline_wire::{ErrorCode, Lease};

use crate::support::{Stage, bodies, failure, soon, until};

fn scripted() -> ProcessAgent {
    ProcessAgent::acp([env!("CARGO_BIN_EXE_towline-acp-script")])
}

async fn submit(stage: &Stage, steps: Value, lease: &[(&str, &str)]) -> JobHandle {
    let lease: Lease = lease.iter().copied().collect();
    let submit = stage.client.submit("script").lease(lease);
    let submit = submit.input(json!({"prompt": steps.to_string()}));
    submit.send().await.unwrap()
}

/// What the agent was told, in its own words.
async fn said(stage: &Stage, job: &mut JobHandle) -> Vec<String> {
    let _gave: Value = soon(job.result_json()).await.unwrap();
    let logs = bodies(&stage.client, job.id(), "log").await;
    let said = logs.iter().filter(|log| log["level"] == "info");
    said.map(|log| log["message"].as_str().unwrap().to_owned())
        .collect()
}

fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| panic!("{text}"))
}

/// [ARCP 17-7] An agent delegates, reports, keeps and spends by tools of its job, confined and without a network as well.
#[tokio::test]
async fn an_agent_uses_the_tools_of_its_job() {
    for stage in [Stage::new(scripted()).await, Stage::held(scripted()).await] {
        let steps = json!([
            {"tools": true},
            {"call": ["delegate", {"agent": "echo", "input": {"a": 1}}]},
            {"call": ["delegate", {"agent": "other"}]},
            {"call": ["progress", {"current": 2, "total": 3, "message": "on it"}]},
            {"call": ["progress", {"total": 3}]},
            {"call": ["checkpoint", {"value": {"at": 7}}]},
            {"call": ["checkpoint", {}]},
            {"call": ["spend", {"currency": "USD", "amount": "0.25"}]},
            {"call": ["spend", {"currency": "USD", "amount": -1}]},
            {"call": ["unknown", {}]},
        ]);
        let lease = [("agent.delegate", "echo"), ("cost.budget", "USD:1.00")];
        let mut job = submit(&stage, steps, &lease).await;
        let said = said(&stage, &mut job).await;
        assert_eq!(said[0], "delegate ask_human checkpoint progress spend");
        let child = read(&said[1]);
        assert_eq!(
            (&child["status"], &child["result"]),
            (&json!("success"), &json!({"a": 1}))
        );
        assert!(said[2].starts_with("error: "), "{said:?}");
        assert_eq!(read(&said[3]), json!({"ok": true}));
        assert!(said[4].starts_with("error: INVALID_REQUEST"), "{said:?}");
        assert_eq!(read(&said[6]), json!({"value": {"at": 7}}));
        assert_eq!(read(&said[7]), json!({"remaining": {"USD": "0.75"}}));
        assert!(said[8].starts_with("error: INVALID_REQUEST"), "{said:?}");
        assert!(said[9].contains("there is no tool `unknown`"), "{said:?}");
        let of = async |kind: &str| bodies(&stage.client, job.id(), kind).await;
        assert_eq!(of("progress").await[0]["message"], "on it");
        assert_eq!(of("delegate").await[0]["child_job_id"], child["child"]);
        let spent = of("metric").await;
        let spent = spent.iter().find(|metric| metric["name"] == "cost.spend");
        assert_eq!(spent.unwrap()["value"].to_string(), "0.25");
    }
}

/// [ARCP 17-7] The key opens the tools of its own job, and nothing else does.
#[tokio::test]
async fn the_key_is_the_jobs_own() {
    let stage = Stage::new(scripted()).await;
    let steps = json!([
        {"call_with": ["", "progress", {"current": 1}]},
        {"call_with": ["Bearer jk_0", "progress", {"current": 1}]},
        {"call": ["progress", {"current": 1}]},
    ]);
    let mut job = submit(&stage, steps, &[]).await;
    let said = said(&stage, &mut job).await;
    assert_eq!(said[..2], ["error: status 401", "error: status 401"]);
    assert_eq!(bodies(&stage.client, job.id(), "progress").await.len(), 1);
}

/// [ARCP 17-7] [ARCP 15-2] A person answers the agent's question, and a yes lets nothing through.
#[tokio::test]
async fn an_agent_asks_a_person() {
    let stage = Stage::new(scripted()).await;
    let ask = json!({"kind": "approval", "title": "May I?", "key": "operation:fs.write=/w/a"});
    let steps = json!([
        {"call": ["ask_human", ask]},
        {"call": ["ask_human", {"kind": "text", "title": "What for?", "expires_in_ms": 1}]},
        {"ask": {"toolCallId": "1", "kind": "edit", "locations": [{"path": "/w/a"}]}},
    ]);
    let mut job = submit(&stage, steps, &[]).await;
    let question = loop {
        let event = soon(job.next_event()).await.unwrap().expect("it asks");
        if event.kind().as_str() == "x-vendor.towline.input_request" {
            let body: Value = event.payload().unwrap().body.read().unwrap();
            break body["question_id"].as_str().unwrap().parse().unwrap();
        }
    };
    job.answer(question, json!(true)).send().await.unwrap();
    let said = said(&stage, &mut job).await;
    assert_eq!(
        read(&said[0]),
        json!({"outcome": "answered", "answer": true})
    );
    assert_eq!(read(&said[1])["outcome"], "expired");
    assert_eq!(said[2], "no");
}

/// [ARCP 17-7] What an agent keeps and which session it has are kept together.
#[tokio::test]
async fn a_later_run_has_what_was_kept() {
    let options = AgentOptions::default().retries(1).backoff(Duration::ZERO);
    let stage = Stage::with(scripted(), options, Confinement::dangerously_off()).await;
    let steps = json!([
        {"call": ["checkpoint", {}]}, {"call": ["checkpoint", {"value": 7}]}, {"crash": true}, {"say": "loaded"},
    ]);
    let mut job = submit(&stage, steps, &[]).await;
    let said = said(&stage, &mut job).await;
    let values: Vec<&str> = said.iter().map(String::as_str).collect();
    assert_eq!(
        values,
        [
            "{\"value\":null}",
            "{\"ok\":true}",
            "{\"value\":7}",
            "{\"ok\":true}",
            "loaded"
        ]
    );
}

/// [ARCP 17-7] [ARCP 9.6-3] What an agent books ends its job when the budget is used up.
#[tokio::test]
async fn booking_uses_the_budget_up() {
    let stage = Stage::new(scripted()).await;
    let steps =
        json!([{"call": ["spend", {"currency": "USD", "amount": 1.5}]}, {"wait": "cancel"}]);
    let mut job = submit(&stage, steps, &[("cost.budget", "USD:1.00")]).await;
    assert_eq!(failure(&mut job).await.code, ErrorCode::BUDGET_EXHAUSTED);
}

/// [ARCP 17-7] An agent that does not take servers over HTTP is given none, which the log says.
#[tokio::test]
async fn an_agent_without_http_is_given_none() {
    let script = r#"read -r line; echo '{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":1}}'
        read -r line; echo "$line" >&2; echo '{"jsonrpc":"2.0","id":2,"result":{"sessionId":"s"}}'
        read -r line; echo '{"jsonrpc":"2.0","id":3,"result":{"stopReason":"end_turn"}}'; read -r line"#;
    let stage = Stage::new(ProcessAgent::acp(["sh", "-c", script])).await;
    let mut job = stage.submit().await;
    assert_eq!(failure(&mut job).await.code, ErrorCode::INVALID_REQUEST);
    let submit = stage.client.submit("script").input(json!("x"));
    let mut job = submit.send().await.unwrap();
    assert_eq!(soon(job.result_json::<Value>()).await.unwrap(), Value::Null);
    let logs = bodies(&stage.client, job.id(), "log").await;
    let says = |part: &str| {
        let holds = |log: &Value| log["message"].as_str().unwrap().contains(part);
        logs.iter().any(holds)
    };
    assert!(says("own tools were not given"), "{logs:?}");
    assert!(says(r#""mcpServers":[]"#), "{logs:?}");
}

/// [ARCP 17-7] The key of one job opens nothing of another, nor what the runtime serves to hosts; with its job it is over.
#[tokio::test]
async fn a_key_ends_with_its_job() {
    let script = r#"read -r line; echo '{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":1,"agentCapabilities":{"mcpCapabilities":{"http":true}}}}'
        read -r line; echo "$line" > $ARCP_JOB_ID; echo '{"jsonrpc":"2.0","id":2,"result":{"sessionId":"s"}}'
        read -r line; while read -r line; do :; done"#;
    let stage = Stage::new(ProcessAgent::acp(["sh", "-c", script])).await;
    let begin = async || {
        let job = stage.client.submit("script").input(json!("x")).send();
        let job = job.await.unwrap();
        let file = stage.place.path().join(job.id().as_str());
        let opened = until("the session", || {
            let line = std::fs::read_to_string(&file).ok()?;
            serde_json::from_str::<Value>(&line).ok()
        });
        let server = opened.await["params"]["mcpServers"][0].take();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let key = text(&server["headers"][0]["value"]);
        (job, text(&server["url"]), key)
    };
    let http = reqwest::Client::builder()
        .tls_backend_preconfigured(towline_transport::tls::Trust::system().config().unwrap())
        .no_proxy()
        .build()
        .unwrap();
    let list = async |url: &str, key: &str, origin: Option<&str>| {
        let request = http
            .post(url)
            .header("authorization", key)
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2025-06-18")
            .json(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}));
        let request = match origin {
            Some(origin) => request.header("origin", origin),
            None => request,
        };
        soon(request.send())
            .await
            .map(|answer| answer.status().as_u16())
    };
    let (mut one, one_url, one_key) = begin().await;
    let (_two, two_url, two_key) = begin().await;
    assert_eq!(list(&one_url, &one_key, None).await.unwrap(), 200);
    assert_eq!(list(&two_url, &two_key, None).await.unwrap(), 200);
    assert_eq!(list(&two_url, &one_key, None).await.unwrap(), 401);
    assert_eq!(list(&two_url, "Basic eDp5", None).await.unwrap(), 401);
    // What a page in a browser sends is refused, with a key as well.
    let page = Some("https://evil.test");
    assert_eq!(list(&two_url, &two_key, page).await.unwrap(), 403);
    one.cancel("enough").await.unwrap();
    assert_eq!(failure(&mut one).await.code, ErrorCode::CANCELLED);
    let after = list(&one_url, &one_key, None).await;
    assert!(!matches!(after, Ok(200)), "{after:?}");
}

/// An agent that tries what its door leads to, and tells.
const TRIES: &str = r"
import json, os, socket, sys
def read(): return json.loads(sys.stdin.readline())
def say(message): print(json.dumps(dict(message, jsonrpc='2.0')), flush=True)
say({'id': read()['id'], 'result': {'protocolVersion': 1, 'agentCapabilities': {'mcpCapabilities': {'http': True}}}})
opened = read()
url = opened['params']['mcpServers'][0]['url']
port = int(url.split(':')[2].split('/')[0])
say({'id': opened['id'], 'result': {'sessionId': 's'}})
asked = read()
def ask(head):
    s = socket.create_connection(('127.0.0.1', port), 60)
    s.sendall((head + ' HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n').encode())
    return s.recv(65536).decode().split('\r\n')[0]
def direct(what):
    try: what(); return 'reached'
    except OSError: return 'refused'
told = {
    'asked': [ask(head) for head in ['GET http://a.test/', 'CONNECT a.test:443', 'GET http://127.0.0.1/', 'GET /mcp', 'GET /v1/models']],
    'direct': [direct(what) for what in [
        lambda: socket.create_connection(('127.0.0.1', port + 1), 2), lambda: socket.create_connection(('93.184.216.34', port), 2),
        lambda: socket.getaddrinfo('a.test', 443), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)]],
    'environment': sorted(name for name in os.environ if 'PROXY' in name.upper() or 'MCP' in name),
}
say({'method': 'session/update', 'params': {'sessionId': 's', 'update': {'sessionUpdate': 'agent_message_chunk',
    'content': {'type': 'text', 'text': json.dumps(told)}}}})
say({'id': asked['id'], 'result': {'stopReason': 'end_turn'}})
";

/// [ARCP 17-7] [ARCP 18-2] The way to the tools of a job is no way to anywhere else: an agent without `net.fetch` is refused whatever
/// it asks of that port, and has no other.
#[tokio::test]
async fn the_tools_open_no_network() {
    let agent = ProcessAgent::acp(["/usr/bin/python3", "-Ic", TRIES]);
    let stage = Stage::held(agent).await;
    let submit = stage.client.submit("script").input(json!("x"));
    let mut job = submit.send().await.unwrap();
    let told: String = soon(job.result_json()).await.unwrap();
    let told = read(&told);
    assert_eq!(
        told["asked"],
        json!([
            "HTTP/1.1 403 Forbidden",
            "HTTP/1.1 403 Forbidden",
            "HTTP/1.1 403 Forbidden",
            "HTTP/1.1 401 Unauthorized",
            "HTTP/1.1 404 Not Found"
        ])
    );
    assert_eq!(
        told["direct"],
        json!(["refused", "refused", "refused", "refused"])
    );
    assert_eq!(told["environment"], json!([]));
    let results = bodies(&stage.client, job.id(), "tool_result").await;
    let denied = |result: &&Value| result["error"]["code"] == "PERMISSION_DENIED";
    assert_eq!(results.iter().filter(denied).count(), 3, "{results:?}");
}
