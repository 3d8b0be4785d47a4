//! The machine's own network, as the proxy uses it.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
};

use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::net::TcpStream;

/// Looks names up and connects, for the proxies of jobs. What may be reached is decided before: a connection is made to an
/// address that was looked at, and the name is not looked up again [ARCP 18-2].
pub trait Outside: fmt::Debug + Send + Sync + 'static {
    /// The addresses of a host.
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;

    /// Connects to an address.
    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>>;
}

/// As the system does.
#[derive(Debug, Clone, Copy)]
pub(super) struct System;

impl Outside for System {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        }
        .boxed()
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>> {
        TcpStream::connect(address).boxed()
    }
}
