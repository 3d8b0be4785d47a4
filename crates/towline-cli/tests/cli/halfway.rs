//! Clients that end their side of a connection behind what they ask, and read on: `nc -N`, a script that closes its output.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use serde_json::{Value, json};

use crate::support::{Place, Server, TOKEN};

/// How long a test waits for what has to come: it only bounds failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends everything at once, ends this side, and reads to the end.
fn ask(server: &Server, request: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(server.address()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(request).unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    answer
}

/// A text as one frame of a client, whose mask changes nothing.
fn frame(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap().to_be_bytes();
    let mut frame = vec![0x81, 0xfe, length[0], length[1], 0, 0, 0, 0];
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// The texts of a server's frames.
fn texts(mut frames: &[u8]) -> Vec<Value> {
    let mut texts = Vec::new();
    while let [first, length, rest @ ..] = frames {
        let (length, rest) = match length {
            126 => (
                usize::from(u16::from_be_bytes([rest[0], rest[1]])),
                &rest[2..],
            ),
            short => (usize::from(*short), rest),
        };
        if *first == 0x81 {
            texts.push(serde_json::from_slice(&rest[..length]).unwrap());
        }
        frames = &rest[length..];
    }
    texts
}

/// [ARCP 4-4, 5-11] The last requests of a WebSocket that is half closed are answered; the session can be taken up again.
#[test]
fn the_last_requests_of_a_socket_are_answered() {
    let place = Place::new();
    let server = place.serve(&["--token", TOKEN, "--store", "memory"]);
    let mut all =
        b"GET /arcp HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            .to_vec();
    let hello = json!({"auth": {"scheme": "bearer", "token": "s3cret"}, "capabilities": {"features": ["list_jobs"]}});
    let submit = json!({"agent": "sleep", "input": {"ms": 3_600_000}});
    let requests = [
        ("session.hello", hello),
        ("job.submit", submit.clone()),
        ("job.submit", submit),
        ("session.list_jobs", json!({})),
    ];
    for (number, (kind, payload)) in requests.into_iter().enumerate() {
        let envelope =
            json!({"arcp": "1.1", "id": format!("m{number}"), "type": kind, "payload": payload});
        all.extend(frame(&envelope.to_string()));
    }
    let answer = ask(&server, &all);
    let head = answer
        .windows(4)
        .position(|bytes| bytes == b"\r\n\r\n")
        .unwrap();
    let said = texts(&answer[head + 4..]);
    let answered = said.iter().filter_map(|frame| {
        let request = frame["payload"]["request_id"].as_str()?;
        Some((request, frame["type"].as_str()?))
    });
    let answered: Vec<_> = answered.collect();
    let expected = [
        ("m1", "job.accepted"),
        ("m2", "job.accepted"),
        ("m3", "session.jobs"),
    ];
    assert_eq!(answered, expected, "{said:#?}");
}

/// The same for a request over HTTP whose answer takes its time.
#[test]
fn a_request_over_http_is_answered() {
    let place = Place::new();
    let server = place.serve(&["--token", TOKEN, "--store", "memory"]);
    let body = json!({"agent": "sleep", "input": {"ms": 500}}).to_string();
    let request = format!(
        "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer s3cret\r\nPrefer: wait=50\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = String::from_utf8(ask(&server, request.as_bytes())).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains(r#""slept_ms":500"#), "{answer}");
}
