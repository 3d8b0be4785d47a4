//! What becomes of a program's output, and of its failures.

use serde_json::{Value, json};
use towline_agents::{Confinement, Limits, ProcessAgent, ResultForm};
use towline_client::{JobHandle, JobOutput};
use towline_runtime::AgentOptions;

use crate::support::{Stage, bodies, failure, soon};

fn shell(script: &str) -> ProcessAgent {
    ProcessAgent::exec(["sh", "-c", script])
}

/// A result that was streamed.
async fn streamed(job: &mut JobHandle) -> Vec<u8> {
    let success = soon(job.outcome()).await.unwrap().into_success().unwrap();
    match success.result {
        JobOutput::Streamed { bytes, .. } => bytes.to_vec(),
        other => panic!("{other:?}"),
    }
}

/// [ARCP 18-1] output is JSON where it is JSON, else text; or what the operator says it is.
#[tokio::test]
async fn output_has_a_form() {
    let table = [
        (ResultForm::Auto, "echo '{\"a\": 1}'", json!({"a": 1})),
        (ResultForm::Auto, "echo hi", json!("hi\n")),
        (ResultForm::Json, "echo 42", json!(42)),
        (ResultForm::Text, "echo 42", json!("42\n")),
    ];
    for (form, script, expected) in table {
        let stage = Stage::new(shell(script).result(form)).await;
        assert_eq!(stage.result().await, expected, "{script}");
    }
    let no_json = Stage::new(shell("echo hi").result(ResultForm::Json)).await;
    let failure = no_json.failure().await;
    assert!(failure.message.contains("printed no JSON"), "{failure}");
    let bytes = Stage::new(shell("printf 'a\\377'").result(ResultForm::Bytes)).await;
    let mut job = bytes.submit().await;
    assert_eq!(streamed(&mut job).await, b"a\xff");
}

/// Lines are heard while the program runs, and are the result all the same.
#[tokio::test]
async fn lines_are_live() {
    let script = "echo one; until [ -e go ]; do sleep 0.01; done; printf two";
    let stage = Stage::new(shell(script).live_lines(true)).await;
    let mut job = stage.submit().await;
    loop {
        let event = soon(job.next_event())
            .await
            .unwrap()
            .expect("the job waits");
        let payload = event.payload().unwrap();
        let body: Value = payload.body.read().unwrap();
        if body["message"] == "one" {
            break;
        }
    }
    std::fs::write(stage.place.path().join("go"), "").unwrap();
    assert_eq!(soon(job.result_json::<Value>()).await.unwrap(), "one\ntwo");
    let logs = bodies(&stage.client, job.id(), "log").await;
    assert!(logs.iter().any(|log| log["message"] == "two"), "{logs:?}");
}

/// [ARCP 8.4-1] of a job that may be run again nothing is streamed before its program has done its work.
#[tokio::test]
async fn a_long_result_waits_for_its_program() {
    let script = "head -c 600000 /dev/zero | tr '\\0' a; [ $TOWLINE_ATTEMPT = 2 ]";
    let stage = Stage::retried(shell(script), 1).await;
    let mut job = stage.submit().await;
    let bytes = streamed(&mut job).await;
    assert!(bytes.len() == 600_000 && bytes.iter().all(|byte| *byte == b'a'));
}

/// [ARCP 18-1] a program says so much and no more, on whichever stream.
#[tokio::test]
async fn output_is_bounded() {
    let floods = |stream: &str| {
        format!("head -c 2000000 /dev/zero | tr '\\0' a | fold -w 1000{stream}; sleep 1000")
    };
    let child = ProcessAgent::arcp(["sh", "-c", &floods(" >&2")]);
    for agent in [shell(&floods("")), shell(&floods(" >&2")), child] {
        let limits = Limits::default().output(Some(1_000_000));
        let confinement = Confinement::new().limits(limits);
        let stage = Stage::with(agent, AgentOptions::default(), confinement).await;
        let failure = stage.failure().await;
        assert!(failure.message.contains("limit of output"), "{failure}");
    }
}

/// A program that fails for want of a grant says which.
#[tokio::test]
async fn a_denial_names_the_grant() {
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("data.txt");
    std::fs::write(&file, "x").unwrap();
    let script = format!("cat {}", file.display());
    let failure = Stage::held(shell(&script)).await.failure().await;
    let grant = format!("fs.read={}", file.display());
    assert!(failure.message.contains(&grant), "{failure}");
    let details: Value = failure.details.unwrap().read().unwrap();
    assert_eq!(details["missing_grants"], json!([grant]));
}

/// A child of either protocol that dies of what its lease does not give says so as a plain program does.
#[tokio::test]
async fn children_name_the_grant_too() {
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("data.txt");
    std::fs::write(&file, "x").unwrap();
    let script = format!("cat {}", file.display());
    let command = ["sh", "-c", &script];
    for child in [ProcessAgent::arcp(command), ProcessAgent::acp(command)] {
        let stage = Stage::held(child).await;
        let input = json!({"prompt": "read it"});
        let mut job = stage
            .client
            .submit("script")
            .input(input)
            .send()
            .await
            .unwrap();
        let failure = failure(&mut job).await;
        let grant = format!("fs.read={}", file.display());
        assert!(failure.message.contains(&grant), "{failure}");
        let details: Value = failure.details.unwrap().read().unwrap();
        assert_eq!(details["missing_grants"], json!([grant]));
        assert_eq!(details["exit_code"], 1);
    }
}

/// [ARCP 18-1] Memory has one bound for all the processes of a job: none of these passes it by itself.
#[tokio::test]
async fn memory_is_bounded_for_all_processes_together() {
    // What holds a line of zeros holds all of it; it waits for more that never comes.
    let hold = "{ head -c 40000000 /dev/zero; sleep 1000; } | tail";
    let bounded = |script: &str, bytes: u64| {
        let limits = Limits::default().memory(Some(bytes));
        let confinement = Confinement::new().limits(limits);
        Stage::with(shell(script), AgentOptions::default(), confinement)
    };
    let script = format!("{hold} & {hold}");
    let failure = bounded(&script, 64 << 20).await.failure().await;
    assert!(
        failure.message.contains("memory in all its processes")
            && failure.message.contains("limit of 67108864"),
        "{failure}"
    );
    let fits = "head -c 40000000 /dev/zero | tail | wc -c";
    let stage = bounded(fits, 64 << 20).await;
    assert_eq!(stage.result().await, json!(40_000_000));
}
