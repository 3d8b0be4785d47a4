//! The proxy's connections: how many, how large, how long.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{CONNECTION, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION},
    server::conn::http1,
    service::service_fn,
    upgrade::OnUpgrade,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::{JoinHandle, JoinSet},
    time::sleep,
};
use towline_wire::{ErrorCode, Secret};

use super::{
    Network,
    answer::{Body, Refused},
};

/// So many connections a program may have; more wait until one ends.
const CONNECTIONS: usize = 64;

/// The bytes of a request's head, and how long it may take to come.
pub(super) const LARGEST_HEAD: usize = 64 * 1024;
const HEAD: Duration = Duration::from_secs(30);

/// The headers of a request.
pub(super) const MOST_HEADERS: usize = 128;

/// A connection on which nothing moves for so long is closed: longer than models think.
const IDLE: Duration = Duration::from_secs(15 * 60);

/// After a connection could not be taken, for lack of descriptors most likely.
const PAUSE: Duration = Duration::from_millis(100);

/// A proxy that serves: dropped, it and all its connections are gone.
#[derive(Debug)]
pub(crate) struct Proxy {
    task: JoinHandle<()>,
    port: u16,
}

impl Proxy {
    pub(super) fn start(network: Network, listener: TcpListener, port: u16, knock: Knock) -> Self {
        Self {
            task: tokio::spawn(accept(network, listener, Arc::new(knock))),
            port,
        }
    }

    /// Where the program finds it, on its loopback.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the proxy knows of whoever connects.
#[derive(Debug)]
pub(super) struct Knock {
    /// The address that is itself.
    pub(super) address: SocketAddr,
    /// What a request through it has to carry, where others than the program reach it: `Basic …`.
    pub(super) word: Option<Secret>,
}

/// A tunnel that was allowed: it begins when the answer that says so was sent.
pub(super) struct Tunnel {
    pub(super) upgrade: OnUpgrade,
    pub(super) stream: TcpStream,
}

async fn accept(network: Network, listener: TcpListener, knock: Arc<Knock>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let connection = connection(network.clone(), stream, Arc::clone(&knock));
                connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}

async fn connection(network: Network, stream: TcpStream, knock: Arc<Knock>) {
    let moved = Arc::new(AtomicBool::new(true));
    let stream = Watched {
        stream,
        moved: Arc::clone(&moved),
    };
    let allowed: Arc<Mutex<Option<Tunnel>>> = Arc::default();
    let service = service_fn(|request| {
        let (network, knock) = (network.clone(), Arc::clone(&knock));
        let allowed = Arc::clone(&allowed);
        async move { Ok::<_, Infallible>(answer(&network, &knock, request, &allowed).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(LARGEST_HEAD)
        .max_headers(MOST_HEADERS)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let served = async {
        // How it ended is the program's business.
        let _ = serving.await;
        let tunnel = allowed.lock().take();
        if let Some(tunnel) = tunnel {
            tunnel.run().await;
        }
    };
    tokio::select! {
        () = served => {}
        () = still(&moved) => {}
    }
}

async fn answer(
    network: &Network,
    knock: &Knock,
    request: Request<Incoming>,
    allowed: &Mutex<Option<Tunnel>>,
) -> Response<Body> {
    let own = request.uri().authority().is_none_or(|authority| {
        let address = knock.address.to_string();
        authority.as_str() == address
            || authority.as_str() == format!("localhost:{}", knock.address.port())
    });
    if own && *request.method() != Method::CONNECT {
        return network.own(request).await;
    }
    if let Some(refused) = knock.refuse(&request) {
        return refused;
    }
    if *request.method() == Method::CONNECT {
        return match network.fetches().tunnel(request).await {
            Ok((answer, tunnel)) => {
                *allowed.lock() = Some(tunnel);
                answer
            }
            // What comes next on this connection was meant for the host.
            Err(refused) => closing(refused.plain()),
        };
    }
    let answered = if request.uri().scheme_str() == Some("http") {
        network.fetches().forward(request).await
    } else {
        Err(Refused::invalid(
            "only http URLs can be asked for; https goes through CONNECT",
        ))
    };
    answered.unwrap_or_else(|refused| refused.plain())
}

fn closing(mut answer: Response<Body>) -> Response<Body> {
    let close = HeaderValue::from_static("close");
    answer.headers_mut().insert(CONNECTION, close);
    answer
}

impl Knock {
    /// What a stranger is told.
    fn refuse(&self, request: &Request<Incoming>) -> Option<Response<Body>> {
        let word = self.word.as_ref()?;
        let said = request.headers().get(PROXY_AUTHORIZATION);
        let said = said.map_or(&b""[..], HeaderValue::as_bytes);
        if bool::from(subtle::ConstantTimeEq::ct_eq(
            said,
            word.expose().as_bytes(),
        )) {
            return None;
        }
        let status = StatusCode::PROXY_AUTHENTICATION_REQUIRED;
        let message = "this is the proxy of one job, and takes what stands in its HTTP_PROXY";
        let refused = Refused::new(status, ErrorCode::UNAUTHENTICATED, message);
        let mut answer = refused.plain();
        let basic = HeaderValue::from_static("Basic realm=\"job\"");
        answer.headers_mut().insert(PROXY_AUTHENTICATE, basic);
        Some(answer)
    }
}

impl Tunnel {
    async fn run(mut self) {
        if let Ok(upgraded) = self.upgrade.await {
            // Whoever breaks it off has his reasons.
            let _ = copy_bidirectional(&mut TokioIo::new(upgraded), &mut self.stream).await;
        }
    }
}

/// Waits until nothing moved for a while.
async fn still(moved: &AtomicBool) {
    while moved.swap(false, Ordering::Relaxed) {
        sleep(IDLE).await;
    }
}

/// Notes that something moves.
struct Watched {
    stream: TcpStream,
    moved: Arc<AtomicBool>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        self.moved.store(true, Ordering::Relaxed);
        Poll::Ready(read)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        self.moved.store(true, Ordering::Relaxed);
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
