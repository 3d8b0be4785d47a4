//! Jobs over plain HTTP (§16): one file a resource, and what they share.
//!
//! Nothing is decided here. A request becomes a command of the principal's virtual session ([`Caller`]), and what that answers
//! becomes a document, a stream or a problem.

mod accept;
mod agents;
mod body;
mod cors;
mod events;
mod job;
mod jobs;
mod openapi;
mod prefer;
mod problem;
mod query;
mod range;
mod result;

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
    routing::{any, get, post},
};
use towline_runtime::{Caller, Runtime};
use towline_wire::{JobId, Secret};

use crate::{EndpointOptions, Visit, proxies};
use cors::Cors;
use problem::Problem;

/// A runtime as it is served.
struct Face {
    runtime: Runtime,
    options: EndpointOptions,
}

type Shared = Arc<Face>;

/// Every route there is.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>(
    runtime: &Runtime,
    options: EndpointOptions,
) -> Router<S> {
    let face = Arc::new(Face {
        runtime: runtime.clone(),
        options,
    });
    Router::new()
        .route("/v1/jobs", get(jobs::list).post(jobs::submit))
        .route("/v1/jobs/{job}", get(job::show))
        .route("/v1/jobs/{job}/cancel", post(job::cancel))
        .route("/v1/jobs/{job}/events", get(events::read))
        .route("/v1/jobs/{job}/result", get(result::fetch))
        .route("/v1/agents", get(agents::list))
        .route("/openapi.json", get(openapi::describe))
        .route("/v1", any(nowhere))
        .route("/v1/{*rest}", any(nowhere))
        .method_not_allowed_fallback(wrong_method)
        .route_layer(from_fn_with_state(Arc::clone(&face), enter))
        .with_state(face)
}

/// What every request goes through: host and origin, who asks, and what browsers want to hear.
async fn enter(State(face): State<Shared>, request: Request, next: Next) -> Response {
    let cors = Cors::of(&face.options.gate, request.headers());
    let mut response = match face.admit(request).await {
        Ok(Some(request)) => next.run(request).await,
        Ok(None) => cors.preflight(),
        Err(problem) => {
            tracing::debug!(%problem, "a request was refused");
            problem.into_response()
        }
    };
    cors.mark(response.headers_mut());
    response
        .headers_mut()
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

impl Face {
    /// Host and origin first, so that a stranger's page learns nothing else [ARCP 16-4]; then who asks. `None` when a
    /// browser only asks what a page may do.
    async fn admit(&self, mut request: Request) -> Result<Option<Request>, Problem> {
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
        let is_public = parts.uri.path() == openapi::PATH;
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

/// The request goes on for longer than a plain request may: the server's clock stops [ARCP 14-5].
fn takes_long(parts: &Parts) {
    if let Some(visit) = parts.extensions.get::<Visit>() {
        visit.taken();
    }
}

/// The job a path names.
fn job_of(path: &str) -> Result<JobId, Problem> {
    JobId::parse(path).map_err(|_| Problem::no_such_job(path))
}

async fn nowhere(request: Request) -> Problem {
    Problem::nowhere(request.uri().path())
}

async fn wrong_method(request: Request) -> Problem {
    Problem::invalid(
        StatusCode::METHOD_NOT_ALLOWED,
        format!(
            "{} is not for {}, see `Allow`",
            crate::refusal::shown(request.method().as_str()),
            crate::refusal::shown(request.uri().path())
        ),
    )
}
