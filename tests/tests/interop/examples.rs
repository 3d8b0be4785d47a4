//! The examples in Python, run as their pages say: an agent that towline starts, and a client that submits to it.

use std::{env, path::PathBuf, sync::Arc};

use serde_json::json;
use towline_tests::{
    program::Place,
    server::{Serve, token_of},
};

use crate::python::{python, repository};

/// The environment's interpreter is the `python3` of the examples.
fn path_with(python: &std::path::Path) -> String {
    let bin = python.parent().map(PathBuf::from).unwrap_or_default();
    let known = env::var_os("PATH").unwrap_or_default();
    let paths = [bin].into_iter().chain(env::split_paths(&known));
    env::join_paths(paths)
        .expect("the paths can be joined")
        .to_string_lossy()
        .into_owned()
}

/// Agent, server and client, each from its own directory.
#[tokio::test]
async fn a_python_agent_and_a_python_client() {
    let Some(python) = python() else { return };
    let (agent, client) = (
        repository().join("examples/python/agent"),
        repository().join("examples/python/client"),
    );
    let place = Arc::new(Place::new());
    // Copies, so that nothing is left beside the sources.
    for name in ["agent.py", "towline.toml"] {
        place.write(
            name,
            std::fs::read(agent.join(name)).expect("the example is there"),
        );
    }
    let args = [
        "--listen",
        "127.0.0.1:0",
        "--token",
        "alice:alice-token",
        "--store",
        "memory",
        "--config",
        "towline.toml",
    ];
    let path = path_with(python.interpreter());
    let server = Serve::bare(&args)
        .at(&place)
        .envs([("PATH", path)])
        .start()
        .await;
    let mut script = python.file(&client.join("client.py"));
    script.args([
        &server.url,
        &token_of("alice"),
        "It is really just very good.",
    ]);
    let ran = python.holds(script).await;
    let found =
        json!([{"at": 3, "word": "really"}, {"at": 4, "word": "just"}, {"at": 5, "word": "very"}]);
    assert_eq!(ran.json(), json!({"words": 6, "found": found}));
    for said in [
        "runs review",
        "`really` says nothing",
        r#""total": 6"#,
        "words.read",
    ] {
        assert!(ran.stderr.contains(said), "no {said} in {}", ran.stderr);
    }
}

/// The pinned package is the same wherever it is named.
#[test]
fn one_version_of_the_sdk() {
    let read = |path: &str| std::fs::read_to_string(repository().join(path)).expect("it is there");
    let pinned = read("tests/interop/requirements.txt");
    for example in ["agent", "client"] {
        assert_eq!(
            read(&format!("examples/python/{example}/requirements.txt")),
            pinned
        );
    }
}
