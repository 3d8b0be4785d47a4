//! `[tools.NAME]`: servers of tools that jobs call through their lease.

use serde_json::json;

use crate::support::{Place, repository};

/// [ARCP 19-2] [ARCP 17-7] A coding agent calls a tool of the file's server, which is confined to the lease of the job; what the
/// lease does not cover it is not told of, and cannot call.
#[test]
fn an_agent_calls_the_tools_of_the_file() {
    let place = Place::new();
    let server = repository().join("crates/towline-agents/tests/processes/tool_server.py");
    place.write("server.py", std::fs::read_to_string(server).unwrap());
    let program = env!("CARGO_BIN_EXE_towline");
    place.write(
        "towline.toml",
        format!(
            "[tools.bare]\ncommand = [\"/usr/bin/python3\", \"server.py\"]\nenv = {{ PYTHONDONTWRITEBYTECODE = \"1\" }}\n\
             [agents.coder]\ncommand = [\"{program}\", \"acp-script\"]\nprotocol = \"acp\"\n"
        ),
    );
    place.write("notes", "private\n");
    place.run(["trust"]).ok();
    let notes = place.path().join("notes");
    let steps = json!([
        {"tools": true},
        {"call": ["bare__add", {"a": 20, "b": 22}]},
        {"call": ["bare__read", {"path": notes}]},
        {"call": ["mcp:bare/fail", {}]},
    ]);
    let input = json!({"prompt": steps.to_string()}).to_string();
    let ran = place.run([
        "run",
        "coder",
        "--input",
        &input,
        "--lease",
        "tool.call=mcp:bare/{add,read}",
        "-o",
        "ndjson",
    ]);
    let said = ran.ok().stdout;
    assert!(said.contains("bare__add bare__read\""), "{said}");
    assert!(said.contains("\"message\":\"42\""), "{said}");
    assert!(
        said.contains("Permission denied") || said.contains("No such file"),
        "{said}"
    );
    assert!(!said.contains("private"), "{said}");
    assert!(said.contains("error: PERMISSION_DENIED"), "{said}");
}
