//! Spans for a collector, over OTLP: of every envelope, and of what the runtime does.
//!
//! The variables are OpenTelemetry's own. The exporter reads those about headers, timeouts, certificates and compression
//! by itself, the resource those about names, the sampler its own; here it is decided whether, where to, and how.

use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig as _};
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

/// Where spans go, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    endpoint: String,
    http: bool,
}

impl Target {
    /// What flag and environment come to; `None` when spans go nowhere.
    pub(crate) fn new(endpoint: Option<&str>) -> Outcome<Option<Self>> {
        Self::read(endpoint, |name| {
            std::env::var(name).ok().filter(|value| !value.is_empty())
        })
    }

    fn read(
        endpoint: Option<&str>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Outcome<Option<Self>> {
        let off = variable("OTEL_SDK_DISABLED")
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
            || variable("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none");
        let traces = variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
        let Some(endpoint) = traces.as_deref().or(endpoint).filter(|_| !off) else {
            return Ok(None);
        };
        let protocol = variable("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
            .or_else(|| variable("OTEL_EXPORTER_OTLP_PROTOCOL"));
        let http = match protocol.as_deref() {
            Some("http/protobuf") => true,
            Some("grpc") => false,
            Some(other) => {
                return Err(Failure::usage(format!(
                    "OTEL_EXPORTER_OTLP_PROTOCOL: `{other}` is not a protocol this program speaks"
                ))
                .help("write `http/protobuf` or `grpc`"));
            }
            // Collectors take HTTP on this port and gRPC on the one before.
            None => endpoint.trim_end_matches('/').contains(":4318"),
        };
        // A general endpoint has a path for each kind of signal; one for traces is taken as it is.
        let endpoint = if http && traces.is_none() {
            format!("{}/v1/traces", endpoint.trim_end_matches('/'))
        } else {
            endpoint.to_owned()
        };
        Ok(Some(Self { endpoint, http }))
    }

    fn exporter(&self) -> Result<SpanExporter, ExporterBuildError> {
        if self.http {
            SpanExporter::builder()
                .with_http()
                .with_protocol(Protocol::HttpBinary)
                .with_endpoint(&self.endpoint)
                .build()
        } else {
            SpanExporter::builder()
                .with_tonic()
                .with_endpoint(&self.endpoint)
                .build()
        }
    }
}

impl Telemetry {
    /// Makes the way to the collector that was named, and makes it the process's own. Needs to be called inside the async
    /// runtime, which carries the connection.
    pub(crate) fn install(target: Option<&Target>) -> Outcome<Self> {
        let Some(target) = target else {
            return Ok(Self::default());
        };
        let exporter = target.exporter().map_err(|error| {
            let endpoint = &target.endpoint;
            Failure::usage(format!(
                "--otlp: `{endpoint}` cannot be used: {}",
                chain(&error)
            ))
            .help("name a collector, as in http://127.0.0.1:4317 (gRPC) or http://127.0.0.1:4318 (HTTP)")
        })?;
        let named = ["OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"]
            .iter()
            .filter_map(|name| std::env::var(name).ok())
            .any(|value| !value.is_empty());
        let resource = if named {
            Resource::builder()
        } else {
            Resource::builder().with_service_name("towline")
        };
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource.build())
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
    if wanted {
        Box::new(transport.with_tracing())
    } else {
        transport
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(flag: Option<&str>, variables: &[(&str, &str)]) -> Option<Target> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Target::read(flag, variable).unwrap()
    }

    #[test]
    fn the_variables_say_where_and_how() {
        let to = |endpoint: &str, http| {
            Some(Target {
                endpoint: endpoint.to_owned(),
                http,
            })
        };
        let http = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
        let grpc = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc");
        let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t/x");
        assert_eq!(target(None, &[]), None);
        assert_eq!(
            target(Some("http://c:4317"), &[]),
            to("http://c:4317", false)
        );
        assert_eq!(
            target(Some("http://c:4318/"), &[]),
            to("http://c:4318/v1/traces", true)
        );
        assert_eq!(
            target(Some("http://c"), &[http]),
            to("http://c/v1/traces", true)
        );
        assert_eq!(
            target(Some("http://c"), &[http, grpc]),
            to("http://c", false)
        );
        assert_eq!(
            target(Some("http://c"), &[http, traces]),
            to("http://t/x", true)
        );
        assert_eq!(
            target(Some("http://c"), &[("OTEL_SDK_DISABLED", "true")]),
            None
        );
        assert_eq!(
            target(None, &[traces, ("OTEL_TRACES_EXPORTER", "none")]),
            None
        );
        let unknown = |_: &str| Some("http/json".to_owned());
        assert!(Target::read(Some("http://c"), unknown).is_err());
    }
}
