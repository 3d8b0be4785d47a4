//! Jobs that nobody runs: their command was killed, and only one that runs jobs goes on with them.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
};

use serde_json::Value;
#[cfg(unix)]
use towline::env::{Clock as _, SystemClock};

use crate::support::{Place, Ran, read_until};

/// A question that waits for its answer, as the events of a job say it.
fn is_asked(line: &Value) -> bool {
    line["kind"] == "x-vendor.towline.input_request"
}

/// A command whose lines were read until the question came, and the job.
fn asked(place: &Place, args: &[&str]) -> (Child, String) {
    let mut command = place.command(args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let lines = read_until(&mut reader, is_asked);
    // What follows can be read by whoever waits for the end.
    child.stdout = Some(reader.into_inner());
    (child, lines[0]["job_id"].as_str().unwrap().to_owned())
}

const ASK: [&str; 6] = [
    "run",
    "ask",
    "--input",
    r#"{"kind":"text"}"#,
    "-o",
    "ndjson",
];

/// The job of a run that was killed while a question was open.
fn left_behind(place: &Place) -> String {
    let (mut run, job) = asked(place, &ASK);
    run.kill().unwrap();
    run.wait().unwrap();
    job
}

/// Readers show what there is, say what it is and how it goes on, and end.
#[test]
fn readers_of_a_job_that_nobody_runs_end() {
    let place = Place::new();
    let job = left_behind(&place);
    let says = [
        "is interrupted",
        "nobody runs it",
        "towline run",
        "towline rerun job_",
    ];
    let ran = place.run(["watch", &job]).status(1).says(&says);
    assert!(ran.stderr.contains("asks"), "{ran:#?}");
    place.run(["watch", &job, "--live"]).status(1).says(&says);
    place
        .run(["watch", &job, "--from", "99"])
        .status(1)
        .says(&says);
    place.run(["result", &job]).status(1).says(&says);
    let ran = place.run(["wait", &job]).status(1).says(&says);
    assert_eq!(ran.stdout, format!("{job}  running (interrupted)\n"));

    let lines = place.run(["watch", &job, "-o", "ndjson"]).status(1).lines();
    assert!(lines.iter().any(is_asked), "{lines:#?}");
    let last = lines.last().unwrap();
    assert_eq!(last["type"], "job.interrupted");
    let watched = place.run(["watch", &job, "-o", "json"]).status(1).json();
    let waited = place.run(["wait", &job, "-o", "json"]).status(1).json();
    let shown = place.run(["get", &job, "-o", "json"]).ok().json();
    for document in [last, &watched, &waited[0], &shown] {
        assert_eq!(document["job_id"], *job, "{document}");
        assert_eq!(document["status"], "running", "{document}");
        assert_eq!(document["interrupted"], true, "{document}");
    }
    let shown = place.run(["get", &job]).ok().stdout;
    assert!(shown.contains("goes on with it"), "{shown}");
    place.run(["jobs"]).ok().says(&["interrupted"]);
}

/// A command that runs jobs takes it up, and then it is no longer interrupted for those who look.
#[test]
fn a_job_that_was_left_goes_on() {
    let place = Place::new();
    let job = left_behind(&place);
    let (mut other, _) = asked(&place, &ASK);
    place.run(["answer", &job, "--text", "late"]).ok();
    let given = place.run(["result", &job]).ok().stdout;
    assert!(given.contains("late"), "{given}");
    other.kill().unwrap();
    other.wait().unwrap();
    let ran = place.run(["wait", &job]).ok();
    assert!(!ran.stderr.contains("interrupted"), "{ran:#?}");
}

/// Whoever watches through the command that runs the job is told when that is killed.
#[test]
fn readers_outlive_the_command_they_read_through() {
    let place = Place::new();
    let (mut run, job) = asked(&place, &ASK);
    let (watch, _) = asked(&place, &["watch", &job, "-o", "ndjson"]);
    run.kill().unwrap();
    run.wait().unwrap();
    let ran = Ran::of(watch.wait_with_output().unwrap()).status(1);
    let lines = ran.lines();
    assert_eq!(lines.len(), 1, "nothing is told again: {lines:#?}");
    assert_eq!(lines[0]["type"], "job.interrupted");
    ran.says(&["nobody runs it"]);
}

/// Runs a job and kills the command once the job runs; gives the job.
fn killed(place: &Place, args: &[&str]) -> String {
    let mut command = place.command([&["run"], args, &["-o", "ndjson"]].concat());
    let mut run = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut reader = BufReader::new(run.stdout.take().unwrap());
    let lines = read_until(&mut reader, |line| line["body"]["phase"] == "running");
    run.kill().unwrap();
    run.wait().unwrap();
    lines[0]["job_id"].as_str().unwrap().to_owned()
}

/// One that does not go on by itself ends when somebody looks, and then it is over.
#[test]
fn what_cannot_go_on_has_ended() {
    let place = Place::new();
    let job = &killed(&place, &["sleep", "--input", r#"{"ms":60000}"#]);
    let ran = place.run(["watch", job]).status(1);
    assert!(!ran.stderr.contains("interrupted"), "{ran:#?}");
    assert_eq!(
        place.run(["wait", job]).status(1).stdout,
        format!("{job}  error\n")
    );
}

/// [ARCP 14-9] A job of an agent that only some configuration has is left as it is by commands without that: neither looking nor
/// another run ends it, and it goes on where its agent is.
#[cfg(unix)]
#[test]
fn a_job_of_an_agent_elsewhere_is_left_alone() {
    let place = Place::new();
    let config = "[agents.slow]\ncommand = [\"sh\", \"-c\", \"sleep 2; echo over\"]\nprotocol = \"exec\"\nrestartable = true\n";
    let file = place.path().join("slow.toml");
    std::fs::write(&file, config).unwrap();
    let file = file.to_str().unwrap();
    let job = &killed(&place, &["slow", "--config", file]);
    for looking in [&["jobs"][..], &["get", job], &["inbox"]] {
        place.run(looking).status(0);
    }
    assert!(
        place
            .run(["watch", job])
            .status(1)
            .stderr
            .contains("interrupted")
    );
    place.run(["run", "echo", "--input", "1"]).status(0);
    let shown = place.run(["get", job, "-o", "json"]).status(0).json();
    assert_eq!(shown["status"], "running", "{shown}");
    place
        .run(["run", "echo", "--config", file, "--input", "1"])
        .status(0);
    let shown = place.run(["get", job, "-o", "json"]).status(0).json();
    assert_ne!(shown["status"], "error", "{shown}");
}

/// A second Ctrl-C leaves at once: the end that the job was told to come to is not waited for, and is written by the next
/// command.
#[cfg(unix)]
#[test]
fn a_second_signal_leaves_at_once() {
    let place = Place::new();
    let input = r#"{"ms":3600000,"ignore_cancel":true}"#;
    let mut command = place.command(["run", "sleep", "--input", input]);
    let mut run = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(run.stderr.take().unwrap()).lines();
    let mut until = |part: &str| {
        let line = told.find(|line| line.as_ref().unwrap().contains(part));
        line.unwrap().unwrap()
    };
    let line = until(" as job_");
    let job = line.split(" as ").nth(1).unwrap().trim().to_owned();
    until("running");
    let interrupt = || {
        let sent = std::process::Command::new("kill")
            .args(["-INT", &run.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
    };
    interrupt();
    until("Ctrl-C again leaves at once");
    interrupt();
    assert_eq!(run.wait().unwrap().code(), Some(130));
    let left_at = SystemClock.now().to_string();
    let got = place.run(["get", &job, "-o", "json"]).ok().json();
    assert_eq!(got["status"], "cancelled", "{got}");
    let ended_at = got["completed_at"].as_str().unwrap();
    assert!(left_at.as_str() < ended_at, "{left_at} {got}");
}

/// The terminal of a run is gone: its job is cancelled, as with Ctrl-C.
#[cfg(unix)]
#[test]
fn a_hangup_ends_a_run() {
    let place = Place::new();
    let input = r#"{"ms":3600000}"#;
    let mut command = place.command(["run", "sleep", "--input", input, "-o", "ndjson"]);
    let mut run = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(run.stdout.take().unwrap());
    read_until(&mut lines, |line| line["body"]["phase"] == "running");
    let sent = std::process::Command::new("kill")
        .args(["-HUP", &run.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
    let last = read_until(&mut lines, |line| line["type"] == "job.error");
    assert_eq!(last.last().unwrap()["status"], "cancelled");
    assert_eq!(run.wait().unwrap().code(), Some(130));
}
