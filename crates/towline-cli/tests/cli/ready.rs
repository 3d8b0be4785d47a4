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
