//! A server in a process of its own, and commands that talk to it.

use std::io::BufReader;

use serde_json::{Value, json};

use crate::support::{Place, Ran, Server, TOKEN, read_until};

fn with<'a>(flags: &'a [String; 4], args: &[&'a str]) -> Vec<&'a str> {
    args.iter()
        .copied()
        .chain(flags.iter().map(String::as_str))
        .collect()
}

#[test]
fn the_first_line_says_where() {
    let place = Place::new();
    let server = place.serve(&["--token", TOKEN, "--path", "/agents"]);
    assert_eq!(server.before.len(), 1, "{:?}", server.before);
    let (address, path) = server
        .url
        .strip_prefix("ws://")
        .unwrap()
        .split_once('/')
        .unwrap();
    assert_eq!(path, "agents");
    assert_ne!(address.parse::<std::net::SocketAddr>().unwrap().port(), 0);
    assert!(
        place.data().join("towline.db").exists(),
        "SQLite in the data directory is the default"
    );
    let flags = server.flags();
    assert_eq!(
        place
            .run(with(&flags, &["run", "echo", "--input", "1"]))
            .ok()
            .stdout,
        "1\n"
    );
}

/// [ARCP 14-7] A token that was minted is the same at the next start, so that what it proved goes on; it is nobody else's to
/// read.
#[cfg(unix)]
#[test]
fn a_minted_token_is_kept() {
    use std::os::unix::fs::PermissionsExt as _;

    let place = Place::new();
    let token = place.serve(&[]).token.clone().unwrap();
    let kept = place.data().join("token");
    assert_eq!(
        std::fs::read_to_string(&kept).unwrap().trim(),
        token,
        "in the data directory"
    );
    let mode = std::fs::metadata(&kept).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(place.serve(&[]).token, Some(token));
}

#[test]
fn a_minted_token_is_printed_first() {
    let place = Place::new();
    let server = place.serve(&["--store", "memory"]);
    let token = server.token.as_deref().unwrap();
    let page = format!("dashboard: http://{}/#token={token}", server.address());
    assert_eq!(server.before, [format!("token: {token}"), page]);
    let flags = server.flags();
    place.run(with(&flags, &["run", "echo"])).ok();
    place
        .run(["run", "echo", "--url", &server.url, "--token", "wrong"])
        .status(16)
        .says(&["UNAUTHENTICATED", "--token"]);
    place
        .run(["run", "echo", "--url", &server.url])
        .status(16)
        .says(&["UNAUTHENTICATED"]);
    assert!(
        !place.data().exists(),
        "a memory store leaves nothing behind"
    );
}

#[test]
fn flags_beat_the_environment_which_beats_the_file() {
    let place = Place::new();
    place.write("secret.token", "from-file\n");
    place.write(
        "towline.toml",
        "[server]\nlisten = \"127.0.0.1:0\"\npath = \"/file\"\ndemo = true\n[[auth.tokens]]\nprincipal = \"bob\"\ntoken_file = \"secret.token\"\n[store]\nmemory = true\n",
    );
    let path = |server: &Server| format!("/{}", server.url.rsplit('/').next().unwrap());
    let server = Server::start(place.command(["serve"]));
    assert_eq!(path(&server), "/file");
    place
        .run(["run", "echo", "--url", &server.url, "--token", "from-file"])
        .ok();
    let mut command = place.command(["serve"]);
    command
        .env("TOWLINE_PATH", "/env")
        .env("TOWLINE_TOKENS", "a:one,b:two");
    let server = Server::start(command);
    assert_eq!(path(&server), "/env");
    place
        .run(["run", "echo", "--url", &server.url, "--token", "two"])
        .ok();
    place
        .run(["run", "echo", "--url", &server.url, "--token", "from-file"])
        .status(16);
    let mut command = place.command(["serve", "--path", "/flag"]);
    command.env("TOWLINE_PATH", "/env");
    assert_eq!(path(&Server::start(command)), "/flag");
    let mut command = place.command(["run", "echo"]);
    command
        .env("TOWLINE_URL", &server.url)
        .env("TOWLINE_TOKEN", "one");
    Ran::of(command.output().unwrap()).ok();
    let mut command = place.command(["run", "echo", "--token-file", "one.token"]);
    command
        .env("TOWLINE_URL", &server.url)
        .env("TOWLINE_TOKEN", "wrong");
    place.write("one.token", "one\n");
    Ran::of(command.output().unwrap()).ok();
}

#[test]
fn health_readiness_and_metrics() {
    let place = Place::new();
    let server = place.serve(&["--token", TOKEN, "--store", "memory"]);
    let flags = server.flags();
    place.run(with(&flags, &["run", "echo"])).ok();
    assert!(server.http("/healthz", &[]).starts_with("HTTP/1.1 200"));
    assert!(server.http("/readyz", &[]).starts_with("HTTP/1.1 200"));
    let metrics = server.http("/metrics", &[]);
    assert!(
        metrics.starts_with("HTTP/1.1 200") && metrics.contains("# TYPE towline_"),
        "{metrics}"
    );
    assert!(server.http("/arcp", &[]).starts_with("HTTP/1.1 426"));
}

/// On loopback a page in a browser must not get in by a name of its own; `--allowed-host` says which names are ours.
#[test]
fn hosts_are_checked_before_the_upgrade() {
    let place = Place::new();
    let server = place.serve(&["--token", TOKEN, "--store", "memory"]);
    assert!(
        server
            .http("/arcp", &[("Host", "evil.example")])
            .starts_with("HTTP/1.1 403")
    );
    assert!(
        server
            .http("/healthz", &[("Host", "evil.example")])
            .starts_with("HTTP/1.1 200")
    );
    let server = place.serve(&[
        "--token",
        TOKEN,
        "--store",
        "memory",
        "--allowed-host",
        "arcp.example",
    ]);
    assert!(
        server
            .http("/arcp", &[("Host", "arcp.example:80")])
            .starts_with("HTTP/1.1 426")
    );
    assert!(
        server
            .http("/arcp", &[("Host", "localhost")])
            .starts_with("HTTP/1.1 403")
    );
}

#[test]
fn anonymous_access_is_there_for_those_who_ask_for_it_by_name() {
    let place = Place::new();
    let server = place.serve(&["--dangerously-allow-anonymous", "--store", "memory"]);
    let page = format!("dashboard: http://{}/", server.address());
    assert_eq!(server.before, [page], "there is no token to print");
    place.run(["run", "echo", "--url", &server.url]).ok();
}

/// A drained server ends by itself; what still runs after `--drain` is ended.
#[cfg(unix)]
#[test]
fn sigterm_drains() {
    let place = Place::new();
    let server = place.serve(&["--token", TOKEN, "--drain", "0.2"]);
    let flags = server.flags();
    let job = place
        .run(with(
            &flags,
            &["run", "sleep", "--input", r#"{"ms":600000}"#, "--detach"],
        ))
        .ok()
        .stdout;
    server.signal("-TERM");
    let (status, rest) = server.wait();
    assert_eq!((status, rest.as_str()), (0, ""));
    let shown = place.run(["store", "verify"]).ok();
    assert!(
        shown.stdout.contains("1 jobs (0 not finished)"),
        "{shown:?}"
    );
    // The same store again: the job is there, ended by the shutdown.
    let server = place.serve(&["--token", TOKEN]);
    let flags = server.flags();
    let ended = place
        .run(with(&flags, &["get", job.trim(), "-o", "json"]))
        .ok()
        .json();
    assert_eq!(ended["status"], "error", "{ended}");
}

#[cfg(unix)]
#[test]
fn a_second_signal_ends_at_once() {
    let place = Place::new();
    let server = place.serve(&["--token", TOKEN, "--drain", "10m", "--store", "memory"]);
    let flags = server.flags();
    let mut running = place.command(with(
        &flags,
        &[
            "run",
            "sleep",
            "--input",
            r#"{"ms":600000}"#,
            "-o",
            "ndjson",
        ],
    ));
    let mut running = running
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(running.stdout.take().unwrap());
    read_until(&mut lines, |line| line["body"]["phase"] == "running");
    server.signal("-TERM");
    // It is draining when it is no longer ready.
    while std::net::TcpStream::connect(server.address()).is_ok()
        && server.http("/readyz", &[]).starts_with("HTTP/1.1 200")
    {
        std::thread::yield_now();
    }
    server.signal("-INT");
    assert_eq!(server.wait().0, 130);
    running.kill().unwrap();
    running.wait().unwrap();
}

/// The submitting session is kept: whoever comes back has its authority, and sees all of the job.
#[test]
fn a_detached_job_can_be_watched_and_cancelled_later() {
    let place = Place::new();
    let server = place.serve(&["--token", TOKEN]);
    let flags = server.flags();
    let ran = place
        .run(with(
            &flags,
            &["run", "sleep", "--input", r#"{"ms":600000}"#, "--detach"],
        ))
        .ok()
        .says(&["towline watch job_"]);
    let job = ran.stdout.trim();
    let sessions = place.run(["sessions", "-o", "json"]).ok();
    assert!(
        !sessions.stdout.contains("rt_") && !sessions.stdout.contains("resume_token"),
        "{sessions:?}"
    );
    assert_eq!(sessions.json()[0]["job_id"], job);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let file = place.data().join(format!("sessions/{job}.json"));
        assert_eq!(
            std::fs::metadata(file).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
    // Another session of the same principal may look.
    let elsewhere = Place::new();
    let shown = elsewhere
        .run(with(&flags, &["get", job, "-o", "json"]))
        .ok()
        .json();
    assert_eq!(shown["status"], "running");

    // No URL, no token: the saved session knows.
    let mut watching = place.command(["watch", job, "-o", "ndjson"]);
    let mut watching = watching
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap());
    let begun = read_until(&mut lines, |line| line["body"]["phase"] == "running");
    assert_eq!(begun[0]["type"], "job.accepted");
    let mut second = elsewhere.command(with(&flags, &["watch", job, "-o", "ndjson"]));
    let mut second = second.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut others = BufReader::new(second.stdout.take().unwrap());
    read_until(&mut others, |line| line["body"]["phase"] == "running");
    watching.kill().unwrap();
    watching.wait().unwrap();

    place.run(["cancel", job, "--reason", "seen enough"]).ok();
    let rest = read_until(&mut others, |line| line["type"] == "job.error");
    assert_eq!(rest.last().unwrap()["status"], "cancelled");
    assert_eq!(second.wait().unwrap().code(), Some(1));
    let shown = place.run(["get", job, "-o", "json"]).ok().json();
    assert_eq!(shown["error"]["code"], "CANCELLED");
}

/// A session that is too old is forgotten, and with a token another one is opened.
#[test]
fn an_expired_session_is_forgotten() {
    let place = Place::new();
    let server = place.serve(&["--token", TOKEN, "--resume-window", "0"]);
    let flags = server.flags();
    let ran = place
        .run(with(
            &flags,
            &["run", "sleep", "--input", r#"{"ms":600000}"#, "--detach"],
        ))
        .ok();
    let job = ran.stdout.trim();
    place
        .run(["watch", job])
        .status(11)
        .says(&["RESUME_WINDOW_EXPIRED", "--token"]);
    assert!(place.run(["sessions"]).ok().stdout.contains("no sessions"));
    assert_eq!(
        place
            .run(with(&flags, &["get", job, "-o", "json"]))
            .ok()
            .json()["status"],
        "running"
    );
}

#[cfg(unix)]
#[test]
fn ctrl_c_cancels_the_job() {
    let place = Place::new();
    let server = place.serve(&["--token", TOKEN, "--store", "memory"]);
    let flags = server.flags();
    let mut running = place.command(with(
        &flags,
        &[
            "run",
            "sleep",
            "--input",
            r#"{"ms":600000}"#,
            "-o",
            "ndjson",
        ],
    ));
    let mut running = running
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(running.stdout.take().unwrap());
    let begun = read_until(&mut lines, |line| line["body"]["phase"] == "running");
    let job = begun[0]["job_id"].as_str().unwrap().to_owned();
    let sent = std::process::Command::new("kill")
        .args(["-INT", &running.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
    let rest = read_until(&mut lines, |line| line["type"] == "job.error");
    assert_eq!(rest.last().unwrap()["status"], "cancelled");
    assert_eq!(running.wait().unwrap().code(), Some(130));
    assert_eq!(
        place
            .run(with(&flags, &["get", &job, "-o", "json"]))
            .ok()
            .json()["status"],
        "cancelled"
    );
}

/// `kill -9` takes nothing that was acknowledged: the client of before resumes against the new process.
#[cfg(unix)]
#[test]
fn a_watcher_survives_kill_9_of_the_server() {
    let place = Place::new();
    let mut server = place.serve(&["--token", TOKEN]);
    let flags = server.flags();
    let input = json!({"n": 100_000, "delay_ms": 5}).to_string();
    let ran = place
        .run(with(
            &flags,
            &["run", "chatty", "--input", &input, "--detach"],
        ))
        .ok();
    let job = ran.stdout.trim().to_owned();
    let mut watching = place.command(["watch", &job, "-o", "ndjson"]);
    let mut watching = watching
        .stdout(std::process::Stdio::piped())
        .stderr(std::fs::File::create(place.path().join("said")).unwrap())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap());
    let before = read_until(&mut lines, |line| line["job_seq"].as_u64() >= Some(50));
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let again = server.address();
    let server =
        Server::start(place.command(["serve", "--demo", "--listen", &again, "--token", TOKEN]));
    let after = read_until(&mut lines, |line| line["type"] == "job.error");
    assert_eq!(
        after.last().unwrap()["error"]["details"]["reason"],
        "runtime_restarted"
    );
    let seqs: Vec<u64> = before
        .iter()
        .chain(&after)
        .filter_map(|line| line["job_seq"].as_u64())
        .collect();
    assert!(
        seqs.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "a gap or a duplicate: {seqs:?}"
    );
    assert_eq!(watching.wait().unwrap().code(), Some(1));
    let said = std::fs::read_to_string(place.path().join("said")).unwrap();
    assert!(said.contains("the connection is lost"), "{said}");
    drop(server);
}

/// [ARCP 4-2, 5-11] What is piped in is done and answered, though the input ends right behind it.
#[test]
fn what_is_piped_in_is_answered() {
    use std::io::Write as _;

    let place = Place::new();
    let mut child = place.command([
        "serve", "--stdio", "--demo", "--store", "memory", "--token", TOKEN,
    ]);
    let mut child = child
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let hello = json!({"arcp": "1.1", "id": "m1", "type": "session.hello", "payload": {"auth": {"scheme": "bearer", "token": "s3cret"}}});
    let submit = json!({"id": "m2", "type": "job.submit", "payload": {"agent": "sleep", "input": {"ms": 300}}});
    let mut stdin = child.stdin.take().unwrap();
    stdin
        .write_all(format!("{hello}\n{submit}\n").as_bytes())
        .unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let said: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let result = said.iter().find(|line| line["type"] == "job.result");
    assert_eq!(result.unwrap()["payload"]["result"]["slept_ms"], 300);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn stdio_speaks_envelopes_and_nothing_else() {
    use std::io::{BufRead as _, Write as _};

    let place = Place::new();
    let mut child = place.command([
        "serve", "--stdio", "--demo", "--store", "memory", "--token", TOKEN,
    ]);
    let mut child = child
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let hello = json!({"arcp": "1.1", "id": "m1", "type": "session.hello", "payload": {"auth": {"scheme": "bearer", "token": "s3cret"}}});
    writeln!(stdin, "{hello}").unwrap();
    let welcome = read_until(&mut stdout, |_| true).remove(0);
    assert_eq!(welcome["type"], "session.welcome");
    let submit =
        json!({"id": "m2", "type": "job.submit", "payload": {"agent": "echo", "input": [1]}});
    writeln!(stdin, "{submit}").unwrap();
    let said = read_until(&mut stdout, |line| line["type"] == "job.result");
    assert_eq!(said.last().unwrap()["payload"]["result"], json!([1]));
    drop(stdin);
    let mut rest = String::new();
    while stdout.read_line(&mut rest).unwrap() > 0 {}
    assert!(
        rest.lines()
            .all(|line| serde_json::from_str::<Value>(line).is_ok()),
        "{rest}"
    );
    assert_eq!(
        child.wait().unwrap().code(),
        Some(0),
        "the end of its input is the end of the server"
    );
}

#[test]
fn an_unreachable_server_is_told() {
    let place = Place::new();
    // Bound and let go: nobody listens there.
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("ws://{address}/arcp");
    place
        .run(["run", "echo", "--url", &url, "--token", "x"])
        .status(20)
        .says(&[&address.to_string()]);
    let server = place.serve(&["--token", TOKEN, "--store", "memory"]);
    let elsewhere = server.url.replace("/arcp", "/other");
    place
        .run(["run", "echo", "--url", &elsewhere, "--token", "x"])
        .status(20)
        .says(&["404"]);
    place
        .run(["serve", "--listen", &server.address(), "--store", "memory"])
        .status(21)
        .says(&[&server.address(), "--listen"]);
}

#[test]
fn two_servers_do_not_share_a_store() {
    let place = Place::new();
    let server = place.serve(&["--token", TOKEN]);
    place
        .run(["serve", "--listen", "127.0.0.1:0"])
        .status(21)
        .says(&["towline.db", "--data-dir"]);
    drop(server);
}

#[test]
fn tls_is_wss() {
    let place = Place::new();
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    place.write("cert.pem", key.cert.pem());
    place.write("key.pem", key.signing_key.serialize_pem());
    let tls = [
        "--token",
        TOKEN,
        "--store",
        "memory",
        "--tls-cert",
        "cert.pem",
        "--tls-key",
        "key.pem",
    ];
    let server = place.serve(&tls);
    let url = server
        .url
        .strip_prefix("wss://127.0.0.1")
        .map(|rest| format!("wss://localhost{rest}"));
    let url = url.unwrap();
    let args = [
        "run", "echo", "--input", "1", "--url", &url, "--token", "s3cret",
    ];
    place.run(args).status(20).says(&["certificate"]);
    let ran = place
        .run(args.iter().copied().chain(["--ca-cert", "cert.pem"]))
        .ok();
    assert_eq!(ran.stdout, "1\n");
    place.write("broken.pem", "nothing");
    let broken = [
        "serve",
        "--store",
        "memory",
        "--tls-cert",
        "broken.pem",
        "--tls-key",
        "key.pem",
    ];
    place
        .run(broken)
        .status(2)
        .says(&["--tls-cert", "broken.pem"]);
    place
        .run(["run", "echo", "--url", &url, "--ca-cert", "missing.pem"])
        .status(2)
        .says(&["missing.pem"]);
}
