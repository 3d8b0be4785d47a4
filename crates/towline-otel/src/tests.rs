//! A traced pair inside one process, and what its spans say.

use opentelemetry::{
    Context, Value,
    trace::{SpanId, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use serde_json::json;
use towline_transport::{FrameSink, FrameSource, Inbound, MemoryTransport, Transport};
use towline_wire::{
    Envelope, EventSeq, JobId, MessageId, MessageType, RawJson, SessionId, TraceId,
};

use crate::{EXTENSION, TracingOptions, TransportTracing, key};

mod attributes;
mod context;
mod parents;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const REMOTE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A provider that keeps what it exports.
struct Recorder {
    exporter: InMemorySpanExporter,
    provider: SdkTracerProvider,
}

impl Recorder {
    fn new() -> Self {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder()
            .with_simple_exporter(exporter.clone())
            .build();
        Self { exporter, provider }
    }

    fn options(&self) -> TracingOptions {
        TracingOptions::new().tracer_provider(&self.provider)
    }

    fn spans(&self) -> Vec<SpanData> {
        self.exporter.get_finished_spans().unwrap()
    }

    /// The only span of a name.
    #[track_caller]
    fn span(&self, name: &str) -> SpanData {
        let spans = self.spans();
        let mut named = spans.iter().filter(|span| span.name == name);
        let span = named
            .next()
            .unwrap_or_else(|| panic!("there is no span {name:?}"));
        assert!(named.next().is_none(), "there are several spans {name:?}");
        span.clone()
    }
}

/// Two ends of a memory transport; `near` is traced.
struct Link {
    near: Ends,
    far: Ends,
}

struct Ends {
    sink: Box<dyn FrameSink>,
    source: Box<dyn FrameSource>,
}

impl Ends {
    fn of(transport: impl Transport) -> Self {
        let (sink, source) = Box::new(transport).split();
        Self { sink, source }
    }

    async fn send(&mut self, envelope: Envelope) {
        self.sink.send(envelope).await.unwrap();
    }

    async fn receive(&mut self) -> Envelope {
        match self.source.receive().await {
            Some(Inbound::Envelope(envelope)) => envelope,
            other => panic!("no envelope but {other:?}"),
        }
    }
}

impl Link {
    fn near_traced(options: TracingOptions) -> Self {
        let (near, far) = MemoryTransport::pair();
        Self {
            near: Ends::of(near.with_tracing_options(options)),
            far: Ends::of(far),
        }
    }

    /// Sends from the traced end; gives what arrives at the plain one.
    async fn out(&mut self, envelope: Envelope) -> Envelope {
        self.near.send(envelope).await;
        self.far.receive().await
    }

    /// Sends from the plain end; gives what the traced one hands on.
    async fn back(&mut self, envelope: Envelope) -> Envelope {
        self.far.send(envelope).await;
        self.near.receive().await
    }
}

fn envelope(kind: MessageType) -> Envelope {
    Envelope::new(kind)
}

fn with_context(mut envelope: Envelope, traceparent: &str) -> Envelope {
    envelope.extensions = Some(json!({ EXTENSION: { "traceparent": traceparent } }).into());
    envelope
}

fn attribute(span: &SpanData, key: &str) -> Option<Value> {
    let mut found = span
        .attributes
        .iter()
        .filter(|attribute| attribute.key.as_str() == key);
    let value = found.next().map(|attribute| attribute.value.clone());
    assert!(found.next().is_none(), "{key} stands twice");
    value
}

fn text(span: &SpanData, key: &str) -> Option<String> {
    attribute(span, key).map(|value| value.to_string())
}

/// The trace and the span an envelope carries.
fn carried(envelope: &Envelope) -> Option<(String, String)> {
    let context = crate::extract(envelope)?;
    Some((
        context.trace_id().to_string(),
        context.span_id().to_string(),
    ))
}

fn ids(span: &SpanData) -> (String, String) {
    (
        span.span_context.trace_id().to_string(),
        span.span_context.span_id().to_string(),
    )
}

/// Both ends traced. There is no provider, so envelopes arrive as they were sent, which the suite looks at.
fn traced_pair() -> towline_transport::testing::suite::Pair {
    let (near, far) = MemoryTransport::pair();
    towline_transport::testing::suite::Pair::new(near.with_tracing(), far.with_tracing())
}

// A traced transport is a transport like any other.
towline_transport::transport_suite!(behaviour, traced_pair());
