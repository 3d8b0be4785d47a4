//! How a runtime is reached: over TCP, over a Unix socket, as a child process, and through the directory it runs on.

use std::{
    io::{BufReader, Write as _},
    process::{Child, Stdio},
};

use serde_json::json;

use crate::support::{Place, Ran, Server, TOKEN, read_until};

/// An HTTP address is read as the WebSocket beside it.
#[test]
fn an_http_address_is_the_websocket_beside_it() {
    let place = Place::new();
    let server = place.serve(&["--token", TOKEN]);
    for url in ["", "/", "/v1", "/arcp"] {
        let url = format!("http://{}{url}", server.address());
        let echo = ["run", "echo", "--input", "1", "--token", "s3cret", "--url"];
        let ran = place.run(echo.iter().copied().chain([url.as_str()]));
        assert_eq!(ran.ok().stdout, "1\n", "{url}");
    }
    place
        .run(["jobs", "--url", "ws://localhost:99999"])
        .status(2)
        .says(&["`99999`", "65535"]);
    place
        .run(["jobs", "--url", "localhost:1"])
        .status(2)
        .says(&["wss://HOST/arcp", "unix:PATH", "stdio:COMMAND"]);
}

/// A runtime that is a child of the command: it is asked to end when the command does, and leaves nothing behind.
#[test]
fn a_child_process_is_a_runtime() {
    let place = Place::new();
    let program = env!("CARGO_BIN_EXE_towline");
    let url = format!("stdio:'{program}' serve --stdio --demo --token 'a b:c d' --data-dir kept");
    let ask = |args: &[&str]| {
        let flags = ["--url", &url, "--token", "c d"];
        place.run(args.iter().chain(&flags))
    };
    let ran = ask(&["run", "chatty", "--input", r#"{"n":3}"#]).ok();
    assert_eq!(ran.json(), json!({"emitted": 3}));
    let jobs = ask(&["jobs", "-o", "json"]).ok().json();
    assert_eq!(jobs[0]["status"], "success", "the next child has its store");
    assert_eq!(
        ask(&["whoami", "-o", "json"]).ok().json()["principal"],
        "a b"
    );
    ask(&["run", "echo", "--detach"])
        .status(2)
        .says(&["--detach needs a server"]);
    place
        .run(["agents", "--url", "stdio:/nowhere/at-all"])
        .status(20)
        .says(&["/nowhere/at-all", "no such program"]);
}

#[cfg(unix)]
#[test]
fn a_unix_socket_is_its_owners() {
    use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};

    let place = Place::new();
    let socket = place.path().join("t.sock");
    let path = socket.to_str().unwrap();
    let alone = ["serve", "--demo", "--token", TOKEN, "--unix", path];
    let server = Server::start(place.command(alone));
    assert_eq!(server.url, format!("unix:{path}"));
    assert_eq!(server.before, [""; 0], "no other listener");
    let found = std::fs::metadata(&socket).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    let flags = server.flags();
    let echo = ["run", "echo", "--input", "2"];
    let echo = || place.run(echo.iter().copied().chain(flags.iter().map(String::as_str)));
    assert_eq!(echo().ok().stdout, "2\n");
    place
        .run(["serve", "--unix", path, "--data-dir", "other"])
        .status(21)
        .says(&["t.sock", "another process listens"]);
    // Killed, it leaves its socket, which the next one replaces; told to end, it removes it.
    drop(server);
    assert!(socket.exists());
    let both = place.serve(&["--token", TOKEN, "--unix", path]);
    assert!(both.url.starts_with("ws://"), "{}", both.url);
    assert_eq!(both.before[0], format!("socket: unix:{path}"));
    assert_eq!(echo().ok().stdout, "2\n");
    both.signal("-TERM");
    assert_eq!(both.wait().0, 0);
    assert!(!socket.exists());
    echo().status(20).says(&["no such socket"]);
}

/// A command that runs a job, on a data directory that others look at meanwhile.
struct Running {
    child: Child,
    job: String,
    lines: BufReader<std::process::ChildStdout>,
}

impl Running {
    fn start(place: &Place) -> Self {
        let sleep = [
            "run",
            "sleep",
            "--input",
            r#"{"ms":3600000}"#,
            "-o",
            "ndjson",
        ];
        let mut command = place.command(sleep);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let read = read_until(&mut lines, |line| line["body"]["phase"] == "running");
        let job = read[0]["job_id"].as_str().unwrap().to_owned();
        Self { child, job, lines }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// [ARCP 14-9] Those who look, or cancel, work beside the command that runs jobs on the directory: nobody waits for it to end.
#[cfg(unix)]
#[test]
fn readers_work_beside_a_command_that_runs_jobs() {
    let place = Place::new();
    let mut running = Running::start(&place);
    let job = running.job.clone();
    let jobs = place.run(["jobs", "-o", "json"]).ok().json();
    assert_eq!(jobs[0]["status"], "running");
    assert_eq!(jobs[0]["principal"], "local");
    let got = place.run(["get", &job[..20], "-o", "json"]).ok().json();
    assert_eq!(
        (&got["job_id"], &got["status"]),
        (&json!(job), &json!("running"))
    );
    let exported = place.run(["export", &job]).ok();
    assert_eq!(exported.lines()[0]["body"]["phase"], "running");
    let top = place.run(["top", "--once", "-o", "json"]).ok().json();
    assert_eq!(top[0]["job_id"], json!(job));
    let mut watching = place.command(["watch", &job, "-o", "ndjson"]);
    let mut watching = watching.stdout(Stdio::piped()).spawn().unwrap();
    let mut watched = BufReader::new(watching.stdout.take().unwrap());
    read_until(&mut watched, |line| line["body"]["phase"] == "running");
    place.run(["cancel", &job[..24]]).ok();
    let last = read_until(&mut watched, |line| line["type"] == "job.error");
    assert_eq!(last.last().unwrap()["status"], "cancelled");
    assert_eq!(watching.wait().unwrap().code(), Some(1));
    read_until(&mut running.lines, |line| line["type"] == "job.error");
    assert_eq!(running.child.wait().unwrap().code(), Some(1));
    let left: Vec<_> = std::fs::read_dir(place.data())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("sock"))
        .collect();
    assert_eq!(left, [""; 0], "neither socket nor token are left");
    let got = place.run(["get", &job, "-o", "json"]).ok().json();
    assert_eq!(got["status"], "cancelled", "nobody runs any more");
}

/// [ARCP 7.6-4] Two that look at a job of `run --detach` do not throw each other out, and a beginning of the name will do.
#[test]
fn readers_of_a_detached_job_leave_each_other_alone() {
    for (lets_in, flags) in [
        (["--token", TOKEN].as_slice(), 4),
        (&["--dangerously-allow-anonymous"], 2),
    ] {
        let place = Place::new();
        let server = place.serve(lets_in);
        leave_each_other_alone(&place, &server.flags()[..flags]);
    }
}

/// The name of a job that sleeps at a server, and was left there.
fn detached(place: &Place, flags: &[String]) -> String {
    let sleep = ["run", "sleep", "--input", r#"{"ms":3600000}"#];
    let detached = ["--detach", "-o", "json"];
    let flags = flags.iter().map(String::as_str);
    let ran = place.run(sleep.into_iter().chain(detached).chain(flags));
    ran.ok().json()["job_id"].as_str().unwrap().to_owned()
}

fn leave_each_other_alone(place: &Place, flags: &[String]) {
    let job = detached(place, flags);
    let mut watching = place.command(["watch", &job, "-o", "ndjson"]);
    let mut watching = watching.stdout(Stdio::piped()).spawn().unwrap();
    let mut watched = BufReader::new(watching.stdout.take().unwrap());
    read_until(&mut watched, |line| line["body"]["phase"] == "running");
    for _ in 0..3 {
        let got = place.run(["get", &job[4..18], "-o", "json"]).ok().json();
        assert_eq!(got["status"], "running");
    }
    place.run(["cancel", &job[..20]]).ok();
    let last = read_until(&mut watched, |line| line["type"] == "job.error");
    assert_eq!(last.last().unwrap()["status"], "cancelled");
    assert_eq!(watching.wait().unwrap().code(), Some(1));
    place.run(["wait", &job]).status(1);
    let out = place.path().join("log.ndjson");
    place
        .run(["export", &job, "-o", out.to_str().unwrap()])
        .ok();
    let log = std::fs::read_to_string(out).unwrap();
    let entries: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(entries.len(), 2);
    assert_eq!(
        (&entries[1]["type"], &entries[1]["job_seq"]),
        (&json!("job.error"), &json!(2))
    );
}

/// [ARCP 6.3-8] Where a server lets nobody in beside the session that was left behind, readers have to take that up. Whoever is
/// thrown out of it by another one looks again, from where it was.
#[test]
fn a_reader_whose_session_is_taken_over_goes_on() {
    let place = Place::new();
    let server = place.serve(&["--token", TOKEN]);
    let job = detached(&place, &server.flags());
    // As of a server that asks for no token any more, but for another proof.
    let saved = place.data().join(format!("sessions/{job}.json"));
    let text = std::fs::read_to_string(&saved).unwrap();
    std::fs::write(
        &saved,
        text.replace(r#""token":"s3cret""#, r#""token":null"#),
    )
    .unwrap();
    let mut watching = place.command(["watch", &job, "-o", "ndjson"]);
    let mut watching = watching.stdout(Stdio::piped()).spawn().unwrap();
    let mut watched = BufReader::new(watching.stdout.take().unwrap());
    read_until(&mut watched, |line| line["body"]["phase"] == "running");
    let got = place.run(["get", &job, "-o", "json"]).ok().json();
    assert_eq!(got["status"], "running");
    place.run(["cancel", &job]).ok();
    let rest = read_until(&mut watched, |line| line["type"] == "job.error");
    assert_eq!(rest.len(), 1, "nothing is told twice: {rest:#?}");
    assert_eq!(rest[0]["status"], "cancelled");
    assert_eq!(watching.wait().unwrap().code(), Some(1));
}

/// [ARCP 6.3-5] A server that was restored from a backup does not know the last events that a command here had of it. The
/// session is let go of, and what is wanted is done in a new one.
#[test]
fn a_session_from_before_a_restore_is_let_go_of() {
    let place = Place::new();
    let server = place.serve(&["--token", TOKEN]);
    let job = detached(&place, &server.flags());
    let saved = place.data().join(format!("sessions/{job}.json"));
    let mut text: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&saved).unwrap()).unwrap();
    text["resume"]["last_event_seq"] = 1000.into();
    std::fs::write(&saved, text.to_string()).unwrap();
    place.run(["cancel", &job]).ok();
    assert!(!saved.exists());
    place
        .run(["wait", &job, "--url", &server.url, "--token", "s3cret"])
        .status(1);
}

/// A beginning that several jobs share is refused with their names; one that none has is the runtime's to refuse.
#[test]
fn a_beginning_has_to_tell_jobs_apart() {
    let place = Place::new();
    for _ in 0..2 {
        place.run(["run", "echo", "-q"]).ok();
    }
    place.run(["get", "job_01"]).status(2).says(&[
        "`job_01`",
        "beginning of 2 jobs",
        "more of the name",
    ]);
    place
        .run(["get", "job_00"])
        .status(5)
        .says(&["JOB_NOT_FOUND"]);
    let jobs = place.run(["jobs", "-o", "json"]).ok().json();
    let names: Vec<&str> = jobs
        .as_array()
        .unwrap()
        .iter()
        .map(|job| job["job_id"].as_str().unwrap())
        .collect();
    place.run(["wait", names[0], names[1]]).ok();
    let offered = place.run(["complete", "jobs", "job_"]).ok().stdout;
    let offered: Vec<&str> = offered.lines().collect();
    assert_eq!(offered.len(), 2, "the newest first");
    assert!(offered.contains(&names[0]) && offered.contains(&names[1]));
}

/// What is wrong with a job, how long it took, what it cost and what may help.
#[test]
fn a_job_is_explained() {
    let place = Place::new();
    let costs = r#"{"costs":[["USD",0.4],["USD",0.4]]}"#;
    let spend = [
        "run", "spend", "-q", "--input", costs, "--budget", "USD:1.00",
    ];
    place
        .run(spend.iter().chain(&["--lease", "tool.call=search.*"]))
        .ok();
    let fail = r#"{"code":"BUDGET_EXHAUSTED","message":"no more"}"#;
    place.run(["run", "fail", "-q", "--input", fail]).status(1);
    let jobs = place.run(["jobs", "-o", "json"]).ok().json();
    assert_eq!(jobs[0]["spent"]["USD"].to_string(), "0.80");
    assert!(jobs[0]["duration_ms"].is_u64(), "{jobs}");
    for field in ["principal", "started_at", "completed_at"] {
        assert!(jobs[0][field].is_string(), "{field} of {jobs}");
    }
    let failed = place.run(["jobs", "--failed", "-o", "json"]).ok().json();
    assert_eq!(failed.as_array().unwrap().len(), 1);
    let found = place
        .run(["jobs", "--search", "SEARCH.*", "-o", "json"])
        .ok()
        .json();
    assert_eq!(found[0]["agent"], "spend");
    assert_eq!(found.as_array().unwrap().len(), 1);
    let human = place.run(["jobs"]).ok().stdout;
    for part in ["PRINCIPAL", "DURATION", "SPENT", "0.80 USD"] {
        assert!(human.contains(part), "{human}");
    }
    let name = |job: &serde_json::Value| job["job_id"].as_str().unwrap().to_owned();
    let got = place
        .run(["get", &name(&failed[0]), "-o", "json"])
        .ok()
        .json();
    assert!(
        got["remedy"].as_str().unwrap().contains("--budget"),
        "{got}"
    );
    for field in ["created_at", "started_at", "completed_at"] {
        assert!(got[field].is_string(), "{field} of {got}");
    }
    let got = place.run(["get", &name(&jobs[0])]).ok().stdout;
    for part in [
        "created ",
        "started ",
        "ended ",
        "duration ",
        "cost      0.80 USD",
    ] {
        assert!(got.contains(part), "no {part} in {got}");
    }
    let audit = place
        .run(["audit", "--action", "submit", "-o", "ndjson"])
        .ok();
    assert_eq!(audit.lines().len(), 2);
    assert_eq!(audit.lines()[0]["agent"], "spend");
}

/// The scripts are what their shells take; the names in them come from the program.
#[test]
fn shells_are_offered_names() {
    let place = Place::new();
    let bash = place.run(["completions", "bash"]).ok().stdout;
    assert!(bash.contains("towline complete jobs") && bash.contains("timed_out"));
    let script = place.write("towline.bash", &bash);
    let mut check = std::process::Command::new("bash");
    assert!(check.arg("-n").arg(script).status().unwrap().success());
    let zsh = place.run(["completions", "zsh"]).ok().stdout;
    assert!(
        zsh.contains("from the others:_towline_jobs'") && zsh.contains(":AGENT:_towline_agents'")
    );
    let fish = place.run(["completions", "fish"]).ok().stdout;
    assert!(fish.contains("__towline_names agents"));
    let agents = place.run(["complete", "agents", "versioned@"]).ok().stdout;
    assert_eq!(agents, "versioned@1.0.0\nversioned@2.0.0\n");
}

/// Completing in a real shell: the function of the script fills in a job's name.
#[test]
fn bash_completes_a_job() {
    let place = Place::new();
    place.run(["run", "echo", "-q"]).ok();
    let script = place.run(["completions", "bash"]).ok().stdout;
    let script = format!(
        "{script}\ntowline() {{ '{}' \"$@\"; }}\nCOMP_WORDS=(towline get job_)\nCOMP_CWORD=2\n_towline_names towline job_ get\n\
         printf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
        env!("CARGO_BIN_EXE_towline")
    );
    let mut bash = std::process::Command::new("bash");
    bash.stdin(Stdio::piped()).stdout(Stdio::piped());
    bash.env("XDG_STATE_HOME", place.path().join("state"));
    bash.env_remove("TOWLINE_URL").current_dir(place.path());
    let mut child = bash.spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(script.as_bytes())
        .unwrap();
    let ran = Ran::of(child.wait_with_output().unwrap()).ok();
    let job = place.run(["jobs", "-o", "json"]).ok().json()[0]["job_id"].clone();
    assert_eq!(json!(ran.stdout.trim()), job);
}

/// What the environment says of listeners is nothing to a server on standard input and output; flags about them are refused.
#[test]
fn variables_of_listeners_do_not_concern_a_child() {
    let place = Place::new();
    let program = env!("CARGO_BIN_EXE_towline");
    let serve = format!("stdio:'{program}' serve --stdio --demo --token a:b --store memory");
    let ask =
        |url: &str| place.command(["run", "echo", "--input", "1", "--token", "b", "--url", url]);
    let mut command = ask(&serve);
    for (name, value) in [
        ("TOWLINE_LISTEN", "127.0.0.1:0"),
        ("TOWLINE_UNIX", "t.sock"),
        ("TOWLINE_PATH", "/other"),
        ("TOWLINE_TLS_CERT", "cert.pem"),
        ("TOWLINE_TLS_KEY", "key.pem"),
        ("TOWLINE_TLS_TERMINATED", "1"),
        ("TOWLINE_ALLOWED_HOSTS", "arcp.example"),
        ("TOWLINE_ALLOWED_ORIGINS", "https://arcp.example"),
    ] {
        command.env(name, value);
    }
    let ran = crate::support::Ran::of(command.output().unwrap()).ok();
    assert_eq!(ran.stdout, "1\n");
    assert!(!place.path().join("t.sock").exists());
    let output = place
        .command([
            "serve",
            "--stdio",
            "--token",
            "a:b",
            "--listen",
            "127.0.0.1:0",
        ])
        .output();
    crate::support::Ran::of(output.unwrap())
        .status(2)
        .says(&["--stdio", "--listen"]);
}

/// A job that was left at a Unix socket is found from every directory, however the socket was named.
#[cfg(unix)]
#[test]
fn a_detached_job_is_found_at_a_relative_socket() {
    let place = Place::new();
    let serve = [
        "serve", "--demo", "--unix", "t.sock", "--token", TOKEN, "--store", "memory",
    ];
    let _server = Server::start(place.command(serve));
    let args = [
        "run",
        "echo",
        "--input",
        "4",
        "--detach",
        "--url",
        "unix:t.sock",
        "--token",
        "s3cret",
    ];
    let ran = place.run(args).ok();
    let job = ran.stdout.trim();
    let below = place.path().join("below");
    std::fs::create_dir(&below).unwrap();
    for (directory, more) in [
        (&below, &[][..]),
        (&place.path(), &["--url", "unix:./t.sock"]),
    ] {
        let mut command = place.command(["result", job].iter().chain(more));
        let output = command.current_dir(directory).output().unwrap();
        assert_eq!(crate::support::Ran::of(output).ok().stdout, "4\n");
    }
}
