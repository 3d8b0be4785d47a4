//! The probes of a supervisor.

use axum::{Router, http::StatusCode, routing::get};
use towline_runtime::Runtime;

use crate::host::Host;

/// Two routes for whoever keeps the process running, without any check of the host [ARCP 4-8]:
///
/// - `GET /healthz`: 200 as long as the process answers.
/// - `GET /readyz`: 200 while new sessions are welcome, 503 once the runtime is shutting down.
///
/// They tell nothing else, so they may be reachable by anybody.
pub fn health_routes<S: Clone + Send + Sync + 'static>(runtime: &Runtime) -> Router<S> {
    routes(runtime.clone())
}

pub(crate) fn routes<S: Clone + Send + Sync + 'static, H: Host>(host: H) -> Router<S> {
    let ready = move || {
        let answer = if host.is_ready() {
            (StatusCode::OK, "ready\n")
        } else {
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "not ready: the runtime takes no new sessions\n",
            )
        };
        std::future::ready(answer)
    };
    Router::new()
        .route("/healthz", get(|| std::future::ready("ok\n")))
        .route("/readyz", get(ready))
}
