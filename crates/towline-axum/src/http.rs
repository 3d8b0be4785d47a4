//! Jobs over plain HTTP (§16): one file a resource, and what they share.
//!
//! Nothing is decided here. A request becomes a command of the principal's virtual session ([`towline_runtime::Caller`]), and
//! what that answers becomes a document, a stream or a problem.

mod accept;
mod agents;
pub(crate) mod body;
mod cors;
mod document;
mod events;
pub(crate) mod face;
mod job;
mod jobs;
mod openapi;
mod prefer;
pub(crate) mod problem;
mod query;
mod questions;
mod range;
mod result;
mod schedules;
mod segment;
mod webhooks;

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
    routing::{any, get, post},
};
use towline_runtime::Runtime;
use towline_wire::Shown;

use crate::{EndpointOptions, refusal::shown};
use cors::Cors;
use face::{Face, Shared};
use problem::Problem;

/// Every route there is.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>(
    runtime: &Runtime,
    options: EndpointOptions,
) -> Router<S> {
    let face = Arc::new(Face::new(runtime, options));
    Router::new()
        .route("/v1/jobs", get(jobs::list).post(jobs::submit))
        .route("/v1/jobs/{job}", get(job::show))
        .route("/v1/jobs/{job}/answer", post(questions::answer))
        .route("/v1/jobs/{job}/cancel", post(job::cancel))
        .route("/v1/jobs/{job}/messages", post(questions::speak))
        .route("/v1/jobs/{job}/events", get(events::read))
        .route("/v1/jobs/{job}/result", get(result::fetch))
        .route("/v1/agents", get(agents::list))
        .route("/v1/inbox", get(questions::inbox))
        .route("/v1/webhooks", get(webhooks::list))
        .route("/v1/webhooks/{id}/redeliver", post(webhooks::redeliver))
        .route("/v1/schedules", get(schedules::list))
        .route("/v1/schedules/{name}/run", post(schedules::run))
        .route("/v1/schedules/{name}/pause", post(schedules::pause))
        .route("/v1/schedules/{name}/resume", post(schedules::resume))
        .route("/openapi.json", get(openapi::describe))
        .route("/v1", any(nowhere))
        .route("/v1/", any(nowhere))
        .route("/v1/{*rest}", any(nowhere))
        .method_not_allowed_fallback(wrong_method)
        .route_layer(from_fn_with_state(Arc::clone(&face), enter))
        .with_state(face)
}

/// What every request goes through: host and origin, who asks, and what browsers want to hear.
pub(crate) async fn enter(State(face): State<Shared>, request: Request, next: Next) -> Response {
    let cors = Cors::of(face.gate(), request.headers());
    let mut response = match face.admit(request).await {
        Ok(Some(request)) => next.run(request).await,
        Ok(None) => cors.preflight(),
        Err(problem) => {
            tracing::debug!(problem = %Shown::new(&problem.to_string()), "a request was refused");
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

async fn nowhere(request: Request) -> Problem {
    Problem::nowhere(request.uri().path())
}

async fn wrong_method(request: Request) -> Problem {
    Problem::invalid(
        StatusCode::METHOD_NOT_ALLOWED,
        format!(
            "{} is not for {}, see `Allow`",
            shown(request.method().as_str()),
            shown(request.uri().path())
        ),
    )
}
