//! The wrapper.

use std::{
    sync::Arc,
    task::{Context as TaskContext, Poll},
};

use opentelemetry::trace::{Status, TraceContextExt as _};
use towline_transport::{
    CloseFrame, FrameSink, FrameSource, Inbound, Transport, TransportError, TransportInfo,
};
use towline_wire::Envelope;

use crate::{TracingOptions, spans::Spans};

/// Adds tracing to every [`Transport`].
pub trait TransportTracing: Transport + Sized {
    /// Wraps the transport with [`TracingOptions::new`]: spans go to the provider that is the global one now.
    fn with_tracing(self) -> TracedTransport<Self> {
        self.with_tracing_options(TracingOptions::new())
    }

    /// Wraps the transport.
    fn with_tracing_options(self, options: TracingOptions) -> TracedTransport<Self> {
        TracedTransport {
            inner: self,
            options,
        }
    }
}

impl<T: Transport> TransportTracing for T {}

/// A transport whose envelopes are spans [ARCP 11-3].
///
/// It behaves as the transport inside, and is as fast as the tracer: an envelope costs one span. Sent envelopes carry the
/// context of their span; received ones are handed on as they came, except that a `job.submit` without a trace takes its
/// span's (see [`TracingOptions::join_traces`]). Frames that are no envelopes have no span.
#[derive(Debug)]
pub struct TracedTransport<T> {
    inner: T,
    options: TracingOptions,
}

impl<T> TracedTransport<T> {
    /// The transport inside.
    pub fn into_inner(self) -> T {
        self.inner
    }
}

impl<T: Transport> Transport for TracedTransport<T> {
    fn info(&self) -> TransportInfo {
        self.inner.info()
    }

    fn split(self: Box<Self>) -> (Box<dyn FrameSink>, Box<dyn FrameSource>) {
        let (sink, source) = Box::new(self.inner).split();
        let spans = Arc::new(Spans::new(self.options));
        (
            Box::new(TracedSink {
                sink,
                spans: Arc::clone(&spans),
            }),
            Box::new(TracedSource { source, spans }),
        )
    }
}

struct TracedSink {
    sink: Box<dyn FrameSink>,
    spans: Arc<Spans>,
}

impl FrameSink for TracedSink {
    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), TransportError>> {
        self.sink.poll_ready(cx)
    }

    fn start_send(&mut self, mut envelope: Envelope) -> Result<(), TransportError> {
        let context = self.spans.send(&mut envelope);
        let entered = context.clone().attach();
        let sent = self.sink.start_send(envelope);
        drop(entered);
        if let Err(cause) = &sent {
            context.span().set_status(Status::error(cause.to_string()));
        }
        context.span().end();
        sent
    }

    fn poll_flush(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), TransportError>> {
        self.sink.poll_flush(cx)
    }

    fn poll_close(
        &mut self,
        cx: &mut TaskContext<'_>,
        close: &CloseFrame,
    ) -> Poll<Result<(), TransportError>> {
        self.sink.poll_close(cx, close)
    }
}

struct TracedSource {
    source: Box<dyn FrameSource>,
    spans: Arc<Spans>,
}

impl FrameSource for TracedSource {
    fn poll_receive(&mut self, cx: &mut TaskContext<'_>) -> Poll<Option<Inbound>> {
        let mut received = self.source.poll_receive(cx);
        if let Poll::Ready(Some(Inbound::Envelope(envelope))) = &mut received {
            self.spans.received(envelope);
        }
        received
    }

    fn restrict(&mut self, bytes: Option<usize>) {
        self.source.restrict(bytes);
    }
}
