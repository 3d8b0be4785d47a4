//! The probes of a supervisor.

use axum::{Router, http::StatusCode, routing::get};
use towline_runtime::Runtime;

use crate::{EndpointOptions, host::Host};

/// Two routes for whoever keeps the process running, without any check of the host:
///
/// - `GET /healthz`: 200 as long as the process answers.
/// - `GET /readyz`: 200 while new sessions are welcome, 503 once the runtime is shutting down, and while its store fails.
///
/// They tell nothing else. What answers to any host can be read by a web page that names its own host; where that is too
/// much, [`guarded_health_routes`].
pub fn health_routes<S: Clone + Send + Sync + 'static>(runtime: &Runtime) -> Router<S> {
    alive().merge(ready(runtime.clone()))
}

/// [`health_routes`] with `/readyz` only for the hosts and origins that an endpoint lets in [ARCP 4-8]. `/healthz` needs
/// neither: it says what a connection says.
pub fn guarded_health_routes<S: Clone + Send + Sync + 'static>(
    runtime: &Runtime,
    options: &EndpointOptions,
) -> Router<S> {
    alive().merge(options.guard(ready(runtime.clone())))
}

pub(crate) fn alive<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/healthz", get(|| std::future::ready("ok\n")))
}

pub(crate) fn ready<S: Clone + Send + Sync + 'static, H: Host>(host: H) -> Router<S> {
    let ready = move || {
        let answer = if host.is_ready() {
            (StatusCode::OK, "ready\n")
        } else {
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "not ready: the runtime takes no new sessions, for it shuts down or its store fails\n",
            )
        };
        std::future::ready(answer)
    };
    Router::new().route("/readyz", get(ready))
}
