//! What the proxy itself says, as HTTP.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::{
    HeaderMap, Response, StatusCode,
    header::{self, HeaderName, HeaderValue},
};
use serde_json::{Value, json};
use towline_runtime::{Denied, EventError};
use towline_wire::ErrorCode;

/// Why a body broke off.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The body of any answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, BodyError>;

/// A request that is not carried out: one of ours, with a status of HTTP.
#[derive(Debug, Clone)]
pub(crate) struct Refused {
    pub(super) status: StatusCode,
    pub(super) code: ErrorCode,
    pub(super) message: String,
}

impl Refused {
    pub(crate) fn new(status: StatusCode, code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }

    /// The request makes no sense.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::INVALID_REQUEST, message)
    }

    /// The lease says no.
    pub(super) fn forbidden(message: impl Into<String>) -> Self {
        Self::of_code(ErrorCode::PERMISSION_DENIED, message)
    }

    /// Somebody beyond did not do his part.
    pub(super) fn beyond(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, ErrorCode::INTERNAL_ERROR, message)
    }

    /// A refusal of the lease: 402 when it is for money [ARCP 18-3].
    pub(super) fn of_code(code: ErrorCode, message: impl Into<String>) -> Self {
        let status = if code == ErrorCode::BUDGET_EXHAUSTED {
            StatusCode::PAYMENT_REQUIRED
        } else {
            StatusCode::FORBIDDEN
        };
        Self::new(status, code, message)
    }

    /// The answer, for programs that ask for nothing in particular.
    pub(crate) fn plain(&self) -> Response<Body> {
        let error = json!({"code": self.code.as_str(), "message": self.message});
        json_answer(self.status, &json!({"error": error}))
    }
}

impl From<Denied> for Refused {
    fn from(denied: Denied) -> Self {
        Self::of_code(denied.code().clone(), denied.message())
    }
}

impl From<EventError> for Refused {
    fn from(error: EventError) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::INTERNAL_ERROR,
            error.to_string(),
        )
    }
}

/// An answer in JSON.
pub(super) fn json_answer(status: StatusCode, body: &Value) -> Response<Body> {
    let mut answer = Response::new(full(body.to_string()));
    *answer.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(header::CONTENT_TYPE, json);
    answer
}

pub(super) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// Takes out what is about one connection and not about the message, and what is for a proxy alone.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    // A length beside chunks is not the length.
    if headers.contains_key(header::TRANSFER_ENCODING) {
        headers.remove(header::CONTENT_LENGTH);
    }
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
