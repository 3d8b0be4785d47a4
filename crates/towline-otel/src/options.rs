//! What can be chosen.

use std::{fmt, sync::Arc};

use opentelemetry::{
    InstrumentationScope,
    global::{self, BoxedTracer},
    trace::{Tracer, TracerProvider},
};

/// What can be chosen for a traced transport.
#[derive(Clone)]
pub struct TracingOptions {
    pub(crate) tracer: Arc<BoxedTracer>,
    pub(crate) top_level: bool,
    pub(crate) join_traces: bool,
}

impl TracingOptions {
    /// Spans go to the provider that is the global one now; without one there are no spans, and a context that is there
    /// already is passed on.
    pub fn new() -> Self {
        let tracer = Arc::new(global::tracer_with_scope(scope()));
        Self {
            tracer,
            top_level: false,
            join_traces: true,
        }
    }

    /// Where spans go. Default: the global provider.
    #[must_use]
    pub fn tracer_provider<P>(mut self, provider: &P) -> Self
    where
        P: TracerProvider,
        P::Tracer: Send + Sync + 'static,
        <P::Tracer as Tracer>::Span: Send + Sync + 'static,
    {
        let tracer = provider.tracer_with_scope(scope());
        self.tracer = Arc::new(BoxedTracer::new(Box::new(tracer)));
        self
    }

    /// Whether the context is also written as a top-level field of the envelope, where the C# SDK looks for it. It is
    /// read from there in any case. Default: no.
    #[must_use]
    pub fn write_top_level(mut self, write: bool) -> Self {
        self.top_level = write;
        self
    }

    /// Whether a `job.submit` without a `trace_id` gets the one of its span, so that the job's trace and the collector's
    /// are the same. Default: yes. Without it the runtime mints a trace id of its own for such a job.
    #[must_use]
    pub fn join_traces(mut self, join: bool) -> Self {
        self.join_traces = join;
        self
    }
}

impl Default for TracingOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for TracingOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TracingOptions")
            .field("top_level", &self.top_level)
            .field("join_traces", &self.join_traces)
            .finish_non_exhaustive()
    }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope::builder("towline")
        .with_version(env!("CARGO_PKG_VERSION"))
        .build()
}
