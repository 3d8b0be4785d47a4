//! Where a server listens: an address, a Unix socket, or both.

use std::net::SocketAddr;

use axum_server::tls_rustls::RustlsConfig;
use towline::{
    axum::Door,
    runtime::{Runtime, auth::Authenticator},
};

use super::{auth, http, settings::Settings};
use crate::{args::ServeArgs, context::Context, failure::Outcome, output};

#[cfg(unix)]
type UnixServer = (
    http::Server<std::os::unix::net::SocketAddr>,
    crate::unix_socket::SocketFile,
);

/// Bound, with nobody accepted yet.
pub(super) struct Listeners {
    tcp: Option<http::Listener>,
    #[cfg(unix)]
    unix: Option<(
        std::os::unix::net::UnixListener,
        crate::unix_socket::SocketFile,
    )>,
}

/// Accepting.
pub(super) struct Serving {
    tcp: Option<(http::Server<SocketAddr>, SocketAddr)>,
    #[cfg(unix)]
    unix: Option<UnixServer>,
}

impl Listeners {
    pub(super) async fn bind(
        settings: &Settings,
        args: &ServeArgs,
        authenticator: &dyn Authenticator,
    ) -> Outcome<Self> {
        let tcp = match settings.address().await? {
            None => None,
            Some(address) => {
                auth::check_bind(args, authenticator, address)?;
                settings.check_clear(args, address)?;
                Some(http::Listener::bind(address, settings.tls.as_ref())?)
            }
        };
        Ok(Self {
            tcp,
            #[cfg(unix)]
            unix: settings.unix.as_deref().map(unix).transpose()?,
        })
    }

    /// What changes the certificate.
    pub(super) fn certificate(&self) -> Option<RustlsConfig> {
        self.tcp.as_ref()?.certificate()
    }

    /// Accepts connections from now on.
    pub(super) fn serve(
        self,
        context: &Context,
        runtime: &Runtime,
        settings: &Settings,
        metrics: http::Metrics,
    ) -> Outcome<Serving> {
        // One door: connections are counted together, wherever they come in.
        let door = Door::new(settings.door.clone());
        #[cfg(unix)]
        let unix = match self.unix {
            None => None,
            Some((listener, file)) => {
                let router = http::router(context, runtime, settings, None, metrics.clone())?;
                let server = http::serve_unix(listener, router, settings, door.clone())?;
                Some((server, file))
            }
        };
        let tcp = match self.tcp {
            None => None,
            Some(listener) => {
                let bound = listener.address();
                let router = http::router(context, runtime, settings, Some(bound), metrics)?;
                Some((listener.serve(router, settings, door)?, bound))
            }
        };
        Ok(Serving {
            tcp,
            #[cfg(unix)]
            unix,
        })
    }
}

impl Serving {
    /// Says where it listens; the last line is the one that says it is ready.
    pub(super) fn tell(&self, settings: &Settings, minted: Option<&str>) -> Outcome<()> {
        #[cfg(unix)]
        if let Some((_, file)) = &self.unix {
            let ready = if self.tcp.is_some() {
                "socket:"
            } else {
                "listening on"
            };
            output::line(&format!("{ready} unix:{}", file.path().display()))?;
        }
        let Some((_, bound)) = &self.tcp else {
            return Ok(());
        };
        let (web, socket) = if settings.tls.is_some() {
            ("https", "wss")
        } else {
            ("http", "ws")
        };
        if settings.dashboard {
            // A token this server made itself stands in the fragment, which no browser sends or logs, so that the link
            // signs in.
            let fragment = minted.map(|token| format!("#token={token}"));
            let fragment = fragment.unwrap_or_default();
            output::line(&format!("dashboard: {web}://{bound}/{fragment}"))?;
        }
        output::line(&format!("listening on {socket}://{bound}{}", settings.path))
    }

    /// Waits for an end nobody asked for. Cancel safe.
    pub(super) async fn ended(&mut self) -> Outcome<()> {
        #[cfg(unix)]
        let unix = self.unix.as_mut().map(|(server, _)| server);
        #[cfg(not(unix))]
        let unix: Option<&mut http::Server<SocketAddr>> = None;
        let tcp = self.tcp.as_mut().map(|(server, _)| server);
        tokio::select! {
            ended = ended(tcp) => ended,
            ended = ended(unix) => ended,
        }
    }

    /// Stops accepting, and gives connections a moment to go away.
    pub(super) async fn stop(self) {
        let tcp = self.tcp.map(|(server, _)| server);
        #[cfg(unix)]
        let unix = self.unix;
        #[cfg(not(unix))]
        let unix: Option<(http::Server<SocketAddr>, ())> = None;
        tokio::join!(
            async {
                if let Some(server) = tcp {
                    server.stop().await;
                }
            },
            async {
                if let Some((server, _file)) = unix {
                    server.stop().await;
                }
            }
        );
    }
}

async fn ended<A: axum_server::Address>(server: Option<&mut http::Server<A>>) -> Outcome<()> {
    match server {
        Some(server) => server.ended().await,
        None => std::future::pending().await,
    }
}

#[cfg(unix)]
fn unix(
    path: &std::path::Path,
) -> Outcome<(
    std::os::unix::net::UnixListener,
    crate::unix_socket::SocketFile,
)> {
    crate::unix_socket::listen(path).map_err(|error| {
        crate::failure::Failure::local(format!("cannot listen on `{}`: {error}", path.display()))
            .help("give another --unix, shorter than 100 bytes, in a directory that is there")
    })
}
