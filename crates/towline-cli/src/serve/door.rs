//! What a connection may take before anybody knows whose it is [ARCP 14-5].
//!
//! Each accepted connection gets a place at the [`Door`], or is dropped. From then on one clock runs: TLS, the request's head
//! and the hello have to come within the time for a hello. A plain request has a time limit of its own from its head on. Once
//! the runtime has a WebSocket, its clocks take over.

use std::{
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

use axum::http::Request;
use axum_server::accept::Accept;
use futures_util::future::BoxFuture;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep_until, timeout_at},
};
use tower_service::Service;
use towline::axum::{Door, Visit};

/// How long a plain HTTP request may take, from its head to the last byte of its answer.
const REQUEST_TIME: Duration = Duration::from_secs(30);

/// How an HTTP/2 connection begins, as far as no HTTP/1 request does.
const HTTP2: &[u8] = b"PRI * HTTP/2";

/// Lets connections in through a door.
#[derive(Clone)]
pub(super) struct DoorAcceptor<A> {
    inner: A,
    door: Door,
    patience: Duration,
}

impl<A> DoorAcceptor<A> {
    /// `inner` makes connections of sockets, within `patience`, which is what a hello may take.
    pub(super) fn new(inner: A, door: Door, patience: Duration) -> Self {
        Self {
            inner,
            door,
            patience,
        }
    }
}

/// What a listener accepts.
pub(super) trait Arrives {
    /// Where it comes from; a socket of this machine comes from nowhere.
    fn origin(&self) -> io::Result<Option<SocketAddr>>;
}

impl Arrives for TcpStream {
    fn origin(&self) -> io::Result<Option<SocketAddr>> {
        self.peer_addr().map(Some)
    }
}

#[cfg(unix)]
impl Arrives for tokio::net::UnixStream {
    fn origin(&self) -> io::Result<Option<SocketAddr>> {
        Ok(None)
    }
}

impl<A, I, S> Accept<I, S> for DoorAcceptor<A>
where
    I: Arrives,
    A: Accept<I, S> + 'static,
    A::Future: Send + 'static,
    A::Stream: AsyncRead + AsyncWrite + Unpin,
    S: 'static,
{
    type Stream = Watched<A::Stream>;
    type Service = Introduced<A::Service>;
    type Future = BoxFuture<'static, io::Result<(Self::Stream, Self::Service)>>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        let entered = stream
            .origin()
            .and_then(|peer| self.door.enter(peer).map_err(io::Error::other));
        let visit = match entered {
            Ok(visit) => visit,
            Err(error) => {
                tracing::debug!(%error, "a connection was dropped");
                return Box::pin(async move { Err(error) });
            }
        };
        let deadline = visit.since() + self.patience;
        let accepting = self.inner.accept(stream, service);
        Box::pin(async move {
            let (io, service) = timeout_at(deadline, accepting).await??;
            let has_head = Arc::new(AtomicBool::new(false));
            let stream = Watched {
                io,
                clock: Some(Clock {
                    alarm: Box::pin(sleep_until(deadline)),
                    is_request: false,
                    has_head: Arc::clone(&has_head),
                    visit: visit.clone(),
                    preface: Some(0),
                }),
                _visit: visit.clone(),
            };
            let service = Introduced {
                service,
                visit,
                has_head,
            };
            Ok((stream, service))
        })
    }
}

/// Tells requests whose visit they belong to, and the visit's clock that a head has come.
#[derive(Clone)]
pub(super) struct Introduced<S> {
    service: S,
    visit: Visit,
    has_head: Arc<AtomicBool>,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for Introduced<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        self.has_head.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(self.visit.clone());
        self.service.call(request)
    }
}

/// A connection whose time runs out, until the runtime has it. It keeps its place at the door for as long as it is open.
pub(super) struct Watched<IO> {
    io: IO,
    clock: Option<Clock>,
    _visit: Visit,
}

struct Clock {
    alarm: Pin<Box<Sleep>>,
    is_request: bool,
    has_head: Arc<AtomicBool>,
    visit: Visit,
    /// How much of HTTP/2's first line has come, as long as nothing else has.
    preface: Option<usize>,
}

impl Clock {
    /// hyper-util answers HTTP/2 to whoever begins with it, also where only HTTP/1 is asked for.
    fn refuse_http2(&mut self, read: &[u8]) -> io::Result<()> {
        let Some(known) = self.preface else {
            return Ok(());
        };
        let expected = &HTTP2[known..];
        let length = read.len().min(expected.len());
        if read[..length] != expected[..length] {
            self.preface = None;
        } else if length == expected.len() {
            return Err(io::ErrorKind::InvalidData.into());
        } else {
            self.preface = Some(known + length);
        }
        Ok(())
    }

    /// Ready when time is up.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_request && self.has_head.load(Ordering::Relaxed) {
            self.is_request = true;
            self.alarm.as_mut().reset(Instant::now() + REQUEST_TIME);
        }
        self.alarm.as_mut().poll(cx)
    }
}

impl<IO> Watched<IO> {
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(clock) = &mut self.clock else {
            return Ok(());
        };
        if clock.visit.is_taken() {
            self.clock = None;
        } else if clock.poll(cx).is_ready() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Watched<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        if let Some(clock) = &mut self.clock {
            clock.refuse_http2(&buffer.filled()[before..])?;
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Watched<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A peer that takes nothing must not hold the goodbye up either.
        self.check(cx)?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
