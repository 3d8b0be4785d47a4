//! Log lines on standard error. Standard output is never logged to: it carries results, or envelopes.

use std::io;

use towline::wire::{Shown, shown_json};
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
        // Spans are for collectors; on every line they would be in the way. The library of MCP tells of each request.
        "info,towline::trace=off,rmcp=warn"
    } else {
        "error"
    };
    let filter = std::env::var("RUST_LOG")
        .ok()
        .filter(|text| !text.is_empty());
    let filter = EnvFilter::builder().parse_lossy(filter.as_deref().unwrap_or(default));
    let lines = match cli.global.log_format {
        LogFormat::Json => fmt::layer()
            .json()
            .with_writer(|| Escaping(std::io::stderr()))
            .with_filter(filter)
            .boxed(),
        LogFormat::Human => fmt::layer()
            .with_writer(std::io::stderr)
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

/// Writes lines of JSON in which nothing is left that a terminal obeys: JSON itself escapes C0 controls alone [ARCP 14-8].
struct Escaping<W>(W);

impl<W: io::Write> io::Write for Escaping<W> {
    /// A line comes whole, in one call.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        self.0.write_all(shown_json(&text).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn colours() -> bool {
    anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// [ARCP 14-8] A line of JSON holds no control either, and means what it meant.
    #[test]
    fn lines_of_json_hold_nothing_a_terminal_obeys() {
        let lines = Lines::default();
        let written = lines.clone();
        let layer = fmt::layer()
            .json()
            .with_writer(move || Escaping(written.clone()));
        let harm = "a\u{1b}[2J\u{9b}2J\u{202e}\u{7f}\n{}";
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::info!(by = harm, "{harm}");
        });
        let bytes = lines.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        let line = text.strip_suffix('\n').unwrap();
        assert!(
            !line.contains(|c: char| c.is_control() || c == '\u{202e}'),
            "{line}"
        );
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["fields"]["by"], harm);
        assert_eq!(line["fields"]["message"], harm);
    }
}
