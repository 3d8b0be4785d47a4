//! WebSocket, one envelope a text message [ARCP 4-1].
//!
//! Three ways to a [`WebSocketTransport`]: [`connect`](WebSocketTransport::connect) for clients,
//! [`accept`](WebSocketTransport::accept) for a server with its own listener, and
//! [`upgraded`](WebSocketTransport::upgraded) for a server inside an HTTP framework that has answered the upgrade itself.
//! A WebSocket that is connected already fits in through [`LibrarySocket`] when it is tungstenite's, and any other library's
//! through [`MessageSocket`].

use std::net::SocketAddr;

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use self::frame::Role;
use crate::{FrameSink, FrameSource, Transport, TransportError, TransportInfo, TransportKind};

mod accept;
mod client_stream;
mod connect;
mod decoder;
mod frame;
mod halves;
mod head;
mod library;
mod loan;
mod options;
mod room;
mod socket;
mod stream;
#[cfg(feature = "tls")]
mod tls;

pub use client_stream::ClientStream;
pub use library::{LibrarySocket, LibraryStream};
pub use loan::{LentSocket, Loan};
pub use options::WebSocketOptions;
pub use socket::{MessageSocket, SocketMessage};
pub use stream::StreamSocket;

/// The value of `Sec-WebSocket-Accept` that answers a `Sec-WebSocket-Key`, for who answers an upgrade by hand.
pub use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// A connection over a WebSocket.
///
/// - Sends one unfragmented text message an envelope; what is sent gathers in a bounded buffer until a flush, and a peer
///   that does not read makes the sender wait. Receives text, fragmented or not, and binary messages that hold UTF-8
///   JSON.
/// - Answers pings and a received Close by itself. Sends no pings: `session.ping` measures liveness [ARCP 4-7].
/// - A message above the limit is [`Inbound::TooBig`](crate::Inbound::TooBig) with `fatal`: sending still works, so the
///   owner can say why before it closes with 1009 [ARCP 4-6]. Text that is not UTF-8 and broken framing close the
///   connection with 1007 or 1002.
/// - [`poll_close`](FrameSink::poll_close) sends everything that waits, then the Close, then reads and discards until the
///   peer is done, so that no reset overtakes the last words. All of it takes at most the
///   [close timeout](WebSocketOptions::close_timeout). Dropping both halves instead drops the socket at once.
/// - A socket that ends without a Close is [`Closed::Ended`](crate::Closed::Ended), also where it ends its own side only: what is
///   sent then still goes out. One that fails is [`Closed::Lost`](crate::Closed::Lost).
///
/// ```no_run
/// # async fn example() -> Result<(), towline_transport::TransportError> {
/// use towline_transport::{Transport, WebSocketOptions, WebSocketTransport};
///
/// let options = WebSocketOptions::client().header("Origin", "https://example.org");
/// let transport = WebSocketTransport::connect_with("wss://example.org/arcp", &options).await?;
/// let (mut sink, mut source) = Box::new(transport).split();
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct WebSocketTransport<S = StreamSocket<ClientStream>> {
    socket: S,
    info: TransportInfo,
    options: WebSocketOptions,
}

impl WebSocketTransport<StreamSocket<ClientStream>> {
    /// Connects to `ws://` or `wss://`. A URL without a path means `/arcp`.
    ///
    /// # Errors
    /// [`TransportError::Setup`] for a bad URL or a certificate that is not trusted, [`Connect`](TransportError::Connect)
    /// when nobody answers, [`Refused`](TransportError::Refused) when an HTTP status other than 101 comes back.
    pub async fn connect(url: &str) -> Result<Self, TransportError> {
        Self::connect_with(url, &WebSocketOptions::client()).await
    }

    /// [`connect`](Self::connect) with options.
    ///
    /// # Errors
    /// As `connect`.
    pub async fn connect_with(
        url: &str,
        options: &WebSocketOptions,
    ) -> Result<Self, TransportError> {
        let connected = connect::connect(url, options).await?;
        let socket = StreamSocket::new(connected.stream, Role::Client, connected.input, options);
        let mut transport = Self::over(socket, Some(connected.peer), options);
        transport.info.confidential |= connected.encrypted;
        Ok(transport)
    }
}

impl WebSocketTransport<StreamSocket<TcpStream>> {
    /// Answers the upgrade request of a connection that a listener of yours has accepted.
    ///
    /// # Errors
    /// [`TransportError::Handshake`] when the peer asks for something else, another path, or nothing in time.
    pub async fn accept(
        stream: TcpStream,
        options: &WebSocketOptions,
    ) -> Result<Self, TransportError> {
        let peer = stream.peer_addr().map_err(TransportError::Io)?;
        stream.set_nodelay(true).map_err(TransportError::Io)?;
        Self::accept_on(stream, Some(peer), options).await
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static> WebSocketTransport<StreamSocket<IO>> {
    /// Asks for the upgrade on any byte stream: one through a proxy, a Unix socket, or TLS of your own, which you may
    /// then [declare confidential](WebSocketOptions::declare_confidential). The URL's scheme is not looked at.
    ///
    /// # Errors
    /// As [`connect`](WebSocketTransport::connect).
    pub async fn connect_on(
        io: IO,
        url: &str,
        options: &WebSocketOptions,
    ) -> Result<Self, TransportError> {
        let (io, input) = connect::connect_on(io, url, options).await?;
        let socket = StreamSocket::new(io, Role::Client, input, options);
        Ok(Self::over(socket, None, options))
    }

    /// Answers the upgrade request on any byte stream; over TLS of your own, [declare it
    /// confidential](WebSocketOptions::declare_confidential).
    ///
    /// # Errors
    /// As [`accept`](WebSocketTransport::accept).
    pub async fn accept_on(
        io: IO,
        peer: Option<SocketAddr>,
        options: &WebSocketOptions,
    ) -> Result<Self, TransportError> {
        let name = peer.map_or_else(|| "the peer".to_owned(), |peer| peer.to_string());
        let (io, input) = accept::accept(io, &name, options).await?;
        let socket = StreamSocket::new(io, Role::Server, input, options);
        Ok(Self::over(socket, peer, options))
    }

    /// The server's side of a byte stream whose upgrade has been answered already, with [`derive_accept_key`].
    pub fn upgraded(io: IO, peer: Option<SocketAddr>, options: &WebSocketOptions) -> Self {
        let socket = StreamSocket::new(io, Role::Server, BytesMut::new(), options);
        Self::over(socket, peer, options)
    }
}

impl<S: MessageSocket> WebSocketTransport<S> {
    /// A transport over any socket. It owns the socket: closing the transport closes it.
    pub fn over(socket: S, peer: Option<SocketAddr>, options: &WebSocketOptions) -> Self {
        let info = TransportInfo::new(TransportKind::WebSocket)
            .at(peer)
            .confidential(options.is_confidential(peer));
        Self {
            socket,
            info,
            options: options.clone(),
        }
    }

    /// The socket, before the transport is split.
    pub fn into_inner(self) -> S {
        self.socket
    }

    /// Makes the transport a borrower: closing it leaves the socket open, and [`Loan::take_back`] returns it.
    pub fn lend(self) -> (WebSocketTransport<LentSocket<S>>, Loan<S>) {
        let (socket, loan) = loan::lend(self.socket);
        (
            WebSocketTransport {
                socket,
                info: self.info,
                options: self.options,
            },
            loan,
        )
    }
}

impl<S: MessageSocket> Transport for WebSocketTransport<S> {
    fn info(&self) -> TransportInfo {
        self.info.clone()
    }

    fn split(self: Box<Self>) -> (Box<dyn FrameSink>, Box<dyn FrameSource>) {
        halves::halves(
            self.socket,
            self.options.max_send_size,
            self.options.close_timeout,
        )
    }
}
