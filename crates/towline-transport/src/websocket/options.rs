//! What can be chosen for a WebSocket.

use std::{fmt, net::SocketAddr, time::Duration};

#[cfg(feature = "tls")]
use super::tls::ClientTrust;

/// What can be chosen for a WebSocket, on either side.
///
/// [`client`](Self::client), also the default, and [`server`](Self::server) differ in the receive limit: a server has many
/// connections, a client few.
#[derive(Clone)]
pub struct WebSocketOptions {
    pub(super) max_message_size: usize,
    pub(super) max_send_size: usize,
    pub(super) read_buffer_size: usize,
    pub(super) write_buffer_size: usize,
    pub(super) handshake_timeout: Duration,
    pub(super) close_timeout: Duration,
    pub(super) headers: Vec<(String, String)>,
    pub(super) path: Option<String>,
    #[cfg(feature = "tls")]
    pub(super) trust: ClientTrust,
    pub(super) confidential: bool,
}

impl WebSocketOptions {
    /// For connecting: messages up to 16 MiB are received [ARCP 4-6].
    pub fn client() -> Self {
        Self {
            max_message_size: 16 << 20,
            max_send_size: 16 << 20,
            read_buffer_size: 64 << 10,
            write_buffer_size: 64 << 10,
            handshake_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(5),
            headers: Vec::new(),
            path: Some("/arcp".to_owned()),
            #[cfg(feature = "tls")]
            trust: ClientTrust::default(),
            confidential: false,
        }
    }

    /// For accepting: messages up to 4 MiB are received [ARCP 4-6].
    pub fn server() -> Self {
        Self {
            max_message_size: 4 << 20,
            ..Self::client()
        }
    }

    /// The largest message received, in bytes, its fragments together; a frame is held to the same limit. A larger one
    /// is [`Inbound::TooBig`](crate::Inbound::TooBig). Default: 16 MiB on a client, 4 MiB on a server.
    #[must_use]
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        self.max_message_size = bytes;
        self
    }

    /// The largest message sent, in bytes; a larger one is [`TransportError::FrameTooBig`] and nothing of it is sent.
    /// Default: 16 MiB. Some peers read no more than 1 MiB.
    ///
    /// [`TransportError::FrameTooBig`]: crate::TransportError::FrameTooBig
    #[must_use]
    pub fn max_send_size(mut self, bytes: usize) -> Self {
        self.max_send_size = bytes;
        self
    }

    /// How much is read at once, in bytes. The thread lends the room for it and keeps the largest any of its connections
    /// has asked for; a silent connection holds none. A small message that is kept may keep alive what was read together
    /// with it, about this much. Default: 64 KiB.
    #[must_use]
    pub fn read_buffer_size(mut self, bytes: usize) -> Self {
        self.read_buffer_size = bytes.max(1);
        self
    }

    /// How much is gathered before it is written without a flush having been asked for, in bytes. While the socket takes
    /// nothing, one message more than this is held and then the sender waits. The thread lends this room too; what the
    /// socket does not take stays with the connection. Default: 64 KiB.
    #[must_use]
    pub fn write_buffer_size(mut self, bytes: usize) -> Self {
        self.write_buffer_size = bytes.max(1);
        self
    }

    /// How long resolving, connecting, TLS and the upgrade may take together. Default: 10 s.
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// How long a close may take: writing out what is queued, the goodbye, and waiting for the peer's. A peer that got
    /// the goodbye and does not answer is left after this time. Default: 5 s.
    #[must_use]
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.close_timeout = timeout;
        self
    }

    /// Client: adds a header to the upgrade request, such as `Authorization` or `Origin`.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Server: the only path that is upgraded, others get 404. Default: `/arcp` [ARCP 4-1].
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Server: upgrades whatever the path is.
    #[must_use]
    pub fn any_path(mut self) -> Self {
        self.path = None;
        self
    }

    /// Declares that nobody else can read the connection, although it is neither `wss` nor loopback: TLS ends at a proxy
    /// in front, say. Danger: credentials are sent over connections that are declared so [ARCP 9.8-1]. Default: false.
    #[must_use]
    pub fn declare_confidential(mut self, confidential: bool) -> Self {
        self.confidential = confidential;
        self
    }

    /// Whether nobody else can read a connection with this peer, as far as can be told without knowing of TLS: it is declared
    /// so, or both ends are on this machine [ARCP 9.8-1].
    pub fn is_confidential(&self, peer: Option<SocketAddr>) -> bool {
        self.confidential || peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback())
    }
}

impl Default for WebSocketOptions {
    fn default() -> Self {
        Self::client()
    }
}

impl fmt::Debug for WebSocketOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Header values may be secrets.
        let headers: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("WebSocketOptions")
            .field("max_message_size", &self.max_message_size)
            .field("max_send_size", &self.max_send_size)
            .field("read_buffer_size", &self.read_buffer_size)
            .field("write_buffer_size", &self.write_buffer_size)
            .field("handshake_timeout", &self.handshake_timeout)
            .field("close_timeout", &self.close_timeout)
            .field("headers", &headers)
            .field("path", &self.path)
            .field("confidential", &self.confidential)
            .finish_non_exhaustive()
    }
}
