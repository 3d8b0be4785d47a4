//! OpenTelemetry around any ARCP transport (§11).
//!
//! [`TransportTracing::with_tracing`] wraps a transport: every envelope sent is a producer span `arcp.send <type>`, every
//! envelope received a consumer span `arcp.recv <type>`, and the trace context travels with the envelope, so a trace goes
//! on across the connection, whichever SDK is at the other end [ARCP 11-3].
//!
//! ```
//! use opentelemetry_sdk::trace::SdkTracerProvider;
//! use towline_otel::{TracingOptions, TransportTracing};
//! use towline_transport::MemoryTransport;
//!
//! let provider = SdkTracerProvider::builder().build();
//! let (client, runtime) = MemoryTransport::pair();
//! let client = client.with_tracing_options(TracingOptions::new().tracer_provider(&provider));
//! let runtime = runtime.with_tracing(); // the global provider
//! # let _ = (client, runtime);
//! ```
//!
//! # Why spans are made with OpenTelemetry's own API
//!
//! A `tracing` span has a name fixed in the source, and reaches a collector only where a subscriber turns it into an
//! OpenTelemetry span. Ours are named by the message, and have to work beside a plain OpenTelemetry SDK as well. So they
//! are made with the API's tracer, which keeps parents right in both worlds: the parent is the current OpenTelemetry
//! context, which `tracing-opentelemetry` keeps in step with the entered `tracing` span; where that is switched off, the
//! entered span is asked itself.
//!
//! This crate installs nothing: no provider, no propagator, no subscriber.

mod attributes;
mod carrier;
#[cfg(feature = "runtime")]
mod link;
mod memory;
mod options;
mod spans;
mod transport;

pub use attributes::key;
pub use carrier::{EXTENSION, extract, inject};
#[cfg(feature = "runtime")]
pub use link::OpenTelemetryLink;
pub use options::TracingOptions;
pub use spans::current_ids;
pub use transport::{TracedTransport, TransportTracing};

#[cfg(test)]
mod tests;
