//! An ARCP runtime on an [axum] router.
//!
//! [`RouterExt::route_arcp`] mounts a WebSocket endpoint, [`health_routes`] the two probes a supervisor asks for. The
//! runtime is shared: several endpoints, each with its own [`EndpointOptions`], may serve one.
//!
//! With the feature `http`, `RouterExt::route_http` adds jobs over plain HTTP.
//!
//! With the feature `mcp`, `RouterExt::route_mcp` adds the agents as tools of the Model Context Protocol.
//!
//! With the feature `dashboard`, `dashboard_routes` serves the operator's page, which is embedded in the crate.
//!
//! ```no_run
//! use std::net::SocketAddr;
//!
//! use axum::{Router, serve::ListenerExt as _};
//! use towline_axum::{EndpointOptions, RouterExt, health_routes};
//! use towline_runtime::Runtime;
//!
//! # async fn example(runtime: Runtime) -> std::io::Result<()> {
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:7777").await?;
//! let options = EndpointOptions::for_listener(listener.local_addr()?);
//! let app = Router::new().route_arcp("/arcp", &runtime, options).merge(health_routes(&runtime));
//!
//! // Small frames go out at once, and peers are known by their address.
//! let listener = listener.tap_io(|tcp| drop(tcp.set_nodelay(true)));
//! axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await
//! # }
//! ```

#[cfg(feature = "dashboard")]
mod dashboard;
mod door;
mod endpoint;
mod gate;
mod health;
mod host;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "mcp")]
mod mcp;
mod options;
mod proxies;
mod refusal;
mod router;
mod upgrade;
#[cfg(feature = "ws")]
mod ws;

#[cfg(feature = "dashboard")]
pub use dashboard::{ConnectError, DashboardOptions, dashboard_routes};
pub use door::{Door, DoorOptions, Full, Visit};
pub use health::{guarded_health_routes, health_routes};
pub use options::EndpointOptions;
pub use proxies::{Proxy, ProxyError};
pub use router::RouterExt;
#[cfg(feature = "ws")]
pub use ws::AxumStream;

#[cfg(test)]
mod tests;
