//! A server on the official Python package of MCP as `[tools.NAME]`: as a program, and at an address.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use towline_tests::{
    program::{Place, binary},
    server::{Serve, token_of},
    soon,
};

use crate::python::{mcp_python, repository};

/// What the scripted agent is told when it does these steps, with the tools of `peer`.
async fn said(tools: &str, steps: &Value) -> Vec<String> {
    let place = Place::new();
    let program = json!(binary());
    place.write(
        "towline.toml",
        format!(
            "[tools.peer]\n{tools}\n[agents.coder]\ncommand = [{program}, \"acp-script\"]\nprotocol = \"acp\"\n"
        ),
    );
    let input = json!({"prompt": steps.to_string()}).to_string();
    let lease = "tool.call=mcp:peer/{shout,trace,fail,echo}";
    let flags = ["--config", "towline.toml", "-o", "ndjson"];
    let args = ["run", "coder", "--input", &input, "--lease", lease];
    let ran = place.run(args.into_iter().chain(flags)).await.status(0);
    let lines = ran.lines().into_iter();
    let logs = lines.filter(|line| line["body"]["level"] == "info");
    logs.map(|line| line["body"]["message"].as_str().unwrap().to_owned())
        .collect()
}

/// [ARCP 19-2] Its tools are listed, called, and hear of the trace; what they fail with is told.
#[tokio::test]
async fn a_published_server_gives_jobs_its_tools() {
    let Some(python) = mcp_python() else { return };
    let server = repository().join("tests/interop/mcp/server.py");
    let command = json!([python.interpreter(), server, "stdio"]);
    let as_program = format!("command = {command}\nenv = {{ PYTHONDONTWRITEBYTECODE = \"1\" }}");
    let mut elsewhere = python.script("mcp/server.py");
    let elsewhere = elsewhere.arg("http").stdout(Stdio::piped());
    let mut elsewhere = elsewhere.spawn().unwrap();
    let mut lines = BufReader::new(elsewhere.stdout.take().unwrap()).lines();
    let port = soon("the port", lines.next_line()).await.unwrap().unwrap();
    let at_address = format!("url = \"http://127.0.0.1:{port}/mcp\"");
    let steps = json!([
        {"tools": true},
        {"call": ["peer__shout", {"text": "louder"}]},
        {"call": ["peer__trace", {}]},
        {"call": ["peer__fail", {}]},
        {"call": ["mcp:peer/other", {}]},
    ]);
    let listens = async || {
        tokio::net::TcpStream::connect(format!("127.0.0.1:{port}"))
            .await
            .is_ok()
    };
    soon("the server", async {
        while !listens().await {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    for tools in [as_program, at_address] {
        let said = said(&tools, &steps).await;
        assert!(
            said[0].ends_with(" peer__fail peer__shout peer__trace"),
            "{said:?}"
        );
        assert_eq!(said[1], "LOUDER");
        assert!(
            said[2].starts_with("00-") && said[2].len() == 55,
            "{said:?}"
        );
        assert!(said[3].contains("Error executing tool fail"), "{said:?}");
        assert!(said[4].starts_with("error: PERMISSION_DENIED"), "{said:?}");
    }
    elsewhere.kill().await.unwrap();
}

/// [ARCP 19-2] Agents of another towline are tools too, at its `/mcp` and with a token of its own.
#[tokio::test]
async fn agents_elsewhere_are_tools() {
    let server = Serve::demo().start().await;
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), token_of("alice")).unwrap();
    let url = format!("url = \"http://{}/mcp\"", server.address());
    let file = format!("{url}\ntoken_file = {}", json!(token.path()));
    let steps = json!([{"call": ["mcp:peer/shout", {}]}, {"call": ["mcp:peer/echo", {"hi": 1}]}]);
    let said_so = said(&file, &steps).await;
    assert!(
        said_so[0].contains("there is no tool `shout`"),
        "{said_so:?}"
    );
    assert_eq!(said_so[1], "{\"hi\":1}");
    let without = said(&url, &steps).await;
    assert!(without[0].contains("it takes a token"), "{without:?}");
}
