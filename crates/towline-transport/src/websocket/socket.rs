//! What the WebSocket transport needs of a WebSocket, whichever library it comes from.

use std::task::{Context, Poll};

use bytes::Bytes;
use bytestring::ByteString;
use towline_wire::Encode;

use crate::{CloseFrame, TransportError};

/// A WebSocket whose opening handshake is done.
///
/// One task polls [`poll_message`](Self::poll_message) while another polls the sending methods: both have to be woken.
/// The socket answers pings and a received Close by itself, and writes those answers out during the next
/// `poll_message`, so a peer gets its pong although nothing is sent.
///
/// A close runs: [`start_close`](Self::start_close), [`poll_flush`](Self::poll_flush) until ready, then
/// [`poll_drain`](Self::poll_drain) until ready. After a received Close it is `poll_flush`, then `poll_drain`.
pub trait MessageSocket: Send + 'static {
    /// Waits for the next message. After [`SocketMessage::TooBig`], [`Close`](SocketMessage::Close),
    /// [`Violation`](SocketMessage::Violation), [`Ended`](SocketMessage::Ended) or [`Lost`](SocketMessage::Lost) nothing else comes.
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<SocketMessage>;

    /// As [`FrameSource::restrict`](crate::FrameSource::restrict). The default does nothing: the limit is then what the
    /// library was told when the socket was made.
    fn restrict(&mut self, _bytes: Option<usize>) {}

    /// Waits until the bounded write buffer takes one more message.
    ///
    /// # Errors
    /// [`TransportError`] when the socket is gone.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>>;

    /// Puts a text message into the write buffer, unfragmented, without flushing. One above `limit` bytes is not taken.
    ///
    /// # Errors
    /// [`TransportError::FrameTooBig`] above the limit; others when the socket is gone.
    fn start_send(&mut self, frame: &dyn Encode, limit: usize) -> Result<(), TransportError>;

    /// Puts a Close behind everything sent before. No message follows it.
    ///
    /// # Errors
    /// [`TransportError`] when the socket is gone.
    fn start_close(&mut self, close: &CloseFrame) -> Result<(), TransportError>;

    /// Writes the buffer out. Behind our Close it reads and discards meanwhile, or two ends that close at once could wait for
    /// each other.
    ///
    /// # Errors
    /// [`TransportError`] when the socket is gone.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>>;

    /// After the goodbye is out: reads and discards, a bounded amount, until the peer is done too, then ends the
    /// connection. A socket dropped with unread bytes is reset, and the reset can overtake what was just sent.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// What can come out of a WebSocket.
#[derive(Debug, Clone, PartialEq)]
pub enum SocketMessage {
    /// A text message, its fragments put together.
    Text(ByteString),
    /// A binary message, its fragments put together.
    Binary(Bytes),
    /// A ping or a pong: the peer lives.
    Alive,
    /// A message above this many bytes. Sending still works.
    TooBig {
        /// The limit it passed.
        limit: usize,
    },
    /// The peer said goodbye; the answer is queued.
    Close(Option<CloseFrame>),
    /// The peer broke RFC 6455; it is to be told so with this Close.
    Violation(CloseFrame),
    /// The peer's bytes ended without a Close. Sending may still work.
    Ended,
    /// The socket failed, or has ended both ways.
    Lost(String),
}
