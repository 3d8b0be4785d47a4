//! What can go wrong, by who can do something about it.

use std::{error::Error, io};

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
    #[non_exhaustive]
    Connect {
        /// What was to be reached.
        target: String,
        /// Why it was not.
        reason: String,
        /// What said so, when that was an error of its own.
        source: Option<Cause>,
    },
    /// It cannot come about as asked: a bad URL, a certificate that is not trusted, a program that is missing.
    #[error("cannot connect to {target}: {reason}")]
    #[non_exhaustive]
    Setup {
        /// What was to be reached.
        target: String,
        /// Why it cannot be, and what would help.
        reason: String,
        /// What said so, when that was an error of its own.
        source: Option<Cause>,
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
    #[non_exhaustive]
    Handshake {
        /// Who it was.
        peer: String,
        /// What was wrong.
        reason: String,
        /// What said so, when that was an error of its own.
        source: Option<Cause>,
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

/// An error behind another.
pub type Cause = Box<dyn Error + Send + Sync>;

impl TransportError {
    /// [`Connect`](Self::Connect), for transports and connectors of your own: trying again may help.
    pub fn unreachable(target: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Connect {
            target: target.into(),
            reason: reason.into(),
            source: None,
        }
    }

    /// [`Setup`](Self::Setup), for transports and connectors of your own: it cannot come about as asked.
    pub fn impossible(target: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Setup {
            target: target.into(),
            reason: reason.into(),
            source: None,
        }
    }

    /// Keeps the error that was the reason, where this one has a place for it.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Cause>) -> Self {
        if let Self::Connect { source, .. }
        | Self::Setup { source, .. }
        | Self::Handshake { source, .. } = &mut self
        {
            *source = Some(cause.into());
        }
        self
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_keeps_its_cause() {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        for error in [
            TransportError::unreachable("there", "nobody listens").because(refused()),
            TransportError::impossible("there", "it is not allowed").because(refused()),
            TransportError::Handshake {
                peer: "somebody".to_owned(),
                reason: "it ended".to_owned(),
                source: None,
            }
            .because(refused()),
        ] {
            let cause = error.source().and_then(|cause| cause.downcast_ref());
            let cause: &io::Error = cause.expect("the cause is kept");
            assert_eq!(cause.kind(), io::ErrorKind::ConnectionRefused);
        }
    }
}
