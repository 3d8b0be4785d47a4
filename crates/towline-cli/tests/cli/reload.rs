//! SIGHUP reads the configuration again, and a service manager is told of it.
#![cfg(unix)]

use std::{io::BufReader, process::Stdio};

use serde_json::json;

use crate::support::{Place, Ran, Server, read_until};

const FILE: &str = r#"
[server]
listen = "127.0.0.1:0"
demo = true
[store]
memory = true
[[auth.tokens]]
principal = "ann"
token = "ann-1"
[[auth.tokens]]
principal = "bob"
token = "bob-1"
role = "dev"
[roles.dev]
agents = ["echo", "sleep"]
"#;

/// A server that says nothing for so long says nothing.
const LONG: std::time::Duration = std::time::Duration::from_secs(60);

/// A server and what it says on standard error.
struct Spoken {
    server: Server,
    said: std::sync::mpsc::Receiver<String>,
    place: Place,
}

impl Spoken {
    fn start(more: &str) -> Self {
        let place = Place::new();
        let file = format!("{FILE}{more}");
        place.write("towline.toml", &file);
        let file = place.path().join("towline.toml");
        let mut command = place.command(["serve", "--config"]);
        command.arg(file);
        let (reader, writer) = std::io::pipe().unwrap();
        let (server, said) = Server::start_speaking(command, reader, writer);
        Self {
            server,
            said,
            place,
        }
    }

    fn rewrite(&self, file: &str) {
        self.place.write("towline.toml", file);
        self.server.signal("-HUP");
    }

    /// The next line about a reload.
    fn reloads(&self) -> String {
        self.says("reloaded")
    }

    /// The next line with this in it.
    #[track_caller]
    fn says(&self, part: &str) -> String {
        let mut others = Vec::new();
        while let Ok(line) = self.said.recv_timeout(LONG) {
            if line.contains(part) {
                return line;
            }
            others.push(line);
        }
        panic!("no `{part}` in {others:#?}");
    }

    fn run(&self, token: &str, args: &[&str]) -> Ran {
        let flags = ["--url", &self.server.url, "--token", token];
        Place::new().run(args.iter().chain(&flags))
    }
}

/// [ARCP 14-7, 20-1] What is added counts at once, what is taken away ends, live sessions stay and have the new role; what
/// changed is said by name, without values.
#[test]
fn tokens_roles_and_agents_are_read_again() {
    let spoken = Spoken::start("");
    spoken.run("bob-1", &["run", "chatty"]).status(3);
    let elsewhere = Place::new();
    let mut watching = elsewhere.command(["run", "sleep", "--input", r#"{"ms":3600000}"#]);
    watching.args([
        "-o",
        "ndjson",
        "--url",
        &spoken.server.url,
        "--token",
        "ann-1",
    ]);
    watching.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut watching = watching.spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap());
    read_until(&mut lines, |line| line["body"]["phase"] == "running");

    let agent =
        "[agents.words]\ncommand = [\"wc\", \"-w\"]\nprotocol = \"exec\"\nconfine = \"off\"\n";
    let changed = FILE
        .replace("bob-1", "bob-2")
        .replace("[\"echo\", \"sleep\"]", "[\"*\"]")
        .replace("demo = true", "demo = true\nallow_unconfined_root = true");
    spoken.rewrite(&format!(
        "{changed}{agent}[[auth.tokens]]\nprincipal = \"cleo\"\ntoken = \"cleo-1\"\n"
    ));
    let said = spoken.reloads();
    for part in [
        "tokens added cleo, changed bob",
        "roles changed dev",
        "agents added words",
        "from the next start: server",
    ] {
        assert!(said.contains(part), "no `{part}` in {said}");
    }
    assert!(
        !said.contains("bob-2") && !said.contains("cleo-1"),
        "{said}"
    );
    spoken.run("bob-1", &["whoami"]).status(16);
    spoken
        .run("bob-2", &["run", "chatty", "--input", r#"{"n":1}"#])
        .ok();
    let ran = spoken.run("cleo-1", &["run", "words", "--input", "\"a b c\""]);
    assert_eq!(ran.ok().stdout.trim(), "3");

    // A session whose token stays goes on, and one whose token goes is ended.
    let jobs = spoken
        .run("ann-1", &["jobs", "--status", "running", "-o", "json"])
        .ok()
        .json();
    assert_eq!(jobs.as_array().unwrap().len(), 1);
    let token = "[[auth.tokens]]\nprincipal = \"ann\"\ntoken = \"ann-1\"\n";
    spoken.rewrite(&FILE.replacen(token, "", 1));
    let said = spoken.reloads();
    for part in [
        "tokens removed ann, cleo, changed bob",
        "agents removed words",
    ] {
        assert!(said.contains(part), "no `{part}` in {said}");
    }
    let ended = Ran::of(watching.wait_with_output().unwrap());
    ended.status(16).says(&["UNAUTHENTICATED"]);
    spoken.run("bob-1", &["run", "words"]).status(7);
}

/// A file that cannot be used changes nothing, and it is said why.
#[test]
fn a_broken_file_changes_nothing() {
    let spoken = Spoken::start("");
    for (file, part) in [
        ("[server", "line"),
        ("[sever]", "did you mean `server`"),
        ("[roles.dev]\nmay_watch = \"role:x\"", "`x`"),
        (
            "[[auth.tokens]]\nprincipal = \"a\"\ntoken_file = \"nowhere\"",
            "nowhere",
        ),
    ] {
        spoken.rewrite(file);
        let said = spoken.reloads();
        assert!(
            said.contains("nothing was changed") && said.contains(part),
            "{said}"
        );
        spoken.run("ann-1", &["run", "echo"]).ok();
    }
    spoken.rewrite(FILE);
    assert!(spoken.reloads().contains("nothing changed"));
}

/// A renewed certificate is shown to the next connection; connections that there are go on.
#[test]
fn a_certificate_is_read_again() {
    let place = Place::new();
    let renew = || {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        place.write("cert.pem", made.cert.pem());
        place.write("key.pem", made.signing_key.serialize_pem());
        made.cert.pem()
    };
    let first = renew();
    place.write("first.pem", &first);
    let server = place.serve(&[
        "--token",
        "a:b",
        "--tls-cert",
        "cert.pem",
        "--tls-key",
        "key.pem",
    ]);
    let url = server.url.replace("127.0.0.1", "localhost");
    let trusting =
        |file: &str| place.run(["agents", "--url", &url, "--token", "b", "--ca-cert", file]);
    trusting("first.pem").ok();
    let second = renew();
    place.write("second.pem", &second);
    server.signal("-HUP");
    // The signal is on its way; whoever trusts the new one alone waits for it.
    while trusting("second.pem").status != 0 {}
    trusting("first.pem").status(20);
}

/// A service manager hears of readiness, of a reload with its moment, of life and of the end.
#[cfg(target_os = "linux")]
#[test]
fn a_service_manager_is_told() {
    let place = Place::new();
    let path = place.path().join("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    let hear = || {
        let mut room = [0; 256];
        let length = manager.recv(&mut room).unwrap();
        String::from_utf8(room[..length].to_vec()).unwrap()
    };
    let until = |wanted: &str| {
        let mut heard = Vec::new();
        loop {
            let state = hear();
            let done = state.starts_with(wanted);
            heard.push(state);
            if done {
                return heard;
            }
        }
    };
    let serve = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--demo",
        "--token",
        "a:b",
        "--store",
        "memory",
    ];
    let mut command = place.command(serve);
    command
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "200000");
    let server = Server::start(command);
    assert_eq!(until("READY=1").len(), 1);
    until("WATCHDOG=1");
    server.signal("-HUP");
    let reloading = until("RELOADING=1").pop().unwrap();
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    until("READY=1");
    server.signal("-TERM");
    until("STOPPING=1");
    assert_eq!(server.wait().0, 0);
}

/// [ARCP 14-7, 20-2] An administrator ends the sessions of somebody, and it is in the audit log with the role.
#[test]
fn sessions_are_revoked_by_an_administrator() {
    let admin = "[[auth.tokens]]\nprincipal = \"olga\"\ntoken = \"olga-1\"\nrole = \"ops\"\n[roles.ops]\nadmin = true\n";
    let spoken = Spoken::start(admin);
    spoken
        .run("ann-1", &["sessions", "revoke", "olga"])
        .status(3)
        .says(&["PERMISSION_DENIED", "admin"]);
    let place = Place::new();
    let sleep = [
        "run",
        "sleep",
        "--input",
        r#"{"ms":3600000}"#,
        "-o",
        "ndjson",
        "--url",
    ];
    let mut running = place.command(sleep);
    running.args([&spoken.server.url, "--token", "ann-1"]);
    running.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = running.spawn().unwrap();
    let mut lines = BufReader::new(running.stdout.take().unwrap());
    read_until(&mut lines, |line| line["body"]["phase"] == "running");
    let revoked = spoken
        .run("olga-1", &["sessions", "revoke", "ann", "-o", "json"])
        .ok()
        .json();
    assert_eq!(revoked["principal"], json!("ann"));
    assert!(revoked["sessions"].as_u64().unwrap() >= 1, "{revoked}");
    let ended = Ran::of(running.wait_with_output().unwrap());
    ended.status(16).says(&["UNAUTHENTICATED"]);
    let jobs = spoken
        .run("ann-1", &["jobs", "--status", "running", "-o", "json"])
        .ok()
        .json();
    assert_eq!(jobs.as_array().unwrap().len(), 1, "the job goes on");
    let told = spoken
        .said
        .iter()
        .find(|line| line.contains("sessions.revoke") && line.contains("allowed"));
    assert!(told.unwrap().contains("role=\"ops\""));
    Place::new()
        .run(["sessions", "revoke", "ann"])
        .status(2)
        .says(&["--url"]);
}

/// A minted token stays what it is, and a file that names no token any more is refused: nobody could come in.
#[test]
fn a_reload_mints_nothing() {
    let place = Place::new();
    place.write(
        "towline.toml",
        "[server]\nlisten = \"127.0.0.1:0\"\ndemo = true\n",
    );
    let file = place.path().join("towline.toml");
    let mut command = place.command(["serve", "--store", "memory", "--config"]);
    command.arg(file);
    let (reader, writer) = std::io::pipe().unwrap();
    let (server, said) = Server::start_speaking(command, reader, writer);
    let spoken = Spoken {
        server,
        said,
        place,
    };
    let token = spoken.server.token.clone().unwrap();
    spoken.server.signal("-HUP");
    assert!(spoken.reloads().contains("nothing changed"));
    spoken.run(&token, &["run", "echo"]).ok();
    let spoken = Spoken::start("");
    spoken.rewrite("[server]\nlisten = \"127.0.0.1:0\"\ndemo = true\n");
    assert!(spoken.reloads().contains("no token any more"));
    spoken.run("ann-1", &["run", "echo"]).ok();
}

/// An agent of the file that comes takes the place of the built-in one of its name, which is there again when it goes.
#[test]
fn a_built_in_agent_is_replaced_and_back() {
    let spoken = Spoken::start("[agents.index]\nbuiltin = \"index\"\n");
    let echo = |expected: &str| {
        let ran = spoken
            .run("ann-1", &["run", "echo", "--input", "\"a b\""])
            .ok();
        assert_eq!(ran.stdout.trim(), expected);
    };
    echo("a b");
    let unconfined = FILE.replace("demo = true", "demo = true\nallow_unconfined_root = true");
    let agent =
        "[agents.echo]\ncommand = [\"wc\", \"-w\"]\nprotocol = \"exec\"\nconfine = \"off\"\n";
    spoken.rewrite(&format!("{unconfined}{agent}"));
    let said = spoken.reloads();
    assert!(
        said.contains("agents added echo, removed index") && !said.contains("cannot"),
        "{said}"
    );
    echo("2");
    spoken.rewrite(FILE);
    let said = spoken.reloads();
    assert!(!said.contains("cannot"), "{said}");
    echo("a b");
    let listed = spoken.run("ann-1", &["agents", "-o", "json"]).ok().json();
    let names = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|agent| &agent["name"]);
    assert_eq!(names.filter(|name| *name == "index").count(), 1);
}
