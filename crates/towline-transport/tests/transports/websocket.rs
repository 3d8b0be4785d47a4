//! The WebSocket on the wire, against a peer made of bytes.

use std::time::Duration;

use crate::raw::{BINARY, CLOSE, CONTINUE, End, FIN, PING, PONG, RawClient, TEXT, served};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use towline_transport::{
    CloseCode, CloseFrame, Closed, Inbound, TransportError, WebSocketOptions, WebSocketTransport,
};
use towline_wire::{Envelope, MessageType};

const PING_FRAME: &str = r#"{"arcp":"1.1","type":"session.ping","payload":{"nonce":"ä"}}"#;

fn ping() -> Envelope {
    Envelope::decode_text(PING_FRAME).unwrap()
}

async fn served_by_default() -> (End, RawClient) {
    served(&WebSocketOptions::server()).await
}

#[track_caller]
fn lost(inbound: Option<Inbound>) -> String {
    match inbound {
        Some(Inbound::Closed(Closed::Lost { reason })) => reason,
        other => panic!("{other:?} is no loss"),
    }
}

/// [ARCP 4-1] One envelope, one unfragmented text message, whatever its size.
#[tokio::test]
async fn an_envelope_is_one_text_frame() {
    let (mut server, mut client) = served_by_default().await;
    for bytes in [1, 200, 70_000] {
        let frame = format!(
            r#"{{"type":"job.event","payload":{{"x":"{}"}}}}"#,
            "x".repeat(bytes)
        );
        let envelope = Envelope::decode_text(frame).unwrap();
        let text = envelope.encode();
        let (sent, frame) = tokio::join!(server.sink.send(envelope), client.receive());
        sent.unwrap();
        assert_eq!(frame.first_byte, FIN | TEXT);
        assert_eq!(frame.payload, text.as_bytes());
    }
}

/// [ARCP 4-1] Fragments are put together, also when a character is cut and a ping comes in between.
#[tokio::test]
async fn fragments_are_accepted() {
    let (mut server, mut client) = served_by_default().await;
    let cut = PING_FRAME.find('ä').unwrap() + 1;
    client.send(TEXT, &PING_FRAME.as_bytes()[..cut]).await;
    client.send(FIN | PING, b"between").await;
    client.send(CONTINUE, b"").await;
    client
        .send(FIN | CONTINUE, &PING_FRAME.as_bytes()[cut..])
        .await;
    assert_eq!(server.source.receive().await, Some(Inbound::Alive));
    assert_eq!(
        server.source.receive().await,
        Some(Inbound::Envelope(ping()))
    );
}

/// [ARCP 4-1] A binary message that holds UTF-8 JSON is as good as text.
#[tokio::test]
async fn a_binary_message_is_accepted() {
    let (mut server, mut client) = served_by_default().await;
    client.send(FIN | BINARY, PING_FRAME.as_bytes()).await;
    assert_eq!(
        server.source.receive().await,
        Some(Inbound::Envelope(ping()))
    );
}

/// [ARCP 4-5] What is no envelope is reported, and the next frame is read as if nothing had been.
#[tokio::test]
async fn a_frame_that_is_no_envelope_does_not_end_the_connection() {
    let (mut server, mut client) = served_by_default().await;
    let bad: [(u8, &[u8]); 7] = [
        (TEXT, b"{"),
        (TEXT, b""),
        (TEXT, b"[1]"),
        (TEXT, br#"{"payload":{}}"#),
        (TEXT, br#"{"arcp":"9","type":"session.ping"}"#),
        (BINARY, b"\xff\xfe"),
        (BINARY, b"{\"type\":\"session.ping\xc3\"}"),
    ];
    for (opcode, payload) in bad {
        client.send(FIN | opcode, payload).await;
        let inbound = server.source.receive().await;
        assert!(
            matches!(&inbound, Some(Inbound::Malformed(error)) if !error.message.is_empty()),
            "{inbound:?}"
        );
        client.text(PING_FRAME).await;
        assert_eq!(
            server.source.receive().await,
            Some(Inbound::Envelope(ping()))
        );
    }
}

/// [ARCP 4-7] Text that is not UTF-8 fails the connection, with the code RFC 6455 has for it.
#[tokio::test]
async fn bad_utf8_in_text_closes_with_1007() {
    let (mut server, mut client) = served_by_default().await;
    client.send(FIN | TEXT, b"{\"type\":\"\xff\"}").await;
    assert!(lost(server.source.receive().await).contains("UTF-8"));
    assert_eq!(server.source.receive().await, None);
    assert_eq!(client.receive().await.close().0, 1007);
    assert!(matches!(
        server.sink.send(ping()).await,
        Err(TransportError::Closed)
    ));
}

/// [ARCP 4-7] Broken framing is a protocol error: 1002.
#[tokio::test]
async fn broken_framing_closes_with_1002() {
    let (mut server, mut client) = served_by_default().await;
    client.send(FIN | CONTINUE, b"of nothing").await;
    lost(server.source.receive().await);
    assert_eq!(client.receive().await.close().0, 1002);
    let normal = CloseFrame::normal();
    let (closed, ()) = tokio::join!(server.sink.close(&normal), client.expect_end_and_leave());
    closed.unwrap();
}

/// [ARCP 4-7] A ping is answered although its receiver sends nothing and does not come back for more.
#[tokio::test]
async fn a_ping_is_answered() {
    let (mut server, mut client) = served_by_default().await;
    client.send(FIN | PING, b"are you there").await;
    assert_eq!(server.source.receive().await, Some(Inbound::Alive));
    let pong = client.receive().await;
    assert_eq!(
        (pong.first_byte, &*pong.payload),
        (FIN | PONG, &b"are you there"[..])
    );
}

/// [ARCP 4-7] A ping and the frame right behind it both count, in order.
#[tokio::test]
async fn a_frame_behind_a_ping_is_not_lost() {
    let (mut server, mut client) = served_by_default().await;
    for _ in 0..3 {
        client.send(FIN | PING, b"1").await;
        client.send(FIN | PONG, b"2").await;
        client.text(PING_FRAME).await;
    }
    for _ in 0..3 {
        assert_eq!(server.source.receive().await, Some(Inbound::Alive));
        assert_eq!(server.source.receive().await, Some(Inbound::Alive));
        assert_eq!(
            server.source.receive().await,
            Some(Inbound::Envelope(ping()))
        );
    }
}

/// [ARCP 4-7] There is no keepalive of our own: hours of silence put nothing on the wire.
#[tokio::test(start_paused = true)]
async fn we_send_no_pings() {
    let (near, far) = tokio::io::duplex(1024);
    let options = WebSocketOptions::server();
    let (client, server) = tokio::join!(
        RawClient::upgrade(near),
        WebSocketTransport::accept_on(far, None, &options)
    );
    let mut client = client;
    let mut server = End::of(server.unwrap());
    let silence = tokio::time::timeout(Duration::from_secs(7200), async {
        tokio::join!(server.source.receive(), client.io.read_u8())
    });
    assert!(silence.await.is_err(), "something was sent");
}

/// [ARCP 4-7] Each code goes over the wire as it is; the reason is cut to what a control frame holds.
#[tokio::test]
async fn close_codes() {
    let codes = [
        (CloseCode::NORMAL, 1000),
        (CloseCode::GOING_AWAY, 1001),
        (CloseCode::PROTOCOL, 1002),
        (CloseCode::POLICY, 1008),
        (CloseCode::TOO_BIG, 1009),
        (CloseCode::INTERNAL, 1011),
    ];
    for (code, number) in codes {
        let (mut server, mut client) = served_by_default().await;
        let peer = async {
            let frame = client.receive().await;
            let (code, reason) = frame.close();
            assert_eq!((code, reason), (number, "ä".repeat(61).as_str()));
            client.send(FIN | CLOSE, &number.to_be_bytes()).await;
            client.expect_end().await;
        };
        let goodbye = CloseFrame::new(code, "ä".repeat(100));
        let (closed, ()) = tokio::join!(server.sink.close(&goodbye), peer);
        closed.unwrap();
    }
}

/// [ARCP 4-7] A received Close is answered in kind and reported with its code, and then the server ends the connection.
#[tokio::test]
async fn a_received_close_is_answered() {
    let (mut server, mut client) = served_by_default().await;
    client.text(PING_FRAME).await;
    client.send(FIN | CLOSE, b"\x03\xe9leaving").await;
    assert_eq!(
        server.source.receive().await,
        Some(Inbound::Envelope(ping()))
    );
    let goodbye = CloseFrame::new(CloseCode::GOING_AWAY, "leaving");
    assert_eq!(
        server.source.receive().await,
        Some(Inbound::Closed(Closed::ByPeer(Some(goodbye))))
    );
    assert_eq!(server.source.receive().await, None);
    assert_eq!(client.receive().await.close().0, 1001);
    client.expect_end().await;
    assert!(matches!(
        server.sink.send(ping()).await,
        Err(TransportError::Closed)
    ));
}

/// [ARCP 4-7] A Close without a code is one too.
#[tokio::test]
async fn a_close_without_a_code() {
    let (mut server, mut client) = served_by_default().await;
    client.send(FIN | CLOSE, b"").await;
    assert_eq!(
        server.source.receive().await,
        Some(Inbound::Closed(Closed::ByPeer(None)))
    );
}

/// [ARCP 4-6] The limit itself is still fine; one byte more is not, and the peer learns why although it only looks when
/// it has sent everything.
#[tokio::test]
async fn a_message_above_the_limit() {
    let (mut server, mut client) =
        served(&WebSocketOptions::server().max_message_size(100_000)).await;
    let exact = PING_FRAME.replace('ä', &"x".repeat(100_000 - PING_FRAME.len() + 2));
    assert_eq!(exact.len(), 100_000);
    client.text(&exact).await;
    assert!(matches!(
        server.source.receive().await,
        Some(Inbound::Envelope(_))
    ));

    let peer = async {
        client.send(FIN | TEXT, &vec![b'x'; 8 << 20]).await;
        let error = client.receive().await;
        assert_eq!(error.payload, ping().encode().as_bytes());
        assert_eq!(client.receive().await.close(), (1009, "too big"));
        client.expect_end().await;
        drop(client);
    };
    let owner = async {
        let inbound = server.source.receive().await;
        assert_eq!(
            inbound,
            Some(Inbound::TooBig {
                limit: 100_000,
                fatal: true
            })
        );
        assert_eq!(server.source.receive().await, None);
        server.sink.send(ping()).await.unwrap();
        server
            .sink
            .close(&CloseFrame::new(CloseCode::TOO_BIG, "too big"))
            .await
            .unwrap();
    };
    tokio::join!(peer, owner);
}

/// [ARCP 4-6] Fragments count together, and a frame is refused by its head alone.
#[tokio::test]
async fn a_limit_for_fragments_and_heads() {
    let options = WebSocketOptions::server().max_message_size(1000);
    let too_big = Some(Inbound::TooBig {
        limit: 1000,
        fatal: true,
    });

    let (mut server, mut client) = served(&options).await;
    client.send(TEXT, &[b'x'; 600]).await;
    client.send(CONTINUE, &[b'x'; 600]).await;
    assert_eq!(server.source.receive().await, too_big);

    let (mut server, mut client) = served(&options).await;
    client.send_head(FIN | TEXT, u64::MAX >> 1).await;
    assert_eq!(server.source.receive().await, too_big);
}

/// [ARCP 4-6] 4 MiB at the runtime, 16 MiB at the client, unless configured otherwise.
#[tokio::test]
async fn default_limits() {
    let (mut server, mut client) = served_by_default().await;
    client.send_head(FIN | TEXT, (4 << 20) + 1).await;
    assert_eq!(
        server.source.receive().await,
        Some(Inbound::TooBig {
            limit: 4 << 20,
            fatal: true
        })
    );

    let (near, far) = tokio::io::duplex(1 << 20);
    let (client, server) = (
        WebSocketOptions::client(),
        WebSocketOptions::server().max_send_size(32 << 20),
    );
    let (client, server) = tokio::join!(
        WebSocketTransport::connect_on(near, "ws://localhost", &client),
        WebSocketTransport::accept_on(far, None, &server),
    );
    let (mut client, mut server) = (End::of(client.unwrap()), End::of(server.unwrap()));
    let frame = format!(
        r#"{{"arcp":"1.1","type":"x","payload":{{"x":"{}"}}}}"#,
        "x".repeat(16 << 20)
    );
    let exact = Envelope::decode_text(frame.replacen(&"x".repeat(50), "", 1)).unwrap();
    let exact = Envelope {
        kind: MessageType::new(&"x".repeat((16 << 20) - exact.encode().len() + 1)),
        ..exact
    };
    assert_eq!(exact.encode().len(), 16 << 20);
    let over = Envelope {
        kind: MessageType::new(&format!("{}x", exact.kind.as_str())),
        ..exact.clone()
    };
    let sender = async {
        server.sink.send(exact.clone()).await.unwrap();
        server.sink.send(over).await.unwrap();
        drop(server);
    };
    let receiver = async {
        assert_eq!(
            client.source.receive().await,
            Some(Inbound::Envelope(exact.clone()))
        );
        assert_eq!(
            client.source.receive().await,
            Some(Inbound::TooBig {
                limit: 16 << 20,
                fatal: true
            })
        );
        // Lets the sender finish: what is left of the message is read and thrown away.
        client
            .sink
            .close(&CloseFrame::new(CloseCode::TOO_BIG, ""))
            .await
            .unwrap();
    };
    tokio::join!(sender, receiver);
}

/// A frame above what this side sends is refused before a byte of it is written.
#[tokio::test]
async fn a_frame_too_big_to_send() {
    let (mut server, mut client) = served(&WebSocketOptions::server().max_send_size(100)).await;
    let big = Envelope::new(MessageType::new(&"x".repeat(100)));
    let refused = server.sink.send(big).await;
    assert!(
        matches!(refused, Err(TransportError::FrameTooBig { limit: 100, .. })),
        "{refused:?}"
    );
    server.sink.send(ping()).await.unwrap();
    assert_eq!(client.receive().await.payload, ping().encode().as_bytes());
}

/// [ARCP 4-4] A socket that ends without a Close sends nothing more. Where it has ended halfway only, what is sent to it is read.
#[tokio::test]
async fn an_end_without_a_close_is_no_goodbye() {
    let (mut server, mut client) = served_by_default().await;
    client.text(PING_FRAME).await;
    client.io.shutdown().await.unwrap();
    assert_eq!(
        server.source.receive().await,
        Some(Inbound::Envelope(ping()))
    );
    let ended = Some(Inbound::Closed(Closed::Ended));
    assert_eq!(server.source.receive().await, ended);
    assert_eq!(server.source.receive().await, None);
    server.sink.send(ping()).await.unwrap();
    assert_eq!(client.receive().await.payload, ping().encode().as_bytes());
    server.sink.close(&CloseFrame::normal()).await.unwrap();
    assert_eq!(client.receive().await.first_byte, FIN | CLOSE);

    let (mut server, client) = served_by_default().await;
    drop(client);
    assert_eq!(server.source.receive().await, ended);
}

/// A peer that reads nothing cannot hold a close up.
#[tokio::test(start_paused = true)]
async fn a_close_takes_bounded_time() {
    let (near, far) = tokio::io::duplex(1024);
    let options = WebSocketOptions::server();
    let (_client, server) = tokio::join!(
        RawClient::upgrade(near),
        WebSocketTransport::accept_on(far, None, &options)
    );
    let mut server = End::of(server.unwrap());
    for _ in 0..100 {
        server.sink.feed(ping()).await.unwrap();
    }
    let closed = server.sink.close(&CloseFrame::normal()).await;
    assert!(
        matches!(closed, Err(TransportError::Io(cause)) if cause.kind() == std::io::ErrorKind::TimedOut)
    );
    assert_eq!(server.source.receive().await, None);
}

/// A peer that took the goodbye and does not answer is left, without an error.
#[tokio::test(start_paused = true)]
async fn an_unanswered_close_is_no_error() {
    let (near, far) = tokio::io::duplex(1024);
    let options = WebSocketOptions::server();
    let (_client, server) = tokio::join!(
        RawClient::upgrade(near),
        WebSocketTransport::accept_on(far, None, &options)
    );
    let mut server = End::of(server.unwrap());
    server.sink.close(&CloseFrame::normal()).await.unwrap();
}

/// The owner of a socket may keep it: closing the transport then leaves it open.
#[tokio::test]
async fn a_lent_socket_stays_open() {
    let (near, far) = tokio::io::duplex(1024);
    let options = WebSocketOptions::server();
    let (client, server) = tokio::join!(
        RawClient::upgrade(near),
        WebSocketTransport::accept_on(far, None, &options)
    );
    let mut client = client;
    let (lent, loan) = server.unwrap().lend();
    let mut first = End::of(lent);
    first.sink.feed(ping()).await.unwrap();
    first.sink.close(&CloseFrame::normal()).await.unwrap();
    assert!(matches!(
        first.sink.send(ping()).await,
        Err(TransportError::Closed)
    ));
    assert_eq!(first.source.receive().await, None);
    assert_eq!(client.receive().await.payload, ping().encode().as_bytes());

    let loan = loan.take_back().unwrap_err();
    drop(first);
    let socket = loan.take_back().unwrap();
    let mut second = End::of(WebSocketTransport::over(socket, None, &options));
    client.text(PING_FRAME).await;
    assert_eq!(
        second.source.receive().await,
        Some(Inbound::Envelope(ping()))
    );
    second.sink.send(ping()).await.unwrap();
    assert_eq!(client.receive().await.payload, ping().encode().as_bytes());
}

/// A transport that was not split gives its socket back.
#[tokio::test]
async fn an_unused_transport_gives_its_socket_back() {
    let (near, far) = tokio::io::duplex(1024);
    let options = WebSocketOptions::server();
    let (client, server) = tokio::join!(
        RawClient::upgrade(near),
        WebSocketTransport::accept_on(far, None, &options)
    );
    let mut client = client;
    let socket = server.unwrap().into_inner();
    let mut end = End::of(WebSocketTransport::over(socket, None, &options));
    client.text(PING_FRAME).await;
    assert_eq!(end.source.receive().await, Some(Inbound::Envelope(ping())));
}
