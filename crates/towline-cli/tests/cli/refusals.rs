//! How a command that cannot do its work says so.

use std::io::Write as _;

use serde_json::{Value, json};

use crate::support::{Place, Ran, TOKEN};

/// Whoever reads documents finds one that says why, with the same exit status; a person finds it on standard error alone.
#[test]
fn a_refusal_is_a_document() {
    let place = Place::new();
    let unknown = "job_00000000000000000000000000";
    let nobody = "AGENT_NOT_AVAILABLE";
    for (args, status, code, retryable) in [
        (&["run", "nobody"][..], 7, json!(nobody), true),
        (&["get", unknown], 5, json!("JOB_NOT_FOUND"), false),
        (
            &["jobs", "--url", "ws://127.0.0.1:1"],
            20,
            Value::Null,
            true,
        ),
        (&["run", "echo", "--input", "x"], 2, Value::Null, false),
    ] {
        let form = |form| {
            let ran = place.run(args.iter().chain(&["-o", form]));
            let error = ran.stderr.contains("error:");
            assert!(error, "it is on standard error too: {ran:#?}");
            ran.status(status)
        };
        assert_eq!(form("human").stdout, "");
        let document = form("json").json();
        assert_eq!(document["error"]["code"], code, "{document}");
        assert_eq!(document["exit_status"], status);
        assert!(document["error"]["message"].is_string());
        assert_eq!(document["error"]["retryable"], retryable);
        let lines = form("ndjson").lines();
        assert_eq!(lines.len(), 1, "{lines:#?}");
        assert_eq!(
            (&lines[0]["type"], &lines[0]["error"]["code"]),
            (&json!("error"), &code)
        );
    }
    let output = place.path().join("there");
    let ran = place.run(["result", unknown, "-o", output.to_str().unwrap()]);
    assert_eq!(ran.status(5).stdout, "", "here -o names a file");
}

/// What `run --detach` has to keep has its place before there is a job that nobody could name.
#[cfg(target_os = "linux")]
#[test]
fn nothing_is_submitted_whose_session_has_no_place() {
    let place = Place::new();
    let server = place.serve(&["--token", TOKEN]);
    let flags = server.flags();
    let echo = ["run", "echo", "--detach", "--data-dir", "/proc/nowhere"];
    let ran = place.run(echo.iter().copied().chain(flags.iter().map(String::as_str)));
    ran.status(21).says(&["/proc/nowhere", "--data-dir"]);
    let jobs = ["jobs", "-o", "json"].into_iter();
    let jobs = place.run(jobs.chain(flags.iter().map(String::as_str)));
    assert_eq!(jobs.ok().json(), json!([]));
}

/// What answers and is no server is told without the words of a library, and so is an input that is no JSON.
#[test]
fn libraries_do_not_speak_to_people() {
    let place = Place::new();
    let stranger = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/arcp", stranger.local_addr().unwrap());
    let answering = std::thread::spawn(move || {
        let (mut socket, _) = stranger.accept().unwrap();
        socket.write_all(b"SSH-2.0-OpenSSH_9.9\r\n\r\n").unwrap();
        // Held until the other side has gone.
        std::io::Read::read_to_end(&mut socket, &mut Vec::new()).ok();
    });
    let ran = place.run(["jobs", "--url", &url]).status(20);
    assert!(!ran.stderr.contains("httparse"), "{ran:#?}");
    ran.says(&["does not speak HTTP"]);
    answering.join().unwrap();
    let ran = place.run(["run", "echo", "--input", "{\"a\": 1"]).status(2);
    assert!(!ran.stderr.contains("line 1 column"), "{ran:#?}");
}

/// What a job was given is shown: its beginning to people, all of it in JSON, and nothing where nothing was given.
#[test]
fn a_job_shows_its_input() {
    let place = Place::new();
    let long = format!("[1.50,\"{}\"]", "x".repeat(5000));
    let got = |input: Option<&str>| {
        let given = input.map(|input| ["--input", input]);
        let echo = ["run", "echo", "-o", "json"].into_iter();
        let ran = place.run(echo.chain(given.into_iter().flatten())).ok();
        let job = ran.json()["job_id"].as_str().unwrap().to_owned();
        let shown = place.run(["get", &job]).ok().stdout;
        (shown, place.run(["get", &job, "-o", "json"]).ok().stdout)
    };
    let (people, json) = got(Some(&long));
    assert!(json.contains(&format!("\"input\":{long}")), "{json}");
    let input = people.lines().find(|line| line.starts_with("input "));
    let input = input.unwrap();
    assert!(
        input.contains("[1.50,\"xxx") && input.contains("(5009 bytes; -o json has all)"),
        "{input}"
    );
    let (people, json) = got(None);
    assert!(
        !people.contains("input ") && !json.contains("\"input\""),
        "{people}{json}"
    );
}

/// An empty list says whose jobs it is about.
#[test]
fn no_jobs_are_somebodys() {
    let place = Place::new();
    let server = place.serve(&["--token", TOKEN]);
    place.run(["run", "echo"]).ok();
    let ran = place.run(
        ["jobs"]
            .iter()
            .copied()
            .chain(server.flags().iter().map(String::as_str)),
    );
    assert_eq!(ran.stdout, "no jobs\n");
    ran.ok().says(&["jobs of `alice`", "towline whoami"]);
    let other = place.path().join("other");
    let ran = place.run(["jobs", "--data-dir", other.to_str().unwrap()]);
    ran.ok().says(&[other.to_str().unwrap(), "--url"]);
    let whoami = place.run(["whoami", "-o", "json"]).ok().json();
    assert_eq!(whoami["principal"], "local");
    assert_eq!(whoami["admin"], true, "the server said so: {whoami}");
}

/// A file that is mounted by itself cannot be replaced: it is written, by `result -o` and by `export -o`.
#[cfg(target_os = "linux")]
#[test]
fn a_mounted_file_is_written() {
    let place = Place::new();
    let ran = place.run(["run", "echo", "--input", "\"hello\"", "-o", "json"]);
    let job = ran.ok().json()["job_id"].as_str().unwrap().to_owned();
    let (there, mount) = (
        place.write("there", "x".repeat(4096)),
        place.write("mount", ""),
    );
    let program = env!("CARGO_BIN_EXE_towline");
    let within = |command: &str| {
        let script = format!(
            "mount --bind '{}' '{}' || exit 77; '{program}' {command} {job} -o '{}' --data-dir '{}'",
            there.display(),
            mount.display(),
            mount.display(),
            place.data().display()
        );
        let mut unshare = std::process::Command::new("unshare");
        unshare.args(["--map-root-user", "--mount", "sh", "-c", &script]);
        Ran::of(unshare.output().unwrap())
    };
    for (command, part) in [("result", "hello"), ("export", "\"job.result\"")] {
        let ran = within(command);
        if ran.status == 77 || ran.stderr.contains("unshare failed") {
            eprintln!("not shown here, where nothing can be mounted: {ran:?}");
            return;
        }
        ran.ok();
        let written = std::fs::read_to_string(&there).unwrap();
        assert!(
            written.contains(part) && !written.contains("xx"),
            "{written}"
        );
    }
}
