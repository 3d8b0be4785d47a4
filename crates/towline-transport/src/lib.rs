//! ARCP transports: WebSocket, stdio and memory (§4).
//!
//! A [`Transport`] carries [`Envelope`]s both ways and knows nothing of sessions. It splits into a [`FrameSink`] and a
//! [`FrameSource`], which live in different tasks. All transports behave alike [ARCP 4-4]: order is kept, there is one
//! close, the end of the stream is observable, sending after the close is an error, a receive pending during the close
//! ends.

use std::{
    fmt,
    net::SocketAddr,
    task::{Context, Poll, ready},
};

use tokio::time::Instant;
use towline_wire::{DecodeError, Envelope, EventFrame};

mod error;
mod ext;
pub mod memory;
#[cfg(feature = "stdio")]
pub mod stdio;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(feature = "websocket")]
pub mod websocket;

pub use error::{Cause, TransportError};
pub use memory::MemoryTransport;
#[cfg(feature = "child")]
pub use stdio::{ChildOptions, ChildProcess};
#[cfg(feature = "stdio")]
pub use stdio::{StdioOptions, StdioTransport};
#[cfg(feature = "websocket")]
pub use websocket::{WebSocketOptions, WebSocketTransport};

/// A connection to a peer.
pub trait Transport: Send + 'static {
    /// What is known of the connection before anything was said.
    fn info(&self) -> TransportInfo;

    /// Takes the connection apart. Dropping both halves ends it without a close.
    fn split(self: Box<Self>) -> (Box<dyn FrameSink>, Box<dyn FrameSource>);
}

/// What is known of a connection. Made with [`TransportInfo::new`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransportInfo {
    /// Which transport it is.
    pub kind: TransportKind,
    /// Where the peer is, when it is somewhere.
    pub peer: Option<SocketAddr>,
    /// Whether nobody else can read it: TLS, loopback, stdio, memory, or declared so [ARCP 9.8-1].
    pub confidential: bool,
    /// When the connection came in, where that was before the transport was made: what a peer takes for TLS and the upgrade
    /// counts towards the time it has for its hello [ARCP 14-5].
    pub since: Option<Instant>,
}

impl TransportInfo {
    /// Of a peer that is nowhere in particular, over a connection that others may be able to read.
    pub const fn new(kind: TransportKind) -> Self {
        Self {
            kind,
            peer: None,
            confidential: false,
            since: None,
        }
    }

    /// Says which transport it is.
    #[must_use]
    pub const fn of_kind(mut self, kind: TransportKind) -> Self {
        self.kind = kind;
        self
    }

    /// Says where the peer is.
    #[must_use]
    pub const fn at(mut self, peer: Option<SocketAddr>) -> Self {
        self.peer = peer;
        self
    }

    /// Says when the connection came in.
    #[must_use]
    pub const fn since(mut self, instant: Instant) -> Self {
        self.since = Some(instant);
        self
    }

    /// Says whether nobody else can read the connection. Danger: credentials are sent over connections that are confidential
    /// [ARCP 9.8-1].
    #[must_use]
    pub const fn confidential(mut self, confidential: bool) -> Self {
        self.confidential = confidential;
        self
    }
}

/// Which transport a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransportKind {
    /// RFC 6455, one envelope a text message.
    WebSocket,
    /// One envelope a line.
    Stdio,
    /// A pair inside this process.
    Memory,
    /// Something else that carries envelopes [ARCP 4-9].
    Other,
}

/// The half that sends. Works like a `Sink`: `poll_ready`, then `start_send`; frames may wait in a bounded buffer until
/// `poll_flush`. After `poll_close` has begun every send is [`TransportError::Closed`].
///
/// Who sends a batch feeds all of it and flushes once.
pub trait FrameSink: Send {
    /// Waits until one more frame can be taken. Bounded: a peer that does not read makes this wait.
    ///
    /// # Errors
    /// [`TransportError`] when the connection is gone.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>>;

    /// Takes a frame; `poll_ready` has to have said so just before.
    ///
    /// # Errors
    /// [`TransportError`] when the connection is gone or the frame is above the peer's limit.
    fn start_send(&mut self, envelope: Envelope) -> Result<(), TransportError>;

    /// [`start_send`](Self::start_send) for a text that need not be an envelope, sent as it is: for whoever wants to know what a
    /// peer says to that. A text is one line.
    ///
    /// # Errors
    /// As `start_send`; and where a transport carries envelopes and no text, and the text is none: what it inherits here.
    fn start_send_text(&mut self, text: &str) -> Result<(), TransportError> {
        let envelope = Envelope::decode_text(text)
            .map_err(|error| TransportError::Io(std::io::Error::other(error)))?;
        self.start_send(envelope)
    }

    /// [`poll_ready`](Self::poll_ready) and [`start_send`](Self::start_send) for an event that is not yet put together. A
    /// transport that carries text writes it straight to where its bytes wait; the others get it as an envelope.
    ///
    /// # Errors
    /// As those two.
    fn poll_send_event(
        &mut self,
        cx: &mut Context<'_>,
        frame: &EventFrame<'_>,
    ) -> Poll<Result<(), TransportError>> {
        ready!(self.poll_ready(cx))?;
        Poll::Ready(self.start_send(frame.to_envelope()))
    }

    /// Waits until everything taken is with the operating system (or the peer's queue).
    ///
    /// # Errors
    /// [`TransportError`] when the connection is gone.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>>;

    /// Flushes, then says goodbye with a code where the transport has codes. Called again until it is ready. Closing
    /// twice is not an error.
    ///
    /// # Errors
    /// [`TransportError`] when the connection broke before the goodbye was out.
    fn poll_close(
        &mut self,
        cx: &mut Context<'_>,
        close: &CloseFrame,
    ) -> Poll<Result<(), TransportError>>;
}

/// The half that receives. `Ready(None)` is the end and stays the end. Cancel safe: nothing is lost when a pending
/// receive is dropped.
pub trait FrameSource: Send {
    /// Waits for what comes next.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Inbound>>;

    /// Receives messages of at most this many bytes from now on, as long as that is below the transport's own limit; `None`
    /// goes back to that one. A runtime asks for little while it does not know who the peer is, and for `None` once it does
    /// [ARCP 14-5].
    ///
    /// A transport that wraps another passes it on. The default does nothing: right where a peer's messages cost no memory
    /// of ours before they are whole, or where the peer is trusted from the start (a parent process).
    fn restrict(&mut self, _bytes: Option<usize>) {}
}

/// What can come from a peer.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all that comes is an envelope, and a box for each would cost more than moving it"
)]
pub enum Inbound {
    /// An envelope.
    Envelope(Envelope),
    /// A frame that is not one; the transport goes on [ARCP 4-5].
    Malformed(DecodeError),
    /// A frame above the receive limit [ARCP 4-6]. WebSocket: nothing readable follows, and the owner should answer and
    /// close with 1009. Stdio: the line was discarded and the transport goes on.
    TooBig {
        /// The limit, in bytes.
        limit: usize,
        /// Whether the transport can go on.
        fatal: bool,
    },
    /// Something that is no frame but proves the peer lives (a WebSocket ping, say).
    Alive,
    /// The peer said goodbye, or the connection broke; the end follows.
    Closed(Closed),
}

/// A text as a frame.
#[cfg(any(feature = "websocket", feature = "stdio"))]
struct Text<'t>(&'t str);

#[cfg(any(feature = "websocket", feature = "stdio"))]
impl towline_wire::Encode for Text<'_> {
    fn size_hint(&self) -> usize {
        self.0.len()
    }

    fn encode_onto(&self, out: &mut Vec<u8>) {
        let one_line = |byte: u8| if byte == b'\n' { b' ' } else { byte };
        out.extend(self.0.bytes().map(one_line));
    }
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed {
    /// The peer said goodbye, perhaps with a code.
    ByPeer(Option<CloseFrame>),
    /// The peer sends nothing more, and said no goodbye. It may have ended its own side only: what is sent now may reach it.
    Ended,
    /// It is gone, both ways.
    Lost {
        /// What the transport says of it, for logs.
        reason: String,
    },
}

/// A goodbye with a WebSocket close code; transports without codes drop it [ARCP 4-7].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseFrame {
    /// The code.
    pub code: CloseCode,
    /// At most 123 bytes are sent.
    pub reason: String,
}

impl CloseFrame {
    /// A goodbye.
    pub fn new(code: CloseCode, reason: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
        }
    }

    /// All is well: 1000.
    pub fn normal() -> Self {
        Self::new(CloseCode::NORMAL, "")
    }
}

/// A WebSocket close code [ARCP 4-7].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// Done.
    pub const NORMAL: Self = Self(1000);
    /// The runtime is shutting down, or the peer fell silent.
    pub const GOING_AWAY: Self = Self(1001);
    /// The peer broke the protocol.
    pub const PROTOCOL: Self = Self(1002);
    /// Authentication, policy, or no hello in time.
    pub const POLICY: Self = Self(1008);
    /// A frame was above the limit.
    pub const TOO_BIG: Self = Self(1009);
    /// Our fault.
    pub const INTERNAL: Self = Self(1011);
    /// Too much at the moment; later it may work.
    pub const TRY_AGAIN: Self = Self(1013);
}

impl fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Transport for Box<dyn Transport> {
    fn info(&self) -> TransportInfo {
        (**self).info()
    }

    fn split(self: Box<Self>) -> (Box<dyn FrameSink>, Box<dyn FrameSource>) {
        (*self).split()
    }
}
