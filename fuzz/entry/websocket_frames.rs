//! What the fuzz target `websocket_frames` does with its input. The ordinary tests include this file too
//! and run every seed through it.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use towline_transport::{
    CloseFrame, FrameSource, Inbound, Transport as _, WebSocketOptions, WebSocketTransport,
};

/// Reads a byte that says in which pieces the rest comes, and takes the rest for what a client sends behind its
/// upgrade request.
///
/// Nothing may panic or wait for what has come already; there is one end and nothing behind it, and what is answered
/// is control frames.
pub(crate) fn websocket_frames(input: &[u8]) {
    let Some((&size, bytes)) = input.split_first() else {
        return;
    };
    let size = usize::from(size).max(1);
    // Without a runtime: the pipe holds all of it and of the answers, so nobody has to wait.
    let most = bytes.len() + 1000;
    let (near, mut far) = tokio::io::duplex(most);
    let options = WebSocketOptions::server()
        .max_message_size(1000)
        .read_buffer_size(size);
    let transport = WebSocketTransport::upgraded(near, None, &options);
    let (mut sink, mut source) = Box::new(transport).split();
    let cx = &mut Context::from_waker(Waker::noop());
    let mut is_over = false;
    for piece in bytes.chunks(size) {
        // The server's end may have hung up already.
        let _ = Pin::new(&mut far).poll_write(cx, piece);
        is_over |= receive(&mut *source, is_over, cx);
    }
    check_answers(&mut far, most, cx);
    drop(far);
    is_over |= receive(&mut *source, is_over, cx);
    assert!(is_over, "the end of the stream is no end");
    assert_eq!(source.poll_receive(cx), Poll::Ready(None));
    assert!(sink.poll_close(cx, &CloseFrame::normal()).is_ready());
}

/// Takes what there is. Whether an end was among it.
fn receive(source: &mut dyn FrameSource, was_over: bool, cx: &mut Context<'_>) -> bool {
    let mut is_over = was_over;
    while let Poll::Ready(Some(received)) = source.poll_receive(cx) {
        assert!(!is_over, "behind the end there is {received:?}");
        is_over = matches!(received, Inbound::Closed(_) | Inbound::TooBig { .. });
    }
    is_over
}

fn check_answers(far: &mut DuplexStream, most: usize, cx: &mut Context<'_>) {
    let mut room = vec![0; most];
    let mut read = ReadBuf::new(&mut room);
    let _ = Pin::new(far).poll_read(cx, &mut read);
    let mut answers = read.filled();
    let mut is_closed = false;
    while let [first, length, rest @ ..] = answers {
        assert!(!is_closed, "there is an answer behind the close");
        assert!(matches!(first, 0x88 | 0x8a), "{first:#x} is no answer");
        is_closed = *first == 0x88;
        assert!(*length <= 125, "a control frame has {length} bytes");
        answers = rest
            .get(usize::from(*length)..)
            .expect("an answer is written whole");
    }
    assert_eq!(answers, b"", "an answer is written whole");
}
