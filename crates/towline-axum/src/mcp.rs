//! Agents as tools of the Model Context Protocol (§19), over Streamable HTTP.

use std::sync::Arc;

use axum::{
    Extension, Router,
    body::Body,
    extract::{Request, State},
    http::{Method, StatusCode, header, request::Parts},
    middleware::from_fn_with_state,
    response::{IntoResponse as _, Response},
    routing::any,
};
use futures_util::StreamExt as _;
use towline_mcp::{HttpService, Options};
use towline_runtime::{Caller, Runtime};

use crate::{
    EndpointOptions,
    http::{
        body, enter,
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

/// Whether an answer stays is known when it is there: each request takes a place, and those that stay keep it.
async fn answer(
    State(service): State<HttpService>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let place = match takes_long(&parts, &caller) {
        Ok(place) => place,
        Err(problem) => return problem.into_response(),
    };
    // What a call gives ends by itself; what a client only listens to has to be ended [ARCP 14-7].
    let listens = parts.method == Method::GET;
    let body = match message(&parts, body, service.body_bytes()).await {
        Ok(body) => body,
        Err(response) => return *response,
    };
    let response = service.answer(Request::from_parts(parts, body)).await;
    let content_type = response.headers().get(header::CONTENT_TYPE);
    if content_type.is_none_or(|kind| kind != "text/event-stream") {
        return response.map(Body::new);
    }
    response.map(|body| {
        let taken_away = async move {
            let _place = place;
            if listens {
                caller.unproved().await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        let pieces = Body::new(body).into_data_stream();
        Body::from_stream(pieces.take_until(taken_away))
    })
}

/// A message that can be read, mended where it has to be. What is none is answered as JSON-RPC has it; what is not said to be JSON
/// is for the service to refuse.
async fn message(parts: &Parts, body: Body, most: usize) -> Result<Body, Box<Response>> {
    if parts.method != Method::POST || body::check_type(&parts.headers).is_err() {
        return Ok(body);
    }
    let read = body::read(&parts.headers, body, most).await;
    let bytes = read.map_err(|problem| Box::new(problem.into_response()))?;
    let readable = towline_mcp::readable(bytes).map_err(|malformed| {
        let json = [
            (header::CONTENT_TYPE, "application/json"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ];
        let answer = (StatusCode::BAD_REQUEST, json, malformed.document());
        Box::new(answer.into_response())
    });
    readable.map(Body::from)
}
