//! Terminals of agents that speak the Agent Client Protocol.

use serde_json::{Value, json};
use towline_agents::{Confinement, ProcessAgent};
use towline_runtime::AgentOptions;
use towline_wire::{ErrorCode, Lease};

use crate::support::{Stage, bodies, failure, is_gone, soon};

fn scripted() -> ProcessAgent {
    ProcessAgent::acp([env!("CARGO_BIN_EXE_towline-acp-script")])
}

/// What the agent said it was told, and the events of a kind.
struct Ran {
    said: Vec<String>,
    calls: Vec<Value>,
    results: Vec<Value>,
}

async fn run(stage: &Stage, steps: Value, lease: &[(&str, &str)]) -> Ran {
    let lease: Lease = lease.iter().copied().collect();
    let submit = stage.client.submit("script").lease(lease);
    let submit = submit.input(json!({"prompt": steps.to_string(), "cwd": place(stage)}));
    let mut job = submit.send().await.unwrap();
    let _gave: Value = soon(job.result_json()).await.unwrap();
    let said = bodies(&stage.client, job.id(), "log").await;
    let said = said.iter().filter(|log| log["level"] == "info");
    Ran {
        said: said
            .map(|log| log["message"].as_str().unwrap().to_owned())
            .collect(),
        calls: bodies(&stage.client, job.id(), "tool_call").await,
        results: bodies(&stage.client, job.id(), "tool_result").await,
    }
}

fn place(stage: &Stage) -> String {
    let place = stage.place.path().canonicalize().unwrap();
    place.to_str().unwrap().to_owned()
}

fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| panic!("{text}"))
}

/// [ARCP 17-5] Commands run where the lease has some `exec:`, each as a call of it; nothing is offered where it has none.
#[tokio::test]
async fn commands_are_the_leases() {
    let stage = Stage::new(scripted()).await;
    let all = format!("{}/**", place(&stage));
    let steps = json!([
        {"run": ["sh", "-c", "pwd; echo $MODE >&2; exit 3"]},
        {"run": ["cat", "/etc/hostname"]},
        {"run": ["sh"]},
        {"start": {"command": "sh", "args": ["-c", "echo $MODE"], "env": [{"name": "MODE", "value": "x"}]}},
        {"await": 2}, {"output": 2},
        {"start": "sh -c id;id"},
    ]);
    let ran = run(
        &stage,
        steps.clone(),
        &[("fs.read", &all), ("tool.call", "exec:sh")],
    )
    .await;
    assert_eq!(
        read(&ran.said[0]),
        json!({"exitCode": 3, "signal": null}),
        "{:?}",
        ran.said
    );
    let output = read(&ran.said[1]);
    assert_eq!(output["exitStatus"]["exitCode"], 3);
    assert_eq!(output["truncated"], false);
    let text = output["output"].as_str().unwrap();
    assert!(text.contains(&place(&stage)), "{text}");
    assert!(ran.said[3].contains("exec:cat"), "{:?}", ran.said);
    let last = &ran.said[ran.said.len() - 2..];
    assert_eq!(read(&last[0])["output"], "x\n");
    assert!(last[1].contains("no simple command"), "{last:?}");
    assert_eq!(ran.calls[0]["tool"], "exec:sh");
    assert_eq!(ran.calls[0]["args"]["argv"][0], "sh");
    assert_eq!(ran.results[0]["call_id"], ran.calls[0]["call_id"]);
    assert_eq!(ran.results[0]["result"]["exit_code"], 3);
    assert_eq!(ran.results[1]["error"]["code"], "PERMISSION_DENIED");
    assert_eq!(ran.results[1]["call_id"], ran.calls[1]["call_id"]);
    let ran = run(&stage, json!([{"run": ["sh"]}]), &[("fs.read", &all)]).await;
    assert!(ran.said[0].contains("does not offer"), "{:?}", ran.said);
    // A pattern that is for something else offers none.
    let other = [("fs.read", &*all), ("tool.call", "search.*")];
    let ran = run(&stage, json!([{"run": ["sh"]}]), &other).await;
    assert!(ran.said[0].contains("does not offer"), "{:?}", ran.said);
}

/// [ARCP 17-5] Of what a command writes the end is kept; one that is killed, or released, has ended.
#[tokio::test]
async fn output_is_bounded_and_commands_end() {
    let stage = Stage::new(scripted()).await;
    let all = format!("{}/**", place(&stage));
    let lease = [("fs.read", &*all), ("tool.call", "exec:sh")];
    let sleep = |file: &str| json!(["sh", "-c", format!("echo $$ > {file}; exec sleep 1000")]);
    let steps = json!([
        {"start": {"command": "sh", "args": ["-c", "echo 0123456789"], "outputByteLimit": 4}},
        {"await": 0}, {"output": 0}, {"release": 0}, {"output": 0},
        {"start": sleep("killed")}, {"kill": 1}, {"await": 1},
        {"start": sleep("released")}, {"release": 2},
        {"start": sleep("left")},
    ]);
    let ran = run(&stage, steps, &lease).await;
    assert_eq!(
        read(&ran.said[1]),
        json!({"output": "789\n", "truncated": true, "exitStatus": {"exitCode": 0, "signal": null}})
    );
    assert!(ran.said[3].contains("no terminal `t1`"), "{:?}", ran.said);
    assert_eq!(read(&ran.said[5])["signal"], "SIGTERM");
    assert_eq!(ran.results.len(), 4, "{:?}", ran.results);
    for file in ["killed", "released", "left"] {
        // One that was ended before it could write has nothing left to end either.
        let path = stage.place.path().join(file);
        let pid = std::fs::read_to_string(path).unwrap_or_default();
        if let Ok(pid) = pid.trim().parse() {
            is_gone(pid).await;
        }
    }
}

/// [ARCP 17-5] [ARCP 18-4] A job that is cancelled takes its commands with it.
#[tokio::test]
async fn commands_end_with_the_job() {
    let stage = Stage::new(scripted()).await;
    let all = format!("{}/**", place(&stage));
    let lease: Lease = [("fs.read", &*all), ("tool.call", "exec:sh")]
        .into_iter()
        .collect();
    let steps = json!([
        {"start": ["sh", "-c", "trap '' TERM; echo $$ > pid; while :; do sleep 1; done"]},
        {"await": 0},
    ]);
    let submit = stage.client.submit("script").lease(lease);
    let submit = submit.input(json!({"prompt": steps.to_string(), "cwd": place(&stage)}));
    let mut job = submit.send().await.unwrap();
    let pid = stage.pid("pid").await;
    job.cancel("enough").await.unwrap();
    assert_eq!(failure(&mut job).await.code, ErrorCode::CANCELLED);
    is_gone(pid).await;
}

/// [ARCP 17-5] [ARCP 18-1] A command is confined to the lease, as everything of its job is.
#[tokio::test]
async fn commands_are_confined() {
    let agent = scripted();
    let stage = Stage::with(agent, AgentOptions::default(), Confinement::new()).await;
    let all = format!("{}/**", place(&stage));
    std::fs::write(stage.place.path().join("mine"), "mine\n").unwrap();
    let lease = [("fs.read", &*all), ("tool.call", "exec:cat")];
    let steps = json!([{"run": ["cat", "mine"]}, {"run": ["cat", "/etc/passwd"]}]);
    let ran = run(&stage, steps, &lease).await;
    assert_eq!(read(&ran.said[1])["output"], "mine\n", "{:?}", ran.said);
    assert_eq!(read(&ran.said[3])["exitCode"], 1, "{:?}", ran.said);
}
