//! The official clients of the Model Context Protocol against `towline mcp` and `/mcp`: the Python package `mcp`, which finds
//! out that the server speaks 2026-07-28 or is told to shake hands as of 2025-11-25, and the npm package
//! `@modelcontextprotocol/sdk`, which knows the latter.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, OnceLock},
};

use towline_tests::{
    program::{Place, Ran, binary},
    server::{Serve, Server, token_of},
};

use crate::python::{Python, mcp_python, repository, run};

/// Runs one scenario with each client, over each transport, each on a server and data of its own.
async fn everywhere(scenario: &str) {
    for client in clients() {
        let place = Arc::new(Place::new());
        client
            .holds(scenario, &Side::Stdio(Arc::clone(&place)), None)
            .await;
        let server = demo().start().await;
        client.holds(scenario, &Side::Http(&server), None).await;
    }
}

fn demo() -> Serve {
    Serve::demo()
}

/// A client, and what is special about it.
enum Client {
    Python(&'static Python, &'static str),
    Node(&'static Path),
}

/// Where the server is.
enum Side<'s> {
    /// In a program on this directory, which the client starts.
    Stdio(Arc<Place>),
    Http(&'s Server),
    /// In a program that is started by this command line, in this directory.
    Command(Vec<String>, &'s Place),
}

/// Those that can be had here.
fn clients() -> Vec<Client> {
    let mut clients = Vec::new();
    if let Some(python) = mcp_python() {
        clients.push(Client::Python(python, "auto"));
        clients.push(Client::Python(python, "legacy"));
    }
    clients.extend(node().map(Client::Node));
    clients
}

impl Client {
    async fn holds(&self, scenario: &str, side: &Side<'_>, job: Option<&str>) -> Ran {
        let mut command = match self {
            Self::Python(python, mode) => {
                let mut command = python.script("mcp_client.py");
                command.args([scenario, mode]);
                command
            }
            Self::Node(modules) => {
                let mut command = tokio::process::Command::new("node");
                command
                    .arg(repository().join("tests/interop/mcp/client.mjs"))
                    .arg(scenario)
                    .env("NODE_MODULES_OF", modules);
                command
            }
        };
        match side {
            Side::Stdio(place) => {
                command.arg("stdio").arg(binary()).arg(place.data());
                command.current_dir(place.path());
            }
            Side::Http(server) => {
                let url = format!("http://{}/mcp", server.address());
                command.args(["http", &url, &token_of("alice")]);
            }
            Side::Command(line, place) => {
                let line = serde_json::json!(line).to_string();
                command.args(["command", &line, &token_of("alice")]);
                command.current_dir(place.path());
            }
        }
        command
            .args(job)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let ran = Ran::of(command).await;
        assert_eq!(ran.status, 0, "{scenario}, {}: {ran:#?}", self.name());
        ran
    }

    const fn name(&self) -> &str {
        match self {
            Self::Python(_, mode) => mode,
            Self::Node(_) => "node",
        }
    }
}

/// [ARCP 19-1] One tool an agent, with what it says of itself, and the tools for jobs; an unknown tool is a wrong parameter.
#[tokio::test]
async fn tools() {
    everywhere("tools").await;
}

/// [ARCP 19-1] The job's own progress, its result, its log piece by piece.
#[tokio::test]
async fn progress() {
    everywhere("progress").await;
}

/// [ARCP 19-1] A call that its client no longer waits for goes on as a job, and is fetched.
#[tokio::test]
async fn handed_over() {
    everywhere("handed_over").await;
}

/// [ARCP 19-1] `job_cancel` ends a job, which nothing else does.
#[tokio::test]
async fn cancel() {
    everywhere("cancel").await;
}

/// [ARCP 19-1] What a job asks, the client's user answers.
#[tokio::test]
async fn question() {
    everywhere("question").await;
}

/// [ARCP 19-1] A client without forms gets the question at once, and a model does not approve itself. What else a submit says
/// stands in `_meta`.
#[tokio::test]
async fn nobody_asked_and_what_meta_says() {
    for client in clients() {
        if matches!(client, Client::Node(_)) {
            continue;
        }
        let place = Arc::new(Place::new());
        let server = demo().start().await;
        for scenario in ["nobody_asked", "submit"] {
            client
                .holds(scenario, &Side::Stdio(Arc::clone(&place)), None)
                .await;
            client.holds(scenario, &Side::Http(&server), None).await;
        }
    }
}

/// [ARCP 19-1] Jobs are those of the data, not of the program or server that was killed.
#[tokio::test]
async fn a_job_goes_on_after_a_kill() {
    for client in clients() {
        let place = Arc::new(Place::new());
        let side = Side::Stdio(place);
        let job = client.holds("begin", &side, None).await.stdout;
        client.holds("go_on", &side, Some(job.trim())).await;
        let server = demo().start().await;
        let job = client
            .holds("begin", &Side::Http(&server), None)
            .await
            .stdout;
        let server = server.crash_and_restart().await;
        client
            .holds("go_on", &Side::Http(&server), Some(job.trim()))
            .await;
    }
}

/// [ARCP 19-1] The second program on a data directory is a client of the first, over a socket in it; when that is killed, it
/// goes on by itself.
#[tokio::test]
async fn the_second_program_asks_the_first() {
    for client in clients() {
        if matches!(client, Client::Python(..)) {
            let side = Side::Stdio(Arc::new(Place::new()));
            client.holds("sharing", &side, None).await;
        }
    }
}

/// `towline mcp --url` of a server.
fn remote<'p>(server: &Server, place: &'p Place) -> Side<'p> {
    let program = binary().display().to_string();
    let url = format!("http://{}", server.address());
    Side::Command([program, "mcp".into(), "--url".into(), url].into(), place)
}

/// [ARCP 19-1] `towline mcp --url` is the server's tools, jobs and questions, with the token of its environment; what it began
/// goes on when the server is killed.
#[tokio::test]
async fn a_program_in_front_of_a_server() {
    for client in clients() {
        if matches!(client, Client::Node(_)) {
            continue;
        }
        let place = Place::new();
        let server = demo().start().await;
        for scenario in [
            "tools",
            "progress",
            "handed_over",
            "cancel",
            "question",
            "nobody_asked",
            "submit",
        ] {
            let side = remote(&server, &place);
            client.holds(scenario, &side, None).await;
        }
        let job = client.holds("begin", &remote(&server, &place), None).await;
        let server = server.crash_and_restart().await;
        let side = remote(&server, &place);
        client.holds("go_on", &side, Some(job.stdout.trim())).await;
    }
}

/// [ARCP 19-1] What docs/mcp.md tells a host to start is a server with the tools, each command line of the page.
#[tokio::test]
async fn what_the_page_tells_hosts_to_start() {
    let Some(python) = mcp_python() else { return };
    let client = Client::Python(python, "auto");
    let page = fs::read_to_string(repository().join("docs/mcp.md")).expect("the page is there");
    let server = demo().start().await;
    let place = Place::new();
    let config = place.write("page.toml", "[mcp]\nmay_approve = false\n");
    let program = binary().display().to_string();
    let url = format!("http://{}", server.address());
    let lines = command_lines(&page);
    assert_eq!(lines.len(), 3, "{lines:?}");
    for line in lines {
        let real = |word: &String| match word.as_str() {
            "towline" => program.clone(),
            "/path/to/towline.toml" => config.display().to_string(),
            "https://arcp.example" => url.clone(),
            other => other.to_owned(),
        };
        let side = Side::Command(line.iter().map(real).collect(), &place);
        client.holds("tools", &side, None).await;
    }
}

/// What the page has behind `--` of a host's command, and in a host's file.
fn command_lines(page: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for line in page.lines() {
        if let Some((_, command)) = line
            .split_once(" -- ")
            .filter(|_| line.starts_with("claude "))
        {
            found.push(command.split_whitespace().map(str::to_owned).collect());
        }
        let file: Option<serde_json::Value> = serde_json::from_str(line).ok();
        let server = file.and_then(|file| file.pointer("/mcpServers/towline").cloned());
        if let Some(server) = server {
            let args = server["args"].as_array().into_iter().flatten();
            let words = std::iter::once(&server["command"]).chain(args);
            found.push(
                words
                    .filter_map(|word| word.as_str().map(str::to_owned))
                    .collect(),
            );
        }
    }
    found
}

/// The directory with the npm package, installed now if it is not there; `None` where it cannot be had, which is said on
/// standard error.
///
/// # Panics
/// When it cannot be had in CI.
fn node() -> Option<&'static Path> {
    static NODE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let node = NODE.get_or_init(|| match installed() {
        Ok(place) => Some(place),
        Err(why) if env::var_os("CI").is_some() => {
            panic!("the npm package of MCP is required in CI: {why}")
        }
        Err(why) => {
            eprintln!("skipped: {why}");
            None
        }
    });
    node.as_deref()
}

fn installed() -> Result<PathBuf, String> {
    let test = env::current_exe().map_err(|error| error.to_string())?;
    // TARGET/PROFILE/deps/TEST
    let target = test.ancestors().nth(3);
    let place = target
        .ok_or("the test is not in a target directory")?
        .join("interop-mcp-node");
    fs::create_dir_all(&place).map_err(|error| error.to_string())?;
    // Tests in other processes make it too.
    let lock = File::create(place.join("lock")).map_err(|error| error.to_string())?;
    lock.lock().map_err(|error| error.to_string())?;
    let wanted = repository().join("tests/interop/mcp/package.json");
    let wanted = fs::read(wanted).map_err(|error| error.to_string())?;
    let done = place.join("installed.json");
    if fs::read(&done).is_ok_and(|there| there == wanted) {
        return Ok(place);
    }
    fs::write(place.join("package.json"), &wanted).map_err(|error| error.to_string())?;
    let install = [
        "install",
        "--no-audit",
        "--no-fund",
        "--no-package-lock",
        "--loglevel=error",
    ];
    run(Command::new("npm").args(install).current_dir(&place))?;
    fs::write(&done, &wanted).map_err(|error| error.to_string())?;
    Ok(place)
}
