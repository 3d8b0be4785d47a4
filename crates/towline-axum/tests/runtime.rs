//! A runtime behind axum, spoken to in envelopes over real sockets.

#![expect(clippy::unwrap_used, reason = "helpers of a test fail the test")]

use std::{future::pending, io, net::SocketAddr, sync::Arc};

use axum::{Router, serve::Listener};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{self, pki_types::PrivateKeyDer},
    server::TlsStream,
};
use towline_axum::{EndpointOptions, RouterExt as _, health_routes};
use towline_runtime::{
    JobContext, Runtime,
    auth::{AuthRefusal, Chain, Credentials, StaticTokens, from_fn},
};
use towline_store::Principal;
use towline_transport::{
    CloseCode, Closed, FrameSink, FrameSource, Inbound, Transport, WebSocketOptions,
    WebSocketTransport,
};
use towline_wire::Envelope;

async fn runtime() -> Runtime {
    let tokens = StaticTokens::new([("alice", "good"), ("bob", "other")]).unwrap();
    let never = from_fn(|credentials: Credentials| async move {
        match credentials.token()? {
            "slow" => pending::<Result<Principal, AuthRefusal>>().await,
            _ => Err(AuthRefusal::new("the directory does not know the token")),
        }
    });
    Runtime::builder()
        .authenticator(Chain::new().or(tokens).or(never))
        .agent(
            "echo",
            |_: JobContext, input: Value| async move { Ok(input) },
        )
        .build()
        .await
        .unwrap()
}

/// Serves a router on a free port of loopback.
async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    address
}

async fn serve_at(path: &str, runtime: &Runtime, options: EndpointOptions) -> String {
    let address = serve(Router::new().route_arcp(path, runtime, options)).await;
    format!("ws://{address}{path}")
}

/// Somebody who speaks ARCP by hand.
struct Peer {
    sink: Box<dyn FrameSink>,
    source: Box<dyn FrameSource>,
}

impl Peer {
    async fn at(url: &str) -> Self {
        Self::over(WebSocketTransport::connect(url).await.unwrap())
    }

    fn over(transport: impl Transport) -> Self {
        let (sink, source) = Box::new(transport).split();
        Self { sink, source }
    }

    async fn send(&mut self, kind: &str, payload: Value) {
        let frame =
            json!({"arcp": "1.1", "id": format!("msg_{kind}"), "type": kind, "payload": payload});
        self.sink
            .send(Envelope::decode_text(frame.to_string()).unwrap())
            .await
            .unwrap();
    }

    async fn hello(&mut self, token: &str) {
        let capabilities = json!({"encodings": ["json"], "features": ["list_jobs"]});
        let auth = json!({"scheme": "Bearer", "token": token});
        self.send(
            "session.hello",
            json!({"auth": auth, "capabilities": capabilities}),
        )
        .await;
    }

    /// The next envelope of a type; those before it are skipped.
    async fn expect(&mut self, kind: &str) -> (Envelope, Value) {
        loop {
            match self.source.receive().await {
                Some(Inbound::Envelope(envelope)) if envelope.kind.as_str() == kind => {
                    let payload = envelope.payload.read().unwrap();
                    return (envelope, payload);
                }
                Some(Inbound::Envelope(_) | Inbound::Alive) => {}
                other => panic!("no {kind} but {other:?}"),
            }
        }
    }

    async fn expect_close(&mut self, code: CloseCode) {
        loop {
            match self.source.receive().await {
                Some(Inbound::Closed(Closed::ByPeer(Some(close)))) => {
                    return assert_eq!(close.code, code);
                }
                Some(Inbound::Envelope(_) | Inbound::Alive) => {}
                other => panic!("no close but {other:?}"),
            }
        }
    }
}

/// [ARCP 6.1-1] A refused token, a missing one and an unknown scheme: UNAUTHENTICATED with a session id, close 1008.
#[tokio::test]
async fn a_bad_hello_is_refused() {
    let url = serve_at("/arcp", &runtime().await, EndpointOptions::default()).await;
    for (auth, named) in [
        (json!({"scheme": "bearer", "token": "wrong"}), "not known"),
        (json!({"scheme": "bearer"}), "`auth.token`"),
        (json!({"scheme": "basic", "token": "good"}), "\"basic\""),
    ] {
        let mut peer = Peer::at(&url).await;
        peer.send("session.hello", json!({ "auth": auth })).await;
        let (envelope, error) = peer.expect("session.error").await;
        assert!(envelope.session_id.is_some());
        assert_eq!(error["code"], "UNAUTHENTICATED");
        assert_eq!(error["retryable"], false);
        assert!(
            error["message"].as_str().unwrap().contains(named),
            "{error}"
        );
        peer.expect_close(CloseCode::POLICY).await;
    }
}

/// [ARCP 6.1-5] A verifier that takes its time holds up nobody else.
#[tokio::test]
async fn a_slow_verifier_holds_up_nobody() {
    let url = serve_at("/arcp", &runtime().await, EndpointOptions::default()).await;
    let (mut slow, mut quick) = (Peer::at(&url).await, Peer::at(&url).await);
    slow.hello("slow").await;
    quick.hello("good").await;
    quick.expect("session.welcome").await;
}

/// [ARCP 4-8] Several endpoints with different options share one runtime: a job of one is seen from the other.
#[tokio::test]
async fn two_endpoints_share_a_runtime() {
    let runtime = runtime().await;
    let by_number = EndpointOptions::new().allowed_hosts(["127.0.0.1"]);
    let by_name = EndpointOptions::new().allowed_hosts(["localhost"]);
    let app = Router::new()
        .route_arcp("/number", &runtime, by_number)
        .route_arcp("/name", &runtime, by_name);
    let port = serve(app).await.port();

    let mut here = Peer::at(&format!("ws://127.0.0.1:{port}/number")).await;
    here.hello("good").await;
    here.expect("session.welcome").await;
    here.send("job.submit", json!({"agent": "echo", "input": {"a": 1}}))
        .await;
    let (accepted, _) = here.expect("job.accepted").await;
    let (_, result) = here.expect("job.result").await;
    assert_eq!(result["result"], json!({"a": 1}));

    assert!(
        WebSocketTransport::connect(&format!("ws://127.0.0.1:{port}/name"))
            .await
            .is_err()
    );
    let mut there = Peer::at(&format!("ws://localhost:{port}/name")).await;
    there.hello("good").await;
    there.expect("session.welcome").await;
    there.send("session.list_jobs", json!({})).await;
    let (_, listed) = there.expect("session.jobs").await;
    assert_eq!(
        listed["jobs"][0]["job_id"],
        accepted.job_id.unwrap().as_str()
    );
}

/// [ARCP 4-6] A message above the endpoint's limit: INVALID_REQUEST arrives, then close 1009.
#[tokio::test]
async fn a_message_above_the_limit_is_refused() {
    let options = EndpointOptions::new().max_message_size(10_000);
    let url = serve_at("/arcp", &runtime().await, options).await;
    let mut peer = Peer::at(&url).await;
    peer.hello("good").await;
    peer.expect("session.welcome").await;
    peer.send(
        "job.submit",
        json!({"agent": "echo", "input": "x".repeat(20_000)}),
    )
    .await;
    let (_, error) = peer.expect("session.error").await;
    assert_eq!(error["code"], "INVALID_REQUEST");
    assert!(
        error["message"].as_str().unwrap().contains("10000"),
        "{error}"
    );
    peer.expect_close(CloseCode::TOO_BIG).await;
}

/// [ARCP 4-7, 4-8] A shutdown closes sessions with 1001, and the readiness probe says so.
#[tokio::test]
async fn a_shutdown_reaches_peers_and_probes() {
    let runtime = runtime().await;
    let app = Router::new().merge(health_routes(&runtime));
    let address = serve(app.route_arcp("/arcp", &runtime, EndpointOptions::default())).await;
    assert!(probe(address).await.starts_with("HTTP/1.1 200 "));
    let mut peer = Peer::at(&format!("ws://{address}/arcp")).await;
    peer.hello("good").await;
    peer.expect("session.welcome").await;
    let closing = async {
        peer.expect("session.closed").await;
        peer.expect_close(CloseCode::GOING_AWAY).await;
        drop(peer);
    };
    tokio::join!(runtime.shutdown(), closing);
    assert!(probe(address).await.starts_with("HTTP/1.1 503 "));
}

async fn probe(address: SocketAddr) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket
        .write_all(b"GET /readyz HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer
}

/// A listener whose connections are encrypted.
struct TlsListener {
    inner: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let (stream, peer) = self.inner.accept().await.unwrap();
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, peer);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

/// [ARCP 4-8] TLS on both sides: `wss` to an endpoint behind a TLS listener.
#[tokio::test]
async fn wss_works_on_both_sides() {
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(issued.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![issued.cert.der().clone()], key)
        .unwrap();
    let inner = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = inner.local_addr().unwrap().port();
    let listener = TlsListener {
        inner,
        acceptor: TlsAcceptor::from(Arc::new(config)),
    };
    let options = EndpointOptions::new()
        .allowed_hosts(["localhost"])
        .tls_terminated(true);
    let app = Router::new().route_arcp(
        "/arcp",
        &runtime().await,
        options.map_transport(|transport| {
            assert!(transport.info().confidential && transport.info().peer.is_none());
            transport
        }),
    );
    tokio::spawn(async move { axum::serve(listener, app).await });

    let url = format!("wss://localhost:{port}/arcp");
    let trusting = WebSocketOptions::client().root_certificates_pem(issued.cert.pem());
    let mut peer = Peer::over(
        WebSocketTransport::connect_with(&url, &trusting)
            .await
            .unwrap(),
    );
    peer.hello("good").await;
    peer.expect("session.welcome").await;
    assert!(WebSocketTransport::connect(&url).await.is_err());
}
