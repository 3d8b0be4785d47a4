//! Whom to talk to, and how to say what came of it.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use towline::wire::Secret;

use crate::values::{self, Span};

/// Which runtime to talk to.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Runtime")]
pub(crate) struct ConnectArgs {
    /// A runtime; without it one is embedded in this program
    ///
    /// ws://HOST:PORT/arcp, wss://HOST/arcp, http(s)://HOST (the WebSocket beside it), unix:PATH (a socket of `serve --unix`),
    /// or stdio:COMMAND (a runtime that is started as a child process and ends with this command).
    #[arg(long, value_name = "URL", env = "TOWLINE_URL", hide_env_values = true)]
    pub(crate) url: Option<String>,

    /// The token to show the server
    ///
    /// Else TOWLINE_TOKEN, or the first line of the file that TOWLINE_TOKEN_FILE names.
    #[arg(long, value_name = "TOKEN", conflicts_with = "token_file")]
    pub(crate) token: Option<Secret>,

    /// A file whose first line is the token
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,

    /// A certificate authority (PEM) to trust beside those of this machine, for wss
    #[arg(long, value_name = "FILE", env = "TOWLINE_CA_CERT")]
    pub(crate) ca_cert: Option<PathBuf>,

    /// How long to wait for a connection and for each answer [default: 30s]
    #[arg(long, value_name = "SPAN", env = "TOWLINE_TIMEOUT", value_parser = values::positive_span)]
    pub(crate) timeout: Option<Span>,
}

/// What comes out on standard output.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct FormatArgs {
    /// What standard output carries
    #[arg(
        short = 'o',
        long = "output",
        value_name = "FORMAT",
        env = "TOWLINE_OUTPUT",
        default_value = "human"
    )]
    pub(crate) output: OutputFormat,
}

/// What standard output carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// Text for people; a job's events go to standard error, its result to standard output
    #[default]
    Human,
    /// One JSON document at the end
    Json,
    /// One JSON object a line, as it happens
    Ndjson,
}
