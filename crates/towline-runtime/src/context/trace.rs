//! Where an agent is in the job's trace (§11).

use towline_wire::SpanId;
use tracing::Span;

use super::JobContext;

impl JobContext {
    /// The W3C `traceparent` of where the agent is now, for whatever carries the trace on: a request, a child process
    /// (`TRACEPARENT`), a tool (`_meta.traceparent`) [ARCP 11-2]. Its trace is the job's; its span is the current one, or
    /// the job's, or, where nobody records spans, a new one.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-01", self.trace_id(), self.span_id())
    }

    /// The span of [`JobContext::traceparent`].
    pub fn span_id(&self) -> SpanId {
        let (link, trace) = (&self.hub.services.trace_link, self.trace_id());
        let known = |span: &Span| link.ids_of(span).filter(|(of, _)| *of == trace);
        let of_job = || {
            let span = self.job.lock().span.clone();
            known(&span)
        };
        known(&Span::current())
            .or_else(of_job)
            .map_or_else(|| self.fresh_span(), |(_, span)| span)
    }

    /// A span id that stands for none.
    fn fresh_span(&self) -> SpanId {
        let bytes = self.hub.services.ids.random().max(1).to_be_bytes();
        // Zero is the only value that is no id, and it was just ruled out.
        SpanId::from_bytes(bytes).unwrap_or_else(|| self.fresh_span())
    }
}
