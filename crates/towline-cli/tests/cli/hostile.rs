//! A server that writes what a terminal would obey wherever it may write [ARCP 14-8].
#![cfg(unix)]

use std::{
    net::{TcpListener, TcpStream},
    process::Stdio,
};

use pty_process::blocking::{Command, open};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{self, Message};

use crate::support::{Place, Ran};

/// Sets a title (C0), clears the screen (C1), turns the line around, and begins it anew.
const EVIL: &str = "a\u{1b}]0;x\u{7}\u{9b}2J\u{202e}\u{2066}\rz";

const SESSION: &str = "sess_1";
const JOB: &str = "job_00000000000000000000000001";

/// Serves one connection after another, until the test ends.
fn serve() -> String {
    serve_doing(|| {})
}

/// The same, and does something before it accepts a job.
fn serve_doing(before: impl Fn() + Clone + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/arcp", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let before = before.clone();
            std::thread::spawn(move || answer(stream, &before));
        }
    });
    url
}

fn answer(stream: TcpStream, before: &dyn Fn()) {
    let mut socket = tungstenite::accept(stream).unwrap();
    // Reading fails when the client has gone.
    while let Ok(message) = socket.read() {
        let Ok(asked) = serde_json::from_slice::<Value>(&message.into_data()) else {
            continue;
        };
        if asked["type"] == "job.submit" {
            before();
        }
        for mut frame in answers(&asked) {
            frame["arcp"] = json!("1.1");
            frame["id"] = json!("m");
            frame["session_id"] = json!(SESSION);
            if socket.send(Message::text(frame.to_string())).is_err() {
                return;
            }
        }
    }
}

fn answers(asked: &Value) -> Vec<Value> {
    let refuses = asked["payload"]["agent"] == "refuse";
    match asked["type"].as_str().unwrap() {
        "session.hello" => vec![welcome()],
        "job.submit" if refuses => vec![json!({"type": "job.error", "payload": {
            "request_id": asked["id"], "final_status": "error", "code": EVIL, "message": EVIL, "retryable": false}})],
        "job.submit" => [accepted(asked)].into_iter().chain(job()).collect(),
        "job.subscribe" => [subscribed(asked)].into_iter().chain(job()).collect(),
        "session.list_jobs" => vec![json!({"type": "session.jobs", "payload": {
            "request_id": asked["id"], "next_cursor": null, "jobs": [listed()]}})],
        _ => Vec::new(),
    }
}

fn welcome() -> Value {
    let features = [
        "list_jobs",
        "subscribe",
        "progress",
        "result_chunk",
        "x-vendor.towline.list",
    ];
    json!({"type": "session.welcome", "payload": {
        "runtime": {"name": EVIL, "version": EVIL}, "session_id": SESSION, "accepted_at": "2026-01-01T00:00:00Z",
        "resume_token": "rt_1", "resume_window_sec": 600, "heartbeat_interval_sec": 30,
        "capabilities": {"encodings": ["json"], "features": features, "agents": [{"name": EVIL, "versions": [EVIL]}]}}})
}

fn accepted(asked: &Value) -> Value {
    json!({"type": "job.accepted", "job_id": JOB, "payload": {
        "request_id": asked["id"], "job_id": JOB, "agent": EVIL, "lease": {EVIL: [EVIL]}}})
}

fn subscribed(asked: &Value) -> Value {
    json!({"type": "job.subscribed", "job_id": JOB, "payload": {
        "request_id": asked["id"], "job_id": JOB, "current_status": "error", "agent": EVIL, "lease": {EVIL: [EVIL]},
        "parent_job_id": null, "subscribed_from": 4, "replayed": true}})
}

fn listed() -> Value {
    json!({"job_id": JOB, "agent": EVIL, "status": EVIL, "lease": {EVIL: [EVIL]}, "parent_job_id": null,
        "created_at": "2026-01-01T00:00:00Z", "last_event_seq": 4, "principal": EVIL})
}

/// What a job says, and its end.
fn job() -> Vec<Value> {
    let event = |seq: u64, kind: &str, body: Value| {
        json!({"type": "job.event", "job_id": JOB, "event_seq": seq, "payload": {
            "kind": kind, "ts": "2026-01-01T00:00:00Z", "body": body}})
    };
    vec![
        event(1, "log", json!({"level": EVIL, "message": EVIL})),
        event(
            2,
            "metric",
            json!({"name": "cost.x", "value": 1, "unit": EVIL}),
        ),
        event(3, EVIL, json!({"text": EVIL})),
        json!({"type": "job.error", "job_id": JOB, "event_seq": 4, "payload": {
            "final_status": "error", "code": EVIL, "message": EVIL, "retryable": false, "details": {"why": EVIL}}}),
    ]
}

/// What a terminal would obey, or what makes a line look like another one.
fn is_obeyed(c: char) -> bool {
    let bidi = ('\u{202a}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c);
    bidi || c.is_control() && c != '\n' && c != '\t'
}

const COMMANDS: [&[&str]; 9] = [
    &["run", "refuse"],
    &["run", "any"],
    &["run", "any", "--detach"],
    &["jobs"],
    &["agents"],
    &["get", JOB],
    &["watch", JOB],
    &["result", JOB],
    &["wait", JOB],
];

/// In a pipe nothing reaches either stream as it was sent; JSON has it escaped.
#[test]
fn what_a_server_writes_is_shown_and_not_obeyed() {
    let place = Place::new();
    let url = serve();
    for args in COMMANDS {
        for form in ["human", "json", "ndjson"] {
            // Here -o names a file.
            let form = if args[0] == "result" { "" } else { form };
            let flags = ["--url", &url]
                .into_iter()
                .chain(["-o", form].into_iter().filter(|_| !form.is_empty()));
            let ran = Ran::of(
                place
                    .command(args.iter().copied().chain(flags))
                    .output()
                    .unwrap(),
            );
            let said = format!("{}{}", ran.stdout, ran.stderr);
            assert!(!said.contains(is_obeyed), "{args:?} {form}: {ran:?}");
            let repeats = said.contains("]0;x") || args[0] == "wait" || args.contains(&"--detach");
            assert!(repeats, "{args:?} {form} shows it: {ran:?}");
        }
    }
}

/// On a terminal the program says what it says with controls of its own, and none of the server's.
#[test]
fn a_terminal_is_told_nothing_by_a_server() {
    let place = Place::new();
    let url = serve();
    for args in COMMANDS {
        let command = place.command(args.iter().copied().chain(["--url", &url]));
        let (mut keys, screen) = open().unwrap();
        let mut child = Command::from(command)
            .stdin(Stdio::null())
            .spawn(screen)
            .unwrap();
        let mut shown = Vec::new();
        let mut piece = [0; 4096];
        // Reading fails when the program has ended.
        while let Ok(length @ 1..) = std::io::Read::read(&mut keys, &mut piece) {
            shown.extend_from_slice(&piece[..length]);
        }
        child.wait().unwrap();
        let shown = String::from_utf8(shown).unwrap();
        for evil in ["\u{1b}]0", "\u{7}", "\u{9b}", "\u{202e}", "\u{2066}", "\rz"] {
            assert!(!shown.contains(evil), "{args:?}: {shown:?}");
        }
    }
}

/// A job whose session cannot be saved after all runs all the same, so its name is said, and how to find it.
#[test]
fn a_job_whose_session_is_not_saved_is_named() {
    let place = Place::new();
    let sessions = place.data().join("sessions");
    let url = serve_doing(move || {
        std::fs::remove_dir_all(&sessions).unwrap();
        std::fs::write(&sessions, "").unwrap();
    });
    let ran = place.run(["run", "any", "--detach", "--url", &url, "-o", "json"]);
    assert_eq!(ran.json()["job_id"], JOB, "one document: {ran:?}");
    ran.status(21).says(&[
        "is no directory",
        "runs all the same",
        "towline watch job_",
        &url,
    ]);
}
