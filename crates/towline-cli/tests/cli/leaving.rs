//! A command that is told to end while its server says nothing.
#![cfg(unix)]

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use crate::support::{Place, Ran, TOKEN, read_until};

/// One signal ends a run whose server is gone: the cancel reaches nobody, so it says where the job is.
#[test]
fn one_signal_ends_a_run_without_its_server() {
    for signal in ["-TERM", "-INT"] {
        let place = Place::new();
        let server = place.serve(&["--token", TOKEN, "--store", "memory"]);
        let flags = server.flags();
        let sleep = ["run", "sleep", "--input", r#"{"ms":3600000}"#];
        let mut command = place.command(
            sleep
                .iter()
                .copied()
                .chain(flags.iter().map(String::as_str)),
        );
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = command.spawn().unwrap();
        let mut told = BufReader::new(running.stderr.take().unwrap()).lines();
        let mut until = |part: &str| {
            let line = told.find(|line| line.as_ref().unwrap().contains(part));
            line.unwrap().unwrap()
        };
        until("running");
        let url = server.url.clone();
        drop(server);
        until("the connection is lost");
        let sent = Command::new("kill")
            .args([signal, &running.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
        let goes_on = until("the job goes on at the server");
        assert!(
            goes_on.contains("towline watch job_") && goes_on.contains(&url),
            "{goes_on}"
        );
        assert_eq!(running.wait().unwrap().code(), Some(130));
    }
}

/// A server that is there and does not answer is waited for no longer than one that is gone.
#[test]
fn one_signal_ends_a_run_whose_server_is_silent() {
    let place = Place::new();
    let server = place.serve(&["--token", TOKEN, "--store", "memory"]);
    let flags = server.flags();
    let sleep = [
        "run",
        "sleep",
        "--input",
        r#"{"ms":3600000}"#,
        "-o",
        "ndjson",
    ];
    let mut command = place.command(
        sleep
            .iter()
            .copied()
            .chain(flags.iter().map(String::as_str)),
    );
    let mut running = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(running.stdout.take().unwrap());
    read_until(&mut lines, |line| line["body"]["phase"] == "running");
    server.signal("-STOP");
    let sent = Command::new("kill")
        .args(["-TERM", &running.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
    let ran = Ran::of(running.wait_with_output().unwrap()).status(130);
    ran.says(&["cancelling", "the job goes on at the server"]);
}
