//! The listener: the endpoint, `/healthz`, `/readyz`, `/metrics`.

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    time::{Duration, Instant},
};

use axum::{
    Router,
    http::{HeaderValue, StatusCode, header},
    middleware::map_response,
    response::{IntoResponse as _, Response},
    routing::get,
};
use axum_server::{
    Address, Handle,
    accept::{DefaultAcceptor, NoDelayAcceptor},
    tls_rustls::{RustlsAcceptor, RustlsConfig},
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::task::JoinHandle;
use towline::{
    axum::{
        DashboardOptions, Door, EndpointOptions, RouterExt as _, dashboard_routes,
        guarded_health_routes,
    },
    runtime::Runtime,
};

use super::{door::DoorAcceptor, settings::Settings, tls};
use crate::{
    context::Context,
    failure::{Failure, Outcome},
    telemetry::traced,
};

/// How long connections have to go away after the sessions were closed.
const LINGER: Duration = Duration::from_secs(2);

/// The largest head of a request.
const HEAD_BYTES: usize = 64 * 1024;

/// How long a peer may be silent before the kernel asks whether it is there, and how often it does from then on.
#[cfg(unix)]
const SILENCE: Duration = Duration::from_secs(30);

/// How long a port is waited for that is taken.
const GONE: Duration = Duration::from_secs(1);

/// How often it is tried meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// How often old samples are dropped.
const UPKEEP: Duration = Duration::from_secs(5);

/// The recorder of this process.
#[derive(Clone)]
pub(super) struct Metrics(PrometheusHandle);

impl Metrics {
    pub(super) fn install() -> Outcome<Self> {
        let handle = PrometheusBuilder::new().install_recorder();
        let handle =
            handle.map_err(|error| Failure::local(format!("cannot record metrics: {error}")))?;
        let upkeep = handle.clone();
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(UPKEEP);
            loop {
                ticks.tick().await;
                upkeep.run_upkeep();
            }
        });
        Ok(Self(handle))
    }
}

/// Every route of the server, for a listener at an address or for the Unix socket.
///
/// # Errors
/// A usage error when the dashboard may not connect to what the configuration names.
pub(super) fn router(
    context: &Context,
    runtime: &Runtime,
    settings: &Settings,
    bound: Option<SocketAddr>,
    metrics: Metrics,
) -> Outcome<Router> {
    let mut options = match bound {
        Some(bound) => {
            let options = EndpointOptions::for_listener(bound);
            match &settings.allowed_hosts {
                Some(hosts) if hosts.iter().any(|host| host == "*") => options.any_host(),
                Some(hosts) => options.allowed_hosts(hosts),
                None => options,
            }
        }
        // No web page reaches a socket of this machine, and nobody else reads it.
        None => EndpointOptions::new().tls_terminated(true),
    };
    if context.traced {
        options = options.map_transport(|transport| traced(transport, true));
    }
    options = match &settings.allowed_origins {
        Some(origins) if origins.iter().any(|origin| origin == "*") => options.any_origin(),
        Some(origins) => options.allowed_origins(origins),
        None => options,
    };
    options = options.trusted_proxies(settings.trusted_proxies.iter().copied());
    if let Some(bytes) = settings.message_bytes {
        options = options.max_message_size(bytes);
    }
    if settings.tls.is_some() || settings.tls_terminated {
        options = options.tls_terminated(true);
    }
    let render = move || async move {
        (
            [(
                header::CONTENT_TYPE,
                "text/plain; version=0.0.4; charset=utf-8",
            )],
            metrics.0.render(),
        )
            .into_response()
    };
    let router = guarded_health_routes(runtime, &options)
        .merge(options.guard(Router::new().route("/metrics", get(render))))
        .merge(dashboard(settings, &options)?);
    let router = router
        .route_http(runtime, options.clone())
        .route_mcp(
            "/mcp",
            runtime,
            options.clone(),
            context.config.mcp.options(),
        )
        .route_arcp(&settings.path, runtime, options);
    Ok(router.layer(map_response(async |response| last(response))))
}

/// Ends a connection with its answer, unless it goes on as a WebSocket. hyper's own setting would say so in upgrades too.
fn last(mut response: Response) -> Response {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let close = HeaderValue::from_static("close");
        response.headers_mut().append(header::CONNECTION, close);
    }
    response
}

/// The operator's page, or nothing.
fn dashboard(settings: &Settings, options: &EndpointOptions) -> Outcome<Router> {
    if !settings.dashboard {
        return Ok(Router::new());
    }
    let page = DashboardOptions::for_endpoint(&settings.path, options)
        .connect(&settings.dashboard_connect)
        .map_err(|error| Failure::usage(format!("[server] dashboard_connect: {error}")))?;
    Ok(dashboard_routes(&page))
}

/// A bound port that nobody is accepted on yet.
pub(super) struct Listener {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<RustlsConfig>,
}

impl Listener {
    pub(super) fn bind(address: SocketAddr, tls: Option<&(PathBuf, PathBuf)>) -> Outcome<Self> {
        let tls = tls
            .map(|(certificate, key)| tls::config(certificate, key))
            .transpose()?;
        let refuse = |error: std::io::Error| {
            Failure::local(format!("cannot listen on {address}: {error}"))
                .help("give another --listen, or port 0 for a free one")
        };
        let listener = bind_after_the_gone(address).map_err(refuse)?;
        listener.set_nonblocking(true).map_err(refuse)?;
        ask_the_silent(&listener).map_err(refuse)?;
        let address = listener.local_addr().map_err(refuse)?;
        Ok(Self {
            listener,
            address,
            tls: tls.map(RustlsConfig::from_config),
        })
    }

    /// What changes its certificate, when it has one.
    pub(super) fn certificate(&self) -> Option<RustlsConfig> {
        self.tls.clone()
    }

    /// Where it is bound: the real port when 0 was asked for.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts connections from now on. Frames are small and flushed by us, so the kernel must not hold them back.
    pub(super) fn serve(
        self,
        router: Router,
        settings: &Settings,
        door: Door,
    ) -> Outcome<Server<SocketAddr>> {
        let handle = Handle::new();
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        let patience = settings.hello_timeout;
        let failed = |error: std::io::Error| Failure::local(format!("cannot serve: {error}"));
        let server = axum_server::from_tcp(self.listener).map_err(failed)?;
        let server = plain_http(server).handle(handle.clone());
        let task = match self.tls {
            Some(tls) => {
                let acceptor = RustlsAcceptor::new(tls)
                    .handshake_timeout(patience)
                    .acceptor(NoDelayAcceptor::new());
                let acceptor = DoorAcceptor::new(acceptor, door, patience);
                tokio::spawn(server.acceptor(acceptor).serve(service))
            }
            None => {
                let acceptor = DoorAcceptor::new(NoDelayAcceptor::new(), door, patience);
                tokio::spawn(server.acceptor(acceptor).serve(service))
            }
        };
        Ok(Server { handle, task })
    }
}

/// Accepts connections on a Unix socket from now on.
#[cfg(unix)]
pub(super) fn serve_unix(
    listener: std::os::unix::net::UnixListener,
    router: Router,
    settings: &Settings,
    door: Door,
) -> Outcome<Server<std::os::unix::net::SocketAddr>> {
    let failed = |error: std::io::Error| Failure::local(format!("cannot serve: {error}"));
    let handle = Handle::new();
    let server = axum_server::from_unix(listener).map_err(failed)?;
    let server = plain_http(server).handle(handle.clone());
    let acceptor = DoorAcceptor::new(DefaultAcceptor::new(), door, settings.hello_timeout);
    let task = tokio::spawn(server.acceptor(acceptor).serve(router.into_make_service()));
    Ok(Server { handle, task })
}

/// Binds a port. A server that was killed while it started a program leaves that with its sockets until the program begins to run,
/// so a port that is taken is tried for a moment.
fn bind_after_the_gone(address: SocketAddr) -> std::io::Result<TcpListener> {
    let begun = Instant::now();
    loop {
        match TcpListener::bind(address) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && begun.elapsed() < GONE => {
                std::thread::sleep(LOOK_AGAIN);
            }
            bound => return bound,
        }
    }
}

/// Has the kernel ask peers that are silent whether they are there: only so is one that has ended its side and reads on told from
/// one that is gone. The sockets that a listener accepts are asked as it is told.
#[cfg(unix)]
fn ask_the_silent(listener: &TcpListener) -> std::io::Result<()> {
    use rustix::net::sockopt;

    sockopt::set_socket_keepalive(listener, true)?;
    sockopt::set_tcp_keepidle(listener, SILENCE)?;
    sockopt::set_tcp_keepintvl(listener, SILENCE)?;
    Ok(())
}

#[cfg(not(unix))]
fn ask_the_silent(_: &TcpListener) -> std::io::Result<()> {
    Ok(())
}

/// Heads of a bounded size [ARCP 14-5], and HTTP/1.1: the version is set on the builder, for axum-server's own setting takes
/// upgrades away. That it is kept to, the door sees to. Whoever ends its side behind its request is answered all the same.
fn plain_http<A: Address>(mut server: axum_server::Server<A>) -> axum_server::Server<A> {
    let builder = server.http_builder();
    *builder = builder.clone().http1_only();
    builder.http1().max_buf_size(HEAD_BYTES).half_close(true);
    server
}

/// A server that accepts connections.
pub(super) struct Server<A: Address> {
    handle: Handle<A>,
    task: JoinHandle<std::io::Result<()>>,
}

impl<A: Address> Server<A> {
    /// Waits for an end nobody asked for. Cancel safe.
    pub(super) async fn ended(&mut self) -> Outcome<()> {
        match (&mut self.task).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Failure::local(format!("the listener failed: {error}"))),
            Err(error) => Err(Failure::local(format!("the listener failed: {error}"))),
        }
    }

    /// Stops accepting, and gives connections a moment to go away.
    pub(super) async fn stop(mut self) {
        self.handle.graceful_shutdown(Some(LINGER));
        // Its end is what was asked for.
        drop(self.ended().await);
    }
}
