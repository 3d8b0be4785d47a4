//! What can be chosen for an endpoint.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::Request,
    middleware::{Next, from_fn},
    response::IntoResponse as _,
};
use towline_transport::{Transport, WebSocketOptions};

use crate::{
    gate::{Gate, HostName, Origin, Origins},
    proxies::{Forwarded, Proxy},
};

/// What can be chosen for an endpoint.
///
/// The default lets requests in for any host, and of web pages only the server's own; [`EndpointOptions::for_listener`]
/// chooses by the address that is listened on, and is what a server should begin with.
#[derive(Clone)]
pub struct EndpointOptions {
    pub(crate) gate: Gate,
    pub(crate) websocket: WebSocketOptions,
    pub(crate) forwarded: Forwarded,
    pub(crate) map: Option<MapTransport>,
    /// The largest body of a request for `/v1`.
    #[cfg(feature = "http")]
    pub(crate) body_bytes: usize,
}

pub(crate) type MapTransport = Arc<dyn Fn(Box<dyn Transport>) -> Box<dyn Transport> + Send + Sync>;

impl EndpointOptions {
    /// Any host, no web pages but the server's own, the limits of [`WebSocketOptions::server`].
    pub fn new() -> Self {
        Self {
            gate: Gate::default(),
            websocket: WebSocketOptions::server(),
            forwarded: Forwarded::default(),
            map: None,
            #[cfg(feature = "http")]
            body_bytes: 4 << 20,
        }
    }

    /// The options for a listener's address. On a loopback address only requests for this machine are let in:
    /// `localhost`, `127.0.0.1` and `[::1]`; otherwise a web page could reach the runtime through a name of its own that
    /// resolves to this machine. On other addresses any host is let in, for only the operator knows the names.
    pub fn for_listener(address: SocketAddr) -> Self {
        if address.ip().to_canonical().is_loopback() {
            Self::new().allowed_hosts(LOOPBACK_HOSTS)
        } else {
            Self::new()
        }
    }

    /// Lets in only requests whose `Host` is one of these: names or addresses, whatever the port and the case; an IPv6
    /// address in brackets or without. Replaces the list. Default: any host. An empty list lets nobody in.
    #[must_use]
    pub fn allowed_hosts<H: AsRef<str>>(mut self, hosts: impl IntoIterator<Item = H>) -> Self {
        let hosts = hosts
            .into_iter()
            .map(|host| HostName::configured(host.as_ref()));
        self.gate.hosts = Some(hosts.collect());
        self
    }

    /// Lets in requests for any host. Danger: on a loopback address this lets web pages in by DNS rebinding.
    #[must_use]
    pub fn any_host(mut self) -> Self {
        self.gate.hosts = None;
        self
    }

    /// Lets in web pages of these origins too, such as `https://app.example.com`. A request without an `Origin`, which is no
    /// web page's, is let in, and so is one of the server's own pages: same port, same host or another allowed one. Replaces
    /// the list. Default: no others.
    #[must_use]
    pub fn allowed_origins<O: AsRef<str>>(mut self, origins: impl IntoIterator<Item = O>) -> Self {
        let origins = origins
            .into_iter()
            .map(|origin| Origin::of(origin.as_ref()));
        self.gate.origins = Origins::OwnAnd(origins.collect());
        self
    }

    /// Lets in web pages from anywhere. Danger: any page somebody looks at can then talk to the runtime, which keeps it out
    /// by tokens alone.
    #[must_use]
    pub fn any_origin(mut self) -> Self {
        self.gate.origins = Origins::Any;
        self
    }

    /// Wraps each connection's transport before the runtime gets it: to trace it, to count it, to tamper with it in a
    /// test. Called again, it wraps what the first call made.
    ///
    /// ```
    /// use towline_axum::EndpointOptions;
    ///
    /// let options = EndpointOptions::new().map_transport(|transport| {
    ///     println!("a connection from {:?}", transport.info().peer);
    ///     transport
    /// });
    /// # let _ = options;
    /// ```
    #[must_use]
    pub fn map_transport(
        mut self,
        map: impl Fn(Box<dyn Transport>) -> Box<dyn Transport> + Send + Sync + 'static,
    ) -> Self {
        self.map = Some(match self.map.take() {
            Some(first) => Arc::new(move |transport| map(first(transport))),
            None => Arc::new(map),
        });
        self
    }

    /// Declares that TLS ends in front of this endpoint (in axum-server's acceptor, at a proxy), so that nobody can read
    /// the connection. Danger: credentials are sent over connections that are declared so [ARCP 9.8-1]. Default: no;
    /// connections from loopback addresses count as confidential without it.
    #[must_use]
    pub fn tls_terminated(mut self, terminated: bool) -> Self {
        self.websocket = self.websocket.declare_confidential(terminated);
        self
    }

    /// Takes the peer's address from the last entry of `X-Forwarded-For`, which the proxy in front has added. Danger:
    /// without such a proxy anybody can write that header and thereby choose whose rate limit it uses; better name the
    /// [`trusted_proxies`](Self::trusted_proxies). Default: no.
    #[must_use]
    pub fn trust_forwarded_for(mut self, trust: bool) -> Self {
        self.forwarded = if trust {
            Forwarded::Last
        } else {
            Forwarded::default()
        };
        self
    }

    /// Believes `X-Forwarded-For` where a request comes from one of these proxies, and only there: the peer is the last
    /// entry that is none of them. Replaces the list. Default: none [ARCP 14-2].
    #[must_use]
    pub fn trusted_proxies(mut self, proxies: impl IntoIterator<Item = Proxy>) -> Self {
        self.forwarded = Forwarded::By(proxies.into_iter().collect());
        self
    }

    /// Lets requests for these routes in by the same rules as those for the endpoint: its hosts, its origins [ARCP 4-8].
    /// Refusals are one line of plain text with status 403.
    pub fn guard<S: Clone + Send + Sync + 'static>(&self, routes: Router<S>) -> Router<S> {
        let gate = self.gate.clone();
        routes.route_layer(from_fn(move |request: Request, next: Next| {
            let checked = gate.check(request.uri(), request.headers());
            async move {
                match checked {
                    Ok(()) => next.run(request).await,
                    Err(refusal) => refusal.into_response(),
                }
            }
        }))
    }

    /// The largest message received, and the largest body of a request for `/v1`, in bytes. Default: 4 MiB [ARCP 4-6].
    #[must_use]
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        #[cfg(feature = "http")]
        {
            self.body_bytes = bytes;
        }
        self.websocket = self.websocket.max_message_size(bytes);
        self
    }

    /// The largest message sent, in bytes. Default: 16 MiB.
    #[must_use]
    pub fn max_send_size(mut self, bytes: usize) -> Self {
        self.websocket = self.websocket.max_send_size(bytes);
        self
    }

    /// How much is read at once, in bytes. The room for it is lent by the thread, so it costs a silent connection nothing.
    /// Default: 64 KiB.
    #[must_use]
    pub fn read_buffer_size(mut self, bytes: usize) -> Self {
        self.websocket = self.websocket.read_buffer_size(bytes);
        self
    }

    /// How long a close may take. Default: 5 s.
    #[must_use]
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.websocket = self.websocket.close_timeout(timeout);
        self
    }
}

impl Default for EndpointOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for EndpointOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointOptions")
            .field("gate", &self.gate)
            .field("websocket", &self.websocket)
            .field("forwarded", &self.forwarded)
            .field("maps_transport", &self.map.is_some())
            .finish()
    }
}

const LOOPBACK_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];
