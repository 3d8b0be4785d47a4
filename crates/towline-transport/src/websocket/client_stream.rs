//! What a client's WebSocket runs over.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// A client's byte stream.
pub struct ClientStream(Inner);

enum Inner {
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl ClientStream {
    pub(super) const fn plain(stream: TcpStream) -> Self {
        Self(Inner::Plain(stream))
    }

    #[cfg(feature = "tls")]
    pub(super) const fn secured(stream: Box<tokio_rustls::client::TlsStream<TcpStream>>) -> Self {
        Self(Inner::Tls(stream))
    }

    fn io(&mut self) -> Pin<&mut (dyn ByteStream + '_)> {
        match &mut self.0 {
            Inner::Plain(stream) => Pin::new(stream),
            #[cfg(feature = "tls")]
            Inner::Tls(stream) => Pin::new(&mut **stream),
        }
    }
}

trait ByteStream: AsyncRead + AsyncWrite + Unpin {}

impl<IO: AsyncRead + AsyncWrite + Unpin> ByteStream for IO {}

impl fmt::Debug for ClientStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Inner::Plain(_) => "ClientStream(plain)",
            #[cfg(feature = "tls")]
            Inner::Tls(_) => "ClientStream(tls)",
        })
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.io().poll_read(cx, buffer)
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.io().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_shutdown(cx)
    }
}
