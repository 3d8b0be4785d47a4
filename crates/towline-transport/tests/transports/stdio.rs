//! Lines on the wire, against a peer made of bytes.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex, split};
use towline_transport::{
    CloseFrame, Closed, Inbound, StdioOptions, StdioTransport, Transport as _, TransportError,
    TransportKind,
};
use towline_wire::{Envelope, MessageType};

use crate::raw::End;

const PING_LINE: &str = r#"{"arcp":"1.1","type":"session.ping","payload":{"nonce":"ä"}}"#;

fn ping() -> Envelope {
    Envelope::decode_text(PING_LINE).unwrap()
}

fn connected(options: StdioOptions) -> (End, DuplexStream) {
    let (near, far) = duplex(64 << 10);
    let (reader, writer) = split(near);
    (End::of(StdioTransport::over(reader, writer, options)), far)
}

/// What is received when a peer says this and ends.
async fn received(bytes: &[u8]) -> Vec<Inbound> {
    let (mut end, mut peer) = connected(StdioOptions::default());
    peer.write_all(bytes).await.unwrap();
    drop(peer);
    let mut all = Vec::new();
    while let Some(inbound) = end.source.receive().await {
        all.push(inbound);
    }
    assert_eq!(all.pop(), Some(Inbound::Closed(Closed::ByPeer(None))));
    all
}

/// [ARCP 4-2] One envelope a line, ended by `\n` and holding none, also when the payload came pretty-printed.
#[tokio::test]
async fn an_envelope_is_one_line() {
    let (mut end, mut peer) = connected(StdioOptions::default());
    let pretty =
        "{\n\"type\":\"job.event\",\r\n\"x\": [\n1\n],\n\"payload\": {\n  \"a\": \"b\\nc\"\r\n}\n}";
    let pretty = Envelope::decode_text(pretty).unwrap();
    end.sink.feed(pretty.clone()).await.unwrap();
    end.sink.feed(ping()).await.unwrap();
    end.sink.close(&CloseFrame::normal()).await.unwrap();
    drop(end);
    let mut text = String::new();
    peer.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, format!("{}\n{PING_LINE}\n", pretty.encode()));
    assert_eq!(text.lines().count(), 2);
}

/// [ARCP 4-2] `\r\n` is tolerated, blank lines are skipped, and the last line needs no end.
#[tokio::test]
async fn line_ends() {
    let all =
        received(format!("\n{PING_LINE}\r\n\r\n  \n{PING_LINE}\n\n{PING_LINE}").as_bytes()).await;
    assert_eq!(
        all,
        [const { ping as fn() -> Envelope }; 3].map(|ping| Inbound::Envelope(ping()))
    );
}

/// [ARCP 4-2] A byte order mark is no envelope, and the message says what is wrong.
#[tokio::test]
async fn a_byte_order_mark_is_refused() {
    let all = received(format!("\u{feff}{PING_LINE}\n{PING_LINE}\n").as_bytes()).await;
    assert!(
        matches!(&all[0], Inbound::Malformed(error) if error.message.contains("byte order mark")),
        "{all:?}"
    );
    assert_eq!(all[1..], [Inbound::Envelope(ping())]);
}

/// [ARCP 4-5] What is no envelope is reported, and the next line is read as if nothing had been.
#[tokio::test]
async fn a_line_that_is_no_envelope_does_not_end_the_connection() {
    for bad in [
        &b"{"[..],
        b"hello from a print",
        b"[1]",
        b"{\"payload\":{}}",
        b"\xff\xfe",
        b"\x00",
    ] {
        let all = received(&[bad, b"\n", PING_LINE.as_bytes(), b"\n"].concat()).await;
        assert!(
            matches!(&all[0], Inbound::Malformed(error) if !error.message.is_empty()),
            "{all:?}"
        );
        assert_eq!(all[1..], [Inbound::Envelope(ping())]);
    }
}

/// [ARCP 4-6] A line above the limit is dropped and the session goes on.
#[tokio::test]
async fn a_line_above_the_limit() {
    let (mut end, mut peer) = connected(StdioOptions::default().max_line_length(100_000));
    let peer = async {
        peer.write_all(&vec![b'x'; 1 << 20]).await.unwrap();
        peer.write_all(b"\n").await.unwrap();
        peer.write_all(PING_LINE.as_bytes()).await.unwrap();
        peer.write_all(b"\n").await.unwrap();
        peer
    };
    let owner = async {
        let too_big = Inbound::TooBig {
            limit: 100_000,
            fatal: false,
        };
        assert_eq!(end.source.receive().await, Some(too_big));
        assert_eq!(end.source.receive().await, Some(Inbound::Envelope(ping())));
    };
    tokio::join!(peer, owner);
}

/// [ARCP 4-6] 4 MiB a line, unless configured otherwise.
#[tokio::test]
async fn the_default_limit() {
    let fill = |length: usize| {
        let empty = r#"{"type":"x","payload":{"x":""}}"#;
        empty.replace(
            r#""""#,
            &format!("\"{}\"", "x".repeat(length - empty.len())),
        )
    };
    let lines = format!("{}\r\n{}\n", fill(4 << 20), fill((4 << 20) + 1));
    let (mut end, mut peer) = connected(StdioOptions::default());
    let writer = async {
        peer.write_all(lines.as_bytes()).await.unwrap();
    };
    let reader = async {
        assert!(matches!(
            end.source.receive().await,
            Some(Inbound::Envelope(_))
        ));
        assert_eq!(
            end.source.receive().await,
            Some(Inbound::TooBig {
                limit: 4 << 20,
                fatal: false
            })
        );
    };
    tokio::join!(writer, reader);
}

/// A line above what this side sends is refused before a byte of it is written, and the next one goes out.
#[tokio::test]
async fn a_line_too_long_to_send() {
    let (mut end, mut peer) = connected(StdioOptions::default().max_send_length(100));
    end.sink.feed(ping()).await.unwrap();
    let big = Envelope::new(MessageType::new(&"x".repeat(100)));
    let refused = end.sink.send(big).await;
    assert!(
        matches!(refused, Err(TransportError::FrameTooBig { limit: 100, .. })),
        "{refused:?}"
    );
    end.sink.send(ping()).await.unwrap();
    drop(end);
    let mut text = String::new();
    peer.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, format!("{PING_LINE}\n{PING_LINE}\n"));
}

/// A peer that has nothing more to say can still listen.
#[tokio::test]
async fn half_closed() {
    let (mut end, mut peer) = connected(StdioOptions::default());
    peer.write_all(PING_LINE.as_bytes()).await.unwrap();
    peer.shutdown().await.unwrap();
    assert_eq!(end.source.receive().await, Some(Inbound::Envelope(ping())));
    assert_eq!(
        end.source.receive().await,
        Some(Inbound::Closed(Closed::ByPeer(None)))
    );
    assert_eq!(end.source.receive().await, None);
    end.sink.send(ping()).await.unwrap();
    let mut text = vec![0; PING_LINE.len() + 1];
    peer.read_exact(&mut text).await.unwrap();
    assert_eq!(text, format!("{PING_LINE}\n").as_bytes());
}

/// A peer that reads nothing cannot hold a close up.
#[tokio::test(start_paused = true)]
async fn a_close_takes_bounded_time() {
    let (near, _far) = duplex(16);
    let (reader, writer) = split(near);
    let options = StdioOptions::default().close_timeout(Duration::from_secs(3));
    let mut end = End::of(StdioTransport::over(reader, writer, options));
    end.sink.feed(ping()).await.unwrap();
    let closed = end.sink.close(&CloseFrame::normal()).await;
    assert!(
        matches!(closed, Err(TransportError::Io(cause)) if cause.kind() == std::io::ErrorKind::TimedOut)
    );
    assert!(matches!(
        end.sink.send(ping()).await,
        Err(TransportError::Closed)
    ));
    assert_eq!(end.source.receive().await, None);
}

/// Streams are only confidential when somebody says so.
#[tokio::test]
async fn streams_are_not_confidential_by_themselves() {
    let info =
        |options| StdioTransport::over(tokio::io::empty(), tokio::io::sink(), options).info();
    assert_eq!(info(StdioOptions::default()).kind, TransportKind::Stdio);
    assert!(!info(StdioOptions::default()).confidential);
    assert!(info(StdioOptions::default().declare_confidential(true)).confidential);
}
