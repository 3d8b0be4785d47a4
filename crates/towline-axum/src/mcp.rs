//! Agents as tools of the Model Context Protocol (§19), over Streamable HTTP.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware::from_fn_with_state,
    response::Response,
    routing::any,
};
use towline_mcp::{HttpService, Options};
use towline_runtime::Runtime;

use crate::{
    EndpointOptions,
    http::{
        enter,
        face::{Face, takes_long},
    },
};

/// The one route there is. Who may come in is decided as for `/v1` [ARCP 16-4].
pub(crate) fn routes<S: Clone + Send + Sync + 'static>(
    path: &str,
    runtime: &Runtime,
    options: EndpointOptions,
    mcp: Options,
) -> Router<S> {
    let face = Arc::new(Face::new(runtime, options));
    let service = HttpService::new(mcp, face.body_bytes(), runtime.shutting_down());
    Router::new()
        .route(path, any(answer))
        .with_state(service)
        .route_layer(from_fn_with_state(face, enter))
}

async fn answer(State(service): State<HttpService>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    takes_long(&parts);
    let response = service.answer(Request::from_parts(parts, body)).await;
    response.map(Body::new)
}
