//! Log lines on standard error. Standard output is never logged to: it carries results, or envelopes.

use tracing_subscriber::{EnvFilter, fmt};

use crate::args::{Cli, Command, LogFormat};

/// Installs the subscriber of this program. RUST_LOG decides which lines are shown; without it a server logs at `info`,
/// the other commands at `error`, for they report what happens themselves.
pub(crate) fn install(cli: &Cli) {
    let default = if matches!(cli.command, Command::Serve(_)) {
        "info"
    } else {
        "error"
    };
    let filter = std::env::var("RUST_LOG")
        .ok()
        .filter(|text| !text.is_empty());
    let filter = EnvFilter::builder().parse_lossy(filter.as_deref().unwrap_or(default));
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let installed = match cli.global.log_format {
        LogFormat::Json => builder.json().try_init(),
        LogFormat::Human => builder.with_ansi(colours()).try_init(),
    };
    // It fails only when there is one already, and this program installs no other.
    drop(installed);
    // A panicking agent is an event like others, not a trace across somebody's progress bars.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(target: "towline::panic", place, "{message}");
    }));
}

fn colours() -> bool {
    anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never
}
