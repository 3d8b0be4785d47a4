//! What somebody without a token can do to a server.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use crate::support::{Place, Server, TOKEN};

/// How long a test waits for what has to come: it only bounds failure.
const PATIENCE: Duration = Duration::from_secs(60);

fn connect(server: &Server) -> TcpStream {
    let socket = TcpStream::connect(server.address()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Everything that still comes; how a closed connection ends does not matter.
fn rest(mut socket: TcpStream) -> Vec<u8> {
    let mut read = Vec::new();
    match socket.read_to_end(&mut read) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the connection stays open: {error}"),
    }
    read
}

fn upgrade(headers: &str) -> String {
    format!(
        "GET /arcp HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
}

fn head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// The status of an upgrade with these headers.
fn status(server: &Server, headers: &str) -> String {
    let mut socket = connect(server);
    socket.write_all(upgrade(headers).as_bytes()).unwrap();
    head(&mut socket)[9..12].to_owned()
}

/// [ARCP 14-5] Silence, half a head, a head without end and an upgrade without a hello are closed when the time for a hello is
/// over, or before.
#[test]
fn nobody_stays_at_the_door() {
    let place = Place::new();
    let server = place.serve(&[
        "--token",
        TOKEN,
        "--store",
        "memory",
        "--hello-timeout",
        "1",
    ]);
    let silent = connect(&server);
    let mut half = connect(&server);
    half.write_all(b"GET /arcp HTTP/1.1\r\nHost: local")
        .unwrap();
    let mut upgraded = connect(&server);
    upgraded
        .write_all(upgrade("Host: localhost\r\n").as_bytes())
        .unwrap();
    assert!(head(&mut upgraded).starts_with("HTTP/1.1 101 "));
    let mut endless = connect(&server);
    let line = format!("X-A: {}\r\n", "a".repeat(8000));
    let mut sent = endless.write_all(b"GET /arcp HTTP/1.1\r\n");
    for _ in 0..50 {
        // Refused on the way, which may show in either direction.
        sent = sent.and_then(|()| endless.write_all(line.as_bytes()));
    }
    assert_eq!(rest(silent), b"");
    assert!(!String::from_utf8_lossy(&rest(half)).contains("101"));
    let goodbye = rest(upgraded);
    assert!(goodbye.windows(2).any(|code| code == 1008u16.to_be_bytes()));
    assert!(!String::from_utf8_lossy(&rest(endless)).contains("HTTP/1.1 101"));
}

/// [ARCP 14-5] Silence behind TLS is silence too: before the handshake, after it, and in the middle of a head.
#[test]
fn nobody_stays_at_the_door_behind_tls() {
    let place = Place::new();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    place.write("cert.pem", made.cert.pem());
    place.write("key.pem", made.signing_key.serialize_pem());
    let tls = ["--tls-cert", "cert.pem", "--tls-key", "key.pem"];
    let rest_of = [
        "--token",
        TOKEN,
        "--store",
        "memory",
        "--hello-timeout",
        "1",
    ];
    let server = place.serve(&[&tls[..], &rest_of].concat());
    let mut trusted = rustls::RootCertStore::empty();
    trusted.add(made.cert.der().clone()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(trusted)
        .with_no_client_auth();
    let config = std::sync::Arc::new(config);
    let shaken = || {
        let name = "localhost".try_into().unwrap();
        let session = rustls::ClientConnection::new(config.clone(), name).unwrap();
        let mut stream = rustls::StreamOwned::new(session, connect(&server));
        stream.flush().unwrap();
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).unwrap();
        }
        stream
    };
    let (silent, mut half) = (shaken(), shaken());
    half.write_all(b"GET /arcp HTTP/1.1\r\nHost: local")
        .unwrap();
    half.flush().unwrap();
    assert_eq!(rest(connect(&server)), b"");
    // What is read is TLS's own goodbye, if anything; that the reading ends is what counts.
    rest(silent.sock);
    rest(half.sock);
}

/// [ARCP 14-5] A plain request is the last of its connection, and HTTP/2 is not spoken.
#[test]
fn requests_are_http_1_and_one_at_a_time() {
    let place = Place::new();
    let server = place.serve(&["--token", TOKEN, "--store", "memory"]);
    let mut socket = connect(&server);
    socket
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let answer = String::from_utf8(rest(socket))
        .unwrap()
        .to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 200 "), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    let mut socket = connect(&server);
    socket
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .unwrap();
    let answer = rest(socket);
    let is_settings = answer.get(3) == Some(&4) && answer.first() == Some(&0);
    assert!(!is_settings, "{answer:?}");
}

/// [ARCP 14-5] An address has so many connections that said no hello, and the next one is closed at once; others that did are
/// not counted.
#[test]
fn an_address_has_so_many_strangers() {
    let place = Place::new();
    place.write(
        "towline.toml",
        "[server]\nhello_timeout = \"1h\"\n[server.limits]\nconnections_per_address = 3\n",
    );
    let server = place.serve(&["--token", TOKEN, "--store", "memory"]);
    let mut strangers: Vec<_> = (0..4).map(|_| connect(&server)).collect();
    // Any of the four may be the last one to be let in.
    let is_closed = |socket: &mut TcpStream| {
        socket
            .set_read_timeout(Some(Duration::from_millis(10)))
            .unwrap();
        matches!(socket.read(&mut [0]), Ok(0))
    };
    let closed = (0..6000).find_map(|_| strangers.iter_mut().position(is_closed));
    strangers.remove(closed.expect("one of them is closed"));
    assert!(!strangers.iter_mut().any(is_closed));
    drop(strangers);
    let flags = server.flags();
    let mut args = vec!["run", "echo"];
    args.extend(flags.iter().map(String::as_str));
    // The server learns of the three ends a moment after they were made.
    let done = (0..1000).any(|_| place.run(&args).status == 0);
    assert!(done, "the places were not given back");
}

/// [ARCP 14-5] A message above 64 KiB is refused by its length before the welcome, and not waited for.
#[test]
fn a_stranger_sends_little() {
    let place = Place::new();
    let server = place.serve(&[
        "--token",
        TOKEN,
        "--store",
        "memory",
        "--hello-timeout",
        "600",
    ]);
    let mut socket = connect(&server);
    socket
        .write_all(upgrade("Host: localhost\r\n").as_bytes())
        .unwrap();
    head(&mut socket);
    let mut frame = vec![0x81, 0x80 | 127];
    frame.extend(100_000u64.to_be_bytes());
    frame.extend([0; 4]);
    socket.write_all(&frame).unwrap();
    let answer = rest(socket);
    assert!(answer.windows(2).any(|code| code == 1009u16.to_be_bytes()));
    assert!(String::from_utf8_lossy(&answer).contains("65536"));
}

/// [ARCP 4-8] A web page is let in only from the server itself, also where nobody needs a token; and what the server
/// tells, it tells to its own names.
#[test]
fn web_pages_are_kept_out() {
    let place = Place::new();
    let server = place.serve(&["--dangerously-allow-anonymous", "--store", "memory"]);
    let port = server.address().rsplit_once(':').unwrap().1.to_owned();
    for (origin, expected) in [
        ("https://evil.example".to_owned(), "403"),
        ("null".to_owned(), "403"),
        ("http://localhost:1".to_owned(), "403"),
        (format!("http://localhost:{port}"), "101"),
        (format!("http://127.0.0.1:{port}"), "101"),
    ] {
        let headers = format!("Host: localhost:{port}\r\nOrigin: {origin}\r\n");
        assert_eq!(status(&server, &headers), expected, "{origin}");
    }
    for path in ["/metrics", "/readyz", "/"] {
        let told = server.http(path, &[]);
        assert!(told.starts_with("HTTP/1.1 200 "), "{path}: {told}");
        let refused = server.http(path, &[("Host", "evil.example")]);
        assert!(refused.starts_with("HTTP/1.1 403 "), "{path}: {refused}");
    }
    let alive = server.http("/healthz", &[("Host", "evil.example")]);
    assert!(alive.starts_with("HTTP/1.1 200 "), "{alive}");
}

/// [ARCP 4-8] Tokens do not cross a network in the clear unless that is asked for by name.
#[test]
fn tokens_do_not_cross_a_network_in_the_clear() {
    let place = Place::new();
    let serve = [
        "serve",
        "--listen",
        "0.0.0.0:0",
        "--store",
        "memory",
        "--token",
        TOKEN,
    ];
    place.run(serve).status(2).says(&[
        "0.0.0.0",
        "TLS",
        "--tls-terminated",
        "--dangerously-listen-in-the-clear",
    ]);
    for flag in ["--tls-terminated", "--dangerously-listen-in-the-clear"] {
        drop(Server::start(
            place.command(serve.iter().copied().chain([flag])),
        ));
    }
}

/// [ARCP 14-2] The word of a proxy that is named is taken, and an error says how to name one.
#[test]
fn proxies_are_named() {
    let place = Place::new();
    place.write("towline.toml", "[server]\ntrusted_proxies = [\"proxy\"]\n");
    place.run(["serve", "--token", TOKEN]).status(2).says(&[
        "server.trusted_proxies",
        "`proxy`",
        "10.0.0.0/8",
    ]);
    place.write(
        "towline.toml",
        "[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n[server.limits]\nconnections_per_address = 1\n",
    );
    let server = place.serve(&["--token", TOKEN, "--store", "memory"]);
    let from = |address: &str| {
        let mut socket = connect(&server);
        let headers = format!("Host: localhost\r\nX-Forwarded-For: {address}\r\n");
        socket.write_all(upgrade(&headers).as_bytes()).unwrap();
        let status = head(&mut socket)[9..12].to_owned();
        (status, socket)
    };
    let (first, _one) = from("198.51.100.7");
    let (second, _two) = from("198.51.100.7");
    let (third, _three) = from("198.51.100.8");
    assert_eq!([first, second, third], ["101", "503", "101"]);
}
