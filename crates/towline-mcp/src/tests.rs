//! A client, by hand, against a server on a runtime: each test reads as what the two say to each other.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{
    io::{
        AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, Lines, ReadHalf,
        WriteHalf, split,
    },
    time::Instant,
};
use towline_runtime::{
    AgentError, AgentOptions, CallTrace, Caller, JobContext, Question, Runtime, auth::Anonymous,
};
use towline_wire::{RawJson, value_of};

use crate::{Options, Server};

/// What a client of 2026-07-28 says of itself with each request.
fn modern(capabilities: Value) -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": capabilities,
    })
}

/// It has tasks.
fn tasks() -> Value {
    json!({"extensions": {"io.modelcontextprotocol/tasks": {}}})
}

/// It shows forms to its user.
fn forms() -> Value {
    json!({"elicitation": {"form": {}}})
}

struct Talk {
    lines: Lines<BufReader<ReadHalf<DuplexStream>>>,
    writer: WriteHalf<DuplexStream>,
    last: u64,
    /// Notifications and requests that came in between.
    heard: Vec<Value>,
    /// The same principal by another way.
    elsewhere: Caller,
}

impl Talk {
    async fn new(options: Options) -> Self {
        let runtime = Runtime::builder()
            .authenticator(Anonymous::dangerously_allow_anonymous("anybody"))
            .agent_with(
                "rest",
                |_: JobContext, seconds: u64| async move {
                    tokio::time::sleep(Duration::from_secs(seconds)).await;
                    Ok(json!({"rested": seconds}))
                },
                AgentOptions::default().input_schema(json!({"type": "integer"})),
            )
            .agent("ask", ask)
            .agent(
                "echo",
                |_: JobContext, input: Value| async move { Ok(input) },
            )
            .agent(
                "same",
                |_: JobContext, input: RawJson| async move { Ok(input) },
            )
            .build()
            .await
            .unwrap();
        let proven = runtime.prove(None, None, None).await.unwrap();
        let elsewhere = runtime.caller(proven.clone(), true);
        let server = Server::new(runtime.caller(proven, true)).options(options);
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (reader, writer) = split(far);
        tokio::spawn(async move {
            let _runtime = runtime;
            server.serve(reader, writer).await.unwrap();
        });
        let (reader, writer) = split(near);
        Self {
            lines: BufReader::new(reader).lines(),
            writer,
            last: 0,
            heard: Vec::new(),
            elsewhere,
        }
    }

    /// The handshake of before 2026-07-28.
    async fn legacy(capabilities: Value) -> Self {
        let mut talk = Self::new(Options::default()).await;
        let client = json!({
            "protocolVersion": "2025-11-25",
            "capabilities": capabilities,
            "clientInfo": {"name": "t", "version": "1"},
        });
        let welcome = talk.ask("initialize", client).await;
        assert_eq!(
            welcome["result"]["protocolVersion"], "2025-11-25",
            "{welcome}"
        );
        talk.say(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
            .await;
        talk
    }

    async fn say(&mut self, message: Value) {
        let line = format!("{message}\n");
        self.writer.write_all(line.as_bytes()).await.unwrap();
    }

    async fn send(&mut self, method: &str, params: Value) -> u64 {
        self.last += 1;
        let id = self.last;
        self.say(json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
            .await;
        id
    }

    async fn hear(&mut self) -> Value {
        let line = self.lines.next_line().await.unwrap().unwrap();
        serde_json::from_str(&line).unwrap()
    }

    async fn reply(&mut self, id: u64) -> Value {
        loop {
            let message = self.hear().await;
            if message["id"] == json!(id) && message.get("method").is_none() {
                return message;
            }
            self.heard.push(message);
        }
    }

    async fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.send(method, params).await;
        self.reply(id).await
    }

    /// The result of a tool, of a client of 2026-07-28 that can do this.
    async fn call(&mut self, tool: &str, arguments: Value, capabilities: Value) -> Value {
        let params = json!({"name": tool, "arguments": arguments, "_meta": modern(capabilities)});
        self.ask("tools/call", params).await["result"].take()
    }

    /// A task once it stands so.
    async fn task_when(&mut self, task: &Value, status: &str, capabilities: Value) -> Value {
        loop {
            let state = self
                .task("tasks/get", task, json!({}), capabilities.clone())
                .await["result"]
                .take();
            if state["status"] == status {
                return state;
            }
            assert_eq!(state["status"], "working", "{state}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn task(
        &mut self,
        method: &str,
        task: &Value,
        more: Value,
        capabilities: Value,
    ) -> Value {
        let mut params = json!({"taskId": task, "_meta": modern(capabilities)});
        for (name, value) in more.as_object().unwrap() {
            params[name] = value.clone();
        }
        self.ask(method, params).await
    }
}

async fn ask(ctx: JobContext, input: Value) -> Result<Value, AgentError> {
    let question = match input["kind"].as_str() {
        Some("approval") => Question::approval("Release?"),
        _ => Question::text("Name?"),
    };
    let answer = ctx.ask("q", question).await?;
    Ok(json!({"outcome": answer.outcome(), "answer": answer.value()}))
}

/// [ARCP 19-1] A call waits 50 seconds with a step every 10, then hands back the job's name; the job goes on, and is fetched.
#[tokio::test(start_paused = true)]
async fn a_long_call_is_handed_over() {
    let mut talk = Talk::legacy(json!({})).await;
    let began = Instant::now();
    let call = json!({"name": "rest", "arguments": {"input": 60}, "_meta": {"progressToken": "p"}});
    let result = talk.ask("tools/call", call).await["result"].take();
    assert_eq!(began.elapsed(), Duration::from_secs(50));
    assert_eq!(result["structuredContent"]["status"], "running");
    assert_eq!(result["isError"], false);
    let steps: Vec<f64> = talk
        .heard
        .iter()
        .filter_map(|told| told["params"]["progress"].as_f64())
        .collect();
    assert_eq!(steps, [1.0, 2.0, 3.0, 4.0, 5.0]);
    let job = result["structuredContent"]["job_id"].clone();
    let wait = json!({"name": "job_wait", "arguments": {"job_id": job}});
    let result = talk.ask("tools/call", wait).await["result"].take();
    assert_eq!(began.elapsed(), Duration::from_secs(60));
    assert_eq!(result["structuredContent"]["result"], json!({"rested": 60}));
    assert_eq!(result["content"][0]["text"], r#"{"rested":60}"#);
    assert_eq!(
        result.get("resultType"),
        None,
        "earlier revisions know none"
    );
}

/// [ARCP 19-1] An agent whose input is no object takes it as `input`; any other takes the arguments.
#[tokio::test(start_paused = true)]
async fn inputs_are_objects() {
    let mut talk = Talk::legacy(json!({})).await;
    let listed = talk.ask("tools/list", json!({})).await["result"]["tools"].take();
    let tool = |name: &str| {
        let mut tools = listed.as_array().unwrap().iter();
        tools.find(|tool| tool["name"] == name).unwrap().clone()
    };
    assert_eq!(
        tool("rest")["inputSchema"]["properties"]["input"]["type"],
        "integer"
    );
    assert_eq!(tool("echo")["inputSchema"], json!({"type": "object"}));
    let call = json!({"name": "echo", "arguments": {"input": 1}});
    let result = talk.ask("tools/call", call).await["result"].take();
    assert_eq!(result["structuredContent"]["result"], json!({"input": 1}));
}

/// [ARCP 19-1] A request that is taken back ends no job.
#[tokio::test(start_paused = true)]
async fn a_cancelled_call_cancels_no_job() {
    let mut talk = Talk::legacy(json!({})).await;
    let call = json!({"name": "rest", "arguments": {"input": 20}});
    let id = talk.send("tools/call", call).await;
    let list = json!({"name": "jobs", "arguments": {}});
    let jobs = loop {
        let result =
            talk.ask("tools/call", list.clone()).await["result"]["structuredContent"]["jobs"]
                .take();
        if result[0]["status"] == "running" {
            break result;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let gone =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}});
    talk.say(gone).await;
    let wait = json!({"name": "job_wait", "arguments": {"job_id": jobs[0]["job_id"]}});
    let result = talk.ask("tools/call", wait).await["result"].take();
    assert_eq!(result["structuredContent"]["status"], "success", "{result}");
}

/// [ARCP 19-1] What a job asks, a client of 2026-07-28 has its user answer, and calls again; what its user does not say leaves
/// the question open, and hands the job over.
#[tokio::test(start_paused = true)]
async fn a_call_that_needs_an_answer_is_called_again() {
    let mut talk = Talk::new(Options::default()).await;
    let asked = talk.call("ask", json!({}), forms()).await;
    assert_eq!(asked["resultType"], "input_required", "{asked}");
    let (state, requests) = (
        asked["requestState"].clone(),
        asked["inputRequests"].clone(),
    );
    let (question, request) = requests.as_object().unwrap().iter().next().unwrap();
    assert_eq!(request["method"], "elicitation/create");
    assert_eq!(
        request["params"]["requestedSchema"]["required"],
        json!(["answer"])
    );
    let mut again =
        json!({"name": "ask", "arguments": {}, "_meta": modern(forms()), "requestState": state});
    again["inputResponses"] = json!({question: {"action": "cancel"}});
    let left = talk.ask("tools/call", again.clone()).await["result"].take();
    assert_eq!(
        left["structuredContent"]["questions"][0]["question_id"],
        **question
    );
    again["inputResponses"] = json!({question: {"action": "accept", "content": {"answer": "Ada"}}});
    let done = talk.ask("tools/call", again.clone()).await["result"].take();
    assert_eq!(
        done["structuredContent"]["result"]["answer"], "Ada",
        "{done}"
    );
    // The state is of this tool's job and of no other's.
    again["name"] = json!("echo");
    let other = talk.ask("tools/call", again).await["result"].take();
    assert_eq!(
        other["structuredContent"]["code"], "INVALID_REQUEST",
        "{other}"
    );
}

/// [ARCP 19-1] Before 2026-07-28 the client is asked while the call waits, for as long as the user takes.
#[tokio::test(start_paused = true)]
async fn a_call_asks_while_it_waits() {
    let mut talk = Talk::legacy(forms()).await;
    let id = talk
        .send(
            "tools/call",
            json!({"name": "ask", "arguments": {"kind": "approval"}}),
        )
        .await;
    let asked = loop {
        let message = talk.hear().await;
        if message["method"] == "elicitation/create" {
            break message;
        }
    };
    tokio::time::sleep(Duration::from_secs(600)).await;
    let reply = json!({"action": "accept", "content": {"answer": true}});
    talk.say(json!({"jsonrpc": "2.0", "id": asked["id"], "result": reply}))
        .await;
    let done = talk.reply(id).await["result"].take();
    assert_eq!(
        done["structuredContent"]["result"],
        json!({"outcome": "answered", "answer": true})
    );
}

/// [ARCP 19-1] A client with tasks gets one, whose name is the job's and which is there already; what the job asks is what the
/// task asks.
#[tokio::test(start_paused = true)]
async fn a_job_is_a_task() {
    let mut talk = Talk::new(Options::default()).await;
    let mut able = tasks();
    able["elicitation"] = json!({});
    let task = talk.call("ask", json!({}), able.clone()).await;
    assert_eq!(
        (&task["resultType"], &task["status"]),
        (&json!("task"), &json!("working"))
    );
    let id = task["taskId"].clone();
    assert!(id.as_str().unwrap().starts_with("job_"), "{id}");
    let state = talk.task_when(&id, "input_required", able.clone()).await;
    let (question, _) = state["inputRequests"]
        .as_object()
        .unwrap()
        .iter()
        .next()
        .unwrap();
    let without = talk.task("tasks/get", &id, json!({}), tasks()).await["result"].take();
    assert_eq!(
        without["status"], "working",
        "a client that cannot ask is not asked"
    );
    let said =
        json!({"inputResponses": {question: {"action": "accept", "content": {"answer": "Ada"}}}});
    talk.task("tasks/update", &id, said, able.clone()).await;
    let done = talk.task_when(&id, "completed", able.clone()).await;
    assert_eq!(
        done["result"]["structuredContent"]["result"]["answer"], "Ada",
        "{done}"
    );
    let rest = talk.call("rest", json!({"input": 600}), tasks()).await["taskId"].take();
    talk.task("tasks/cancel", &rest, json!({}), tasks()).await;
    talk.task_when(&rest, "cancelled", tasks()).await;
}

/// [ARCP 19-1] What is no task is -32602, and a client that did not say that it knows tasks gets none.
#[tokio::test(start_paused = true)]
async fn tasks_are_for_those_who_know_them() {
    let mut talk = Talk::new(Options::default()).await;
    for (id, capabilities, code) in [
        (json!("job_none"), tasks(), -32602),
        (json!(""), tasks(), -32602),
        (json!("job_none"), json!({}), -32021),
    ] {
        let answer = talk.task("tasks/get", &id, json!({}), capabilities).await;
        assert_eq!(answer["error"]["code"], code, "{answer}");
    }
    let result = talk.call("echo", json!({"a": 1}), json!({})).await;
    assert_eq!(result["resultType"], "complete", "{result}");
}

/// [ARCP 19-1] A model does not approve itself, unless the operator lets it; without a user to ask, the call returns at once.
#[tokio::test(start_paused = true)]
async fn a_model_does_not_approve_itself() {
    for (options, code) in [
        (Options::default(), json!("PERMISSION_DENIED")),
        (
            Options::default().dangerously_let_models_approve(true),
            Value::Null,
        ),
    ] {
        let mut talk = Talk::new(options).await;
        let began = Instant::now();
        let asks = talk
            .call("ask", json!({"kind": "approval"}), json!({}))
            .await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        let job = &asks["structuredContent"];
        assert_eq!(job["status"], "running");
        let question = &job["questions"][0]["question_id"];
        let yes = json!({"job_id": job["job_id"], "question_id": question, "answer": true});
        let told = talk.call("job_answer", yes, json!({})).await;
        assert_eq!(told["structuredContent"]["code"], code, "{told}");
        assert_eq!(told["isError"], json!(!code.is_null()));
    }
}

/// [ARCP 19-1] Who was not asked answers nothing by the responses of somebody who was: neither a call nor a task takes them.
#[tokio::test(start_paused = true)]
async fn only_a_client_that_was_asked_responds() {
    let mut talk = Talk::new(Options::default()).await;
    let approval = json!({"kind": "approval"});
    let asks = talk.call("ask", approval.clone(), json!({})).await;
    let job = asks["structuredContent"].clone();
    let question = job["questions"][0]["question_id"].as_str().unwrap();
    let yes = json!({question: {"action": "accept", "content": {"answer": true}}});
    for (tool, arguments) in [
        ("ask", approval),
        ("job_wait", json!({"job_id": job["job_id"]})),
    ] {
        let again = json!({
            "name": tool, "arguments": arguments, "_meta": modern(json!({})),
            "requestState": job["job_id"], "inputResponses": yes,
        });
        let told = talk.ask("tools/call", again).await["result"].take();
        assert_eq!(
            told["structuredContent"]["code"], "PERMISSION_DENIED",
            "{told}"
        );
    }
    let said = json!({"inputResponses": yes});
    let told = talk
        .task("tasks/update", &job["job_id"], said, tasks())
        .await;
    assert_eq!(told["error"]["data"]["code"], "PERMISSION_DENIED", "{told}");
    let still = json!({"job_id": job["job_id"]});
    let still = talk.call("job_get", still, json!({})).await;
    assert_eq!(still["structuredContent"]["status"], "running");
}

/// [ARCP 14-4, 19-1] What no value of the library can hold is shown all the same, the job and its log: nothing can be made that
/// cannot be looked at.
#[tokio::test(start_paused = true)]
async fn odd_values_are_shown() {
    let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
    let half = "\u{fffd}";
    let mut talk = Talk::new(Options::default()).await;
    for (odd, shown) in [
        (r#""\ud800""#, json!(half)),
        (
            r#"{"a":"\udc00\ud83d\ude00"}"#,
            json!({"a": format!("{half}😀")}),
        ),
        (
            &deep,
            value_of(&serde_json::from_str::<RawJson>(&deep).unwrap()),
        ),
    ] {
        let submit = format!(r#"{{"agent":"same","input":{odd}}}"#);
        let submit = serde_json::from_str(&submit).unwrap();
        let job = talk.elsewhere.submit(submit, CallTrace::default()).await;
        let job = json!({"job_id": job.unwrap().job_id});
        let done = talk.call("job_wait", job.clone(), json!({})).await;
        assert_eq!(done["structuredContent"]["result"], shown, "{done}");
        let log = talk.call("job_events", job, json!({})).await;
        let events = log["structuredContent"]["events"].as_array().unwrap();
        assert_eq!(events.last().unwrap()["result"], shown, "{log}");
    }
}

/// [ARCP 19-1] A bound at a place where it bounds nothing is refused, as over HTTP.
#[tokio::test(start_paused = true)]
async fn bounds_stand_where_they_bind() {
    let mut talk = Talk::new(Options::default()).await;
    for (misplaced, place) in [
        (json!({"budget": "USD:0.01"}), "cost.budget"),
        (json!({"lease": {}}), "lease_request"),
        (
            json!({"expires_at": "2030-01-01T00:00:00Z"}),
            "lease_constraints",
        ),
    ] {
        let mut meta = modern(json!({}));
        meta["towline/submit"] = misplaced;
        let call = json!({"name": "echo", "arguments": {}, "_meta": meta});
        let told = talk.ask("tools/call", call).await["result"].take();
        let message = told["structuredContent"]["message"].as_str().unwrap();
        assert!(message.contains(place), "{told}");
    }
}

/// [ARCP 19-1] A refusal is a result with the code; only what is no tool is a wrong parameter.
#[tokio::test(start_paused = true)]
async fn refusals_are_results() {
    let mut talk = Talk::new(Options::default()).await;
    for (tool, arguments, code) in [
        ("job_get", json!({"job_id": "job_none"}), "JOB_NOT_FOUND"),
        ("job_get", json!({}), "INVALID_REQUEST"),
        ("job_get", json!({"job": "x"}), "INVALID_REQUEST"),
        ("job_wait", json!({"job_id": 7}), "INVALID_REQUEST"),
        (
            "job_wait",
            json!({"job_id": "job_none", "timeout_sec": -1}),
            "INVALID_REQUEST",
        ),
        (
            "job_events",
            json!({"job_id": "job_none", "limit": 0}),
            "INVALID_REQUEST",
        ),
        ("job_cancel", json!({"job_id": "job_none"}), "JOB_NOT_FOUND"),
        ("jobs", json!({"status": "over"}), "INVALID_REQUEST"),
    ] {
        let result = talk.call(tool, arguments.clone(), json!({})).await;
        assert_eq!(result["isError"], true, "{tool} {arguments}");
        assert_eq!(
            result["structuredContent"]["code"], code,
            "{tool} {arguments}"
        );
        assert_eq!(result["structuredContent"]["retryable"], false);
    }
    for submit in [json!({"input": 1}), json!({"agent": "rest"}), json!([])] {
        let mut meta = modern(json!({}));
        meta["towline/submit"] = submit;
        let call = json!({"name": "echo", "arguments": {}, "_meta": meta});
        let result = talk.ask("tools/call", call).await["result"].take();
        assert_eq!(
            result["structuredContent"]["code"], "INVALID_REQUEST",
            "{result}"
        );
    }
    let call = json!({"name": "nobody", "_meta": modern(json!({}))});
    assert_eq!(talk.ask("tools/call", call).await["error"]["code"], -32602);
}
