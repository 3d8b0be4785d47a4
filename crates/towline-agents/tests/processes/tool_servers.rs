//! Servers of tools that jobs call through their lease [ARCP 19-2].

use std::path::PathBuf;

use serde_json::{Value, json};
use towline_agents::{Confinement, McpTools, ProcessAgent};
use towline_client::{Client, ClientOptions, JobHandle};
use towline_runtime::{AgentError, JobContext, Runtime, auth::StaticTokens};
use towline_transport::MemoryTransport;
use towline_wire::{ErrorCode, Lease};

use crate::support::{bodies, failure, is_gone, launcher, soon};

/// A runtime with the server `mcp:bare`, and agents that use it: `caller` calls what its input lists, `lister` lists what there is,
/// `script` speaks ACP, `exec` shows its environment.
struct Stage {
    place: tempfile::TempDir,
    _runtime: Runtime,
    client: Client,
}

impl Stage {
    async fn new() -> Self {
        Self::with(Confinement::dangerously_off()).await
    }

    async fn with(confinement: Confinement) -> Self {
        let server =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/processes/tool_server.py");
        let place = tempfile::tempdir().unwrap();
        let tools = McpTools::command(["/usr/bin/python3".into(), server])
            .current_dir(place.path())
            .launcher(launcher())
            .confinement(confinement);
        let broken = McpTools::command(["sh", "-c", "echo no such luck >&2; exit 4"])
            .launcher(launcher())
            .confinement(Confinement::dangerously_off());
        let of = |agent: ProcessAgent| {
            let agent = agent.current_dir(place.path()).launcher(launcher());
            agent.confinement(Confinement::dangerously_off())
        };
        let script = of(ProcessAgent::acp([env!(
            "CARGO_BIN_EXE_towline-acp-script"
        )]));
        let shown = "echo \"${TOWLINE_MCP_URL:-none}\"; test -n \"$TOWLINE_MCP_KEY\" || true";
        let exec = of(ProcessAgent::exec(["sh", "-c", shown]));
        let runtime = Runtime::builder()
            .authenticator(StaticTokens::new([("me", "t")]).unwrap())
            .agent("caller", call_all)
            .agent("lister", list)
            .agent("script", script)
            .agent("exec", exec)
            .tool_server("mcp:bare", tools)
            .tool_server("mcp:broken", broken)
            .build()
            .await
            .unwrap();
        let (near, far) = MemoryTransport::pair();
        runtime.accept(far);
        let client = Client::connect(near, ClientOptions::bearer("t"));
        let client = client.await.unwrap();
        Self {
            place,
            _runtime: runtime,
            client,
        }
    }

    async fn submit(&self, agent: &str, input: Value, lease: &[(&str, &str)]) -> JobHandle {
        let lease: Lease = lease.iter().copied().collect();
        let submit = self.client.submit(agent).input(input).lease(lease);
        submit.send().await.unwrap()
    }

    async fn gave(&self, agent: &str, input: Value, lease: &[(&str, &str)]) -> Value {
        let mut job = self.submit(agent, input, lease).await;
        soon(job.result_json()).await.unwrap()
    }
}

/// Calls one after the other; gives the texts, or the errors.
async fn call_all(ctx: JobContext, calls: Vec<(String, Value)>) -> Result<Vec<String>, AgentError> {
    let mut gave = Vec::new();
    for (name, args) in calls {
        gave.push(match ctx.call_tool(&name, args).await {
            Ok(result) => {
                let result: Value = result.read()?;
                let text = result["content"][0]["text"].as_str();
                text.unwrap_or_default().to_owned()
            }
            Err(error) => format!("error: {error}"),
        });
    }
    Ok(gave)
}

async fn list(ctx: JobContext, _: Value) -> Result<Vec<Value>, AgentError> {
    let tools = ctx.tools().await?;
    let told = tools.into_iter();
    Ok(told
        .map(|tool| json!([tool.name, tool.description, tool.input_schema]))
        .collect())
}

/// [ARCP 19-2] Tools are listed with their schemas: those that the lease covers, and those that a person may let through.
#[tokio::test]
async fn tools_are_listed_by_the_lease() {
    let stage = Stage::new().await;
    let names = async |lease: &[(&str, &str)]| {
        let listed = stage.gave("lister", json!(null), lease).await;
        let names = listed.as_array().unwrap().iter();
        names
            .map(|tool| tool[0].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&[]).await, Vec::<String>::new());
    assert_eq!(
        names(&[("tool.call", "mcp:bare/add")]).await,
        ["mcp:bare/add"]
    );
    let asked = [("x-vendor.towline.ask", "tool.call=mcp:bare/fail")];
    assert_eq!(names(&asked).await, ["mcp:bare/fail"]);
    assert_eq!(names(&[("tool.call", "mcp:bare/*")]).await.len(), 9);
    let listed = stage
        .gave("lister", json!(null), &[("tool.call", "mcp:bare/add")])
        .await;
    assert_eq!(
        listed[0],
        json!(["mcp:bare/add", "Adds.", {"type": "object", "properties": {"a": {}, "b": {}}}])
    );
    // One that does not open is told of, and the others are there.
    let mut job = stage
        .submit("lister", json!(null), &[("tool.call", "mcp:**")])
        .await;
    let listed: Value = soon(job.result_json()).await.unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 9);
    let logs = bodies(&stage.client, job.id(), "log").await;
    let told = |log: &Value| {
        let text = log["message"].as_str().unwrap();
        text.contains("mcp:broken") && text.contains("status 4")
    };
    assert!(logs.iter().any(told), "{logs:?}");
}

/// [ARCP 19-2] [ARCP 11-2] A call is asked of the lease, stands in the log, and carries the trace.
#[tokio::test]
async fn tools_are_called_through_the_lease() {
    let stage = Stage::new().await;
    let calls = json!([
        ["mcp:bare/add", {"a": 1, "b": 2}],
        ["mcp:bare/meta", {}],
        ["mcp:bare/meta", null],
        ["mcp:bare/fail", {}],
        ["mcp:bare/read", {"path": "/etc/hostname"}],
        ["mcp:other/add", {}],
        ["mcp:bare/add", [1, 2]],
    ]);
    let lease = [
        ("tool.call", "mcp:bare/{add,meta,fail}"),
        ("tool.call", "mcp:other/*"),
    ];
    let mut job = stage.submit("caller", calls, &lease).await;
    let gave: Vec<String> = soon(job.result_json()).await.unwrap();
    assert_eq!(gave[0], "3");
    let meta: Value = serde_json::from_str(&gave[1]).unwrap();
    let trace = meta["meta"]["traceparent"].as_str().unwrap();
    assert!(trace.starts_with("00-") && trace.len() == 55, "{trace}");
    assert_eq!(meta["kept"], false);
    // It is the same process for the whole job.
    let again: Value = serde_json::from_str(&gave[2]).unwrap();
    assert_eq!(meta["pid"], again["pid"]);
    assert!(gave[3].contains("it is broken"), "{gave:?}");
    assert!(
        gave[4].contains("tool.call `mcp:bare/read` denied"),
        "{gave:?}"
    );
    assert!(gave[5].contains("no tool `mcp:other/add`"), "{gave:?}");
    assert!(gave[6].contains("have to be an object"), "{gave:?}");
    is_gone(u32::try_from(meta["pid"].as_u64().unwrap()).unwrap()).await;
    let called = bodies(&stage.client, job.id(), "tool_call").await;
    let results = bodies(&stage.client, job.id(), "tool_result").await;
    assert_eq!(called[0]["tool"], "mcp:bare/add");
    assert_eq!(called[0]["args"], json!({"a": 1, "b": 2}));
    assert_eq!(results[0]["call_id"], called[0]["call_id"]);
    assert_eq!(results[0]["result"]["content"][0]["text"], "3");
    assert_eq!(results[4]["error"]["code"], "PERMISSION_DENIED");
    assert_eq!(results[4]["call_id"], called[4]["call_id"]);
}

/// [ARCP 19-2] [ARCP 15-6] What an ask pattern covers a person lets through.
#[tokio::test]
async fn a_person_lets_a_call_through() {
    let stage = Stage::new().await;
    let lease = [("x-vendor.towline.ask", "tool.call=mcp:bare/*")];
    let calls = json!([["mcp:bare/add", {"a": 1, "b": 2}]]);
    for (answer, expected) in [(true, "3"), (false, "error: ")] {
        let mut job = stage.submit("caller", calls.clone(), &lease).await;
        let question = loop {
            let event = soon(job.next_event()).await.unwrap().expect("it asks");
            if event.kind().as_str() == "x-vendor.towline.input_request" {
                let body: Value = event.payload().unwrap().body.read().unwrap();
                assert_eq!(body["operation"]["value"], "mcp:bare/add");
                break body["question_id"].as_str().unwrap().parse().unwrap();
            }
        };
        job.answer(question, json!(answer)).send().await.unwrap();
        let gave: Vec<String> = soon(job.result_json()).await.unwrap();
        assert!(gave[0].starts_with(expected), "{gave:?}");
    }
}

/// [ARCP 19-2] A server that goes is a failed call that says how; the next call has another one. Results are bounded.
#[tokio::test]
async fn a_crash_is_a_failed_call() {
    let stage = Stage::new().await;
    let calls = json!([
        ["mcp:bare/die", {}],
        ["mcp:bare/add", {"a": 2, "b": 2}],
        ["mcp:bare/much", {}],
        ["mcp:bare/add", {"a": 2, "b": 3}],
        ["mcp:broken/any", {}],
    ]);
    let mut job = stage
        .submit("caller", calls, &[("tool.call", "mcp:**")])
        .await;
    let gave: Vec<String> = soon(job.result_json()).await.unwrap();
    assert!(
        gave[0].contains("its process ended with status 3"),
        "{gave:?}"
    );
    assert_eq!((&*gave[1], &*gave[3]), ("4", "5"));
    assert!(gave[2].contains("more than 1048576"), "{gave:?}");
    assert!(
        gave[4].contains("its process ended with status 4"),
        "{gave:?}"
    );
    let logs = bodies(&stage.client, job.id(), "log").await;
    let said = |log: &Value| log["message"] == "about to go";
    assert!(logs.iter().any(said), "{logs:?}");
}

/// [ARCP 19-2] An answer that is too long is a failed call at once, and not one that never comes; of an error the beginning is told.
#[tokio::test]
async fn answers_have_a_length() {
    let stage = Stage::new().await;
    let calls = json!([
        ["mcp:bare/flood", {}],
        ["mcp:bare/add", {"a": 2, "b": 2}],
        ["mcp:bare/rail", {}],
    ]);
    let lease = [("tool.call", "mcp:bare/*")];
    let gave = stage.gave("caller", calls, &lease).await;
    let text = |at: usize| gave[at].as_str().unwrap();
    assert!(
        text(0).contains("a message of more than 8388608"),
        "{}",
        text(0)
    );
    assert_eq!(text(1), "4");
    let told = text(2).len();
    assert!((4096..4300).contains(&told), "{told}");
}

/// [ARCP 19-2] [ARCP 18-4] The server ends with the job, in the middle of a call too.
#[tokio::test]
async fn a_server_ends_with_its_job() {
    let stage = Stage::new().await;
    let calls = json!([["mcp:bare/meta", {}], ["mcp:bare/hang", {}]]);
    let lease = [("tool.call", "mcp:bare/*")];
    let mut job = stage.submit("caller", calls, &lease).await;
    let pid = loop {
        let event = soon(job.next_event()).await.unwrap().expect("it goes on");
        let body: Value = event.payload().unwrap().body.read().unwrap();
        if let Some(text) = body["result"]["content"][0]["text"].as_str() {
            let meta: Value = serde_json::from_str(text).unwrap();
            break u32::try_from(meta["pid"].as_u64().unwrap()).unwrap();
        }
    };
    job.cancel("enough").await.unwrap();
    assert_eq!(failure(&mut job).await.code, ErrorCode::CANCELLED);
    is_gone(pid).await;
}

/// [ARCP 19-2] [ARCP 18-1] The server reads what its job may read.
#[tokio::test]
async fn a_server_is_confined_to_the_lease() {
    let stage = Stage::with(Confinement::new()).await;
    let place = stage.place.path().canonicalize().unwrap();
    std::fs::write(place.join("mine"), "mine").unwrap();
    let calls = json!([
        ["mcp:bare/read", {"path": place.join("mine")}],
        ["mcp:bare/read", {"path": "/etc/passwd"}],
    ]);
    let all = format!("{}/**", place.display());
    let lease = [("tool.call", "mcp:bare/*"), ("fs.read", &*all)];
    let mut job = stage.submit("caller", calls, &lease).await;
    let gave: Value = soon(job.result_json()).await.unwrap();
    let logs = bodies(&stage.client, job.id(), "log").await;
    assert_eq!(gave[0], "mine", "{logs:?}");
    assert!(gave[1].as_str().unwrap().starts_with("error: "), "{gave}");
}

/// [ARCP 19-2] [ARCP 17-7] Agents that speak ACP have the tools among those of their job; others find where they are.
#[tokio::test]
async fn processes_have_them_too() {
    let stage = Stage::new().await;
    let steps = json!([
        {"tools": true},
        {"call": ["bare__add", {"a": 1, "b": 2}]},
        {"call": ["mcp:bare/add", {"a": 1, "b": 3}]},
        {"call": ["mcp:bare/fail", {}]},
    ]);
    let lease = [("tool.call", "mcp:bare/add")];
    let input = json!({"prompt": steps.to_string()});
    let mut job = stage.submit("script", input, &lease).await;
    let _gave: Value = soon(job.result_json()).await.unwrap();
    let logs = bodies(&stage.client, job.id(), "log").await;
    let said = logs.iter().filter(|log| log["level"] == "info");
    let said: Vec<&str> = said.map(|log| log["message"].as_str().unwrap()).collect();
    assert!(said[0].ends_with(" bare__add"), "{said:?}");
    assert_eq!((said[1], said[2]), ("3", "4"));
    assert!(said[3].starts_with("error: PERMISSION_DENIED"), "{said:?}");
    let called = bodies(&stage.client, job.id(), "tool_call").await;
    assert_eq!(called[0]["tool"], "mcp:bare/add");
    let found = stage.gave("exec", json!(null), &lease).await;
    let found = found.as_str().unwrap().trim();
    assert!(
        found.starts_with("http://127.0.0.1:") && found.ends_with("/mcp"),
        "{found}"
    );
    assert_eq!(stage.gave("exec", json!(null), &[]).await, "none\n");
}
