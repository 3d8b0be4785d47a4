//! A client that is the child of its runtime.
#![cfg(unix)]

use std::time::Duration;

use serde_json::{Value, json};
use towline::{
    Client, ClientOptions, JobContext, Runtime, StdioTransport,
    runtime::{AgentError, auth::StaticTokens},
    transport::{ChildOptions, ChildProcess},
};

/// Set in the process that is the child.
const TOKEN: &str = "TOWLINE_TEST_CHILD_TOKEN";

/// The other end of `a_client_is_the_child_of_its_runtime`: this test binary, run again.
#[test]
fn client_over_this_process() {
    let Ok(token) = std::env::var(TOKEN) else {
        return;
    };
    let tokio = tokio::runtime::Runtime::new().unwrap();
    tokio.block_on(async {
        let transport = StdioTransport::from_process();
        let client = Client::connect(transport, ClientOptions::bearer(token));
        let client = client.await.unwrap();
        let mut job = client
            .submit("echo")
            .input(json!([1]))
            .send()
            .await
            .unwrap();
        let result: Value = job.result_json().await.unwrap();
        assert_eq!(result, json!([1]));
        client.close("done").await.unwrap();
    });
    std::process::exit(0);
}

/// [ARCP 4-2] The parent of the two processes is the runtime: it serves the streams of a child, which is the client.
#[tokio::test]
async fn a_client_is_the_child_of_its_runtime() {
    let echo = |_ctx: JobContext, input: Value| async move { Ok::<_, AgentError>(input) };
    let runtime = Runtime::builder()
        .authenticator(StaticTokens::new([("helper", "between-us")]).unwrap())
        .agent("echo", echo)
        .build()
        .await
        .unwrap();
    // What the test harness of the other process prints is none of the client's words.
    let only_frames = r#"set -o pipefail 2>/dev/null; "$0" --exact child::client_over_this_process --nocapture | grep --line-buffered '^{'"#;
    let this = std::env::current_exe().unwrap();
    let options = ChildOptions::new("bash")
        .args(["-c", only_frames])
        .args([this])
        .env(TOKEN, "between-us");
    let (mut child, transport) = ChildProcess::spawn(&options).unwrap();
    runtime.accept(transport).closed().await;
    let status = child.terminate(Duration::from_secs(60)).await.unwrap();
    assert!(status.success(), "{status}");
    runtime.shutdown().await;
}
