//! `towline demo`: the first command a new user runs.

use std::process::Command;

use serde_json::Value;

use crate::support::{Place, Ran, Server};

/// The demo with its scratch files in this place.
fn demo(place: &Place, args: &[&str]) -> Command {
    let mut command = place.command(["demo"].iter().chain(args));
    std::fs::create_dir_all(place.path().join("tmp")).unwrap();
    command.env("TMPDIR", place.path().join("tmp"));
    command
}

fn is_tidy(place: &Place) -> bool {
    std::fs::read_dir(place.path().join("tmp")).unwrap().count() == 0
}

/// It shows what it promises: an edit within the lease, refusals outside of it, and an end of the money; and leaves nothing.
#[test]
fn it_shows_what_it_promises() {
    let place = Place::new();
    let ran = Ran::of(demo(&place, &["--headless"]).output().unwrap()).ok();
    let result: Value = serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap();
    let changed = |at: usize| result["changed"][at].as_str().unwrap_or_default();
    assert!(changed(0).ends_with("/src/greet.py"), "{result}");
    // Its lease does not cover this one; somebody said yes.
    assert!(changed(1).ends_with("/README.md"), "{result}");
    let codes: Vec<_> = result["refused"]
        .as_array()
        .unwrap()
        .iter()
        .map(|refused| refused["code"].as_str().unwrap())
        .collect();
    assert_eq!(codes, ["PERMISSION_DENIED", "BUDGET_EXHAUSTED"], "{result}");
    ran.says(&["Hello, {name}!", "/etc/passwd", "0.11 USD left"]);
    assert!(is_tidy(&place));
}

/// The link that is printed signs in, and Ctrl-C in the middle of the job ends everything.
#[cfg(unix)]
#[test]
fn ctrl_c_ends_it() {
    let place = Place::new();
    let server = Server::start(demo(&place, &[]));
    let token = server.before[0].rsplit_once("#token=").unwrap().1;
    let agents = ["agents", "--url", &server.url, "--token", token];
    assert!(place.run(agents).ok().stdout.contains("coder"));
    server.signal("-INT");
    assert_eq!(server.wait().0, 0);
    assert!(is_tidy(&place));
}
