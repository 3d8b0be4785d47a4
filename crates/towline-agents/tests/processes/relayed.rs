//! Children that speak ARCP, each a script that says its lines, and what the job makes of them.

use serde_json::{Value, json};
use towline_agents::ProcessAgent;
use towline_wire::Lease;

use crate::support::{Stage, bodies, failure, is_gone, runs, soon};

/// A line of a child.
fn line(kind: &str, more: Value, payload: Value) -> String {
    let mut envelope = json!({"arcp": "1.1", "id": "m", "type": kind, "session_id": "s"});
    let fields = envelope.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    fields.insert("payload".to_owned(), payload);
    format!("echo '{envelope}'\n")
}

/// Up to the job's acceptance.
pub(crate) fn opening() -> String {
    let welcome = line(
        "session.welcome",
        json!({}),
        json!({
            "runtime": {"name": "sh", "version": "1"},
            "capabilities": {"encodings": ["json"], "features": ["lease_expires_at"]},
        }),
    );
    let accepted = line(
        "job.accepted",
        json!({"job_id": "job_1"}),
        json!({"job_id": "job_1", "agent": "script", "lease": {}}),
    );
    format!("read -r hello\n{welcome}read -r submit\n{accepted}")
}

pub(crate) fn event(seq: u64, kind: &str, body: Value) -> String {
    line(
        "job.event",
        json!({"job_id": "job_1", "event_seq": seq}),
        json!({"kind": kind, "ts": "2026-01-01T00:00:00Z", "body": body}),
    )
}

pub(crate) fn result(seq: u64, value: Value) -> String {
    line(
        "job.result",
        json!({"job_id": "job_1", "event_seq": seq}),
        json!({"final_status": "success", "result": value}),
    )
}

async fn child(script: &str) -> Stage {
    Stage::new(ProcessAgent::arcp(["sh", "-c", script])).await
}

#[tokio::test]
async fn a_script_can_be_an_agent() {
    let script = [
        opening(),
        event(1, "log", json!({"level": "info", "message": "here"})),
        result(2, json!(42)),
    ];
    let stage = child(&script.concat()).await;
    let mut job = stage.submit().await;
    assert_eq!(soon(job.result_json::<Value>()).await.unwrap(), 42);
    let logs = bodies(&stage.client, job.id(), "log").await;
    assert!(logs.iter().any(|log| log["message"] == "here"), "{logs:?}");
}

/// The end of the process is noticed, although something holds its output.
#[tokio::test]
async fn a_child_that_crashes_is_noticed() {
    let stage = child(&format!("{} sleep 1000 & echo oops >&2; exit 3", opening())).await;
    let mut job = stage.submit().await;
    let failure = failure(&mut job).await;
    assert!(failure.message.contains("ended with status 3"), "{failure}");
    let logs = bodies(&stage.client, job.id(), "log").await;
    assert!(logs.iter().any(|log| log["message"] == "oops"), "{logs:?}");
    let before = child("sleep 1000 & exit 4").await.failure().await;
    assert!(before.message.contains("ended with status 4"), "{before}");
}

/// What was written before the end counts.
#[tokio::test]
async fn a_result_before_the_end_is_a_result() {
    let script = format!(
        "{}{} sleep 1000 & exit 0",
        opening(),
        result(1, json!("in time"))
    );
    assert_eq!(child(&script).await.result().await, "in time");
}

/// What a child complains of after its result is told to nobody: the job is over.
#[tokio::test]
async fn complaints_after_the_result_are_not_told() {
    let script = format!(
        // The next line that it hears comes once its result is in.
        "{}{} read line; echo too late >&2; sleep 1000",
        opening(),
        result(1, json!("done"))
    );
    let stage = child(&script).await;
    let mut job = stage.submit().await;
    assert_eq!(soon(job.result_json::<Value>()).await.unwrap(), "done");
    let logs = bodies(&stage.client, job.id(), "log").await;
    assert!(
        !logs.iter().any(|log| log["message"] == "too late"),
        "{logs:?}"
    );
}

/// A line above the limit may be the result: the job ends and says so.
#[tokio::test]
async fn a_line_that_is_too_long_ends_the_job() {
    let script = format!(
        "{} head -c 17000000 /dev/zero | tr '\\0' a; echo; sleep 1000",
        opening()
    );
    let failure = child(&script).await.failure().await;
    assert!(failure.message.contains("16777216 bytes"), "{failure}");
    assert!(failure.message.contains("streamed"), "{failure}");
}

/// A result as long as a message may be gets through, as far as the job may have it inline.
#[tokio::test]
async fn a_line_of_more_than_four_mebibytes_is_read() {
    let before = r#"{"arcp":"1.1","id":"m","type":"job.error","session_id":"s","job_id":"job_1","event_seq":1,"payload":{"final_status":"error","code":"INTERNAL_ERROR","message":"long","retryable":true,"details":{"text":""#;
    let script = format!(
        "{} printf '%s' '{before}'; head -c 5000000 /dev/zero | tr '\\0' a; echo '\"}}}}}}'; sleep 1000",
        opening()
    );
    let failure = child(&script).await.failure().await;
    assert!(failure.message.starts_with("long"), "{failure}");
}

/// What no child would read is refused instead of being waited for.
#[tokio::test]
async fn an_input_that_is_too_long_is_refused() {
    let stage = child(&opening()).await;
    let input = "x".repeat(5 << 20);
    let mut job = stage
        .client
        .submit("script")
        .input(input)
        .send()
        .await
        .unwrap();
    let failure = failure(&mut job).await;
    assert_eq!(failure.code.as_str(), "INVALID_REQUEST");
    assert!(failure.message.contains("4194304"), "{failure}");
}

/// A child that takes its time to leave does not hold the job back, and is ended behind it.
#[tokio::test]
async fn a_slow_goodbye_delays_nothing() {
    let script = format!(
        "trap '' TERM; echo $$ > main; {}{} while :; do sleep 1000; done",
        opening(),
        result(1, json!("done"))
    );
    let stage = child(&script).await;
    assert_eq!(stage.result().await, "done");
    let main = stage.pid("main").await;
    assert!(runs(main), "the job did not wait for it");
    is_gone(main).await;
}

/// Lines that are no messages are told to whoever reads the job's log.
#[tokio::test]
async fn stray_output_is_told() {
    let script = format!(
        "{} echo 'hello, I am a print'; sleep 0.1\n{}",
        opening(),
        result(1, json!(1))
    );
    let stage = child(&script).await;
    let mut job = stage.submit().await;
    soon(job.result_json::<Value>()).await.unwrap();
    let logs = bodies(&stage.client, job.id(), "log").await;
    assert!(
        logs.iter().any(|log| log["level"] == "warn"
            && log["message"].as_str().unwrap().contains("standard output")),
        "{logs:?}"
    );
}

/// [ARCP 10-1, 10-2] What a child delegates is a delegation of its job, asked of the job's lease; a refusal stands in the log.
#[tokio::test]
async fn a_child_delegates_through_its_job() {
    let order = json!({"child_job_id": "theirs", "agent": "echo", "input": {"n": 1}, "lease": {}});
    let wait = "until [ -e go ]; do sleep 0.01; done\n";
    let script = [
        opening(),
        event(1, "delegate", order),
        wait.to_owned(),
        result(2, json!("parent")),
    ]
    .concat();
    let stage = child(&script).await;
    let lease: Lease = [("agent.delegate", "echo")].into_iter().collect();
    let mut job = stage
        .client
        .submit("script")
        .lease(lease)
        .send()
        .await
        .unwrap();
    let delegated = loop {
        let event = soon(job.next_event())
            .await
            .unwrap()
            .expect("the job waits");
        if event.kind().as_str() == "delegate" {
            break event.payload().unwrap().body.read::<Value>().unwrap();
        }
    };
    assert_ne!(delegated["child_job_id"], "theirs");
    assert_eq!(delegated["agent"], "echo");
    let page = stage.client.list_jobs().page().await.unwrap();
    let child = page
        .jobs
        .iter()
        .find(|job| job.job_id.as_str() == delegated["child_job_id"]);
    assert_eq!(child.unwrap().parent_job_id.as_ref(), Some(job.id()));
    std::fs::write(stage.place.path().join("go"), "").unwrap();
    assert_eq!(soon(job.result_json::<Value>()).await.unwrap(), "parent");

    let mut refused = stage.submit().await;
    assert_eq!(
        soon(refused.result_json::<Value>()).await.unwrap(),
        "parent"
    );
    let results = bodies(&stage.client, refused.id(), "tool_result").await;
    assert_eq!(
        results[0]["error"]["code"], "PERMISSION_DENIED",
        "{results:?}"
    );
    assert!(
        bodies(&stage.client, refused.id(), "delegate")
            .await
            .is_empty()
    );
}

/// [ARCP 9.5-2] A lease that ends while the child starts has expired, whatever the child calls it.
#[tokio::test]
async fn a_lease_that_expires_while_the_child_starts() {
    let refusal = line(
        "session.error",
        json!({}),
        json!({"code": "INVALID_REQUEST", "message": "expires_at lies in the past", "retryable": false}),
    );
    let opening = opening();
    let welcome = opening.lines().nth(1).unwrap();
    let stage = child(&format!(
        "read -r hello; sleep 1.2\n{welcome}\nread -r submit\n{refusal} sleep 1000"
    ))
    .await;
    let now = towline_env::Clock::now(&towline_env::SystemClock);
    let at = now.plus(std::time::Duration::from_secs(1));
    let mut job = stage
        .client
        .submit("script")
        .expires_at(at)
        .send()
        .await
        .unwrap();
    assert_eq!(failure(&mut job).await.code.as_str(), "LEASE_EXPIRED");
}

/// What credentials the submitter gets is no child's to offer.
#[tokio::test]
async fn credentials_are_not_offered_to_a_child() {
    let script = format!(
        "{}\ncase \"$hello\" in *provisioned_credentials*) exit 9;; esac\n{}",
        opening(),
        result(1, json!("clean"))
    );
    assert_eq!(child(&script).await.result().await, "clean");
}
