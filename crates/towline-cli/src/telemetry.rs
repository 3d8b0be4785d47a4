//! Spans for a collector, over OTLP (gRPC): of every envelope, and of what the runtime does.

use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{SdkTracer, SdkTracerProvider},
};
use towline::{otel::TransportTracing as _, transport::Transport};

use crate::failure::{Failure, Outcome, chain};

/// How long the last spans have to reach the collector when the program ends.
const FLUSH: Duration = Duration::from_secs(3);

/// The way to a collector, when one was named.
#[derive(Debug, Default)]
pub(crate) struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Makes the way to the collector that was named, and makes it the process's own. Needs to be called inside the async
    /// runtime, which carries the connection.
    pub(crate) fn install(endpoint: Option<&str>) -> Outcome<Self> {
        let Some(endpoint) = endpoint else {
            return Ok(Self::default());
        };
        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .build();
        let exporter = exporter.map_err(|error| {
            Failure::usage(format!(
                "--otlp: `{endpoint}` cannot be used: {}",
                chain(&error)
            ))
            .help("name a collector's gRPC endpoint, as in http://127.0.0.1:4317")
        })?;
        let resource = Resource::builder().with_service_name("towline").build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource)
            .build();
        opentelemetry::global::set_tracer_provider(provider.clone());
        Ok(Self {
            provider: Some(provider),
        })
    }

    /// What turns the program's own spans into those of the collector.
    pub(crate) fn tracer(&self) -> Option<SdkTracer> {
        self.provider
            .as_ref()
            .map(|provider| provider.tracer("towline"))
    }

    /// Sends what is left. Blocks for as long as that takes, at most a few seconds.
    pub(crate) fn finish(self) {
        if let Some(provider) = self.provider {
            // A collector that is not there is no reason to fail.
            drop(provider.shutdown_with_timeout(FLUSH));
        }
    }
}

/// Wraps a transport so that each envelope is a span, where there is a collector; else it stays as it is.
pub(crate) fn traced(transport: Box<dyn Transport>, wanted: bool) -> Box<dyn Transport> {
    match wanted {
        true => Box::new(transport.with_tracing()),
        false => transport,
    }
}
