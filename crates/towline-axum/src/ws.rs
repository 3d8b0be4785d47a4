//! A WebSocket that axum's own extractor has upgraded.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{
    Error,
    extract::ws::{self, WebSocket},
};
use bytes::Bytes;
use futures_util::{Sink, Stream};
use tokio_tungstenite::tungstenite::{Error as WsError, Message, Utf8Bytes, protocol};
use towline_transport::websocket::{LibrarySocket, LibraryStream};

/// axum's WebSocket as a [`LibraryStream`], for handlers that upgrade connections themselves: behind their own extractors and
/// middleware, or under a path that a request decides.
///
/// Where nothing of that is needed, [`route_arcp`](crate::RouterExt::route_arcp) is better: it checks Host and Origin
/// [ARCP 4-8], holds no buffers for silent connections, and tells a peer that sent too much why it is closed, which axum
/// leaves no way to. Set [`max_message_size`](ws::WebSocketUpgrade::max_message_size) to what is to be received, 4 MiB say.
///
/// ```no_run
/// use axum::{Router, extract::ws::WebSocketUpgrade, response::Response, routing::any};
/// use towline_axum::AxumStream;
/// use towline_runtime::Runtime;
/// use towline_transport::{WebSocketOptions, WebSocketTransport};
///
/// fn app(runtime: Runtime) -> Router {
///     let upgrade = async move |upgrade: WebSocketUpgrade| -> Response {
///         upgrade.max_message_size(4 << 20).on_upgrade(async move |socket| {
///             let options = WebSocketOptions::server();
///             runtime.accept(WebSocketTransport::over(AxumStream::socket(socket), None, &options));
///         })
///     };
///     Router::new().route("/tenants/{tenant}/arcp", any(upgrade))
/// }
/// ```
#[derive(Debug)]
pub struct AxumStream(WebSocket);

impl AxumStream {
    /// A message socket over axum's WebSocket, for [`WebSocketTransport::over`](towline_transport::WebSocketTransport::over).
    pub const fn socket(socket: WebSocket) -> LibrarySocket<Self> {
        LibrarySocket::new(Self(socket))
    }

    /// axum's WebSocket.
    pub fn into_inner(self) -> WebSocket {
        self.0
    }
}

// axum lends out nothing underneath, so what `LibraryStream` does by default has to do.
impl LibraryStream for AxumStream {}

impl Stream for AxumStream {
    type Item = Result<Message, WsError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = ready!(Pin::new(&mut self.0).poll_next(cx));
        Poll::Ready(next.map(|next| next.map_err(fault).and_then(received)))
    }
}

impl Sink<Message> for AxumStream {
    type Error = WsError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WsError>> {
        Pin::new(&mut self.0).poll_ready(cx).map_err(fault)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), WsError> {
        let message = sent(message)?;
        Pin::new(&mut self.0).start_send(message).map_err(fault)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WsError>> {
        Pin::new(&mut self.0).poll_flush(cx).map_err(fault)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WsError>> {
        Pin::new(&mut self.0).poll_close(cx).map_err(fault)
    }
}

fn received(message: ws::Message) -> Result<Message, WsError> {
    Ok(match message {
        ws::Message::Text(text) => {
            Message::Text(Utf8Bytes::try_from(Bytes::from(text)).map_err(io::Error::other)?)
        }
        ws::Message::Binary(bytes) => Message::Binary(bytes),
        ws::Message::Ping(bytes) => Message::Ping(bytes),
        ws::Message::Pong(bytes) => Message::Pong(bytes),
        ws::Message::Close(close) => Message::Close(close.map(|close| protocol::CloseFrame {
            code: close.code.into(),
            reason: close.reason.as_str().into(),
        })),
    })
}

fn sent(message: Message) -> Result<ws::Message, WsError> {
    Ok(match message {
        Message::Text(text) => {
            ws::Message::Text(ws::Utf8Bytes::try_from(Bytes::from(text)).map_err(io::Error::other)?)
        }
        Message::Binary(bytes) => ws::Message::Binary(bytes),
        Message::Ping(bytes) => ws::Message::Ping(bytes),
        Message::Pong(bytes) => ws::Message::Pong(bytes),
        Message::Close(close) => ws::Message::Close(close.map(|close| ws::CloseFrame {
            code: close.code.into(),
            reason: close.reason.as_str().into(),
        })),
        Message::Frame(_) => return Err(WsError::Io(io::ErrorKind::Unsupported.into())),
    })
}

/// axum wraps the library's error; a version of axum with another version of the library would wrap one that is foreign here.
fn fault(error: Error) -> WsError {
    match error.into_inner().downcast::<WsError>() {
        Ok(fault) => *fault,
        Err(foreign) => WsError::Io(io::Error::other(foreign)),
    }
}
