//! What can go wrong, by who can do something about it.

use std::io;

/// Why a transport could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// It was closed, by either side.
    #[error("the connection is closed")]
    Closed,
    /// The operating system, or the peer's framing, failed.
    #[error("the connection failed: {0}")]
    Io(#[source] io::Error),
    /// It never came about: the network, or a peer that is not there. Trying again may help.
    #[error("cannot connect to {target}: {reason}")]
    Connect {
        /// What was to be reached.
        target: String,
        /// Why it was not.
        reason: String,
    },
    /// It cannot come about as asked: a bad URL, a certificate that is not trusted, a program that is missing.
    #[error("cannot connect to {target}: {reason}")]
    Setup {
        /// What was to be reached.
        target: String,
        /// Why it cannot be, and what would help.
        reason: String,
    },
    /// The server answered the WebSocket upgrade with an HTTP status of its own.
    #[error("{target} refused the connection with HTTP status {status}: {reason}")]
    Refused {
        /// What was to be reached.
        target: String,
        /// The HTTP status.
        status: u16,
        /// What the status means here.
        reason: String,
    },
    /// The peer that connected does not speak the transport's opening.
    #[error("the WebSocket handshake with {peer} failed: {reason}")]
    Handshake {
        /// Who it was.
        peer: String,
        /// What was wrong.
        reason: String,
    },
    /// The frame is above what this transport sends.
    #[error("the frame has {size} bytes, this transport sends at most {limit}")]
    FrameTooBig {
        /// The frame's size, in bytes.
        size: usize,
        /// The limit, in bytes.
        limit: usize,
    },
}

impl TransportError {
    /// Whether the same attempt may succeed a little later: the network failed, the peer was not there, or it answered
    /// with a status that says so (408, 429, 5xx).
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Closed | Self::Io(_) | Self::Connect { .. } => true,
            Self::Refused { status, .. } => matches!(status, 408 | 429 | 500..),
            Self::Setup { .. } | Self::Handshake { .. } | Self::FrameTooBig { .. } => false,
        }
    }

    #[cfg(any(feature = "websocket", feature = "stdio"))]
    pub(crate) fn timed_out(what: &str) -> Self {
        Self::Io(io::Error::new(io::ErrorKind::TimedOut, what))
    }
}
