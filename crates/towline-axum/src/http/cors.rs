//! What browsers have to hear before a page of another origin may ask [ARCP 16-4].

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};

use crate::gate::{Gate, Origin, Origins};

/// The page that asks, when it is of an origin that was allowed. Pages of the listener's own origin need nothing, and those of
/// any other are refused before.
pub(super) struct Cors(Option<HeaderValue>);

impl Cors {
    pub(super) fn of(gate: &Gate, headers: &HeaderMap) -> Self {
        let origin = headers.get(header::ORIGIN).filter(|origin| {
            let text = origin.to_str().unwrap_or_default();
            match &gate.origins {
                Origins::Any => true,
                Origins::OwnAnd(allowed) => allowed.contains(&Origin::of(text)),
            }
        });
        Self(origin.cloned())
    }

    /// Marks an answer.
    pub(super) fn mark(&self, headers: &mut HeaderMap) {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = &self.0 {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(
                header::ACCESS_CONTROL_EXPOSE_HEADERS,
                HeaderValue::from_static(EXPOSED),
            );
        }
    }

    /// Says what a page may send. There are no cookies, so that it cannot send what somebody else gave.
    pub(super) fn preflight(&self) -> Response {
        let mut response = StatusCode::NO_CONTENT.into_response();
        if self.0.is_some() {
            response
                .headers_mut()
                .extend(PREFLIGHT.map(|(name, value)| (name, HeaderValue::from_static(value))));
        }
        response
    }
}

const EXPOSED: &str = "Location, Content-Range, Accept-Ranges, ETag, Preference-Applied, Retry-After, Allow, Mcp-Session-Id, \
    MCP-Protocol-Version, WWW-Authenticate";

/// Of `/v1` and of MCP together: what a route does not take it refuses, whatever a browser was told.
const PREFLIGHT: [(HeaderName, &str); 3] = [
    (
        header::ACCESS_CONTROL_ALLOW_METHODS,
        "GET, HEAD, POST, DELETE",
    ),
    (
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        "Accept, Authorization, Content-Type, Idempotency-Key, If-Range, Last-Event-ID, \
        MCP-Protocol-Version, Mcp-Method, Mcp-Name, Mcp-Session-Id, Prefer, Range, Traceparent",
    ),
    (header::ACCESS_CONTROL_MAX_AGE, "600"),
];
