//! A WebSocket over a byte stream.
//!
//! Nothing is held for a connection that is silent: reads and writes go through room that the thread lends ([`room`]),
//! and only the piece of a frame that has not come yet, or bytes the peer does not take, stay with the socket.

use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker, ready},
};

use bytes::{Bytes, BytesMut};
use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use towline_wire::Encode;

use super::{
    MessageSocket, SocketMessage, WebSocketOptions,
    decoder::{Decoder, Fault, Message},
    frame::{self, Opcode, Role, Violation},
    room,
};
use crate::{CloseFrame, TransportError};

/// A [`MessageSocket`] over a byte stream: TCP, TLS, an upgraded HTTP connection, or a pipe in a test.
pub struct StreamSocket<IO> {
    io: IO,
    role: Role,
    wakers: Arc<Wakers>,
    decoder: Decoder,
    /// Read and not yet taken; begins with a frame.
    input: BytesMut,
    reading: Reading,
    read_size: usize,
    receive_limit: usize,
    /// What a drain may still discard, in bytes.
    drain_budget: usize,
    /// Frames on their way out, and how much of them is written.
    out: Vec<u8>,
    written: usize,
    write_size: usize,
    /// The payload of a ping that has no answer yet; of several the last, which is all a peer is owed.
    pong: Option<Bytes>,
    /// A pong is among the frames on their way out, so the reading half sees to it that they get there.
    is_answering: bool,
    /// Our Close is among the frames on their way out, or was.
    is_closing: bool,
    masks: Masks,
}

/// How the rest of the peer's bytes is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Messages,
    /// The peer's Close has come.
    Closed,
    /// The framing is lost; only the end of the byte stream can be told.
    Bytes,
    Done,
}

impl<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static> StreamSocket<IO> {
    /// A socket whose opening handshake is done; `input` is what was read behind it.
    pub(super) fn new(io: IO, role: Role, input: BytesMut, options: &WebSocketOptions) -> Self {
        Self {
            io,
            role,
            wakers: Arc::default(),
            decoder: Decoder::new(role, options.max_message_size),
            input,
            reading: Reading::Messages,
            read_size: options.read_buffer_size,
            receive_limit: options.max_message_size,
            drain_budget: DRAIN_BUDGET,
            out: Vec::new(),
            written: 0,
            write_size: options.write_buffer_size,
            pong: None,
            is_answering: false,
            is_closing: false,
            masks: Masks::default(),
        }
    }

    /// The byte stream underneath.
    pub fn get_ref(&self) -> &IO {
        &self.io
    }

    /// The byte stream, and what was read from it and not yet taken, to go on with it outside ARCP. What stands there
    /// begins with a frame; fragments of a message that is not complete are dropped, and so is what was not flushed.
    pub fn into_parts(self) -> (IO, Bytes) {
        (self.io, self.input.freeze())
    }

    /// The next message of those that have been read.
    fn next(&mut self) -> Option<SocketMessage> {
        let message = match self.decoder.next(&mut self.input) {
            Ok(message) => message?,
            Err(fault) => {
                self.reading = Reading::Bytes;
                self.input = BytesMut::new();
                return Some(match fault {
                    Fault::TooBig => SocketMessage::TooBig {
                        limit: self.decoder.limit(),
                    },
                    Fault::Violation(Violation { code, reason }) => {
                        SocketMessage::Violation(CloseFrame::new(code, reason))
                    }
                });
            }
        };
        Some(match message {
            Message::Text(text) => SocketMessage::Text(text),
            Message::Binary(bytes) => SocketMessage::Binary(bytes),
            Message::Pong => SocketMessage::Alive,
            Message::Ping(payload) => {
                self.pong = Some(payload);
                SocketMessage::Alive
            }
            Message::Close(close) => {
                self.reading = Reading::Closed;
                self.answer_close(close.as_ref());
                SocketMessage::Close(close)
            }
        })
    }

    fn answer_close(&mut self, close: Option<&CloseFrame>) {
        if self.is_closing {
            return;
        }
        let code = close.map(|close| close.code.0.to_be_bytes());
        self.is_closing = true;
        // A control frame that cannot be masked is not sent; the end of the stream says the same.
        let _ = self.push(Opcode::Close, code.as_ref().map_or(&[], |code| code));
    }

    fn push(&mut self, opcode: Opcode, payload: &[u8]) -> Result<(), TransportError> {
        self.push_with(opcode, payload.len(), |out| {
            out.extend_from_slice(payload);
            Ok(())
        })
    }

    fn push_with(
        &mut self,
        opcode: Opcode,
        size_hint: usize,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), TransportError>,
    ) -> Result<(), TransportError> {
        let mask = match self.role {
            Role::Client => Some(self.masks.next().map_err(TransportError::Io)?),
            Role::Server => None,
        };
        if self.out.capacity() == 0 {
            self.out = room::write_room();
        }
        let written = frame::write(&mut self.out, opcode, mask, size_hint, write);
        if self.out.is_empty() {
            room::give_back(std::mem::take(&mut self.out));
        }
        written
    }

    /// Writes a pong, or the answer to a Close, as far as the socket takes it now. The next call goes on with the rest,
    /// unless the sending half has written it out together with its own.
    fn answer(&mut self, cx: &mut Context<'_>) {
        self.wakers.reading.register(cx.waker());
        loop {
            let has_room = self.out.len() - self.written < self.write_size;
            if let Some(payload) = self.pong.take_if(|_| has_room)
                && !self.is_closing
            {
                self.is_answering |= self.push(Opcode::Pong, &payload).is_ok();
            }
            // A failure shows with the next read or write.
            if !matches!(self.poll_write_out(), Poll::Ready(Ok(()))) || self.pong.is_none() {
                return;
            }
        }
    }

    /// [`poll_write_out`](Self::poll_write_out) for the sending half.
    fn poll_send_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.wakers.sending.register(cx.waker());
        let sent = ready!(self.poll_write_out());
        // It waits no more, so what is read does not wake it.
        self.wakers.sending.take();
        Poll::Ready(sent.map_err(TransportError::Io))
    }

    fn poll_write_out(&mut self) -> Poll<io::Result<()>> {
        let waker = Waker::from(Arc::clone(&self.wakers));
        let cx = &mut Context::from_waker(&waker);
        while self.written < self.out.len() {
            let left = &self.out[self.written..];
            match Pin::new(&mut self.io).poll_write(cx, left)? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(taken) => self.written += taken,
                Poll::Pending => {
                    room::keep_rest(&mut self.out, &mut self.written);
                    return Poll::Pending;
                }
            }
        }
        self.written = 0;
        if self.out.capacity() > 0 {
            room::give_back(std::mem::take(&mut self.out));
        }
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.is_answering = false;
        Poll::Ready(Ok(()))
    }

    /// Reads what there is, into `input`. Zero at the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.wakers.reading.register(cx.waker());
        let waker = Waker::from(Arc::clone(&self.wakers));
        let cx = &mut Context::from_waker(&waker);
        let (io, input) = (&mut self.io, &mut self.input);
        room::with_read_room(self.read_size, |room| {
            let mut read = ReadBuf::new(room);
            ready!(Pin::new(io).poll_read(cx, &mut read))?;
            room::append(input, read.filled());
            Poll::Ready(Ok(read.filled().len()))
        })
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.wakers.sending.register(cx.waker());
        let waker = Waker::from(Arc::clone(&self.wakers));
        let cx = &mut Context::from_waker(&waker);
        Pin::new(&mut self.io).poll_shutdown(cx).map(drop)
    }

    /// Takes what still comes, without a look at it. Ready when the peer is done or has sent more than enough.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            while self.reading == Reading::Messages && self.next().is_some() {}
            let is_done = match self.reading {
                Reading::Done => true,
                // The server is the one to end the connection (RFC 6455 §7.1.1).
                Reading::Closed => self.role == Role::Server,
                Reading::Messages | Reading::Bytes => false,
            };
            if is_done || self.drain_budget == 0 {
                return Poll::Ready(());
            }
            if self.reading != Reading::Messages {
                self.input = BytesMut::new();
            }
            match ready!(self.poll_fill(cx)) {
                Ok(read) if read > 0 => {
                    self.drain_budget = self.drain_budget.saturating_sub(read);
                }
                _ => self.reading = Reading::Done,
            }
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static> MessageSocket for StreamSocket<IO> {
    fn restrict(&mut self, bytes: Option<usize>) {
        let own = self.receive_limit;
        self.decoder
            .set_limit(bytes.map_or(own, |bytes| bytes.min(own)));
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<SocketMessage> {
        if self.pong.is_some() || self.is_answering || self.reading == Reading::Closed {
            self.answer(cx);
        }
        if self.reading == Reading::Closed && self.role == Role::Server && self.out.is_empty() {
            // The goodbyes are said, and the server is the one to end the connection (RFC 6455 §7.1.1).
            let _ = self.poll_shutdown(cx);
        }
        loop {
            if self.reading != Reading::Messages {
                return Poll::Ready(SocketMessage::Lost("the socket has ended".to_owned()));
            }
            if let Some(message) = self.next() {
                return Poll::Ready(message);
            }
            match ready!(self.poll_fill(cx)) {
                Ok(0) => {
                    self.reading = Reading::Done;
                    return Poll::Ready(SocketMessage::Ended);
                }
                Ok(_) => {}
                Err(cause) => {
                    self.reading = Reading::Done;
                    return Poll::Ready(SocketMessage::Lost(cause.to_string()));
                }
            }
        }
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        if self.is_closing {
            return Poll::Ready(Err(TransportError::Closed));
        }
        if self.out.len() - self.written < self.write_size {
            return Poll::Ready(Ok(()));
        }
        self.poll_send_out(cx)
    }

    fn start_send(&mut self, frame: &dyn Encode, limit: usize) -> Result<(), TransportError> {
        if self.is_closing {
            return Err(TransportError::Closed);
        }
        self.push_with(Opcode::Text, frame.size_hint(), |out| {
            let before = out.len();
            frame.encode_onto(out);
            match out.len() - before {
                size if size > limit => Err(TransportError::FrameTooBig { size, limit }),
                _ => Ok(()),
            }
        })
    }

    fn start_close(&mut self, close: &CloseFrame) -> Result<(), TransportError> {
        if self.is_closing {
            return Err(TransportError::Closed);
        }
        let mut payload = close.code.0.to_be_bytes().to_vec();
        payload.extend_from_slice(shortened(&close.reason).as_bytes());
        self.is_closing = true;
        self.push(Opcode::Close, &payload)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        let polled = self.poll_send_out(cx);
        if polled.is_pending() && self.is_closing && self.reading != Reading::Closed {
            // Nobody waits for messages any more, and a peer that is not read may not read either.
            let _ = self.poll_discard(cx);
        }
        polled
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let reading = self.reading;
            if reading == Reading::Bytes {
                // A peer whose frames are no longer read cannot answer the Close; the end of our bytes tells it to go.
                ready!(self.poll_shutdown(cx));
            }
            match self.poll_discard(cx) {
                Poll::Ready(()) => return self.poll_shutdown(cx),
                Poll::Pending if self.reading == reading => return Poll::Pending,
                // The framing may have been lost just now.
                Poll::Pending => {}
            }
        }
    }
}

impl<IO> fmt::Debug for StreamSocket<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamSocket")
            .field("receive_limit", &self.receive_limit)
            .finish_non_exhaustive()
    }
}

/// Who waits for the byte stream. Its readiness wakes both halves: it remembers one task a direction, and either half may
/// have to write.
#[derive(Debug, Default)]
struct Wakers {
    reading: AtomicWaker,
    sending: AtomicWaker,
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.reading.wake();
        self.sending.wake();
    }
}

/// Masks that a peer, or who wrote what a peer sends, cannot foresee (RFC 6455 §5.3), some drawn at a time.
#[derive(Default)]
struct Masks(Vec<[u8; 4]>);

impl Masks {
    fn next(&mut self) -> io::Result<[u8; 4]> {
        if let Some(mask) = self.0.pop() {
            return Ok(mask);
        }
        let mut drawn = [0; 256];
        getrandom::fill(&mut drawn).map_err(io::Error::other)?;
        let (masks, _) = drawn.as_chunks();
        self.0.extend_from_slice(&masks[1..]);
        Ok(masks[0])
    }
}

/// A control frame holds 125 bytes, two of them the code.
pub(super) fn shortened(reason: &str) -> &str {
    let end = (0..=reason.len().min(123))
        .rev()
        .find(|end| reason.is_char_boundary(*end));
    &reason[..end.unwrap_or_default()]
}

/// Enough for a peer that is in the middle of a message above our limit to finish it and then read our answer.
const DRAIN_BUDGET: usize = 64 << 20;

#[cfg(test)]
mod tests;
