//! `towline schedule` [ARCP 22-3].

use serde_json::json;

use crate::support::Place;

/// A time that comes once in four years: nothing fires by itself.
const LEAP_DAY: &str =
    "[schedules.leap]\ncron = \"0 0 29 2 *\"\nagent = \"echo\"\ninput = 7\nprincipal = \"alice\"\n";

/// [ARCP 22-3] where no server runs, pausing and resuming hold for the next one, and running says what to do.
#[test]
fn schedules_are_paused_in_the_store() {
    let place = Place::new();
    place.trusted(LEAP_DAY);
    place.run(["schedule", "run", "leap"]).status(2).says(&[
        "none runs on",
        "towline serve",
        "--url",
    ]);
    place
        .run(["schedule", "pause", "lent"])
        .status(2)
        .says(&["`lent`", "schedule ls"]);
    let pause = ["schedule", "pause", "leap"];
    assert_eq!(place.run(pause).ok().stdout, "leap paused\n");
    let server = place.serve(&["--token", crate::support::TOKEN]);
    let flags = server.flags();
    let ls = ["schedule", "ls", "-o", "json"];
    let paused = || {
        let args = ls.iter().copied().chain(flags.iter().map(String::as_str));
        place.run(args).ok().json()[0]["paused"].clone()
    };
    assert_eq!(paused(), true);
    server.signal("-TERM");
    assert_eq!(server.wait().0, 0);
    place.run(["schedule", "resume", "leap"]).ok();
    let server = place.serve(&["--token", crate::support::TOKEN]);
    let flags = server.flags();
    let args = ls.iter().copied().chain(flags.iter().map(String::as_str));
    assert_eq!(place.run(args).ok().json()[0]["paused"], false);
}

/// [ARCP 22-3] commands on the directory of a server work through it, as the directory's owner.
#[cfg(unix)]
#[test]
fn schedules_are_turned_through_the_server_on_the_directory() {
    let place = Place::new();
    place.trusted(LEAP_DAY);
    let _server = place.serve(&["--token", crate::support::TOKEN]);
    let ls = || place.run(["schedule", "ls", "-o", "json"]).ok().json()[0].clone();
    assert_eq!(ls()["paused"], false);
    place.run(["schedule", "pause", "leap"]).ok();
    assert_eq!(ls()["paused"], true);
    assert!(place.run(["schedule", "ls"]).ok().stdout.contains("paused"));
    place.run(["schedule", "resume", "leap"]).ok();
    assert_eq!(ls()["paused"], false);
    let run = place.run(["schedule", "run", "leap"]).ok();
    let job = run.stdout.trim();
    assert_eq!(place.run(["result", job]).ok().stdout, "7\n");
    let got = place.run(["get", job, "-o", "json"]).ok().json();
    assert_eq!(got["principal"], json!("alice"), "{got}");
    place
        .run(["schedule", "run", "lent"])
        .status(3)
        .says(&["`lent`"]);
}
