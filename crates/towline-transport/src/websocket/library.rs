//! A WebSocket that tungstenite, or a library built on it, has connected.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use bytestring::ByteString;
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        error::{CapacityError, Error as WsError, ProtocolError},
        protocol::{CloseFrame as WsClose, frame::coding::CloseCode as WsCode},
    },
};
use towline_wire::Encode;

use super::{MessageSocket, SocketMessage};
use crate::{CloseCode, CloseFrame, TransportError};

/// What a [`LibrarySocket`] wraps: a stream and sink of tungstenite's messages.
///
/// Implemented for [`WebSocketStream`]. Another library's WebSocket needs a type that turns its messages into these;
/// `towline-axum` has one for axum's.
pub trait LibraryStream:
    Stream<Item = Result<Message, WsError>> + Sink<Message, Error = WsError> + Unpin + Send + 'static
{
    /// Reads bytes past the library and discards them; gives how many, zero at the end.
    ///
    /// A message above the limit leaves the library in the middle of it. Whoever closes then has to take what the peer still
    /// sends, or the connection is reset and the reset overtakes the last words. The default knows no way past the library,
    /// and those words may be lost.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let _ = cx;
        Poll::Ready(Ok(0))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static> LibraryStream for WebSocketStream<IO> {
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut room = [0; 8 << 10];
        let mut read = ReadBuf::new(&mut room);
        ready!(Pin::new(self.get_mut()).poll_read(cx, &mut read))?;
        Poll::Ready(Ok(read.filled().len()))
    }
}

/// A [`MessageSocket`] over a WebSocket that is connected already: on the client's side one of `connect_async`, on the
/// server's one of `accept_async`, with whatever proxy, TLS and headers the program wanted.
///
/// The receive limit, the buffers and the masks are the library's, as it was configured when the WebSocket was made; of
/// [`WebSocketOptions`](super::WebSocketOptions) only the send limit, the close timeout and
/// [`declare_confidential`](super::WebSocketOptions::declare_confidential) count. A silent connection holds the library's
/// buffers, which the transports that towline connects itself do not.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use towline_transport::{WebSocketOptions, WebSocketTransport, websocket::LibrarySocket};
///
/// let (stream, _) = tokio_tungstenite::connect_async("ws://localhost:7777/arcp").await?;
/// let options = WebSocketOptions::client();
/// let transport = WebSocketTransport::over(LibrarySocket::new(stream), None, &options);
/// # drop(transport);
/// # Ok(()) }
/// ```
pub struct LibrarySocket<S> {
    stream: S,
    reading: Reading,
    is_closing: bool,
    /// What a drain may still discard, in bytes.
    drain_budget: usize,
}

/// How the rest of what the peer sends is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Messages,
    /// The library has lost its place; only bytes can be read.
    Bytes,
    Done,
}

impl<S: LibraryStream> LibrarySocket<S> {
    /// Wraps a WebSocket whose opening handshake is done.
    pub const fn new(stream: S) -> Self {
        Self {
            stream,
            reading: Reading::Messages,
            is_closing: false,
            drain_budget: DRAIN_BUDGET,
        }
    }

    /// The library's WebSocket.
    pub fn into_inner(self) -> S {
        self.stream
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<SocketMessage> {
        let next = match ready!(Pin::new(&mut self.stream).poll_next(cx)) {
            Some(Ok(message)) => of_message(message),
            Some(Err(fault)) => of_fault(fault),
            None => SocketMessage::Lost("the socket has ended".to_owned()),
        };
        self.reading = match &next {
            SocketMessage::TooBig { .. } | SocketMessage::Violation(_) => Reading::Bytes,
            SocketMessage::Lost(_) => Reading::Done,
            _ => self.reading,
        };
        Poll::Ready(next)
    }

    /// Takes what still comes, without a look at it. Ready when the peer is done or has sent more than enough.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.drain_budget > 0 {
            let taken = match self.reading {
                Reading::Done => break,
                Reading::Messages => match ready!(self.poll_next(cx)) {
                    SocketMessage::Text(text) => text.len(),
                    SocketMessage::Binary(bytes) => bytes.len(),
                    _ => 1,
                },
                Reading::Bytes => match ready!(self.stream.poll_discard(cx)) {
                    Ok(taken) if taken > 0 => taken,
                    _ => {
                        self.reading = Reading::Done;
                        0
                    }
                },
            };
            self.drain_budget = self.drain_budget.saturating_sub(taken);
        }
        Poll::Ready(())
    }
}

impl<S: LibraryStream> MessageSocket for LibrarySocket<S> {
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<SocketMessage> {
        if self.reading != Reading::Messages {
            return Poll::Ready(SocketMessage::Lost("the socket has ended".to_owned()));
        }
        self.poll_next(cx)
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        if self.is_closing {
            return Poll::Ready(Err(TransportError::Closed));
        }
        Pin::new(&mut self.stream).poll_ready(cx).map_err(failed)
    }

    fn start_send(&mut self, frame: &dyn Encode, limit: usize) -> Result<(), TransportError> {
        if self.is_closing {
            return Err(TransportError::Closed);
        }
        let mut text = Vec::with_capacity(frame.size_hint());
        frame.encode_onto(&mut text);
        let size = text.len();
        if size > limit {
            return Err(TransportError::FrameTooBig { size, limit });
        }
        let text = String::from_utf8(text).map_err(|cause| {
            TransportError::Io(io::Error::new(io::ErrorKind::InvalidData, cause))
        })?;
        let sent = Pin::new(&mut self.stream).start_send(Message::text(text));
        sent.map_err(failed)
    }

    fn start_close(&mut self, close: &CloseFrame) -> Result<(), TransportError> {
        if self.is_closing {
            return Err(TransportError::Closed);
        }
        self.is_closing = true;
        let close = WsClose {
            code: WsCode::from(close.code.0),
            reason: super::stream::shortened(&close.reason).into(),
        };
        let sent = Pin::new(&mut self.stream).start_send(Message::Close(Some(close)));
        sent.map_err(failed)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if flushed.is_pending() && self.is_closing {
            // Nobody waits for messages any more, and a peer that is not read may not read either.
            let _ = self.poll_rest(cx);
        }
        flushed.map_err(failed)
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_rest(cx)
    }
}

impl<S> fmt::Debug for LibrarySocket<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LibrarySocket")
            .field("reading", &self.reading)
            .finish_non_exhaustive()
    }
}

fn of_message(message: Message) -> SocketMessage {
    match message {
        Message::Text(text) => {
            ByteString::try_from(Bytes::from(text)).map_or_else(|_| not_utf8(), SocketMessage::Text)
        }
        Message::Binary(bytes) => SocketMessage::Binary(bytes),
        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => SocketMessage::Alive,
        Message::Close(close) => SocketMessage::Close(
            close.map(|close| CloseFrame::new(CloseCode(close.code.into()), close.reason.as_str())),
        ),
    }
}

fn of_fault(fault: WsError) -> SocketMessage {
    match fault {
        WsError::Capacity(CapacityError::MessageTooLong { max_size, .. }) => {
            SocketMessage::TooBig { limit: max_size }
        }
        WsError::Utf8(_) => not_utf8(),
        WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            SocketMessage::Lost("the socket ended without a close frame".to_owned())
        }
        WsError::Protocol(fault) => {
            SocketMessage::Violation(CloseFrame::new(CloseCode::PROTOCOL, fault.to_string()))
        }
        fault => SocketMessage::Lost(fault.to_string()),
    }
}

fn not_utf8() -> SocketMessage {
    SocketMessage::Violation(CloseFrame::new(
        super::frame::INVALID_PAYLOAD,
        "the text is not UTF-8".to_owned(),
    ))
}

fn failed(fault: WsError) -> TransportError {
    match fault {
        WsError::ConnectionClosed | WsError::AlreadyClosed => TransportError::Closed,
        WsError::Io(cause) => TransportError::Io(cause),
        fault => TransportError::Io(io::Error::other(fault)),
    }
}

/// As much as the transports that towline connects itself take.
const DRAIN_BUDGET: usize = 64 << 20;
