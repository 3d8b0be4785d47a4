//! One span an envelope, with the right parent.

use opentelemetry::{
    Context,
    trace::{SpanContext, SpanKind, TraceContextExt as _, TraceFlags, TraceState, Tracer as _},
};
use parking_lot::Mutex;
use towline_wire::{Envelope, MessageType, SpanId, TraceId};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::{
    TracingOptions,
    attributes::{self, shown_type},
    carrier::{extract, inject_into, remote},
    memory::Memory,
};

/// What both halves of a traced transport share.
pub(crate) struct Spans {
    options: TracingOptions,
    memory: Mutex<Memory>,
}

impl Spans {
    pub(crate) fn new(options: TracingOptions) -> Self {
        Self {
            options,
            memory: Mutex::new(Memory::new()),
        }
    }

    /// Begins the span of an envelope that is about to be sent, and makes the envelope carry it. The caller ends it.
    pub(crate) fn send(&self, envelope: &mut Envelope) -> Context {
        let context = self.start(SpanKind::Producer, envelope, self.parent_of_sent(envelope));
        let span = context.span().span_context().clone();
        self.join(envelope, &span);
        self.describe(&context, envelope);
        inject_into(envelope, &span, self.options.top_level);
        context
    }

    /// The span of an envelope that has been received; it is over at once.
    pub(crate) fn received(&self, envelope: &mut Envelope) {
        let context = self.start(
            SpanKind::Consumer,
            envelope,
            self.parent_of_received(envelope),
        );
        let span = context.span().span_context().clone();
        self.join(envelope, &span);
        if envelope.trace_id.is_some() && envelope.trace_id == trace_of(&span) {
            // What the runtime does for this message belongs below the span that received it.
            envelope.parent_span = SpanId::from_bytes(span.span_id().to_bytes());
        }
        self.describe(&context, envelope);
        context.span().end();
    }

    fn start(&self, kind: SpanKind, envelope: &Envelope, parent: Context) -> Context {
        let (verb, direction) = match kind {
            SpanKind::Producer => ("send", "out"),
            _ => ("recv", "in"),
        };
        let tracer = &*self.options.tracer;
        let name = format!("arcp.{verb} {}", shown_type(envelope));
        let builder = tracer.span_builder(name).with_kind(kind);
        let builder = builder.with_attributes(attributes::initial(direction, envelope));
        let span = tracer.build_with_context(builder, &parent);
        parent.with_span(span)
    }

    /// A submit without a trace takes its span's [ARCP 11-1].
    fn join(&self, envelope: &mut Envelope, span: &SpanContext) {
        let joins = self.options.join_traces && envelope.kind == MessageType::JOB_SUBMIT;
        if joins && envelope.trace_id.is_none() {
            envelope.trace_id = trace_of(span);
        }
    }

    fn describe(&self, context: &Context, envelope: &Envelope) {
        let span = context.span();
        let mut memory = self.memory.lock();
        let job = memory.learn(envelope);
        if let Some(trace) = envelope.trace_id {
            memory.begins(trace, span.span_context());
        }
        drop(memory);
        if span.is_recording() {
            span.set_attributes(attributes::further(envelope, job.as_ref()));
        }
    }

    /// Whoever sends is seldom where the envelope came from: a connection's writer has a context of its own, or none. So
    /// the current context counts when it is in the envelope's trace; else the trace's first span on this connection;
    /// else the current context after all; else what the envelope carries already, as in a relay; else a span of its trace
    /// that nobody has recorded, so that the span is in that trace at least.
    fn parent_of_sent(&self, envelope: &Envelope) -> Context {
        let current = current();
        let is_its_own = |context: &Context| {
            envelope.trace_id.is_some()
                && envelope.trace_id == trace_of(context.span().span_context())
        };
        match (current, self.beginning(envelope)) {
            (Some(current), _) if is_its_own(&current) => current,
            (_, Some(first)) => Context::new().with_remote_span_context(first),
            (Some(current), None) => current,
            (None, None) => carried(envelope)
                .or_else(|| unrecorded(envelope))
                .unwrap_or_default(),
        }
    }

    /// What the envelope carries; else the trace's first span on this connection; else the current context, which is the
    /// connection's. A submit that carries nothing begins a trace of its own instead, or all jobs of a connection would
    /// end up in one.
    fn parent_of_received(&self, envelope: &Envelope) -> Context {
        let first = || {
            self.beginning(envelope)
                .map(|first| Context::new().with_remote_span_context(first))
        };
        let current = || current().filter(|_| envelope.kind != MessageType::JOB_SUBMIT);
        carried(envelope)
            .or_else(first)
            .or_else(|| unrecorded(envelope))
            .or_else(current)
            .unwrap_or_default()
    }

    fn beginning(&self, envelope: &Envelope) -> Option<SpanContext> {
        self.memory.lock().beginning(envelope.trace_id?)
    }
}

/// The context an envelope carries: injected, or as a whole `traceparent` in its `trace_id`.
fn carried(envelope: &Envelope) -> Option<Context> {
    let in_trace_id = || {
        let (trace, span) = (envelope.trace_id?, envelope.parent_span?);
        // Its flags are gone by now; somebody who sends a span with a message has most likely recorded it.
        Some(remote(
            trace,
            span,
            TraceFlags::SAMPLED,
            TraceState::default(),
        ))
    };
    let context = extract(envelope).or_else(in_trace_id)?;
    Some(Context::new().with_remote_span_context(context))
}

/// A span that stands for the trace an envelope names and nobody began: the same one wherever it is made up.
fn unrecorded(envelope: &Envelope) -> Option<Context> {
    let trace = envelope.trace_id?;
    let context = remote(
        trace,
        trace.unrecorded_root(),
        TraceFlags::SAMPLED,
        TraceState::default(),
    );
    Some(Context::new().with_remote_span_context(context))
}

/// The current OpenTelemetry context if it has a span, else that of the entered `tracing` span.
fn current() -> Option<Context> {
    let valid = |context: &Context| context.span().span_context().is_valid();
    let entered = || Some(tracing::Span::current().context()).filter(valid);
    Some(Context::current()).filter(valid).or_else(entered)
}

/// The ids of the current span: OpenTelemetry's, else that of the entered `tracing` span. Made for
/// `ClientOptions::trace_source`, so that what is submitted inside a span belongs to its trace.
pub fn current_ids() -> Option<(TraceId, SpanId)> {
    ids_of(&current()?)
}

pub(crate) fn ids_of(context: &Context) -> Option<(TraceId, SpanId)> {
    let span = context.span();
    let span = span.span_context();
    let trace = trace_of(span)?;
    Some((trace, SpanId::from_bytes(span.span_id().to_bytes())?))
}

fn trace_of(span: &SpanContext) -> Option<TraceId> {
    TraceId::from_bytes(span.trace_id().to_bytes())
}
