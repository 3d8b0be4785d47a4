//! Log lines on standard error. Standard output is never logged to: it carries results, or envelopes.

use towline::wire::Shown;
use tracing::field::Field;
use tracing_subscriber::{
    EnvFilter, Layer as _,
    field::MakeExt as _,
    filter::LevelFilter,
    fmt::{self, format::Writer},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::{
    args::{Cli, Command, LogFormat},
    telemetry::Telemetry,
};

/// Installs the subscriber of this program. RUST_LOG decides which lines are shown; without it a server logs at `info`,
/// the other commands at `error`, for they report what happens themselves.
pub(crate) fn install(cli: &Cli, telemetry: &Telemetry) {
    let default = if matches!(cli.command, Command::Serve(_)) {
        // Spans are for collectors; on every line they would be in the way.
        "info,towline::trace=off"
    } else {
        "error"
    };
    let filter = std::env::var("RUST_LOG")
        .ok()
        .filter(|text| !text.is_empty());
    let filter = EnvFilter::builder().parse_lossy(filter.as_deref().unwrap_or(default));
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match cli.global.log_format {
        LogFormat::Json => lines.json().with_filter(filter).boxed(),
        LogFormat::Human => lines
            .fmt_fields(fmt::format::debug_fn(field).delimited(" "))
            .with_ansi(colours())
            .with_filter(filter)
            .boxed(),
    };
    let spans = telemetry.tracer().map(|tracer| {
        tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_filter(LevelFilter::INFO)
    });
    // It fails only when there is one already, and this program installs no other.
    drop(
        tracing_subscriber::registry()
            .with(lines)
            .with(spans)
            .try_init(),
    );
    // A panicking agent is an event like others, not a trace across somebody's progress bars.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let message = text.unwrap_or("no message");
        tracing::error!(target: "towline::panic", place, "{message}");
    }));
}

/// A field of a line. Whoever wrote its text, and however it was logged, it stays on its line and the terminal obeys nothing
/// of it [ARCP 14-8].
fn field(line: &mut Writer<'_>, field: &Field, value: &dyn std::fmt::Debug) -> std::fmt::Result {
    let value = Shown::new(format_args!("{value:?}")).to_string();
    match field.name() {
        "message" => line.write_str(&value),
        name => write!(line, "{name}={value}"),
    }
}

fn colours() -> bool {
    anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never
}
