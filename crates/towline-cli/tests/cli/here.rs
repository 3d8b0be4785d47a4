//! Commands on the data directory of a running server work through it, as the owner of the directory.
#![cfg(unix)]

use std::io::Write as _;

use serde_json::json;

use crate::support::{Place, Ran, Server, TOKEN};

/// A command at the server's address, as the principal of its token.
fn at(place: &Place, server: &Server, args: &[&str]) -> Ran {
    let flags = server.flags();
    let args = args.iter().copied().chain(flags.iter().map(String::as_str));
    place.run(args)
}

const ASK: [&str; 5] = [
    "run",
    "ask",
    "--input",
    r#"{"kind":"approval"}"#,
    "--detach",
];

/// No lock is in the way: jobs are run, listed, watched, answered and cancelled, also those of others.
#[test]
fn commands_work_through_the_server_on_their_directory() {
    let place = Place::new();
    let server = place.serve(&["--token", TOKEN]);
    let asking = at(&place, &server, &ASK).ok().stdout.trim().to_owned();
    assert_eq!(
        place.run(["run", "echo", "--input", "7"]).ok().stdout,
        "7\n"
    );

    let listed = place.run(["jobs", "-o", "json"]).ok();
    assert!(!listed.stderr.contains("waiting"), "{listed:#?}");
    let listed = listed.json();
    let whose: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|job| &job["principal"])
        .collect();
    assert_eq!(whose, ["alice", "local"]);
    let open = loop {
        let open = place.run(["inbox", "-o", "json"]).ok().json();
        if open != json!([]) {
            break open;
        }
    };
    assert_eq!(open[0]["job_id"], *asking);
    place.run(["approve", &asking]).ok();
    let given = place.run(["result", &asking]).ok();
    assert!(given.stdout.contains("true"), "{given:#?}");

    // A job that is let go of goes on at the server.
    let sleep = ["run", "sleep", "--input", r#"{"ms":3600000}"#, "--detach"];
    let sleeping = place.run(sleep).ok().says(&["towline watch"]);
    let sleeping = sleeping.stdout.trim();
    let got = place.run(["get", sleeping, "-o", "json"]).ok().json();
    assert_ne!(got["interrupted"], true, "{got}");
    place.run(["cancel", sleeping]).ok();
    place.run(["wait", sleeping]).status(1);
    let again = place.run(["rerun", listed[1]["job_id"].as_str().unwrap()]);
    assert_eq!(again.ok().stdout, "7\n");

    server.signal("-TERM");
    assert_eq!(server.wait().0, 0);
    let left: Vec<_> = std::fs::read_dir(place.data())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("sock"))
        .collect();
    assert_eq!(left, [""; 0], "neither socket nor token are left");
    let listed = place.run(["jobs", "-o", "ndjson"]).ok().lines();
    assert_eq!(
        listed.len(),
        4,
        "the owner sees what others left too: {listed:#?}"
    );
}

/// What a lease asks of this machine.
fn indexed(place: &Place, more: &[&str]) -> Ran {
    place.write("tree/a.txt", "a\n");
    let input = json!({"root": place.path().join("tree")}).to_string();
    let lease = format!("fs.read={}/**", place.path().join("tree").display());
    let args = ["run", "index", "--input", &input, "--lease", &lease];
    place.run(args.iter().chain(more))
}

/// [ARCP 14-10] The owner is granted what an embedded runtime would grant; a token of the owner's name is not, and while there is
/// one, the owner has no more than it.
#[test]
fn the_owners_rights_are_nobody_elses() {
    let place = Place::new();
    let server = place.serve(&["--token", TOKEN]);
    at(&place, &server, &["run", "echo"]).ok();
    assert!(indexed(&place, &[]).ok().stdout.contains("a.txt"));
    // The token in the directory is good there only.
    let card = std::fs::read_to_string(place.data().join("socket.token")).unwrap();
    let token = card.lines().next().unwrap();
    let shown = ["jobs", "--url", &server.url, "--token", token];
    place.run(shown).status(16).says(&["UNAUTHENTICATED"]);
    drop(server);

    let server = place.serve(&["--token", "local:public"]);
    let public = ["--url", &server.url, "--token", "public"];
    for more in [&[][..], &public] {
        indexed(&place, more)
            .status(4)
            .says(&["LEASE_SUBSET_VIOLATION"]);
        let listed = place
            .run(["jobs", "-o", "ndjson"].iter().chain(more))
            .ok()
            .lines();
        assert!(
            listed.iter().all(|job| job["principal"] == "local"),
            "{listed:#?}"
        );
    }
}

/// [ARCP 14-7] A token of the owner's name that is added takes the owner's rights away, and back when it goes.
#[test]
fn the_owners_rights_follow_the_tokens() {
    let place = Place::new();
    let file = "[server]\nlisten = \"127.0.0.1:0\"\ndemo = true\n[[auth.tokens]]\nprincipal = \"ann\"\ntoken = \"1\"\n";
    let path = place.write("server.toml", file);
    let mut command = place.command(["serve", "--config"]);
    command.arg(&path);
    let (reader, writer) = std::io::pipe().unwrap();
    let (server, said) = Server::start_speaking(command, reader, writer);
    indexed(&place, &[]).ok();
    let reload = |more: &str| {
        let mut text = std::fs::File::create(&path).unwrap();
        write!(text, "{file}{more}").unwrap();
        server.signal("-HUP");
        while !said.recv().unwrap().contains("reloaded") {}
    };
    reload("[[auth.tokens]]\nprincipal = \"local\"\ntoken = \"2\"\n");
    indexed(&place, &[]).status(4);
    reload("");
    indexed(&place, &[]).ok();
}

/// A server with another store than the commands on the directory have is none of theirs.
#[test]
fn another_store_is_not_worked_through() {
    let place = Place::new();
    let server = place.serve(&["--token", TOKEN, "--store", "memory"]);
    at(&place, &server, &["run", "echo"]).ok();
    place.run(["run", "echo", "--input", "1"]).ok();
    assert_eq!(place.run(["jobs", "-o", "ndjson"]).ok().lines().len(), 1);
    drop(server);

    let _server = place.serve(&["--token", TOKEN]);
    let mut command = place.command(["jobs", "-o", "json"]);
    command.env("TOWLINE_STORE", "sqlite:other.db");
    assert_eq!(Ran::of(command.output().unwrap()).ok().json(), json!([]));
    // One that the server has, and that cannot be worked through.
    let mut command = place.command(["store", "compact"]);
    let ran = Ran::of(command.output().unwrap()).status(21);
    ran.says(&["in use by another towline process (", "end the process"]);
}
