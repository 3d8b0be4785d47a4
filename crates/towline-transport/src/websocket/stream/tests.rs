//! The socket over pipes that take a few bytes at a time, and what it holds meanwhile.

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
