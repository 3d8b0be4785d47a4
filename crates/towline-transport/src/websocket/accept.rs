//! The server's way to an open WebSocket on a byte stream of its own.

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::{
    accept_hdr_async_with_config,
    tungstenite::{
        handshake::server::{Callback, ErrorResponse, Request, Response},
        http::StatusCode,
    },
};

use super::{WebSocketOptions, head::HeadOnly};
use crate::TransportError;

/// Answers an upgrade request within the handshake timeout. Gives the stream, and what was read behind the request.
pub(super) async fn accept<IO>(
    io: IO,
    peer: &str,
    options: &WebSocketOptions,
) -> Result<(IO, BytesMut), TransportError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let failed = |reason: String| TransportError::Handshake {
        peer: peer.to_owned(),
        reason,
        source: None,
    };
    let gate = PathGate {
        path: options.path.clone(),
    };
    let timeout = options.handshake_timeout;
    let upgrade = accept_hdr_async_with_config(HeadOnly::new(io), gate, None);
    match tokio::time::timeout(timeout, Box::pin(upgrade)).await {
        Ok(Ok(accepted)) => Ok(accepted.into_inner().into_parts()),
        Ok(Err(cause)) => Err(failed(cause.to_string()).because(cause)),
        Err(_) => Err(failed(format!("no upgrade request within {timeout:?}"))),
    }
}

/// Lets one path through.
struct PathGate {
    path: Option<String>,
}

impl Callback for PathGate {
    fn on_request(self, request: &Request, response: Response) -> Result<Response, ErrorResponse> {
        if self.path.is_none_or(|path| path == request.uri().path()) {
            return Ok(response);
        }
        let mut refusal = ErrorResponse::new(Some("no ARCP endpoint at this path\n".to_owned()));
        *refusal.status_mut() = StatusCode::NOT_FOUND;
        Err(refusal)
    }
}
