//! One request: gate, upgrade, runtime.

use std::{future::ready, net::SocketAddr, sync::Arc};

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use towline_transport::{Transport, WebSocketTransport};
use towline_wire::Shown;

use crate::{
    EndpointOptions, door::Visit, host::Host, proxies, refusal::Refusal, upgrade::Upgrade,
};

/// A mounted endpoint. Cheap to clone.
pub(crate) struct Endpoint<H> {
    host: H,
    options: Arc<EndpointOptions>,
}

impl<H: Host> Endpoint<H> {
    pub(crate) fn new(host: H, options: EndpointOptions) -> Self {
        Self {
            host,
            options: Arc::new(options),
        }
    }

    /// Answers a request. Nothing in it waits: the connection is served after the answer is sent.
    pub(crate) fn answer(
        &self,
        request: Request,
    ) -> impl Future<Output = Response> + Send + use<H> {
        let answered = self.upgrade(request).unwrap_or_else(|refusal| {
            tracing::debug!(refusal = %Shown::new(&refusal), "a request to an endpoint was refused");
            refusal.into_response()
        });
        ready(answered)
    }

    fn upgrade(&self, request: Request) -> Result<Response, Refusal> {
        let (mut parts, _) = request.into_parts();
        self.options.gate.check(&parts.uri, &parts.headers)?;
        let upgrade = Upgrade::of(&mut parts)?;
        let peer = proxies::of(&parts, &self.options.forwarded);
        let visit = parts.extensions.remove::<Visit>();
        if let (Some(visit), Some(peer)) = (&visit, peer) {
            visit.comes_from(peer).map_err(Refusal::too_many)?;
        }
        let (response, upgraded) = upgrade.grant();
        tokio::spawn(self.clone().serve(upgraded, peer, visit));
        Ok(response)
    }

    /// Waits for the answer to be out, then hands the connection to the runtime. The HTTP server itself ends the wait
    /// when the connection breaks.
    async fn serve(self, upgraded: OnUpgrade, peer: Option<SocketAddr>, visit: Option<Visit>) {
        let stream = match upgraded.await {
            Ok(stream) => TokioIo::new(stream),
            Err(cause) => {
                return tracing::debug!(cause = %Shown::new(&cause), ?peer, "a connection broke during its upgrade");
            }
        };
        let transport = WebSocketTransport::upgraded(stream, peer, &self.options.websocket);
        let transport: Box<dyn Transport> = Box::new(transport);
        let transport = match &self.options.map {
            Some(map) => map(transport),
            None => transport,
        };
        // Outside of what others wrap around, which may not pass on that the peer is known.
        self.host.accept(match visit {
            Some(visit) => {
                visit.taken();
                visit.on(transport)
            }
            None => transport,
        });
    }
}

impl<H: Clone> Clone for Endpoint<H> {
    fn clone(&self) -> Self {
        Self {
            host: self.host.clone(),
            options: Arc::clone(&self.options),
        }
    }
}
