//! `towline serve`

use std::path::PathBuf;

use clap::Args;
use towline::wire::Secret;

use crate::values::{self, Span};

/// `towline serve`
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = SERVE_EXAMPLES)]
pub(crate) struct ServeArgs {
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:7777]
    #[arg(short, long, value_name = "HOST:PORT", env = "TOWLINE_LISTEN", value_parser = values::listen_address)]
    pub(crate) listen: Option<String>,

    /// Listen on a Unix socket at PATH, which its owner alone may use; with --listen on both, without it on nothing else
    #[arg(long, value_name = "PATH", env = "TOWLINE_UNIX")]
    pub(crate) unix: Option<PathBuf>,

    /// The path of the endpoint [default: /arcp]
    #[arg(long, value_name = "PATH", env = "TOWLINE_PATH", value_parser = values::endpoint_path)]
    pub(crate) path: Option<String>,

    /// Speak on standard input and output instead; opens no listener, prints nothing else, needs a token
    #[arg(long, conflicts_with_all = OF_LISTENERS)]
    pub(crate) stdio: bool,

    /// Let in who shows TOKEN, as PRINCIPAL (split at the first colon); may be repeated [default: mint one and print it]
    ///
    /// TOWLINE_TOKENS takes several, with commas between them.
    #[arg(short, long, value_name = "PRINCIPAL:TOKEN")]
    pub(crate) token: Vec<Secret>,

    /// Let in who shows the token in a file (its first line), as PRINCIPAL; may be repeated
    #[arg(long, value_name = "PRINCIPAL:PATH")]
    pub(crate) token_file: Vec<String>,

    /// Grant tokens without a role whatever lease they ask for: files, network and programs too (for tries and tests)
    #[arg(long, env = "TOWLINE_DANGEROUSLY_GRANT_ANY_LEASE")]
    pub(crate) dangerously_grant_any_lease: bool,

    /// Let in everybody, without any token; refused on addresses other machines reach
    #[arg(long, conflicts_with_all = ["token", "token_file"])]
    pub(crate) dangerously_allow_anonymous: bool,

    /// Let in everybody even on an address that other machines reach
    #[arg(long, requires = "dangerously_allow_anonymous")]
    pub(crate) dangerously_allow_anonymous_from_anywhere: bool,

    /// Where jobs and events are kept: sqlite:PATH, postgres://USER@HOST/DATABASE or memory [default: sqlite:DATA-DIR/towline.db]
    #[arg(
        short,
        long,
        value_name = "STORE",
        env = "TOWLINE_STORE",
        hide_env_values = true
    )]
    pub(crate) store: Option<String>,

    /// Share the database with other nodes, each with a name of its own; without a name a server has it for itself
    #[arg(long, value_name = "NAME", env = "TOWLINE_NODE")]
    pub(crate) node: Option<String>,

    /// Wait for as long as another node has the database, and have it for itself when that one leaves or is silent for 6 s
    #[arg(long, env = "TOWLINE_STANDBY")]
    pub(crate) standby: bool,

    /// Refuse a database that does not wait for a synchronous standby
    #[arg(long, env = "TOWLINE_REQUIRE_SYNC")]
    pub(crate) require_sync: bool,

    /// Speak to a database on another machine without TLS (sslmode=disable), where whoever is on the way reads and changes all
    #[arg(long)]
    pub(crate) dangerously_store_in_the_clear: bool,

    /// Also host the built-in demo agents (echo, sleep, stream, …) and the real ones (index, exec)
    #[arg(long, env = "TOWLINE_DEMO")]
    pub(crate) demo: bool,

    /// Serve no dashboard at /
    #[arg(long, env = "TOWLINE_NO_DASHBOARD")]
    pub(crate) no_dashboard: bool,

    /// Accept this Host header only; may be repeated, * accepts any [default on loopback: localhost, 127.0.0.1, [::1]]
    #[arg(
        long,
        value_name = "HOST",
        env = "TOWLINE_ALLOWED_HOSTS",
        value_delimiter = ','
    )]
    pub(crate) allowed_host: Vec<String>,

    /// Accept web pages of this origin too; may be repeated, * accepts any [default: the server's own pages only]
    #[arg(
        long,
        value_name = "ORIGIN",
        env = "TOWLINE_ALLOWED_ORIGINS",
        value_delimiter = ','
    )]
    pub(crate) allowed_origin: Vec<String>,

    /// The certificate chain (PEM), for wss
    #[arg(
        long,
        value_name = "FILE",
        env = "TOWLINE_TLS_CERT",
        requires = "tls_key"
    )]
    pub(crate) tls_cert: Option<PathBuf>,

    /// The certificate's private key (PEM)
    #[arg(
        long,
        value_name = "FILE",
        env = "TOWLINE_TLS_KEY",
        requires = "tls_cert"
    )]
    pub(crate) tls_key: Option<PathBuf>,

    /// TLS ends at a proxy in front, and nobody can read the way from there
    #[arg(long, env = "TOWLINE_TLS_TERMINATED")]
    pub(crate) tls_terminated: bool,

    /// Listen without TLS on an address that other machines reach: whoever is on the way reads the tokens
    #[arg(long)]
    pub(crate) dangerously_listen_in_the_clear: bool,

    /// How often silent peers are pinged, in seconds, at least 1; after two silent ones a peer is lost [default: 30]
    #[arg(long, value_name = "S", env = "TOWLINE_HEARTBEAT", value_parser = values::heartbeat)]
    pub(crate) heartbeat: Option<Span>,

    /// How long a session can be resumed after its connection is gone, in seconds [default: 600]
    #[arg(long, value_name = "S", env = "TOWLINE_RESUME_WINDOW")]
    pub(crate) resume_window: Option<Span>,

    /// How long a new connection may take for TLS, its request and its hello together, in seconds [default: 10]
    #[arg(long, value_name = "S", env = "TOWLINE_HELLO_TIMEOUT", value_parser = values::positive_span)]
    pub(crate) hello_timeout: Option<Span>,

    /// How long running jobs may go on after SIGTERM, in seconds [default: 10]
    #[arg(long, value_name = "S", env = "TOWLINE_DRAIN")]
    pub(crate) drain: Option<Span>,
}

/// What is about a listener, which `--stdio` has none of.
pub(super) const OF_LISTENERS: [&str; 9] = [
    "listen",
    "unix",
    "path",
    "tls_cert",
    "tls_key",
    "tls_terminated",
    "dangerously_listen_in_the_clear",
    "allowed_host",
    "allowed_origin",
];

const SERVE_EXAMPLES: &str = "\
Examples:
  towline serve --demo
  towline serve --listen 0.0.0.0:443 --tls-cert cert.pem --tls-key key.pem --token alice:s3cret --allowed-host arcp.example
  towline serve --unix /run/user/1000/towline.sock --token alice:s3cret
  towline serve --stdio --demo --token parent:s3cret

When ready it prints where the dashboard is, then listening on ws://ADDRESS/arcp (wss:// with TLS), on standard output.
Times take units too: 500ms, 10s, 5m. Also served: /healthz, /readyz, /metrics (Prometheus).
SIGTERM and SIGINT drain: sessions are told, running jobs get --drain, then the program ends with status 0; a
second signal ends it at once.";
