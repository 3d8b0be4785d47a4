//! `towline ready`

use std::path::PathBuf;

use clap::Args;

use crate::values::{self, Span};

/// `towline ready`
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  towline ready                                  # the server of this towline.toml, on this machine
  towline ready --url https://arcp.example
Status 0: it takes sessions; 1: it answers that it takes none; 20: it cannot be reached.")]
pub(crate) struct ReadyArgs {
    /// The server: http(s)://HOST:PORT, its ws(s):// address, or unix:PATH [default: where `serve` listens]
    #[arg(long, value_name = "URL", env = "TOWLINE_URL", hide_env_values = true)]
    pub(crate) url: Option<String>,

    /// Where `serve` listens, as it was told [default: 127.0.0.1:7777]
    #[arg(short, long, value_name = "HOST:PORT", env = "TOWLINE_LISTEN", value_parser = values::listen_address)]
    pub(crate) listen: Option<String>,

    /// The Unix socket that `serve` listens on, as it was told; --listen stands above it
    #[arg(long, value_name = "PATH", env = "TOWLINE_UNIX")]
    pub(crate) unix: Option<PathBuf>,

    /// A host that the server lets in, to ask by [default: the first of server.allowed_hosts]
    #[arg(
        long,
        value_name = "HOST",
        env = "TOWLINE_ALLOWED_HOSTS",
        value_delimiter = ','
    )]
    pub(crate) allowed_host: Vec<String>,

    /// A certificate authority (PEM) to trust beside those of this machine
    #[arg(long, value_name = "FILE", env = "TOWLINE_CA_CERT")]
    pub(crate) ca_cert: Option<PathBuf>,

    /// How long to wait for the answer [default: 5s]
    #[arg(long, value_name = "SPAN", env = "TOWLINE_TIMEOUT", value_parser = values::positive_span)]
    pub(crate) timeout: Option<Span>,
}
