//! Real sockets, raw bytes, and a host that hands out the transports it is given.

use std::{net::SocketAddr, sync::Arc};

use axum::routing::any;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Mutex, mpsc},
};
use towline_transport::{
    CloseCode, CloseFrame, Closed, FrameSink, FrameSource, Inbound, Transport, TransportInfo,
    TransportKind, WebSocketOptions, WebSocketTransport,
};
use towline_wire::{Envelope, MessageType};

use crate::{EndpointOptions, endpoint::Endpoint, health, host::Host};

mod hosting;
mod sockets;

/// Gives the transports to the test.
#[derive(Clone)]
struct Desk {
    accepted: mpsc::UnboundedSender<Box<dyn Transport>>,
    ready: bool,
}

impl Host for Desk {
    fn accept(&self, transport: Box<dyn Transport>) {
        let _ = self.accepted.send(transport);
    }

    fn is_ready(&self) -> bool {
        self.ready
    }
}

/// A server on a free port of loopback.
struct Server {
    address: SocketAddr,
    accepted: Arc<Mutex<mpsc::UnboundedReceiver<Box<dyn Transport>>>>,
}

impl Server {
    /// An endpoint at each path.
    async fn with<const N: usize>(endpoints: [(&str, EndpointOptions); N]) -> Self {
        Self::start(true, endpoints).await
    }

    async fn start<const N: usize>(ready: bool, endpoints: [(&str, EndpointOptions); N]) -> Self {
        let (sender, accepted) = mpsc::unbounded_channel();
        let desk = Desk {
            accepted: sender,
            ready,
        };
        let mut app = health::alive().merge(loopback_only().guard(health::ready(desk.clone())));
        for (path, options) in endpoints {
            let endpoint = Endpoint::new(desk.clone(), options);
            app = app.route(path, any(move |request| endpoint.answer(request)));
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = app.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, service).await });
        Self {
            address,
            accepted: Arc::new(Mutex::new(accepted)),
        }
    }

    /// The server's side of a connection.
    async fn accepted(&self) -> Box<dyn Transport> {
        self.accepted.lock().await.recv().await.unwrap()
    }

    /// Whether a connection was handed to the runtime.
    async fn has_accepted(&self) -> bool {
        self.accepted.lock().await.try_recv().is_ok()
    }

    fn url(&self, path: &str) -> String {
        format!("ws://{}{path}", self.address)
    }

    /// Sends a request's head as it is and gives the answer's head, and its body when the connection closes.
    async fn ask(&self, request: &str) -> String {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }
}

/// A request that is closed after the answer. `headers` end in a line break each.
fn plain(method: &str, path: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n")
}

/// The head of a good upgrade, except for the host.
fn upgrade(path: &str, headers: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
}

fn status(answer: &str) -> u16 {
    answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or(0)
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

fn loopback_only() -> EndpointOptions {
    EndpointOptions::for_listener("127.0.0.1:7777".parse().unwrap())
}
