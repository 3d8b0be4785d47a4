//! Answers other than a WebSocket.

use std::fmt;

use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::Full;

/// A refusal: one line of plain text that names the value at fault and what to do.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    /// 403.
    pub(crate) fn forbidden(message: String) -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            message,
        }
    }

    /// 426, which says what to upgrade to.
    pub(crate) fn upgrade_required(message: &str) -> Self {
        Self {
            status: StatusCode::UPGRADE_REQUIRED,
            message: message.to_owned(),
        }
    }

    /// 400.
    pub(crate) fn bad_request(message: &str) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            message: message.to_owned(),
        }
    }

    /// 503.
    pub(crate) fn too_many(full: Full) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            message: full.to_string(),
        }
    }

    /// 500.
    pub(crate) fn broken_server(message: &str) -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            message: message.to_owned(),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let plain = [
            (
                header::CONTENT_TYPE,
                HeaderValue::from_static("text/plain; charset=utf-8"),
            ),
            // Part of the text may be the request's.
            (
                header::X_CONTENT_TYPE_OPTIONS,
                HeaderValue::from_static("nosniff"),
            ),
        ];
        let upgrade: [(HeaderName, HeaderValue); 3] = [
            (header::UPGRADE, HeaderValue::from_static("websocket")),
            (header::CONNECTION, HeaderValue::from_static("upgrade")),
            (
                header::SEC_WEBSOCKET_VERSION,
                HeaderValue::from_static("13"),
            ),
        ];
        let text = format!("{}\n", self.message);
        match self.status {
            StatusCode::UPGRADE_REQUIRED => (self.status, plain, upgrade, text).into_response(),
            status => (status, plain, text).into_response(),
        }
    }
}

#[cfg(feature = "http")]
impl Refusal {
    /// The parts, for an answer of another form.
    pub(crate) fn into_parts(self) -> (StatusCode, String) {
        (self.status, self.message)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// A value of the request for a refusal: cut, and with everything escaped that could pretend to be something else.
pub(crate) fn shown(value: &str) -> String {
    let cut: String = value.chars().take(100).collect();
    format!("{cut:?}")
}
