//! Spans for a collector, over OTLP: of every envelope, and of what the runtime does.
//!
//! The variables are OpenTelemetry's own. The exporter reads those about headers and compression by itself, the resource
//! those about names, the sampler its own; here it is decided whether, where to, and how.
//!
//! Telemetry never decides whether a job runs: what cannot be used is complained of on standard error, and then there are
//! no spans.

use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{SdkTracer, SdkTracerProvider},
};
use towline::{
    otel::TransportTracing as _,
    transport::{Transport, tls::Trust},
};

use crate::failure::chain;

/// How long the last spans have to reach the collector when the program ends.
const FLUSH: Duration = Duration::from_secs(3);

/// How long a collector may take to answer, unless OTEL_EXPORTER_OTLP_TIMEOUT says otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The way to a collector, when one was named and can be used.
#[derive(Debug, Default)]
pub(crate) struct Telemetry {
    provider: Option<SdkTracerProvider>,
    complaint: Option<String>,
}

/// Where spans go, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    endpoint: String,
    grpc: bool,
}

impl Target {
    /// What flag and environment come to; `None` when spans go nowhere. The error says why they cannot go where they should.
    pub(crate) fn new(endpoint: Option<&str>) -> Result<Option<Self>, String> {
        Self::read(endpoint, variable)
    }

    fn read(
        endpoint: Option<&str>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, String> {
        let off = variable("OTEL_SDK_DISABLED")
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
            || variable("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none");
        let traces = variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
        // An empty variable names nothing.
        let endpoint = endpoint.filter(|endpoint| !endpoint.trim().is_empty());
        let Some(endpoint) = traces.as_deref().or(endpoint).filter(|_| !off) else {
            return Ok(None);
        };
        let endpoint = with_scheme(endpoint)?;
        let protocol = variable("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
            .or_else(|| variable("OTEL_EXPORTER_OTLP_PROTOCOL"));
        let grpc = match protocol.as_deref() {
            Some("http/protobuf") => false,
            Some("grpc") => true,
            Some(other) => {
                return Err(format!(
                    "OTEL_EXPORTER_OTLP_PROTOCOL: `{other}` is not a protocol this program speaks; write `http/protobuf`"
                ));
            }
            // Collectors take gRPC on this port and HTTP on the one behind.
            None => endpoint.trim_end_matches('/').ends_with(":4317"),
        };
        if grpc && !cfg!(feature = "otlp-grpc") {
            return Err(format!(
                "`{endpoint}` means gRPC, and this program was built without the feature `otlp-grpc`; name the collector's \
                 HTTP port, usually 4318, or set OTEL_EXPORTER_OTLP_PROTOCOL to `http/protobuf`"
            ));
        }
        // A general endpoint has a path for each kind of signal; one for traces is taken as it is.
        let endpoint = if grpc || traces.is_some() {
            endpoint
        } else {
            format!("{}/v1/traces", endpoint.trim_end_matches('/'))
        };
        Ok(Some(Self { endpoint, grpc }))
    }

    fn exporter(&self) -> Result<SpanExporter, String> {
        let exporter = if self.grpc {
            self.over_grpc()
        } else {
            let client = http_client()?;
            SpanExporter::builder()
                .with_http()
                .with_http_client(client)
                .with_protocol(Protocol::HttpBinary)
                .with_endpoint(&self.endpoint)
                .build()
        };
        exporter.map_err(|error| format!("`{}` cannot be used: {}", self.endpoint, chain(&error)))
    }

    #[cfg(feature = "otlp-grpc")]
    fn over_grpc(&self) -> Result<SpanExporter, opentelemetry_otlp::ExporterBuildError> {
        use opentelemetry_otlp::{WithTonicConfig as _, tonic_types::transport::ClientTlsConfig};

        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(&self.endpoint);
        if self.endpoint.starts_with("https://") {
            let tls = ClientTlsConfig::new().with_native_roots();
            return exporter.with_tls_config(tls).build();
        }
        exporter.build()
    }

    #[cfg(not(feature = "otlp-grpc"))]
    fn over_grpc(&self) -> Result<SpanExporter, opentelemetry_otlp::ExporterBuildError> {
        // `read` makes no such target in a build like this.
        Err(
            opentelemetry_otlp::ExporterBuildError::InvalidConfiguration(
                "this program was built without gRPC".to_owned(),
            ),
        )
    }
}

impl Telemetry {
    /// Makes the way to the collector that was named, and makes it the process's own. Needs to be called inside the async
    /// runtime, which carries the connection of gRPC.
    pub(crate) fn install(endpoint: Option<&str>) -> Self {
        let exporter = Target::new(endpoint)
            .and_then(|target| target.as_ref().map(Target::exporter).transpose());
        match exporter {
            Ok(Some(exporter)) => Self::over(exporter),
            Ok(None) => Self::default(),
            Err(complaint) => Self {
                provider: None,
                complaint: Some(complaint),
            },
        }
    }

    fn over(exporter: SpanExporter) -> Self {
        let named = ["OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"]
            .iter()
            .any(|name| variable(name).is_some());
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
        Self {
            provider: Some(provider),
            complaint: None,
        }
    }

    /// Says why there are no spans although a collector was named. For when log lines have somewhere to go.
    pub(crate) fn complain(&self) {
        if let Some(complaint) = &self.complaint {
            tracing::error!(target: "towline::telemetry", "no spans are sent: {complaint}");
        }
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

/// The endpoint as a URL. Without a scheme it is one of plain HTTP, as other programs read `collector:4318`.
fn with_scheme(endpoint: &str) -> Result<String, String> {
    match endpoint.split_once("://") {
        None => Ok(format!("http://{endpoint}")),
        Some(("http" | "https", _)) => Ok(endpoint.to_owned()),
        Some((other, _)) => Err(format!(
            "the collector's address `{endpoint}` begins with `{other}://`; it has to be `http://` or `https://`"
        )),
    }
}

/// What takes the spans there. The exporter's own thread waits for it, so it has to be a client that blocks, and such a one
/// cannot be made on a thread of the async runtime.
fn http_client() -> Result<reqwest::blocking::Client, String> {
    let mut trust = Trust::system();
    let authority = variable("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE")
        .or_else(|| variable("OTEL_EXPORTER_OTLP_CERTIFICATE"));
    if let Some(path) = authority {
        let pem = std::fs::read(&path);
        let pem =
            pem.map_err(|error| format!("OTEL_EXPORTER_OTLP_CERTIFICATE: `{path}`: {error}"))?;
        trust = trust
            .with_pem(&pem)
            .map_err(|error| format!("OTEL_EXPORTER_OTLP_CERTIFICATE: `{path}`: {error}"))?;
    }
    let timeout = variable("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT")
        .or_else(|| variable("OTEL_EXPORTER_OTLP_TIMEOUT"))
        .and_then(|millis| millis.parse().ok())
        .map_or(TIMEOUT, Duration::from_millis);
    let tls = trust.config().map_err(|error| chain(&error))?;
    let make = move || {
        reqwest::blocking::Client::builder()
            .tls_backend_preconfigured(tls)
            .timeout(timeout)
            .build()
    };
    let made = std::thread::Builder::new()
        .spawn(make)
        .map_err(|error| format!("no thread can be started: {error}"))?
        .join()
        .map_err(|_| "its HTTP client could not be made".to_owned())?;
    made.map_err(|error| chain(&error))
}

/// A variable of the environment; an empty one is none.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
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

    fn target(flag: Option<&str>, variables: &[(&str, &str)]) -> Result<Option<Target>, String> {
        Target::read(flag, |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[track_caller]
    fn goes(flag: Option<&str>, variables: &[(&str, &str)], to: Option<&str>) {
        let expected = to.map(|endpoint| Target {
            endpoint: endpoint.to_owned(),
            grpc: false,
        });
        assert_eq!(target(flag, variables), Ok(expected), "{flag:?}");
    }

    const HTTP: (&str, &str) = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
    const TRACES: (&str, &str) = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t/x");

    #[test]
    fn the_variables_say_where_and_how() {
        goes(None, &[], None);
        goes(Some("http://c:4318/"), &[], Some("http://c:4318/v1/traces"));
        goes(Some("http://c"), &[HTTP], Some("http://c/v1/traces"));
        goes(
            Some("http://c:4317"),
            &[HTTP],
            Some("http://c:4317/v1/traces"),
        );
        goes(Some("http://c"), &[HTTP, TRACES], Some("http://t/x"));
        goes(Some("http://c"), &[("OTEL_SDK_DISABLED", "true")], None);
        goes(None, &[TRACES, ("OTEL_TRACES_EXPORTER", "none")], None);
    }

    #[test]
    fn an_endpoint_may_be_https_or_have_no_scheme() {
        goes(Some("https://c"), &[], Some("https://c/v1/traces"));
        goes(Some("c:4318"), &[], Some("http://c:4318/v1/traces"));
        goes(Some("c"), &[], Some("http://c/v1/traces"));
    }

    #[test]
    fn what_cannot_be_used_is_said() {
        let json = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json");
        let complaint = target(Some("http://c"), &[json]).unwrap_err();
        assert!(complaint.contains("http/json"), "{complaint}");
        let complaint = target(Some("ftp://c"), &[]).unwrap_err();
        assert!(complaint.contains("`ftp://`"), "{complaint}");
    }

    /// The port of gRPC, and the variable, mean gRPC; a build without it says so.
    #[test]
    fn grpc_only_where_it_was_built_in() {
        let grpc = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc");
        for found in [
            target(Some("http://c:4317"), &[]),
            target(Some("http://c:4317"), &[HTTP, grpc]),
        ] {
            if cfg!(feature = "otlp-grpc") {
                let expected = Target {
                    endpoint: "http://c:4317".to_owned(),
                    grpc: true,
                };
                assert_eq!(found, Ok(Some(expected)));
            } else {
                assert!(found.unwrap_err().contains("otlp-grpc"));
            }
        }
    }

    /// Whatever is wrong with the address, there is somebody to ask for a tracer, who has none.
    #[test]
    fn a_bad_address_is_no_reason_to_fail() {
        let telemetry = Telemetry::install(Some("http://not a host"));
        assert!(telemetry.tracer().is_none());
        assert!(telemetry.complaint.is_some());
        telemetry.finish();
    }
}
