//! The socket over pipes that take a few bytes at a time, and what it holds meanwhile.

mod floods;

use std::time::Duration;

use bytestring::ByteString;
use futures_util::{FutureExt as _, task::noop_waker_ref};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    time::timeout,
};
use towline_wire::Envelope;

use super::*;
use crate::{CloseCode, FrameSink, FrameSource, Inbound, Transport as _, WebSocketTransport};

/// A frame as the peer of a server sends it. The mask is zero, which is a mask too.
fn client_frame(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let written = frame::write(&mut out, Opcode::Text, Some([0; 4]), payload.len(), |out| {
        out.extend_from_slice(payload);
        Ok::<_, ()>(())
    });
    assert_eq!(written, Ok(()));
    out[0] = first_byte;
    out
}

const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

fn server_on(capacity: usize) -> (StreamSocket<DuplexStream>, DuplexStream) {
    let (near, far) = duplex(capacity);
    let options = WebSocketOptions::server();
    let socket = StreamSocket::new(near, Role::Server, BytesMut::new(), &options);
    (socket, far)
}

fn halves(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    role: Role,
    options: &WebSocketOptions,
) -> (Box<dyn FrameSink>, Box<dyn FrameSource>) {
    let socket = StreamSocket::new(io, role, BytesMut::new(), options);
    Box::new(WebSocketTransport::over(socket, None, options)).split()
}

fn envelope(seq: u64, size: usize) -> Envelope {
    let filler = "x".repeat(size);
    let text = format!(r#"{{"type":"x","event_seq":{seq},"payload":{{"x":"{filler}"}}}}"#);
    Envelope::decode_text(text).unwrap()
}

/// The size of what such a frame keeps alive, when nobody else does.
fn kept(text: ByteString) -> Option<usize> {
    let bytes = text.into_bytes().try_into_mut().ok()?;
    Some(bytes.capacity())
}

/// A pong that the socket takes in pieces gets out although nothing is sent behind it.
#[tokio::test(start_paused = true)]
async fn a_pong_in_pieces_needs_no_sender() {
    for capacity in [1, 2, 3, 7, 64] {
        let (near, mut far) = duplex(capacity);
        let (_sink, mut source) = halves(near, Role::Server, &WebSocketOptions::server());
        let receiving = tokio::spawn(async move {
            while let Some(inbound) = source.receive().await {
                if matches!(inbound, Inbound::Closed(_)) {
                    return;
                }
            }
        });
        let conversation = async {
            for _ in 0..3 {
                far.write_all(&client_frame(PING, &[b'p'; 100]))
                    .await
                    .unwrap();
                let mut pong = [0; 102];
                far.read_exact(&mut pong).await.unwrap();
                assert_eq!(
                    (pong[0], pong[1], &pong[2..]),
                    (PONG, 100, &[b'p'; 100][..])
                );
            }
        };
        timeout(Duration::from_secs(1), conversation).await.unwrap();
        drop(far);
        receiving.await.unwrap();
    }
}

/// A peer that reads, but less than is sent, costs what waits and not all that ever was sent.
#[test]
fn a_peer_that_lags_costs_what_waits() {
    let (mut socket, mut far) = server_on(1000);
    let cx = &mut Context::from_waker(noop_waker_ref());
    let (mut most, mut total) = (0, 1);
    let mut sink = [0; 700];
    while total < 10 << 20 {
        match socket.poll_ready(cx) {
            Poll::Ready(ready) => {
                ready.unwrap();
                socket
                    .start_send(&envelope(total as u64, 300), 1 << 20)
                    .unwrap();
                total += 300;
            }
            Poll::Pending => {
                far.read(&mut sink).now_or_never().unwrap().unwrap();
            }
        }
        most = most.max(socket.out.capacity());
    }
    assert!(most <= 512 << 10, "{most}");
}

/// What is refused is not held either.
#[test]
fn a_refused_message_leaves_no_buffer_behind() {
    let (mut socket, _far) = server_on(1000);
    let refused = socket.start_send(&envelope(1, 1 << 20), 100);
    assert!(matches!(refused, Err(TransportError::FrameTooBig { .. })));
    assert_eq!(socket.out.capacity(), 0);
}

/// The thread's room is large when large frames went through it; a peer that takes nothing does not hold it.
#[test]
fn a_peer_that_reads_nothing_does_not_keep_the_thread_s_room() {
    let cx = &mut Context::from_waker(noop_waker_ref());
    let (mut other, _far) = server_on(1 << 20);
    other.start_send(&envelope(1, 200 << 10), 1 << 20).unwrap();
    assert!(other.poll_flush(cx).is_ready());
    assert_eq!(other.out.capacity(), 0);

    let (mut socket, _far) = server_on(10);
    socket.start_send(&envelope(1, 100), 1 << 20).unwrap();
    assert!(socket.poll_flush(cx).is_pending());
    assert!(
        socket.out.capacity() <= 8 << 10,
        "{}",
        socket.out.capacity()
    );
}

/// Pings without number from a peer that does not read are owed one answer, and cost no more than the write buffer.
#[test]
fn pings_that_nobody_reads_the_answers_of_are_bounded() {
    let cx = &mut Context::from_waker(noop_waker_ref());
    let (mut socket, mut far) = server_on(64 << 10);
    let ping = client_frame(PING, &[b'p'; 125]);
    for _ in 0..10_000 {
        far.write_all(&ping).now_or_never().unwrap().unwrap();
        assert_eq!(socket.poll_message(cx), Poll::Ready(SocketMessage::Alive));
        assert!(socket.poll_message(cx).is_pending());
    }
    assert!(socket.pong.is_some());
    let room = socket.out.capacity();
    assert!(room <= 256 << 10, "{room}");
}

/// A message in fragments of a byte costs its bytes, and comes out whole.
#[test]
fn a_message_in_tiny_fragments_is_whole() {
    let cx = &mut Context::from_waker(noop_waker_ref());
    let (mut socket, mut far) = server_on(64 << 10);
    for count in 0..100_000 {
        let first_byte = if count == 0 { 0x01 } else { 0x00 };
        let fragment = client_frame(first_byte, &"ä".as_bytes()[count % 2..][..1]);
        far.write_all(&fragment).now_or_never().unwrap().unwrap();
        assert!(socket.poll_message(cx).is_pending());
    }
    far.write_all(&client_frame(0x80, b""))
        .now_or_never()
        .unwrap()
        .unwrap();
    let Poll::Ready(SocketMessage::Text(text)) = socket.poll_message(cx) else {
        panic!("the message is whole");
    };
    assert_eq!(text, "ä".repeat(50_000));
    let kept = kept(text).unwrap();
    assert!(kept <= 200_000, "{kept}");
}

/// Once a message is taken, nothing of it stays with the socket.
#[test]
fn a_silent_socket_holds_nothing_of_what_it_read() {
    let cx = &mut Context::from_waker(noop_waker_ref());
    for size in [10, 1000, 100 << 10, 1 << 20] {
        let (mut socket, mut far) = server_on(4 << 20);
        let sent = client_frame(TEXT, &vec![b'x'; size]);
        far.write_all(&sent).now_or_never().unwrap().unwrap();
        let Poll::Ready(SocketMessage::Text(text)) = socket.poll_message(cx) else {
            panic!("the message is whole");
        };
        assert!(socket.poll_message(cx).is_pending());
        assert_eq!(text.len(), size);
        assert!(kept(text).is_some(), "{size}: the socket keeps it alive");
    }
}

/// A small message that was read together with the end of a large one does not keep the large one alive.
#[test]
fn a_small_message_does_not_keep_a_large_one() {
    let cx = &mut Context::from_waker(noop_waker_ref());
    let (mut socket, mut far) = server_on(4 << 20);
    let sent = [
        client_frame(TEXT, &vec![b'x'; 1_100_000]),
        client_frame(TEXT, b"small"),
    ];
    far.write_all(&sent.concat())
        .now_or_never()
        .unwrap()
        .unwrap();
    let Poll::Ready(SocketMessage::Text(large)) = socket.poll_message(cx) else {
        panic!("the message is whole");
    };
    assert_eq!(large.len(), 1_100_000);
    drop(large);
    let Poll::Ready(SocketMessage::Text(small)) = socket.poll_message(cx) else {
        panic!("the message is whole");
    };
    assert_eq!(small, "small");
    let kept = kept(small).unwrap();
    assert!(kept <= 128 << 10, "{kept}");
}

/// A Close that was read ahead, behind a ping, and is not yet handed over when the owner closes.
#[tokio::test(start_paused = true)]
async fn a_close_read_ahead_is_answered_when_the_owner_closes() {
    let (near, mut far) = duplex(1000);
    let (mut sink, mut source) = halves(near, Role::Server, &WebSocketOptions::server());
    let sent = [client_frame(PING, b"x"), client_frame(CLOSE, &[3, 0xe8])];
    far.write_all(&sent.concat()).await.unwrap();
    assert_eq!(source.receive().await, Some(Inbound::Alive));
    sink.close(&CloseFrame::new(CloseCode::GOING_AWAY, ""))
        .await
        .unwrap();
    let mut answer = Vec::new();
    timeout(Duration::from_secs(1), far.read_to_end(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        answer,
        [&[PONG, 1, b'x'][..], &[CLOSE, 2, 3, 0xe8]].concat()
    );
}

/// A peer that falls into a message above the limit after our goodbye learns at once that it is not read.
#[tokio::test(start_paused = true)]
async fn a_close_ends_our_bytes_when_the_framing_is_lost_meanwhile() {
    let (near, mut far) = duplex(1000);
    let options = WebSocketOptions::server().max_message_size(100);
    let (mut sink, _source) = halves(near, Role::Server, &options);
    let begun = tokio::time::Instant::now();
    let peer = async {
        let mut close = [0; 4];
        far.read_exact(&mut close).await.unwrap();
        let frame = client_frame(TEXT, &[b'x'; 200]);
        far.write_all(&frame[..50]).await.unwrap();
        far.read_to_end(&mut Vec::new()).await.unwrap();
        drop(far);
    };
    let normal = CloseFrame::normal();
    let (closed, ()) = tokio::join!(sink.close(&normal), peer);
    closed.unwrap();
    // The clock stands still unless everybody waits for it.
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

/// What can stand behind the head of a request or an answer: a message, a ping, and half a message.
fn behind(mask: Option<[u8; 4]>) -> (Vec<u8>, Vec<u8>) {
    let mut frames = Vec::new();
    for (opcode, payload) in [
        (Opcode::Text, &envelope(1, 10).encode()[..]),
        (Opcode::Ping, "x"),
        (Opcode::Text, &envelope(2, 3000).encode()),
    ] {
        let written = frame::write(&mut frames, opcode, mask, payload.len(), |out| {
            out.extend_from_slice(payload.as_bytes());
            Ok::<_, ()>(())
        });
        assert_eq!(written, Ok(()));
    }
    let rest = frames.split_off(frames.len() - 100);
    (frames, rest)
}

async fn expect_what_stood_behind(source: &mut dyn FrameSource) {
    for expected in [
        Inbound::Envelope(envelope(1, 10)),
        Inbound::Alive,
        Inbound::Envelope(envelope(2, 3000)),
    ] {
        assert_eq!(source.receive().await, Some(expected));
    }
}

/// A client that does not wait for the answer to its request.
#[tokio::test(start_paused = true)]
async fn frames_right_behind_a_request_are_read() {
    let request = "GET /arcp HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let (frames, rest) = behind(Some([1, 2, 3, 4]));
    for request in [request.to_owned(), request.replace('\r', "")] {
        let (near, mut far) = duplex(64 << 10);
        far.write_all(&[request.as_bytes(), &frames].concat())
            .await
            .unwrap();
        let options = WebSocketOptions::server();
        let server = WebSocketTransport::accept_on(near, None, &options)
            .await
            .unwrap();
        let (_sink, mut source) = Box::new(server).split();
        far.write_all(&rest).await.unwrap();
        let received = expect_what_stood_behind(&mut *source);
        timeout(Duration::from_secs(1), received).await.unwrap();
    }
}

/// A server that greets in the same breath as it answers the request, its head cut anywhere.
#[tokio::test(start_paused = true)]
async fn frames_right_behind_an_answer_are_read() {
    let (frames, rest) = behind(None);
    let size = answer_to("").len();
    for cut in (0..size).step_by(7).chain(size - 5..size + 5) {
        let (near, mut far) = duplex(64 << 10);
        let options = WebSocketOptions::client();
        let connecting = WebSocketTransport::connect_on(near, "ws://localhost", &options);
        let serving = async {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(far.read_u8().await.unwrap());
            }
            let request = String::from_utf8(request).unwrap();
            let key = request
                .lines()
                .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
            let answer = [answer_to(key.unwrap()).as_bytes(), &frames].concat();
            far.write_all(&answer[..cut]).await.unwrap();
            tokio::task::yield_now().await;
            far.write_all(&answer[cut..]).await.unwrap();
        };
        let (client, ()) = tokio::join!(connecting, serving);
        let (_sink, mut source) = Box::new(client.unwrap()).split();
        far.write_all(&rest).await.unwrap();
        let received = expect_what_stood_behind(&mut *source);
        timeout(Duration::from_secs(1), received).await.unwrap();
    }
}

fn answer_to(key: &str) -> String {
    let accept = crate::websocket::derive_accept_key(key.as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

/// The limit itself is fine, whatever it is, also for fragments; nothing is too long for no limit.
#[test]
fn limits_of_every_size() {
    let cx = &mut Context::from_waker(noop_waker_ref());
    for limit in [0, 1, 125, 126, 65_535, 65_536, usize::MAX] {
        let most = limit.min(1 << 20);
        for size in [most, most.saturating_add(1)] {
            let payload = vec![b'x'; size];
            let (first, last) = payload.split_at(size / 3);
            let whole = client_frame(TEXT, &payload);
            let fragments = [
                client_frame(0x01, first),
                client_frame(PONG, b""),
                client_frame(0x80, last),
            ];
            for sent in [whole, fragments.concat()] {
                let (near, mut far) = duplex(4 << 20);
                let options = WebSocketOptions::server().max_message_size(limit);
                let mut socket = StreamSocket::new(near, Role::Server, BytesMut::new(), &options);
                far.write_all(&sent).now_or_never().unwrap().unwrap();
                let received = loop {
                    match socket.poll_message(cx) {
                        Poll::Ready(SocketMessage::Alive) => {}
                        received => break received,
                    }
                };
                let expected = if size <= limit {
                    SocketMessage::Text(String::from_utf8(payload.clone()).unwrap().into())
                } else {
                    SocketMessage::TooBig { limit }
                };
                assert!(received == Poll::Ready(expected), "{limit} {size}");
            }
        }
    }
}

/// However it ended, and whatever stands behind the end, it stays the end.
#[test]
fn nothing_comes_after_the_end() {
    let cx = &mut Context::from_waker(noop_waker_ref());
    let (text, ping) = (client_frame(TEXT, b"late"), client_frame(PING, b"late"));
    for (end, is_over) in [
        (client_frame(CLOSE, b""), false),
        (client_frame(CLOSE, &[3, 0xe8]), false),
        (client_frame(CLOSE, &[3]), false),
        (client_frame(TEXT, &[0xff]), false),
        (client_frame(0x80, b"of nothing"), false),
        (client_frame(0xf1, b"reserved"), false),
        (client_frame(0x8b, b"unknown"), false),
        (client_frame(PING, &[0; 126]), false),
        (client_frame(TEXT, &[b'x'; 5000]), false),
        (vec![], true),
        (client_frame(TEXT, b"half")[..8].to_vec(), true),
        (client_frame(0x01, b"fragment"), true),
    ] {
        let (near, mut far) = duplex(64 << 10);
        let options = WebSocketOptions::server().max_message_size(4000);
        let mut socket = StreamSocket::new(near, Role::Server, BytesMut::new(), &options);
        far.write_all(&end).now_or_never().unwrap().unwrap();
        let late = [&text[..], &ping].concat();
        let _far = if is_over {
            drop(far);
            None
        } else {
            far.write_all(&late).now_or_never().unwrap().unwrap();
            Some(far)
        };
        let ended = socket.poll_message(cx);
        assert!(
            matches!(
                ended,
                Poll::Ready(
                    SocketMessage::Close(_)
                        | SocketMessage::Violation(_)
                        | SocketMessage::TooBig { .. }
                        | SocketMessage::Ended
                        | SocketMessage::Lost(_)
                )
            ),
            "{end:?}: {ended:?}"
        );
        for _ in 0..3 {
            let later = socket.poll_message(cx);
            assert!(
                matches!(later, Poll::Ready(SocketMessage::Lost(_))),
                "{end:?}: {later:?}"
            );
        }
    }
}

/// A stream that fails after some bytes.
struct Breaks {
    left: usize,
}

impl AsyncRead for Breaks {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Breaks {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let taken = bytes.len().min(self.left).min(30);
        self.left -= taken;
        match taken {
            0 => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            taken => Poll::Ready(Ok(taken)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }
}

/// A write that fails halfway fails the flush, each one, and bounds what is taken from then on.
#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_in_a_frame_fails_each_flush() {
    for left in [0, 1, 2, 100, 150] {
        let (mut sink, _source) =
            halves(Breaks { left }, Role::Client, &WebSocketOptions::client());
        sink.feed(envelope(1, 100)).await.unwrap();
        for _ in 0..3 {
            let failed = sink.flush().await;
            assert!(matches!(failed, Err(TransportError::Io(_))), "{failed:?}");
        }
        let mut seq = 1;
        while seq < 1000 && sink.feed(envelope(seq, 1000)).await.is_ok() {
            seq += 1;
        }
        assert!(seq < 100);
        assert!(sink.close(&CloseFrame::normal()).await.is_err());
        assert!(matches!(
            sink.send(envelope(1, 1)).await,
            Err(TransportError::Closed)
        ));
    }
}
