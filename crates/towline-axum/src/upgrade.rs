//! The opening handshake (RFC 6455, 4.2).
//!
//! It is done here rather than by axum's extractor, so that the byte stream goes to the same WebSocket core every other
//! ARCP connection uses: its limits, its buffers, its way of closing after a message that was too big.

use axum::{
    body::Body,
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header, request::Parts,
    },
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hyper::upgrade::OnUpgrade;
use towline_transport::websocket::derive_accept_key;

use crate::refusal::Refusal;

/// A request that is a good upgrade.
pub(crate) struct Upgrade {
    on_upgrade: OnUpgrade,
    accept: HeaderValue,
}

impl Upgrade {
    /// # Errors
    /// 426 for a request that asks for something else, 400 for one that asks wrongly, 500 when it cannot be granted.
    pub(crate) fn of(parts: &mut Parts) -> Result<Self, Refusal> {
        let headers = &parts.headers;
        let asks = parts.method == Method::GET
            && parts.version == Version::HTTP_11
            && has_token(headers, header::CONNECTION, "upgrade")
            && has_token(headers, header::UPGRADE, "websocket");
        if !asks {
            return Err(Refusal::upgrade_required(
                "this is an ARCP endpoint, connect with a WebSocket",
            ));
        }
        if !has_token(headers, header::SEC_WEBSOCKET_VERSION, "13") {
            return Err(Refusal::upgrade_required(
                "the WebSocket version is not 13, connect with that one",
            ));
        }
        let accept = accept(headers)?;
        let on_upgrade = parts.extensions.remove::<OnUpgrade>().ok_or_else(|| {
            Refusal::broken_server(
                "this server cannot upgrade connections, serve the router with axum::serve",
            )
        })?;
        Ok(Self { on_upgrade, accept })
    }

    /// The answer that begins the WebSocket, and what becomes of the connection once it is sent.
    pub(crate) fn grant(self) -> (Response, OnUpgrade) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, self.accept);
        (response, self.on_upgrade)
    }
}

/// The answer to the request's key, which has to be 16 bytes in base64.
fn accept(headers: &HeaderMap) -> Result<HeaderValue, Refusal> {
    let broken = || Refusal::bad_request("Sec-WebSocket-Key is not 16 bytes in base64");
    let key = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .ok_or_else(broken)?
        .as_bytes();
    let length = STANDARD.decode(key).map(|bytes| bytes.len());
    if length != Ok(16) {
        return Err(broken());
    }
    HeaderValue::try_from(derive_accept_key(key)).map_err(|_| broken())
}

/// Whether a header that is a list of words holds one.
fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let values = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .any(|word| word.trim().eq_ignore_ascii_case(token))
}
