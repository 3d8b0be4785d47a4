//! What the resources share: the runtime, and how a request comes to have a caller.

use std::{io, net::SocketAddr, sync::Arc};

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, Method, header, request::Parts},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use towline_runtime::{Caller, LongRequest, Runtime};
use towline_wire::{JobId, Secret};

use super::problem::Problem;
use crate::{EndpointOptions, Visit, gate::Gate, proxies};

/// A runtime as it is served.
pub(crate) struct Face {
    runtime: Runtime,
    options: EndpointOptions,
}

pub(crate) type Shared = Arc<Face>;

impl Face {
    pub(crate) fn new(runtime: &Runtime, options: EndpointOptions) -> Self {
        Self {
            runtime: runtime.clone(),
            options,
        }
    }

    /// Which hosts and origins are let in.
    pub(super) fn gate(&self) -> &Gate {
        &self.options.gate
    }

    /// The longest body.
    pub(crate) fn body_bytes(&self) -> usize {
        self.options.body_bytes
    }

    /// Host and origin first, so that a stranger's page learns nothing else [ARCP 16-4]; then who asks. `None` when a
    /// browser only asks what a page may do.
    pub(super) async fn admit(&self, mut request: Request) -> Result<Option<Request>, Problem> {
        let gate = &self.options.gate;
        gate.check(request.uri(), request.headers())?;
        if is_preflight(&request) {
            return Ok(None);
        }
        let (parts, body) = request.into_parts();
        let peer = proxies::of(&parts, &self.options.forwarded);
        let visit = parts.extensions.get::<Visit>().cloned();
        if let (Some(visit), Some(peer)) = (&visit, peer) {
            visit.comes_from(peer)?;
        }
        let is_public = parts.uri.path() == PUBLIC;
        let caller = if is_public {
            None
        } else {
            Some(self.caller(&parts, peer).await?)
        };
        request = Request::from_parts(parts, body);
        if let Some(caller) = caller {
            if let Some(visit) = visit {
                visit.known();
            }
            request.extensions_mut().insert(caller);
        }
        Ok(Some(request))
    }

    async fn caller(&self, parts: &Parts, peer: Option<SocketAddr>) -> Result<Caller, Problem> {
        let (scheme, token) = authorization(&parts.headers)?;
        let is_shown = scheme.is_some();
        let proven = self.runtime.prove(scheme, token, peer).await;
        let proven = proven.map_err(|cause| Problem::unproved(cause, is_shown))?;
        let confidential = self.options.websocket.is_confidential(peer);
        Ok(self.runtime.caller(proven, confidential))
    }
}

/// Scheme and token of the `Authorization` header.
fn authorization(headers: &HeaderMap) -> Result<(Option<String>, Option<Secret>), Problem> {
    let mut shown = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = shown.next() else {
        return Ok((None, None));
    };
    if shown.next().is_some() {
        return Err(Problem::unauthenticated(
            "the request has several Authorization headers, send one",
        ));
    }
    let text = value
        .to_str()
        .map_err(|_| Problem::unauthenticated("the Authorization header is not plain text"))?;
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    let token = Some(token.trim()).filter(|token| !token.is_empty());
    Ok((Some(scheme.to_owned()), token.map(Secret::from)))
}

fn is_preflight(request: &Request) -> bool {
    let headers = request.headers();
    request.method() == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The request goes on for longer than a plain request may: it takes one of the places that its principal has for such, and the
/// server's clock stops [ARCP 14-5, 14-6].
///
/// # Errors
/// 429 when there is no place.
pub(crate) fn takes_long(parts: &Parts, caller: &Caller) -> Result<LongRequest, Problem> {
    let place = caller.long_request()?;
    if let Some(visit) = parts.extensions.get::<Visit>() {
        visit.taken();
    }
    Ok(place)
}

/// A body that keeps its place until it is read to its end, or nobody reads it any more.
pub(super) fn long_body(
    pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    place: LongRequest,
) -> Body {
    Body::from_stream(pieces.inspect(move |_| {
        let _kept = &place;
    }))
}

/// The job a path names.
pub(super) fn job_of(path: &str) -> Result<JobId, Problem> {
    JobId::parse(path).map_err(|_| Problem::no_such_job(path))
}

/// What needs no token: the description.
const PUBLIC: &str = "/openapi.json";
