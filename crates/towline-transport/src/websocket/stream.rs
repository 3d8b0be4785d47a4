//! tungstenite's WebSocket over a byte stream.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use bytestring::ByteString;
use futures_util::{Sink as _, Stream as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        error::{Error as WsError, ProtocolError},
        protocol,
    },
};

use super::{MessageSocket, SocketMessage};
use crate::{CloseCode, CloseFrame, TransportError};

/// A [`MessageSocket`] over a byte stream: TCP, TLS, an upgraded HTTP connection, or a pipe in a test.
pub struct StreamSocket<IO> {
    stream: WebSocketStream<IO>,
    receive_limit: usize,
    /// What a drain may still discard, in bytes.
    drain_budget: usize,
    reading: Reading,
}

/// How the rest of the peer's bytes is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Messages,
    /// The framing is lost; only the end of the byte stream can be told.
    Bytes,
    Done,
}

impl<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static> StreamSocket<IO> {
    pub(super) fn new(stream: WebSocketStream<IO>, receive_limit: usize) -> Self {
        Self {
            stream,
            receive_limit,
            drain_budget: DRAIN_BUDGET,
            reading: Reading::Messages,
        }
    }

    /// The byte stream underneath.
    pub fn get_ref(&self) -> &IO {
        self.stream.get_ref()
    }

    /// tungstenite's WebSocket, to go on with it outside ARCP.
    pub fn into_stream(self) -> WebSocketStream<IO> {
        self.stream
    }

    fn sink(&mut self) -> Pin<&mut WebSocketStream<IO>> {
        Pin::new(&mut self.stream)
    }

    fn failure(&mut self, cause: WsError) -> SocketMessage {
        self.reading = Reading::Bytes;
        match cause {
            WsError::Capacity(_) => SocketMessage::TooBig {
                limit: self.receive_limit,
            },
            WsError::Utf8(_) => violation(INVALID_PAYLOAD, "a text message is not UTF-8"),
            WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
                SocketMessage::Lost("the socket ended without a close frame".to_owned())
            }
            WsError::Protocol(broken) => violation(CloseCode::PROTOCOL, &broken.to_string()),
            WsError::Io(cause) => SocketMessage::Lost(cause.to_string()),
            cause => SocketMessage::Lost(cause.to_string()),
        }
    }

    /// Takes what still comes, without a look at it. Ready when the peer is done or has sent more than enough.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.drain_budget > 0 && self.reading != Reading::Done {
            let taken = match self.reading {
                Reading::Messages => match ready!(Pin::new(&mut self.stream).poll_next(cx)) {
                    Some(Ok(message)) => message.len().max(1),
                    Some(Err(_)) => {
                        self.reading = Reading::Bytes;
                        1
                    }
                    None => 0,
                },
                _ => ready!(self.poll_discard_bytes(cx)),
            };
            if taken == 0 {
                self.reading = Reading::Done;
            }
            self.drain_budget = self.drain_budget.saturating_sub(taken);
        }
        Poll::Ready(())
    }

    fn poll_discard_bytes(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        let mut chunk = [0; 2048];
        let mut chunk = ReadBuf::new(&mut chunk);
        let read = ready!(Pin::new(self.stream.get_mut()).poll_read(cx, &mut chunk));
        Poll::Ready(if read.is_ok() {
            chunk.filled().len()
        } else {
            0
        })
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static> MessageSocket for StreamSocket<IO> {
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<SocketMessage> {
        let message = match ready!(Pin::new(&mut self.stream).poll_next(cx)) {
            Some(Ok(message)) => message,
            Some(Err(cause)) => return Poll::Ready(self.failure(cause)),
            None => {
                // The closing handshake is done, and the server is the one to end the connection (RFC 6455 §7.1.1).
                let _ = Pin::new(self.stream.get_mut()).poll_shutdown(cx);
                return Poll::Ready(SocketMessage::Lost("the socket has ended".to_owned()));
            }
        };
        Poll::Ready(match message {
            // tungstenite has checked the text; without `unsafe` it is checked once more, which is fast.
            Message::Text(text) => match ByteString::try_from(Bytes::from(text)) {
                Ok(text) => SocketMessage::Text(text),
                Err(_) => violation(INVALID_PAYLOAD, "a text message is not UTF-8"),
            },
            Message::Binary(bytes) => SocketMessage::Binary(bytes),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => SocketMessage::Alive,
            Message::Close(close) => SocketMessage::Close(close.map(|close| CloseFrame {
                code: CloseCode(close.code.into()),
                reason: close.reason.as_str().to_owned(),
            })),
        })
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.sink().poll_ready(cx).map_err(sending)
    }

    fn start_send(&mut self, text: String) -> Result<(), TransportError> {
        self.sink()
            .start_send(Message::Text(text.into()))
            .map_err(sending)
    }

    fn start_close(&mut self, close: &CloseFrame) -> Result<(), TransportError> {
        let frame = protocol::CloseFrame {
            code: close.code.0.into(),
            reason: shortened(&close.reason).into(),
        };
        self.sink()
            .start_send(Message::Close(Some(frame)))
            .map_err(sending)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        match ready!(self.sink().poll_flush(cx)) {
            // The closing handshake is complete and everything is out.
            Ok(()) | Err(WsError::AlreadyClosed) => Poll::Ready(Ok(())),
            Err(cause) => Poll::Ready(Err(sending(cause))),
        }
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.reading == Reading::Bytes {
            // A peer whose frames are no longer read cannot answer the Close; the end of our bytes tells it to go.
            let _ = ready!(Pin::new(self.stream.get_mut()).poll_shutdown(cx));
        }
        ready!(self.poll_discard(cx));
        Pin::new(self.stream.get_mut())
            .poll_shutdown(cx)
            .map(|_| ())
    }
}

impl<IO> fmt::Debug for StreamSocket<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamSocket")
            .field("receive_limit", &self.receive_limit)
            .finish_non_exhaustive()
    }
}

fn violation(code: CloseCode, reason: &str) -> SocketMessage {
    SocketMessage::Violation(CloseFrame::new(code, reason))
}

fn sending(cause: WsError) -> TransportError {
    match cause {
        WsError::ConnectionClosed
        | WsError::AlreadyClosed
        | WsError::Protocol(ProtocolError::SendAfterClosing) => TransportError::Closed,
        WsError::Io(cause) => TransportError::Io(cause),
        cause => TransportError::Io(io::Error::other(cause)),
    }
}

/// A control frame holds 125 bytes, two of them the code.
fn shortened(reason: &str) -> &str {
    let end = (0..=reason.len().min(123))
        .rev()
        .find(|end| reason.is_char_boundary(*end));
    &reason[..end.unwrap_or_default()]
}

/// 1007: a text message that is not UTF-8 (RFC 6455 §7.4.1).
const INVALID_PAYLOAD: CloseCode = CloseCode(1007);

/// Enough for a peer that is in the middle of a message above our limit to finish it and then read our answer.
const DRAIN_BUDGET: usize = 64 << 20;
