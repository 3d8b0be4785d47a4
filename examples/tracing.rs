//! One trace from the caller's span through client, runtime, job, child and tool.
//!
//! Spans are kept in memory here; with an OTLP exporter they go to a collector.
//!
//! ```sh
//! cargo run -p towline --example tracing --features full
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use opentelemetry::trace::{SpanId, TracerProvider as _};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use towline::{
    Client, ClientOptions, Lease, MemoryTransport, Runtime,
    otel::{OpenTelemetryLink, TracingOptions, TransportTracing as _, current_ids},
    runtime::{AgentError, JobContext, auth::StaticTokens},
    wire::RawJson,
};
use tracing::Instrument as _;
use tracing_subscriber::layer::SubscriberExt as _;

async fn parent(ctx: JobContext, _: Option<()>) -> Result<(), AgentError> {
    ctx.delegate("child")
        .lease(Lease::new().with("tool.call", "search.web"))
        .send()
        .await?
        .outcome()
        .await;
    Ok(())
}

async fn child(ctx: JobContext, _: Option<()>) -> Result<(), AgentError> {
    ctx.call_tool("search.web", RawJson::EMPTY_OBJECT).await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The application's part: a provider, and a subscriber that turns its spans into the provider's.
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(exporter.clone())
        .build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("example"));
    let layer = tracing_subscriber::Layer::with_filter(
        layer,
        tracing_subscriber::filter::LevelFilter::INFO,
    );
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer))?;
    let options = TracingOptions::new().tracer_provider(&provider);

    let runtime = Runtime::builder()
        .authenticator(StaticTokens::new([("me", "a-token")])?)
        .trace_link(OpenTelemetryLink)
        .tool("search.web", |ctx: JobContext, _args: RawJson| async move {
            println!(
                "the tool would send the header traceparent: {}",
                ctx.traceparent()
            );
            Ok(RawJson::EMPTY_OBJECT)
        })
        .agent("parent", parent)
        .agent("child", child)
        .build()
        .await?;
    let (near, far) = MemoryTransport::pair();
    runtime.accept(far.with_tracing_options(options.clone()));
    let near = near.with_tracing_options(options);
    let client = Client::connect(
        near,
        ClientOptions::bearer("a-token").trace_source(current_ids),
    )
    .await?;

    let lease = Lease::new()
        .with("agent.delegate", "child")
        .with("tool.call", "search.*");
    let work = async {
        let mut job = client.submit("parent").lease(lease).send().await?;
        job.outcome().await
    };
    work.instrument(tracing::info_span!("nightly work"))
        .await?
        .into_success()?;
    client.close("done").await?;
    runtime.shutdown().await;
    provider.force_flush()?;

    let spans = exporter.get_finished_spans()?;
    let named = |name: &str| {
        spans
            .iter()
            .find(|span| span.name == name)
            .ok_or_else(|| format!("no span `{name}`"))
    };
    let way = [
        "nightly work",
        "arcp.send job.submit",
        "arcp.recv job.submit",
        "arcp.job parent",
        "arcp.operation agent.delegate",
        "arcp.job child",
        "arcp.operation tool.call",
    ];
    let mut above = SpanId::INVALID;
    for (depth, name) in way.into_iter().enumerate() {
        let span = named(name)?;
        println!("{}{name}", "  ".repeat(depth));
        assert_eq!(span.parent_span_id, above);
        above = span.span_context.span_id();
    }
    Ok(())
}
