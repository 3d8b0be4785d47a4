//! `protocol = "acp"` in `[agents.NAME]`: agents that speak the Agent Client Protocol.

use serde_json::{Value, json};

use crate::support::{Place, Ran, Server, TOKEN};

/// A directory with a configuration that hosts the scripted agent, confined to the lease of its jobs.
fn place() -> Place {
    let place = Place::new();
    let file = format!(
        "[agents.coder]\ncommand = [\"{}\", \"acp-script\"]\nprotocol = \"acp\"\nstate = \"home\"\ncwd = \"work\"\n",
        env!("CARGO_BIN_EXE_towline")
    );
    place.write("towline.toml", file);
    place.write("work/notes", "one\n");
    place
}

fn serve(place: &Place) -> Server {
    let lease = "--dangerously-grant-any-lease";
    let args = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--config",
        "towline.toml",
        "--token",
        TOKEN,
        lease,
    ];
    Server::start(place.command(args))
}

fn input(steps: &Value) -> String {
    json!({"prompt": steps.to_string()}).to_string()
}

fn at(place: &Place, server: &Server, args: &[&str]) -> Ran {
    let flags = server.flags();
    place.run(args.iter().copied().chain(flags.iter().map(String::as_str)))
}

/// [ARCP 17-1, 17-4, 18-1] A coding agent runs confined; what the lease covers it may, what it does not it may not.
#[test]
fn an_agent_works_within_its_lease() {
    let place = place();
    let work = place.path().join("work");
    let work = work.to_str().unwrap();
    place.run(["trust"]).ok();
    let steps = json!([
        {"read": format!("{work}/notes")},
        {"write": [format!("{work}/out"), "made"]},
        {"ask": {"toolCallId": "1", "kind": "edit", "locations": [{"path": "/etc/passwd"}]}},
    ]);
    let lease = [format!("fs.read={work}/**"), format!("fs.write={work}/**")];
    let ran = place.run([
        "run",
        "coder",
        "--input",
        &input(&steps),
        "--lease",
        &lease[0],
        "--lease",
        &lease[1],
    ]);
    let ran = ran.ok();
    assert_eq!(ran.stdout.trim(), "no", "{ran:?}");
    assert_eq!(
        std::fs::read_to_string(format!("{work}/out")).unwrap(),
        "made"
    );
}

/// [ARCP 17-6, 15-6] `kill -9` of the server in the middle of a turn: the next one loads the session and sends the prompt again, and
/// what a person was asked stays asked. That is so without a word in the configuration.
#[test]
fn a_turn_survives_a_kill() {
    let place = place();
    let work = place.path().join("work");
    let work = work.to_str().unwrap();
    let steps = json!([
        {"ask": {"toolCallId": "1", "kind": "edit", "locations": [{"path": format!("{work}/a")}]}},
    ]);
    let first = serve(&place);
    let ask = format!("fs.write={work}/**");
    let read = format!("fs.read={work}/**");
    let args = [
        "run",
        "coder",
        "--input",
        &input(&steps),
        "--ask",
        &ask,
        "--lease",
        &read,
        "--detach",
    ];
    let job = at(&place, &first, &args).ok().stdout.trim().to_owned();
    let open = |server: &Server| loop {
        let open = at(&place, server, &["inbox", "-o", "json"]).ok().json();
        if let Some(question) = open.as_array().and_then(|open| open.first().cloned()) {
            return question;
        }
    };
    let before = open(&first);
    assert_eq!(before["operation"]["value"], format!("{work}/a"));
    first.signal("-KILL");
    drop(first);
    let second = serve(&place);
    assert_eq!(open(&second)["question_id"], before["question_id"]);
    at(&place, &second, &["approve", &job]).ok();
    let gave = at(&place, &second, &["wait", &job]);
    assert_eq!(gave.status, 0, "{gave:?}");
    assert_eq!(
        at(&place, &second, &["result", &job]).ok().stdout.trim(),
        "yes"
    );
    let sessions = std::fs::read_to_string(place.path().join("home/sessions")).unwrap();
    assert_eq!(
        sessions.lines().count(),
        1,
        "the session was loaded, not opened anew: {sessions}"
    );
}
