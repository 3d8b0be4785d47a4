//! Agents on the published packages of the Agent Client Protocol, for Node.js and for Python, as agents of `towline serve`.
//!
//! Without Node.js, Python or the packages the tests are skipped and say so, except in CI.

use std::{
    env, fs,
    fs::File,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use serde_json::{Value, json};
use towline::{
    client::{Client, ClientOptions, JobFailure, JobHandle, Outcome},
    transport::WebSocketTransport,
    wire::{JobId, Lease, RawJson},
};
use towline_tests::{
    program::Place,
    server::{Serve, Server, token_of},
    soon,
};

use crate::python::{mcp_python, repository};

/// A way to run an agent.
struct Peer {
    command: Vec<PathBuf>,
    /// What it consists of.
    read: PathBuf,
}

/// Those that can be run here.
fn peers() -> Vec<Peer> {
    let made = [("Node.js", node()), ("Python", python())];
    let made = made.into_iter().filter_map(|(name, peer)| match peer {
        Ok(peer) => Some(peer),
        Err(why) if env::var_os("CI").is_some() => {
            panic!("the ACP package of {name} is required in CI: {why}")
        }
        Err(why) => {
            eprintln!("skipped: the ACP package of {name}: {why}");
            None
        }
    });
    made.collect()
}

fn node() -> Result<Peer, String> {
    let place = place("interop-acp-node")?;
    // Tests in other processes make it too.
    let _lock = locked(&place)?;
    let source = repository().join("tests/interop/acp");
    for name in ["agent.mjs", "package.json"] {
        fs::copy(source.join(name), place.join(name)).map_err(|error| error.to_string())?;
    }
    let packages = ["@agentclientprotocol/sdk", "@modelcontextprotocol/sdk"];
    let modules = packages.map(|name| place.join("node_modules").join(name));
    if !modules.iter().all(|module| module.is_dir()) {
        let arguments = ["install", "--no-audit", "--no-fund", "--ignore-scripts"];
        run(Command::new("npm").args(arguments).current_dir(&place))?;
    }
    Ok(Peer {
        command: vec!["node".into(), place.join("agent.mjs")],
        read: place,
    })
}

fn python() -> Result<Peer, String> {
    let place = place("interop-acp-python")?;
    let _lock = locked(&place)?;
    let source = repository().join("tests/interop/acp");
    let interpreter = place.join("bin/python");
    let check = ["-c", "import acp, mcp"];
    if run(Command::new(&interpreter).args(check)).is_err() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&place))?;
        run(Command::new(&interpreter)
            .args(["-m", "pip", "install", "--quiet", "--requirement"])
            .arg(source.join("requirements.txt")))?;
    }
    Ok(Peer {
        command: vec![interpreter, source.join("agent.py")],
        read: place,
    })
}

fn place(name: &str) -> Result<PathBuf, String> {
    let test = env::current_exe().map_err(|error| error.to_string())?;
    // TARGET/PROFILE/deps/TEST
    let target = test.ancestors().nth(3);
    let place = target
        .ok_or("the test is not in a target directory")?
        .join(name);
    fs::create_dir_all(&place).map_err(|error| error.to_string())?;
    Ok(place)
}

fn locked(place: &Path) -> Result<File, String> {
    let lock = File::create(place.join("lock")).map_err(|error| error.to_string())?;
    lock.lock().map_err(|error| error.to_string())?;
    Ok(lock)
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output();
    let output = output.map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?}: {}", said.trim()))
}

/// A server with one of them, and a client of it.
struct Stage {
    server: Server,
    client: Client,
    work: tempfile::TempDir,
}

impl Stage {
    async fn of(peer: &Peer) -> Self {
        let place = Arc::new(Place::new());
        let state = place.path().join("agent");
        fs::create_dir(&state).unwrap();
        let [command, read] = [json!(peer.command), json!([peer.read])];
        let environment = r#"env = { PYTHONDONTWRITEBYTECODE = "1" }"#;
        place.write(
            "towline.toml",
            format!(
                "[agents.coder]\ncommand = {command}\nprotocol = \"acp\"\nread = {read}\nstate = {}\nrestartable = true\n{environment}\n{}",
                json!(state),
                tools_of_a_peer(),
            ),
        );
        let server = Serve::demo().at(&place).with(&["--config", "towline.toml"]);
        let server = server.start().await;
        let client = dial(&server).await;
        let work = tempfile::tempdir().unwrap();
        Self {
            server,
            client,
            work,
        }
    }

    fn work(&self) -> String {
        let path = self.work.path().canonicalize().unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn lease(&self) -> Lease {
        Lease::new().with("fs.read", format!("{}/**", self.work()))
    }

    async fn submit(&self, prompt: &str, lease: Lease) -> JobHandle {
        let input = json!({"prompt": prompt, "cwd": self.work()});
        let submit = self.client.submit("coder").input(input).lease(lease);
        soon("the acceptance", submit.send()).await.unwrap()
    }
}

/// A server of tools, on the published package, if that can be had here.
fn tools_of_a_peer() -> String {
    mcp_python().map_or_else(String::new, |python| {
        let server = repository().join("tests/interop/mcp/server.py");
        let command = json!([python.interpreter(), server, "stdio"]);
        format!("[tools.peer]\ncommand = {command}\nenv = {{ PYTHONDONTWRITEBYTECODE = \"1\" }}\n")
    })
}

async fn dial(server: &Server) -> Client {
    let url = server.url.clone();
    let connector = move || {
        let url = url.clone();
        async move { WebSocketTransport::connect(&url).await }
    };
    let options = ClientOptions::bearer(token_of("alice")).connector(connector);
    soon("the welcome", Client::dial(options)).await.unwrap()
}

async fn gave(job: &mut JobHandle) -> Value {
    soon("the result", job.result_json()).await.unwrap()
}

async fn failure(job: &mut JobHandle) -> JobFailure {
    match soon("the end", job.outcome()).await.unwrap() {
        Outcome::Failure(failure) => failure,
        Outcome::Success(success) => panic!("{success:?}"),
    }
}

/// The body of the next event for which this holds.
async fn heard(job: &mut JobHandle, holds: impl Fn(&str, &Value) -> bool) -> Value {
    loop {
        let event = soon("an event", job.next_event()).await.unwrap();
        let event = event.expect("the job goes on");
        let body: Value = event.payload().unwrap().body.read().unwrap();
        if holds(event.kind().as_str(), &body) {
            return body;
        }
    }
}

/// A log, up to its end.
async fn log(client: &Client, job: &JobId) -> Vec<(String, Value)> {
    let watch = client.subscribe(job.clone()).history(true).send();
    let mut watched = soon("the log", watch).await.unwrap();
    let mut events = Vec::new();
    while let Some(event) = soon("an event", watched.next_event()).await.unwrap() {
        let body = event.payload().unwrap().body.read().unwrap();
        events.push((event.kind().as_str().to_owned(), body));
    }
    events
}

fn waits(_: &str, body: &Value) -> bool {
    body["currentModeId"] == "waiting"
}

/// [ARCP 17-2] [ARCP 17-3] every kind of update of a published package is an event.
#[tokio::test]
async fn published_agents_say_everything() {
    for peer in peers() {
        let stage = Stage::of(&peer).await;
        let lease = stage.lease().with("cost.budget", "USD:1.00");
        let mut job = stage.submit("all", lease).await;
        assert_eq!(gave(&mut job).await, "done");
        let events = log(&stage.client, job.id()).await;
        for kind in [
            "log",
            "thought",
            "progress",
            "tool_call",
            "tool_result",
            "artifact_ref",
            "metric",
            "x-vendor.towline.acp",
        ] {
            assert!(
                events.iter().any(|(name, _)| name == kind),
                "{kind}: {events:?}"
            );
        }
        let said = json!({"level": "info", "message": "done"});
        assert!(events.iter().any(|(_, body)| *body == said), "{events:?}");
        let spent = |body: &Value| body["name"] == "cost.acp";
        assert!(events.iter().any(|(_, body)| spent(body)), "{events:?}");
    }
}

/// [ARCP 17-4] [ARCP 15-6] permission is given by the lease, by a person, and by nobody.
#[tokio::test]
async fn published_agents_ask_for_permission() {
    for peer in peers() {
        let stage = Stage::of(&peer).await;
        let work = stage.work();
        let edit = format!("edit {work}/x");
        let all = format!("{work}/**");
        let covered = stage.lease().with("fs.write", all.as_str());
        let mut job = stage.submit(&edit, covered).await;
        assert_eq!(gave(&mut job).await, "once");
        let mut job = stage.submit(&edit, stage.lease()).await;
        assert_eq!(gave(&mut job).await, "no");
        let asked = || {
            stage
                .lease()
                .with("x-vendor.towline.ask", format!("fs.write={all}"))
        };
        for (answer, expected) in [("true", "once"), ("false", "no")] {
            let mut job = stage.submit(&edit, asked()).await;
            let request = "x-vendor.towline.input_request";
            let question = heard(&mut job, |kind, _| kind == request).await;
            let question = question["question_id"].as_str().unwrap().parse().unwrap();
            let answer = RawJson::parse(answer).unwrap();
            job.answer(question, answer).await.unwrap();
            assert_eq!(gave(&mut job).await, expected);
        }
    }
}

/// [ARCP 17-5] commands that an agent has run for it are the lease's, and confined to it.
#[tokio::test]
async fn published_agents_have_commands_run() {
    for peer in peers() {
        let stage = Stage::of(&peer).await;
        let lease = stage.lease().with("tool.call", "exec:sh");
        let mut job = stage
            .submit("run sh,-c,pwd; cat /etc/passwd; exit 3", lease)
            .await;
        let gave = gave(&mut job).await;
        let gave = gave.as_str().unwrap();
        assert!(gave.starts_with(&format!("3 {}\n", stage.work())), "{gave}");
        assert!(!gave.contains("root:"), "{gave}");
        // Without any it does not try.
        let mut job = stage.submit("run sh", stage.lease()).await;
        failure(&mut job).await;
    }
}

/// [ARCP 17-7] [ARCP 19-2] the tools of its job, by the official clients of MCP, whether or not the job may fetch.
#[tokio::test]
async fn published_agents_use_the_tools_of_their_job() {
    if mcp_python().is_none() {
        return;
    }
    for peer in peers() {
        let stage = Stage::of(&peer).await;
        let lease = stage
            .lease()
            .with("agent.delegate", "echo")
            .with("cost.budget", "USD:1.00")
            .with("tool.call", "mcp:peer/shout");
        let fetching = lease.clone().with("net.fetch", "https://a.test/**");
        for lease in [lease, fetching] {
            let mut job = stage.submit("tools", lease).await;
            let told = gave(&mut job).await;
            let told = told.as_str().unwrap();
            let told: Value = serde_json::from_str(told).unwrap_or_else(|_| panic!("{told}"));
            let names = [
                "delegate",
                "ask_human",
                "checkpoint",
                "progress",
                "spend",
                "peer__shout",
            ];
            assert_eq!(told["tools"], json!(names));
            assert_eq!(
                (&told["delegate"], &told["server"]),
                (&json!("hi"), &json!("HI"))
            );
            let left: Value = serde_json::from_str(told["spend"].as_str().unwrap()).unwrap();
            assert_eq!(left["remaining"]["USD"], "0.75");
            let events = log(&stage.client, job.id()).await;
            let called = |(kind, body): &(String, Value)| {
                kind == "tool_call" && body["tool"] == "mcp:peer/shout"
            };
            assert!(events.iter().any(called), "{events:?}");
            assert!(
                events.iter().any(|(kind, _)| kind == "progress"),
                "{events:?}"
            );
        }
    }
}

/// [ARCP 17-1] cancels reach the agent, and its crash is the job's.
#[tokio::test]
async fn published_agents_are_cancelled_and_crash() {
    for peer in peers() {
        let stage = Stage::of(&peer).await;
        let mut job = stage.submit("wait", stage.lease()).await;
        heard(&mut job, waits).await;
        job.cancel("enough").await.unwrap();
        assert_eq!(failure(&mut job).await.code.as_str(), "CANCELLED");
        let mut job = stage.submit("crash", stage.lease()).await;
        let failure = failure(&mut job).await;
        assert!(failure.message.contains("ended with status 3"), "{failure}");
    }
}

/// [ARCP 17-6] after `kill -9` in the middle of a turn the session is loaded, and prompted again.
#[tokio::test]
async fn published_agents_go_on_after_a_crash_of_the_runtime() {
    for peer in peers() {
        let stage = Stage::of(&peer).await;
        let mut job = stage.submit("once", stage.lease()).await;
        heard(&mut job, waits).await;
        let id = job.id().clone();
        let Stage {
            server,
            client,
            work,
        } = stage;
        drop((job, client));
        let server = server.crash_and_restart().await;
        let client = dial(&server).await;
        let events = log(&client, &id).await;
        let said = |text: &str| events.iter().any(|(_, body)| body["message"] == text);
        assert!(said("again"), "{events:?}");
        assert!(!said("said before"), "{events:?}");
        drop(work);
    }
}
