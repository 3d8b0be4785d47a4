//! `towline demo`: the first command a new user runs.

use std::process::Command;

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

/// It shows what it promises: a confined program at work, an edit within the lease, a refusal outside of it, a question that somebody
/// answers, and an end of the money, which is how the job is meant to end; and leaves nothing.
#[test]
fn it_shows_what_it_promises() {
    let place = Place::new();
    let ran = Ran::of(demo(&place, &["--headless"]).output().unwrap()).ok();
    for shown in [
        "confined by landlock",
        "5 steps read the repository",
        "/src/greet.py (text/plain",
        "fs.read `/etc/passwd` denied",
        "Allow fs.write",
        "answered by you: true",
        "/README.md (text/plain",
        "0.11 USD left",
        "BUDGET_EXHAUSTED",
    ] {
        let text = format!("{}{}", ran.stdout, ran.stderr);
        assert!(text.contains(shown), "{shown}: {text}");
    }
    assert!(is_tidy(&place));
}

/// The link that is printed signs in, the token is nobody else's to read, and Ctrl-C in the middle of the job ends everything.
#[cfg(unix)]
#[test]
fn ctrl_c_ends_it() {
    let place = Place::new();
    let server = Server::start(demo(&place, &[]));
    let token = server.before[0].rsplit_once("#token=").unwrap().1;
    let agents = ["agents", "--url", &server.url, "--token", token];
    assert!(place.run(agents).ok().stdout.contains("coder"));
    let made = std::fs::read_dir(place.path().join("tmp")).unwrap();
    let demo = made.map(|made| made.unwrap().path());
    let demo = demo.filter(|path| path.join("token").exists());
    let demo = demo.collect::<Vec<_>>().pop().unwrap();
    let mode = |path: &std::path::Path| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!((mode(&demo), mode(&demo.join("token"))), (0o700, 0o600));
    server.signal("-INT");
    assert_eq!(server.wait().0, 0);
    assert!(is_tidy(&place));
}
