//! Frames: what is read, what is refused, how a connection ends [ARCP 4-1, 4-5 to 4-7].

use serde_json::json;
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    },
};
use towline_tests::{
    peer::{Came, FEATURES, Peer, assert_refusal, hello},
    server::{Serve, Server},
};

const LIMIT: usize = 4 * 1024 * 1024;

async fn server() -> Server {
    Serve::demo().with(&["--store", "memory"]).start().await
}

fn part(opcode: Data, bytes: &[u8], last: bool) -> Frame {
    Frame::message(bytes.to_vec(), OpCode::Data(opcode), last)
}

/// [ARCP 4-1] A message in many fragments, cut inside a code point too, is one envelope.
#[tokio::test]
async fn fragments_are_put_together() {
    let server = server().await;
    let mut peer = Peer::dial(&server.url).await;
    let text = hello("alice-token", &FEATURES).to_string();
    let (first, rest) = text.as_bytes().split_at(1);
    peer.send_frame(part(Data::Text, first, false)).await;
    for piece in rest.chunks(7) {
        peer.send_frame(part(Data::Continue, piece, false)).await;
    }
    peer.send_frame(part(Data::Continue, b"", true)).await;
    peer.expect_welcome().await;

    let submit = json!({"id": "s", "type": "job.submit", "payload": {"agent": "echo", "input": "zwölf Ärzte 🦀"}}).to_string();
    let (head, tail) = submit.as_bytes().split_at(submit.find('🦀').unwrap() + 2);
    peer.send_frame(part(Data::Text, head, false)).await;
    peer.send_message(Message::Ping(b"between".as_slice().into()))
        .await;
    peer.send_frame(part(Data::Continue, tail, true)).await;
    assert_eq!(peer.came().await, Came::Pong(b"between".to_vec()));
    let job = peer.reply("s").await["job_id"].as_str().unwrap().to_owned();
    assert_eq!(
        peer.end_of(&job).await["payload"]["result"],
        "zwölf Ärzte 🦀"
    );
}

/// [ARCP 4-1] Binary messages that hold JSON count; the answers are text.
#[tokio::test]
async fn binary_json_is_read() {
    let server = server().await;
    let mut peer = Peer::dial(&server.url).await;
    peer.send_message(Message::binary(hello("alice-token", &FEATURES).to_string()))
        .await;
    peer.expect_welcome().await;
    peer.send_message(Message::binary(
        &b"{\"id\":\"b\",\"type\":\"session.ping\",\"payload\":{\"nonce\":\"n\"}}"[..],
    ))
    .await;
    assert_eq!(
        peer.next_of("session.pong").await["payload"]["ping_nonce"],
        "n"
    );
}

/// [ARCP 4-5] After the welcome, whatever is no envelope is answered and the session goes on.
#[tokio::test]
async fn malformed_frames_are_answered_and_the_session_goes_on() {
    let server = server().await;
    let mut peer = Peer::open(&server).await;
    let frames = [
        "",
        " ",
        "nonsense",
        "{",
        "{}",
        "[]",
        "null",
        "42",
        "\"text\"",
        "[{\"type\":\"session.ping\"}]",
        "{\"type\":1}",
        "{\"type\":null}",
        "{\"type\":\"\"}",
        "{\"payload\":{}}",
        "{\"type\":\"session.ping\"} {}",
        "{\"type\":\"session.ping\",}",
        "{\"arcp\":\"1.0\",\"type\":\"session.ping\",\"payload\":{}}",
        "{\"arcp\":1.1,\"type\":\"session.ping\",\"payload\":{}}",
        "{\"type\":\"session.ping\",\"payload\":[]}",
        "{\"type\":\"session.ping\",\"payload\":\"x\"}",
        "\u{feff}{\"type\":\"session.ping\",\"payload\":{}}",
        "{\"type\":\"session.ping\",\"id\":7,\"payload\":{}}",
        "{\"type\":\"session.ping\",\"payload\":{\"nonce\":\"\\ud800\"}}",
        "{'type':'session.ping'}",
        "NaN",
    ];
    for frame in frames {
        peer.send_text(frame).await;
        let answer = peer.next().await;
        assert_eq!(answer["type"], "session.error", "{frame:?}: {answer}");
        assert_refusal(&answer, "INVALID_REQUEST");
        assert_eq!(answer["session_id"], peer.session(), "{frame:?}");
    }
    peer.send_message(Message::binary(vec![0xff, 0xfe, 0x00]))
        .await;
    assert_refusal(&peer.next().await, "INVALID_REQUEST");
    assert_eq!(peer.result("echo", json!(1)).await, 1);
}

/// [ARCP 5-3] Another version is refused in words that name ours.
#[tokio::test]
async fn another_version_is_told_ours() {
    let server = server().await;
    let mut peer = Peer::open(&server).await;
    peer.send(
        &json!({"arcp": "2.0", "id": "v", "type": "session.ping", "payload": {"nonce": "n"}}),
    )
    .await;
    let answer = peer.next().await;
    assert_refusal(&answer, "INVALID_REQUEST");
    assert!(
        answer["payload"]["message"]
            .as_str()
            .unwrap()
            .contains("1.1"),
        "{answer}"
    );
    peer.send(&json!({"id": "v", "type": "session.ping", "payload": {"nonce": "n"}}))
        .await;
    assert_eq!(peer.next().await["type"], "session.pong");
}

/// [ARCP 4-5, 4-7] Before the welcome, a frame that is no envelope is answered, then the connection closes with 1002.
#[tokio::test]
async fn malformed_frames_before_the_welcome_end_the_connection() {
    let server = server().await;
    for frame in [
        "nonsense",
        "[]",
        "{}",
        "{\"arcp\":\"9\",\"type\":\"session.hello\",\"payload\":{}}",
    ] {
        let mut peer = Peer::dial(&server.url).await;
        peer.send_text(frame).await;
        let (code, before) = peer.closed().await;
        assert_eq!((code, before.len()), (1002, 1), "{frame}: {before:?}");
        assert_refusal(&before[0], "INVALID_REQUEST");
    }
    Peer::open(&server).await.assert_alive().await;
}

/// [ARCP 4-7] Text that is not UTF-8 closes this connection, with 1007 or an answer, and harms no other.
#[tokio::test]
async fn text_that_is_not_utf8_harms_nobody_else() {
    let server = server().await;
    let mut other = Peer::open(&server).await;
    let mut peer = Peer::open(&server).await;
    peer.send_frame(part(Data::Text, b"{\"type\":\"\xff\xfe\"}", true))
        .await;
    match peer.came().await {
        Came::Envelope(answer) => {
            assert_refusal(&answer, "INVALID_REQUEST");
            peer.assert_alive().await;
        }
        Came::Close(code) => assert_eq!(code, 1007),
        other => panic!("{other:?}"),
    }
    other.assert_alive().await;
}

/// [ARCP 4-6, 4-7] A message over 4 MiB: the error arrives, then Close 1009; the session can be resumed. One at the limit
/// is read.
#[tokio::test]
async fn a_message_over_the_limit_is_told_so() {
    let server = server().await;
    let mut peer = Peer::open(&server).await;
    let frame = |size: usize| {
        let shell = "{\"id\":\"big\",\"type\":\"job.submit\",\"payload\":{\"agent\":\"sleep\",\"input\":{\"ms\":0,\"pad\":\"\"}}}";
        shell.replace(
            "\"pad\":\"\"",
            &format!("\"pad\":\"{}\"", "x".repeat(size - shell.len())),
        )
    };
    assert_eq!(frame(LIMIT).len(), LIMIT);
    peer.send_text(&frame(LIMIT)).await;
    assert_eq!(peer.reply("big").await["type"], "job.accepted");

    let mut fragmented = Peer::open(&server).await;
    peer.send_text(&frame(LIMIT + 1)).await;
    let (code, before) = peer.closed().await;
    assert_eq!(code, 1009);
    let error = before
        .iter()
        .find(|envelope| envelope["type"] == "session.error")
        .expect("the error arrives");
    assert_refusal(error, "INVALID_REQUEST");
    assert!(
        error["payload"]["message"]
            .as_str()
            .unwrap()
            .contains("4194304")
            || error["payload"]["message"]
                .as_str()
                .unwrap()
                .contains("4 MiB"),
        "{error}"
    );
    let mut back = Peer::resume(&server, peer.lose()).await;
    back.assert_alive().await;

    // In pieces it is as big.
    let piece = vec![b'x'; 512 * 1024];
    fragmented
        .send_frame(part(Data::Text, b"{\"type\":\"", false))
        .await;
    for _ in 0..8 {
        fragmented
            .send_frame(part(Data::Continue, &piece, false))
            .await;
    }
    let (code, before) = fragmented.closed().await;
    assert_eq!(code, 1009);
    assert_refusal(before.last().unwrap(), "INVALID_REQUEST");
}

/// [ARCP 4-6] The error arrives even when the peer writes far more than the limit before it reads anything.
#[tokio::test]
async fn the_error_arrives_while_the_peer_is_still_writing() {
    let server = server().await;
    let mut peer = Peer::open(&server).await;
    peer.send_text(&format!("{{\"type\":\"{}\"}}", "x".repeat(3 * LIMIT)))
        .await;
    let (code, before) = peer.closed().await;
    assert_eq!(code, 1009);
    assert_refusal(before.last().unwrap(), "INVALID_REQUEST");
}

/// [ARCP 4-7] A received Close is answered with its own code.
#[tokio::test]
async fn a_close_is_answered() {
    let server = server().await;
    for code in [1000, 1001, 3999] {
        assert_eq!(Peer::open(&server).await.close(code).await, code);
    }
    assert_eq!(Peer::dial(&server.url).await.close(1000).await, 1000);
}

/// [ARCP 4-7] WebSocket pings are answered with their data, at once, before the hello and after it; none are sent.
#[tokio::test]
async fn socket_pings_are_answered() {
    let server = server().await;
    let mut peer = Peer::dial(&server.url).await;
    peer.send_message(Message::Ping(b"early".as_slice().into()))
        .await;
    assert_eq!(peer.came().await, Came::Pong(b"early".to_vec()));
    peer.send(&hello("alice-token", &FEATURES)).await;
    peer.expect_welcome().await;
    peer.send_message(Message::Ping(vec![0xff; 125].into()))
        .await;
    assert_eq!(peer.came().await, Came::Pong(vec![0xff; 125]));
    peer.send_message(Message::Pong(b"unasked".as_slice().into()))
        .await;
    peer.assert_alive().await;
}

/// [ARCP 6.4-1, 6.4-4] `session.ping` is answered with its nonce while events stream, and the stream's numbers do not
/// notice.
#[tokio::test]
async fn session_pings_are_answered_while_events_stream() {
    let server = server().await;
    let mut peer = Peer::open(&server).await;
    let job = peer
        .submit(json!({"agent": "burst", "input": {"n": 3000}}))
        .await;
    for _ in 0..20 {
        peer.assert_alive().await;
    }
    peer.end_of(&job).await;
    peer.assert_whole(&job);
    assert_eq!(peer.bodies(&job, "log").len(), 3000);
}

/// [ARCP 4-7] A peer that breaks the framing gets 1002, and the process goes on.
#[tokio::test]
async fn broken_framing_is_a_protocol_error() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let server = server().await;
    // Reserved bits, a reserved opcode, a frame without a mask, a fragmented ping, a continuation of nothing.
    let broken: [&[u8]; 5] = [
        &[0xf1, 0x80, 0, 0, 0, 0],
        &[0x83, 0x80, 0, 0, 0, 0],
        &[0x81, 0x02, b'{', b'}'],
        &[0x09, 0x80, 0, 0, 0, 0],
        &[0x80, 0x80, 0, 0, 0, 0],
    ];
    for bytes in broken {
        let mut socket = tokio::net::TcpStream::connect(server.address())
            .await
            .unwrap();
        let request = format!(
            "GET /arcp HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            server.address()
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(
                towline_tests::soon("the upgrade", socket.read_u8())
                    .await
                    .unwrap(),
            );
        }
        assert!(
            answer.starts_with(b"HTTP/1.1 101"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
        socket.write_all(bytes).await.unwrap();
        let mut rest = Vec::new();
        // A reset is an end as well, once the Close was read.
        let _ = towline_tests::soon("the end", socket.read_to_end(&mut rest)).await;
        assert!(
            rest.windows(2).any(|code| code == 1002_u16.to_be_bytes()),
            "{bytes:x?}: {rest:x?}"
        );
    }
    Peer::open(&server).await.assert_alive().await;
}
