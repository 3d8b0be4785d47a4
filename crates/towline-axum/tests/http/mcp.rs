//! `/mcp`, as raw requests.

use std::sync::Arc;

use serde_json::{Value, json};
use towline_axum::EndpointOptions;
use towline_runtime::auth::{Replaceable, StaticTokens};

use crate::client::{ALICE, Answer, BOB, JSON, Server};

/// One request of a client; the message that answers it.
async fn ask(server: &Server, headers: &[&str], message: &Value) -> Answer {
    let mut all = vec![JSON, "Accept: application/json, text/event-stream"];
    all.extend(headers);
    server.ask("POST /mcp", &all, &message.to_string()).await
}

/// The message in an answer: a document, or an event of a stream.
fn message(answer: &Answer) -> Value {
    let text = String::from_utf8_lossy(&answer.body);
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let mut found = data.filter_map(|data| serde_json::from_str(data).ok());
    found
        .next_back()
        .or_else(|| serde_json::from_str(&text).ok())
        .unwrap_or_else(|| panic!("no message in {text}"))
}

/// A call of a tool by a client of 2026-07-28.
fn call(tool: &str, arguments: Value) -> Value {
    json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": tool, "arguments": arguments, "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        }},
    })
}

fn modern<'a>(who: &'a str, tool: &'a str) -> [&'a str; 4] {
    [
        who,
        "MCP-Protocol-Version: 2026-07-28",
        "Mcp-Method: tools/call",
        tool,
    ]
}

/// The name of a session that was opened with the handshake.
async fn open(server: &Server, who: &str) -> String {
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"},
    }});
    let answer = ask(server, &[who], &hello).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let head = answer.head.to_ascii_lowercase();
    let name = head
        .lines()
        .find_map(|line| line.strip_prefix("mcp-session-id: "));
    name.expect("a session has a name").trim().to_owned()
}

/// [ARCP 19-1] A tool call is one request, with the authority of the token that came with it.
#[tokio::test]
async fn a_call_has_the_authority_of_its_token() {
    let server = Server::start().await;
    let done = ask(
        &server,
        &modern(ALICE, "Mcp-Name: echo"),
        &call("echo", json!({"a": 1})),
    )
    .await;
    let done = message(&done)["result"]["structuredContent"].take();
    assert_eq!(
        (&done["principal"], &done["result"]),
        (&json!("alice"), &json!({"a": 1}))
    );
    let job = json!({"job_id": done["job_id"]});
    let other = ask(
        &server,
        &modern(BOB, "Mcp-Name: job_get"),
        &call("job_get", job.clone()),
    )
    .await;
    let other = message(&other)["result"].take();
    let none = ask(
        &server,
        &modern(BOB, "Mcp-Name: job_get"),
        &call("job_get", json!({"job_id": "job_none"})),
    )
    .await;
    let none = message(&none)["result"].take();
    assert_eq!(other["isError"], true);
    assert_eq!(
        other["structuredContent"]["code"],
        none["structuredContent"]["code"]
    );
    let own = ask(
        &server,
        &modern(ALICE, "Mcp-Name: job_get"),
        &call("job_get", job),
    )
    .await;
    assert_eq!(message(&own)["result"]["isError"], false);
}

/// [ARCP 16-4, 19-1] Who is let in is decided as for HTTP: token, host, origin.
#[tokio::test]
async fn strangers_stay_outside() {
    let options = EndpointOptions::new().allowed_hosts(["127.0.0.1"]);
    let server = Server::with_options(options).await;
    let list = call("jobs", json!({}));
    let modern = modern(ALICE, "Mcp-Name: jobs");
    for (headers, status) in [
        (&modern[1..], 401),
        (&["Authorization: Bearer wrong"], 401),
        (&[ALICE, "Origin: https://elsewhere.example"], 403),
        (&[ALICE, "Host: elsewhere.example"], 403),
    ] {
        let answer = ask(&server, headers, &list).await;
        assert_eq!(answer.status, status, "{headers:?} {answer:?}");
    }
    assert_eq!(ask(&server, &modern, &list).await.status, 200);
}

/// [ARCP 19-1] A session of an earlier revision is its principal's: to anybody else it is one that is not there.
#[tokio::test]
async fn a_session_is_its_principals() {
    let server = Server::start().await;
    let session = format!("Mcp-Session-Id: {}", open(&server, ALICE).await);
    let list = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"});
    let version = "MCP-Protocol-Version: 2025-11-25";
    let own = ask(&server, &[ALICE, version, &session], &list).await;
    assert_eq!(own.status, 200, "{own:?}");
    assert!(message(&own)["result"]["tools"].is_array());
    let other = ask(&server, &[BOB, version, &session], &list).await;
    assert_eq!(other.status, 404, "{other:?}");
    let none = ask(&server, &[BOB, version, "Mcp-Session-Id: none"], &list).await;
    assert_eq!((other.status, other.body), (none.status, none.body));
}

/// [ARCP 14-7] What a client listens to ends when its token is taken away.
#[tokio::test]
async fn listening_ends_with_the_token() {
    let tokens = StaticTokens::new([("alice", "good")]).unwrap();
    let tokens = Replaceable::new(Arc::new(tokens));
    let known = tokens.clone();
    let server = Server::with(
        |builder| builder.authenticator(known),
        EndpointOptions::new(),
    )
    .await;
    let session = format!("Mcp-Session-Id: {}", open(&server, ALICE).await);
    let version = "MCP-Protocol-Version: 2025-11-25";
    let headers = ["Accept: text/event-stream", version, &session];
    let mut listening = server.watch("/mcp", &headers).await;
    assert!(listening.head.contains(" 200 "), "{}", listening.head);
    tokens.replace(Arc::new(StaticTokens::new([("bob", "other")]).unwrap()));
    while listening.line().await.is_some() {}
}

/// [ARCP 19-1] What cannot be read is answered as JSON-RPC has it, and what a model writes of half a pair is read.
#[tokio::test]
async fn malformed_messages_are_answered() {
    let server = Server::start().await;
    let headers = [
        ALICE,
        JSON,
        "Accept: application/json, text/event-stream",
        "MCP-Protocol-Version: 2026-07-28",
        "Mcp-Method: tools/call",
        "Mcp-Name: echo",
    ];
    for (body, code) in [("{", -32700), ("[]", -32600), (r#"{"id":1}"#, -32600)] {
        let answer = server.ask("POST /mcp", &headers, body).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let told = answer.json();
        assert_eq!(told["error"]["code"], code, "{told}");
        assert!(told.get("id").is_some(), "{told}");
    }
    let half = call("echo", json!({"a": "HALF"}))
        .to_string()
        .replace("HALF", "\\ud800");
    let done = server.ask("POST /mcp", &headers, &half).await;
    let done = message(&done)["result"]["structuredContent"].take();
    assert_eq!(done["result"], json!({"a": "\u{fffd}"}), "{done}");
}

/// [ARCP 16-4] A page that is let in may send what MCP has it send, and read what it is told.
#[tokio::test]
async fn pages_that_are_let_in_speak_mcp() {
    let options = EndpointOptions::new().allowed_origins(["https://app.example"]);
    let server = Server::with_options(options).await;
    let app = "Origin: https://app.example";
    let wish = "Access-Control-Request-Method: DELETE";
    let answer = server.ask("OPTIONS /mcp", &[app, wish], "").await;
    assert_eq!(answer.status, 204, "{answer:?}");
    let has = |answer: &Answer, name: &str, wanted: &[&str]| {
        let header = answer.header(name).unwrap();
        let all: Vec<_> = header.split(", ").collect();
        assert!(wanted.iter().all(|one| all.contains(one)), "{header}");
    };
    has(
        &answer,
        "access-control-allow-methods",
        &["GET", "POST", "DELETE"],
    );
    has(
        &answer,
        "access-control-allow-headers",
        &[
            "Authorization",
            "Content-Type",
            "Last-Event-ID",
            "MCP-Protocol-Version",
            "Mcp-Method",
            "Mcp-Name",
            "Mcp-Session-Id",
        ],
    );
    let list = call("jobs", json!({}));
    let mut headers = modern(ALICE, "Mcp-Name: jobs").to_vec();
    headers.push(app);
    let answer = ask(&server, &headers, &list).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    has(
        &answer,
        "access-control-expose-headers",
        &["Mcp-Session-Id", "MCP-Protocol-Version", "Retry-After"],
    );
}
