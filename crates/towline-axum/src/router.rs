//! Mounting.

use axum::{Router, routing::any};
use towline_runtime::Runtime;

use crate::{EndpointOptions, endpoint::Endpoint};

/// Adds ARCP endpoints to an axum [`Router`].
pub trait RouterExt {
    /// Serves `runtime` at `path`, usually `/arcp`.
    ///
    /// A request is answered in this order [ARCP 4-8]: 403 when its `Host` or its `Origin` is not allowed, 426 when it is
    /// no WebSocket upgrade, 400 when it is a broken one, 101 otherwise. Refusals are one line of plain text.
    ///
    /// For the peers' addresses, which rate limits and the audit log use, serve the router with
    /// [`into_make_service_with_connect_info::<SocketAddr>`](Router::into_make_service_with_connect_info), and for low
    /// latency switch on `TCP_NODELAY`; the [crate's example](crate) does both.
    ///
    /// # Panics
    /// As [`Router::route`]: when the path does not begin with `/`, or is taken.
    #[must_use]
    fn route_arcp(self, path: &str, runtime: &Runtime, options: EndpointOptions) -> Self;

    /// Serves `runtime` over plain HTTP: `/v1/…`, for curl, browsers and every language without an SDK, and `/openapi.json`,
    /// which describes it (§16).
    ///
    /// The hosts, origins, proxies and TLS of `options` hold here too, and its largest message is the largest body. Clients
    /// send their bearer token in `Authorization`. What they ask for goes through the commands that sessions use, with the
    /// authority of the token's principal. Errors are problem documents (RFC 9457).
    ///
    /// # Panics
    /// As [`Router::route`], when one of these paths is taken.
    #[cfg(feature = "http")]
    #[must_use]
    fn route_http(self, runtime: &Runtime, options: EndpointOptions) -> Self;

    /// Serves the agents of `runtime` as tools of the Model Context Protocol at `path`, usually `/mcp`, over Streamable HTTP
    /// (§19): the revision 2026-07-28, and those before it.
    ///
    /// Hosts, origins, proxies, TLS and bearer tokens are as for [`route_http`](Self::route_http), and what a tool does has the
    /// authority of the token's principal.
    ///
    /// # Panics
    /// As [`Router::route`]: when the path does not begin with `/`, or is taken.
    #[cfg(feature = "mcp")]
    #[must_use]
    fn route_mcp(
        self,
        path: &str,
        runtime: &Runtime,
        options: EndpointOptions,
        mcp: towline_mcp::Options,
    ) -> Self;
}

impl<S: Clone + Send + Sync + 'static> RouterExt for Router<S> {
    fn route_arcp(self, path: &str, runtime: &Runtime, options: EndpointOptions) -> Self {
        let endpoint = Endpoint::new(runtime.clone(), options);
        self.route(path, any(move |request| endpoint.answer(request)))
    }

    #[cfg(feature = "http")]
    fn route_http(self, runtime: &Runtime, options: EndpointOptions) -> Self {
        self.merge(crate::http::routes(runtime, options))
    }

    #[cfg(feature = "mcp")]
    fn route_mcp(
        self,
        path: &str,
        runtime: &Runtime,
        options: EndpointOptions,
        mcp: towline_mcp::Options,
    ) -> Self {
        self.merge(crate::mcp::routes(path, runtime, options, mcp))
    }
}
