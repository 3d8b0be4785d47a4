//! The store, credentials, and what operators do.

use crate::support::{Place, Ran, Server, TOKEN};

#[test]
fn the_store_is_checked_copied_shrunk_and_measured() {
    let place = Place::new();
    place
        .run(["store", "stats"])
        .status(21)
        .says(&["there is no store", "--path"]);
    place.run(["run", "chatty", "--input", r#"{"n":5}"#]).ok();
    let verified = place.run(["store", "verify", "-o", "json"]).ok().json();
    assert_eq!(verified["ok"], true);
    assert_eq!(verified["stats"]["jobs"], 1);
    assert!(
        verified["stats"]["disk_bytes"].as_u64().unwrap() > 0,
        "{verified}"
    );
    assert!(
        place
            .run(["store", "verify"])
            .ok()
            .stdout
            .contains("ok; 1 jobs")
    );
    let stats = place.run(["store", "stats", "-o", "json"]).ok().json();
    assert_eq!(stats["live_jobs"], 0);
    assert_eq!(
        stats["events"], 12,
        "running, five lines, five reports, the result"
    );
    place
        .run(["store", "compact"])
        .ok()
        .says(&["bytes given back"]);
    place.run(["store", "backup", "copy.db"]).ok();
    place
        .run(["store", "backup", "copy.db"])
        .status(21)
        .says(&["copy.db"]);
    assert_eq!(
        place
            .run(["store", "stats", "--path", "copy.db", "-o", "json"])
            .ok()
            .json()["jobs"],
        1
    );
    assert!(
        place
            .run(["credentials"])
            .ok()
            .stdout
            .contains("no credentials")
    );
}

#[test]
fn a_damaged_store_is_told() {
    let place = Place::new();
    let file = place.write("not-a-store.db", "this is no database");
    place
        .run(["store", "verify", "--path", file.to_str().unwrap()])
        .status(21)
        .says(&["not-a-store.db"]);
}

#[test]
fn a_store_in_use_can_be_measured_and_is_not_taken() {
    let place = Place::new();
    let server = place.serve(&["--token", crate::support::TOKEN]);
    place.run(["store", "stats"]).ok();
    place.run(["store", "verify"]).ok();
    place
        .run(["store", "compact"])
        .status(21)
        .says(&["towline.db", "help:"]);
    drop(server);
}

/// A collector gets the spans, over HTTP; one that hangs up is no reason to fail.
#[test]
fn spans_go_to_a_collector() {
    use std::io::Read as _;

    let collector = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", collector.local_addr().unwrap());
    let seen = std::thread::spawn(move || {
        let (mut socket, _) = collector.accept().unwrap();
        let mut line = [0; 15];
        socket.read_exact(&mut line).unwrap();
        line
    });
    let place = Place::new();
    place.run(["run", "echo", "--otlp", &endpoint]).ok();
    assert_eq!(&seen.join().unwrap(), b"POST /v1/traces");
    place
        .run(["run", "echo", "--otlp", "not a url"])
        .ok()
        .says(&["no spans are sent", "not a url"]);
}

/// `doctor` says what holds programs here, and what is refused with the remedy.
#[cfg(target_os = "linux")]
#[test]
fn doctor_says_what_this_system_can_hold() {
    let place = Place::new();
    let ran = place.run(["doctor", "-o", "json"]).ok().json();
    assert_eq!(ran["confines"], true, "needs Landlock and seccomp: {ran}");
    assert!(ran["landlock"].as_u64().unwrap() >= 1, "{ran}");
    assert_eq!(
        (&ran["seccomp"], &ran["memory_closed"]),
        (&true.into(), &true.into())
    );
    let refused = ran["refused"].as_array().unwrap();
    let no_network = refused
        .iter()
        .any(|one| one["jobs"].as_str().unwrap().contains("net.fetch"));
    assert_eq!(ran["network"] == "namespace", !no_network, "{ran}");
    assert!(
        refused
            .iter()
            .all(|one| !one["remedy"].as_str().unwrap().is_empty())
    );
    place.run(["doctor"]).ok();
}

/// Commands that read a file say so to whoever named a server.
#[test]
fn commands_on_files_say_that_no_server_is_asked() {
    let place = Place::new();
    place.run(["run", "echo"]).ok();
    for args in [&["audit"][..], &["store", "stats"], &["credentials"]] {
        let mut command = place.command(args);
        let output = command.env("TOWLINE_URL", "ws://127.0.0.1:1/arcp").output();
        let says = ["TOWLINE_URL", "reads a file here", "towline.db"];
        Ran::of(output.unwrap()).ok().says(&says);
        assert_eq!(place.run(args).ok().stderr, "");
    }
}

/// A port that is somebody's is named; one whose holder goes a moment later is taken over, as that of a server that was killed while
/// it started a program.
#[test]
fn a_port_that_is_left_is_taken_over() {
    let place = Place::new();
    let before = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = before.local_addr().unwrap().to_string();
    let args = [
        "serve", "--listen", &address, "--store", "memory", "--demo", "--token", TOKEN,
    ];
    place
        .run(args)
        .status(21)
        .says(&["cannot listen on", &address]);
    let leaving = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(50));
        drop(before);
    });
    let server = Server::start(place.command(args));
    assert_eq!(server.address(), address);
    leaving.join().unwrap();
}
