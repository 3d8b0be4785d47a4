//! Conversations of the published SDKs' clients, said again to the runtime; what comes back is read as that SDK reads it.
//!
//! `tests/data/*-client.jsonl` has what each client was recorded to send, `{"scenario":…,"sent":{…}}` a line, and the names
//! that its runtime gave then (`"session"`, `"job"`), which stand in later frames and are exchanged for those given now.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use serde_json::{Value, json};
use towline_runtime::{AgentError, JobContext, Runtime};
use towline_wire::{Amount, ErrorCode};

use crate::peer::{ALICE, Peer, runtime};

/// What a line holds.
enum Line {
    Sent(Value),
    Session(String),
    Job(String),
}

/// The scenarios of an SDK, in their order.
fn scenarios(sdk: &str) -> BTreeMap<String, Vec<Line>> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let text = fs::read_to_string(data.join(format!("{sdk}-client.jsonl"))).unwrap();
    let mut scenarios = BTreeMap::<String, Vec<Line>>::new();
    for line in text.lines() {
        let mut line: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| line[name].as_str().map(str::to_owned);
        let scenario = text("scenario").unwrap();
        let read = text("session")
            .map(Line::Session)
            .or_else(|| text("job").map(Line::Job));
        let read = read.unwrap_or_else(|| Line::Sent(line["sent"].take()));
        scenarios.entry(scenario).or_default().push(read);
    }
    scenarios
}

async fn agents() -> Runtime {
    let sleeping = |ctx: JobContext, input: Value| async move {
        let time = Duration::from_millis(input["ms"].as_u64().unwrap());
        let stop = async {
            if input["ignore_cancel"] == true {
                std::future::pending().await
            } else {
                ctx.cancelled().await
            }
        };
        tokio::select! {
            () = tokio::time::sleep(time) => Ok::<_, AgentError>(json!({"slept_ms": input["ms"]})),
            () = stop => Ok(Value::Null),
        }
    };
    let failing = |_ctx: JobContext, input: Value| async move {
        assert_ne!(input["panic"], true, "as asked");
        let code = ErrorCode::new(input["code"].as_str().unwrap());
        Err::<Value, _>(AgentError::new(code, "as asked"))
    };
    let kinds = |ctx: JobContext, _input: Value| async move {
        ctx.log("info", "a line").await?;
        ctx.metric("documents", Amount::from(3), None).await?;
        Ok::<_, AgentError>(json!({"ok": true}))
    };
    let spending = |ctx: JobContext, input: Value| async move {
        for cost in input["costs"].as_array().unwrap() {
            let amount: Amount = cost[1].to_string().parse().unwrap();
            ctx.metric("cost.search", amount, cost[0].as_str()).await?;
        }
        Ok::<_, AgentError>(Value::Null)
    };
    let delegating = |ctx: JobContext, input: Value| async move {
        let child = ctx.delegate(input["agent"].as_str().unwrap());
        let child = child.input(input["input"].clone()).send().await?;
        child.outcome().await;
        Ok::<_, AgentError>(json!("parent"))
    };
    let counting = |_ctx: JobContext, input: Counted| async move { Ok::<_, AgentError>(input.n) };
    let version = |_ctx: JobContext, _input: Value| async move { Ok::<_, AgentError>(Value::Null) };
    let built = runtime()
        .agent("echo", |_ctx: JobContext, input: Value| async move {
            Ok::<_, AgentError>(input)
        })
        .agent("sleep", sleeping)
        .agent("fail", failing)
        .agent("kinds", kinds)
        .agent("spend", spending)
        .agent("delegate", delegating)
        .agent("chatty", counting)
        .agent("versioned@1.0.0", version)
        .agent("versioned@2.0.0", version)
        .default_version("versioned@2.0.0");
    built.build().await.unwrap()
}

#[derive(serde::Deserialize)]
struct Counted {
    n: u64,
}

/// What a client sent, and what it got.
struct Conversation {
    submits: Vec<Value>,
    got: Vec<Value>,
}

/// Says a scenario again. Between two frames of the client there is time for everything that needs none.
async fn say_again(lines: &[Line]) -> Conversation {
    let runtime = agents().await;
    let mut peer = Peer::raw(&runtime);
    let mut said = Conversation {
        submits: Vec::new(),
        got: Vec::new(),
    };
    let mut names = Vec::<(String, String)>::new();
    let mut jobs = 0;
    for line in lines {
        match line {
            Line::Sent(frame) => {
                let mut text = frame
                    .to_string()
                    .replace("\"tok\"", &format!("\"{ALICE}\""));
                for (then, now) in &names {
                    text = text.replace(then, now);
                }
                let frame: Value = serde_json::from_str(&text).unwrap();
                if frame["type"] == "session.bye" || frame["type"] == "session.close" {
                    // The recorded clients waited for the ends of their jobs.
                    said.got.extend(peer.drain(Duration::from_secs(6)).await);
                }
                if frame["type"] == "job.submit" {
                    said.submits.push(frame);
                }
                peer.send_text(&text).await;
                said.got.extend(peer.drain(Duration::from_millis(50)).await);
            }
            Line::Session(then) => {
                let now = said.got.last().unwrap()["session_id"].as_str().unwrap();
                names.push((then.clone(), now.to_owned()));
            }
            Line::Job(then) => {
                // The recorded clients waited for their jobs here.
                said.got.extend(peer.drain(Duration::from_millis(1)).await);
                let accepted = said
                    .got
                    .iter()
                    .filter(|frame| frame["type"] == "job.accepted");
                let now = accepted.clone().nth(jobs).unwrap()["job_id"]
                    .as_str()
                    .unwrap();
                names.push((then.clone(), now.to_owned()));
                jobs += 1;
            }
        }
        if let Line::Sent(frame) = line
            && frame["type"] == "job.submit"
        {
            // Longer than any job that ends by itself, and shorter than those that are cancelled.
            said.got.extend(peer.drain(Duration::from_secs(4)).await);
        }
    }
    said.got.extend(peer.drain(Duration::from_secs(10)).await);
    said
}

/// How an SDK's client finds the answer to each submit, and its job's end.
trait Reader {
    fn read(&self, said: &Conversation) -> Vec<String>;
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn is_end(frame: &Value) -> bool {
    frame["type"] == "job.result" || frame["type"] == "job.error"
}

fn status_of(end: &Value) -> String {
    let payload = &end["payload"];
    if end["type"] == "job.result" {
        text(&payload["final_status"]).to_owned()
    } else {
        text(&payload["code"]).to_owned()
    }
}

/// The end that the handle of the n-th acceptance of a job sees: what ended before was another handle's.
fn end_after(said: &Conversation, accepted: usize, job: &str) -> String {
    let of_job = |frame: &&Value| is_end(frame) && frame["job_id"] == job;
    let end = said.got[accepted..].iter().find(of_job);
    end.map_or_else(|| "waits for ever".to_owned(), status_of)
}

/// Go, and who follows the draft: `request_id` names the request.
struct ByRequest;

impl Reader for ByRequest {
    fn read(&self, said: &Conversation) -> Vec<String> {
        let read = said.submits.iter().map(|submit| {
            let answers = |frame: &&Value| frame["payload"]["request_id"] == submit["id"];
            let Some(answer) = said.got.iter().find(answers) else {
                return "no answer".to_owned();
            };
            if answer["type"] != "job.accepted" {
                return text(&answer["payload"]["code"]).to_owned();
            }
            let result = |frame: &&Value| {
                frame["type"] == "job.result" && frame["job_id"] == answer["job_id"]
            };
            if let Some(end) = said.got.iter().find(result) {
                assert_eq!(end["payload"]["output"], end["payload"]["result"]);
            }
            // Its client counts: an end it has seen is the end.
            end_after(said, 0, text(&answer["job_id"]))
        });
        read.collect()
    }
}

/// Ruby: `reply_to` in the payload; terminals by the `job_id` in theirs; a lease of ours kills the reader.
struct Ruby;

impl Reader for Ruby {
    fn read(&self, said: &Conversation) -> Vec<String> {
        for frame in &said.got {
            let payload = &frame["payload"];
            let reads = ["job.accepted", "job.subscribed"].contains(&text(&frame["type"]));
            assert!(!reads || payload.get("lease").is_none(), "{frame}");
            let delegates = payload["kind"] == "delegate";
            assert!(
                !delegates || payload["body"].get("lease").is_none(),
                "{frame}"
            );
            assert!(!is_end(frame) || payload["job_id"].is_string(), "{frame}");
            for credential in payload["credentials"].as_array().into_iter().flatten() {
                assert!(credential["value"].is_string(), "{frame}");
            }
        }
        let read = said.submits.iter().map(|submit| {
            let answers = |frame: &&Value| frame["payload"]["reply_to"] == submit["id"];
            let Some(answer) = said.got.iter().find(answers) else {
                return "no answer".to_owned();
            };
            if answer["type"] != "job.accepted" {
                return text(&answer["payload"]["code"]).to_owned();
            }
            // Its client remembers the ends of all jobs.
            end_after(said, 0, text(&answer["payload"]["job_id"]))
        });
        read.collect()
    }
}

/// Java: acceptances in the order of the submits, refusals as `job.error` of no job under the submit's id.
struct Java;

impl Reader for Java {
    fn read(&self, said: &Conversation) -> Vec<String> {
        let mut waiting: Vec<usize> = (0..said.submits.len()).collect();
        let mut read = vec!["no answer".to_owned(); said.submits.len()];
        for (at, frame) in said.got.iter().enumerate() {
            assert_ne!(frame["type"], "session.error", "Java has none: {frame}");
            if frame["type"] == "job.accepted" {
                assert!(!waiting.is_empty(), "nobody waits for {frame}");
                read[waiting.remove(0)] = end_after(said, at, text(&frame["job_id"]));
            } else if is_end(frame) && frame["job_id"].is_null() {
                let of_id = |n: &usize| said.submits[*n]["id"] == frame["id"];
                if let Some(place) = waiting.iter().position(of_id) {
                    read[waiting.remove(place)] = status_of(frame);
                }
            }
        }
        read
    }
}

/// TypeScript and Python: acceptances in order, TypeScript's refusals as the `job.error` of an unknown job; a `session.error`
/// fails every handle.
struct InOrder {
    refused_as_jobs: bool,
}

impl Reader for InOrder {
    fn read(&self, said: &Conversation) -> Vec<String> {
        let mut waiting: Vec<usize> = (0..said.submits.len()).collect();
        let mut read = vec!["no answer".to_owned(); said.submits.len()];
        let mut known = Vec::new();
        for (at, frame) in said.got.iter().enumerate() {
            if frame["type"] == "session.error" {
                let failed = status_of(&json!({"type": "job.error", "payload": frame["payload"]}));
                return vec![format!("all fail: {failed}"); read.len()];
            }
            if frame["type"] == "job.accepted" {
                known.push(&frame["job_id"]);
                assert!(!waiting.is_empty(), "nobody waits for {frame}");
                read[waiting.remove(0)] = end_after(said, at, text(&frame["job_id"]));
            } else if is_end(frame) && !known.contains(&&frame["job_id"]) && self.refused_as_jobs {
                let children = said
                    .got
                    .iter()
                    .any(|event| event["payload"]["body"]["child_job_id"] == frame["job_id"]);
                if !children {
                    read[waiting.remove(0)] = status_of(frame);
                }
            }
        }
        read
    }
}

async fn check(sdk: &str, reader: &dyn Reader, expected: &[(&str, &[&str])]) {
    let mut scenarios = scenarios(sdk);
    for (scenario, outcomes) in expected {
        let lines = scenarios
            .remove(*scenario)
            .unwrap_or_else(|| panic!("{sdk}: {scenario}"));
        let said = say_again(&lines).await;
        let frames: Vec<_> = said.got.iter().map(ToString::to_string).collect();
        assert_eq!(
            reader.read(&said),
            *outcomes,
            "{sdk} {scenario}\n{}",
            frames.join("\n")
        );
    }
    let left: Vec<_> = scenarios.keys().collect();
    assert!(left.is_empty(), "{sdk}: nothing is expected of {left:?}");
}

const OK: &str = "success";

/// What comes out the same whoever reads it.
const USUAL: &[(&str, &[&str])] = &[
    ("bye", &[OK]),
    ("cancel", &["CANCELLED"]),
    ("cancel_finished_harmless", &["CANCELLED", OK]),
    ("dup_key", &[OK, "DUPLICATE_KEY"]),
    ("idem_finished_same", &[OK, OK]),
    ("submit_kinds", &[OK]),
    ("timeout", &["TIMEOUT"]),
    ("unauth", &[]),
    ("unicode", &[OK]),
];

#[tokio::test(start_paused = true)]
async fn go() {
    let expected: &[(&str, &[&str])] = &[
        ("delegate", &[OK, OK]),
        ("errors", &["PERMISSION_DENIED", "INTERNAL_ERROR", OK]),
        (
            "refused_submit",
            &[OK, "INVALID_REQUEST", "AGENT_NOT_AVAILABLE", OK],
        ),
        ("subscribe_refused", &[OK]),
        ("versions", &[OK, OK, "AGENT_VERSION_NOT_AVAILABLE"]),
    ];
    check("go", &ByRequest, &[USUAL, expected].concat()).await;
}

#[tokio::test(start_paused = true)]
async fn java() {
    let expected: &[(&str, &[&str])] = &[
        ("delegate", &[OK, OK]),
        ("errors", &["PERMISSION_DENIED", "INTERNAL_ERROR"]),
        ("refused_submit", &[OK, "AGENT_NOT_AVAILABLE", OK]),
        (
            "refused_then_next_binding",
            &["AGENT_NOT_AVAILABLE", OK, OK],
        ),
        ("subscribe_refused", &[]),
        ("versions", &[OK, "AGENT_VERSION_NOT_AVAILABLE"]),
    ];
    check("java", &Java, &[USUAL, expected].concat()).await;
}

#[tokio::test(start_paused = true)]
async fn ruby() {
    let expected: &[(&str, &[&str])] = &[
        ("budget", &[OK]),
        ("delegate", &[OK]),
        ("errors", &["PERMISSION_DENIED", "INTERNAL_ERROR"]),
        ("refused_submit", &[OK, "AGENT_NOT_AVAILABLE"]),
        ("subscribe_refused", &[]),
        ("versions", &[OK, "AGENT_VERSION_NOT_AVAILABLE"]),
    ];
    check("ruby", &Ruby, &[USUAL, expected].concat()).await;
}

#[tokio::test(start_paused = true)]
async fn typescript() {
    let expected: &[(&str, &[&str])] = &[
        ("delegate", &[OK, OK]),
        (
            "errors",
            &["PERMISSION_DENIED", "INTERNAL_ERROR", "INVALID_REQUEST", OK],
        ),
        (
            "refused_submit",
            &[OK, "AGENT_NOT_AVAILABLE", OK, "INVALID_REQUEST"],
        ),
        // Its client has no other answer to a refused subscribe, and fails every handle on it.
        ("subscribe_refused", &["all fail: JOB_NOT_FOUND"]),
        ("versions", &[OK, OK, "AGENT_VERSION_NOT_AVAILABLE"]),
    ];
    let reader = InOrder {
        refused_as_jobs: true,
    };
    check("typescript", &reader, &[USUAL, expected].concat()).await;
}

#[tokio::test(start_paused = true)]
async fn python() {
    let expected: &[(&str, &[&str])] = &[
        ("cancel_deaf", &["cancelled"]),
        // As TypeScript's.
        ("subscribe_refused", &["all fail: JOB_NOT_FOUND"]),
        ("unicode", &[OK]),
    ];
    let reader = InOrder {
        refused_as_jobs: false,
    };
    check("python", &reader, expected).await;
}
