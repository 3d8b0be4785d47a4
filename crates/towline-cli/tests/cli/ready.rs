//! `towline ready`: the health check that containers and units run.

use crate::support::{Place, TOKEN};

/// It needs no token, opens no data directory, and asks by a host that the server lets in.
#[test]
fn a_health_check_finds_its_server() {
    let place = Place::new();
    let server = place.serve(&[
        "--token",
        TOKEN,
        "--store",
        "memory",
        "--allowed-host",
        "arcp.example",
    ]);
    let (address, elsewhere) = (server.address(), Place::new());
    elsewhere.run(["ready", "--url", &server.url]).status(1);
    elsewhere.write(
        "towline.toml",
        format!("[server]\nlisten = \"{address}\"\nallowed_hosts = [\"arcp.example\"]\n"),
    );
    let ran = elsewhere.run(["ready"]).ok();
    assert_eq!(ran.stdout, "ready\n");
    assert!(!elsewhere.data().exists(), "it opens nothing");
    drop(server);
    elsewhere
        .run(["ready"])
        .status(20)
        .says(&["arcp.example", "/readyz"]);
}

#[test]
fn a_server_that_cannot_be_named_is_wrong_usage() {
    let place = Place::new();
    place
        .run(["ready", "--listen", "127.0.0.1:0"])
        .status(2)
        .says(&["free port", "--url"]);
    place
        .run(["ready", "--url", "ftp://user:secret@h/"])
        .status(2)
        .says(&["https://HOST"]);
}

/// With TLS it asks by the name in the certificate, at the address that is listened on.
#[test]
fn a_health_check_speaks_tls() {
    let place = Place::new();
    let key = rcgen::generate_simple_self_signed(["arcp.example".to_owned()]).unwrap();
    place.write("cert.pem", key.cert.pem());
    place.write("key.pem", key.signing_key.serialize_pem());
    let tls =
        "tls_cert = \"cert.pem\"\ntls_key = \"key.pem\"\nallowed_hosts = [\"arcp.example\"]\n";
    place.write("towline.toml", format!("[server]\n{tls}"));
    let server = place.serve(&["--token", TOKEN, "--store", "memory"]);
    let listen = ["ready", "--listen", &server.address()];
    place.run(listen).status(20).says(&["certificate"]);
    let ran = place.run(listen.iter().copied().chain(["--ca-cert", "cert.pem"]));
    assert_eq!(ran.ok().stdout, "ready\n");
}

/// A server on a Unix socket is asked there: as it is named, as `serve` was told, and as the file says.
#[cfg(unix)]
#[test]
fn a_health_check_asks_a_unix_socket() {
    use crate::support::{Ran, Server};

    let place = Place::new();
    let socket = [
        "serve", "--demo", "--unix", "t.sock", "--token", TOKEN, "--store", "memory",
    ];
    let server = Server::start(place.command(socket));
    let url = format!("unix:{}", place.path().join("t.sock").display());
    let elsewhere = Place::new();
    assert_eq!(
        elsewhere.run(["ready", "--url", &url]).ok().stdout,
        "ready\n"
    );
    place.run(["ready", "--url", "unix:t.sock"]).ok();
    place.run(["ready", "--unix", "t.sock"]).ok();
    let mut command = place.command(["ready"]);
    Ran::of(command.env("TOWLINE_UNIX", "t.sock").output().unwrap()).ok();
    place.write("towline.toml", "[server]\nunix = \"t.sock\"\n");
    place.run(["ready"]).ok();
    drop(server);
    place.run(["ready"]).status(20).says(&["unix:", "t.sock"]);
    place
        .run(["ready", "--url", "unix:"])
        .status(2)
        .says(&["unix:PATH"]);
}

/// While the store takes nothing, the server takes no sessions and says so; it goes on by itself when that is over.
#[cfg(target_os = "linux")]
#[test]
fn a_server_that_cannot_commit_is_not_ready() {
    use std::{io::BufReader, process::Stdio};

    use rustix::process::{Pid, Resource, Rlimit, prlimit};

    use crate::support::{Server, read_until};

    let place = Place::new();
    // Files of this process have no more room later; without the trap that would be its end.
    let command = place.command([""; 0]);
    let program = command.get_program().to_owned();
    let mut shell = std::process::Command::new("sh");
    shell
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(program);
    shell.args([
        "serve",
        "--demo",
        "--listen",
        "127.0.0.1:0",
        "--token",
        TOKEN,
    ]);
    shell.current_dir(place.path()).stdin(Stdio::null());
    command.get_envs().for_each(|(name, value)| match value {
        Some(value) => drop(shell.env(name, value)),
        None => drop(shell.env_remove(name)),
    });
    let server = Server::start(shell);
    let room = |bytes: Option<u64>| {
        let pid = Pid::from_raw(i32::try_from(server.child.id()).unwrap());
        let limit = Rlimit {
            current: bytes,
            maximum: None,
        };
        prlimit(pid, Resource::Fsize, limit).unwrap();
    };
    let ready = || place.run(["ready", "--url", &server.url]);
    ready().ok();
    let flags = server.flags();
    let flags = flags.iter().map(String::as_str);
    let talk = [
        "run",
        "chatty",
        "--input",
        r#"{"n":1000000,"delay_ms":1}"#,
        "-o",
        "ndjson",
    ];
    let mut talking = place.command(talk.iter().copied().chain(flags.clone()));
    let mut talking = talking.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(talking.stdout.take().unwrap());
    let read = read_until(&mut lines, |line| line["kind"] == "log");
    room(Some(1));
    while ready().status != 1 {}
    assert!(server.http("/readyz", &[]).starts_with("HTTP/1.1 503"));
    assert!(server.http("/healthz", &[]).starts_with("HTTP/1.1 200"));
    room(None);
    while ready().status != 0 {}
    // What waited was committed, and the job goes on.
    let job = read[0]["job_id"].as_str().unwrap();
    place.run(["cancel", job].iter().copied().chain(flags)).ok();
    let rest = read_until(&mut lines, |line| line["type"] == "job.error");
    assert_eq!(rest.last().unwrap()["status"], "cancelled");
    let all = read.iter().chain(&rest);
    let seqs: Vec<u64> = all.filter_map(|line| line["job_seq"].as_u64()).collect();
    assert!(seqs.windows(2).all(|pair| pair[1] == pair[0] + 1));
    assert_eq!(talking.wait().unwrap().code(), Some(1));
}
