//! A runtime's own spans in the traces of its jobs.

use opentelemetry::{
    Context,
    trace::{TraceContextExt as _, TraceFlags, TraceState},
};
use towline_runtime::TraceLink;
use towline_wire::{SpanId, TraceId};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::{carrier::remote, spans::ids_of};

/// Ties a runtime's `tracing` spans to OpenTelemetry traces [ARCP 11-2]: give it to
/// [`RuntimeBuilder::trace_link`](towline_runtime::RuntimeBuilder::trace_link), and install a subscriber with the layer of
/// `tracing-opentelemetry`. Without that layer it does nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenTelemetryLink;

impl TraceLink for OpenTelemetryLink {
    fn adopt(&self, span: &Span, trace: TraceId, parent: SpanId) {
        // Whoever sends a span's id with a submit has most likely recorded it.
        let parent = remote(trace, parent, TraceFlags::SAMPLED, TraceState::default());
        // It fails where the layer is not there or does not want the span; then there is nothing to tie.
        let _ = span.set_parent(Context::new().with_remote_span_context(parent));
    }

    fn ids_of(&self, span: &Span) -> Option<(TraceId, SpanId)> {
        ids_of(&span.context())
    }
}
