//! What a server does: command line and environment first, then the file, then the defaults.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use towline::{
    axum::{DoorOptions, Proxy},
    runtime::RuntimeOptions,
};

use super::auth;
use crate::{
    args::ServeArgs,
    config::{Config, SpanValue},
    data_dir::DataDir,
    failure::{Failure, Outcome},
    guard::store_files,
    hosting,
    store_choice::StoreChoice,
    values::Span,
};

pub(crate) const DEFAULT_LISTEN: &str = "127.0.0.1:7777";
const DEFAULT_PATH: &str = "/arcp";
const DEFAULT_HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// Everything `serve` needs to know.
pub(super) struct Settings {
    /// Where to listen with TCP; nowhere when only a Unix socket was asked for.
    pub(super) listen: Option<String>,
    pub(super) unix: Option<PathBuf>,
    pub(super) path: String,
    pub(super) allowed_hosts: Option<Vec<String>>,
    pub(super) allowed_origins: Option<Vec<String>>,
    pub(super) trusted_proxies: Vec<Proxy>,
    pub(super) tls: Option<(PathBuf, PathBuf)>,
    pub(super) tls_terminated: bool,
    pub(super) door: DoorOptions,
    pub(super) hello_timeout: Duration,
    pub(super) store: StoreChoice,
    pub(super) demo: bool,
    pub(super) dashboard: bool,
    pub(super) dashboard_connect: Vec<String>,
    pub(super) options: RuntimeOptions,
    pub(super) message_bytes: Option<usize>,
    token_files: Vec<PathBuf>,
}

impl Settings {
    /// Files with secrets or data that the command line may have named.
    pub(super) fn own_files(&self) -> Vec<PathBuf> {
        let store = match &self.store {
            StoreChoice::Sqlite { path, .. } => store_files(path).to_vec(),
            StoreChoice::Postgres(database) => database.own_files(),
            StoreChoice::Memory => Vec::new(),
        };
        let key = self.tls.iter().map(|(_, key)| key.clone());
        let tokens = self.token_files.iter().cloned();
        // Whoever could take the socket's place would keep the next start from listening.
        let socket = self.unix.iter().cloned();
        let own = store.into_iter().chain(key).chain(tokens);
        own.chain(socket).collect()
    }

    pub(super) fn new(args: &ServeArgs, config: &Config, data: &DataDir) -> Outcome<Self> {
        let server = &config.server;
        let tls = match (&args.tls_cert, &args.tls_key) {
            (Some(cert), Some(key)) => Some((cert.clone(), key.clone())),
            _ => server
                .tls_cert
                .as_ref()
                .zip(server.tls_key.as_ref())
                .map(|(cert, key)| (config.path(cert), config.path(key))),
        };
        let path = args
            .path
            .clone()
            .or_else(|| server.path.clone())
            .unwrap_or_else(|| DEFAULT_PATH.to_owned());
        let dashboard = !args.no_dashboard && server.dashboard != Some(false);
        if !args.stdio {
            beside_others(&path)?;
            if dashboard {
                beside_dashboard(&path)?;
            }
        }
        let listed = |flag: &[String], file: &Option<Vec<String>>| {
            let list = if flag.is_empty() {
                file.clone()
            } else {
                Some(flag.to_vec())
            };
            list.filter(|list| !list.is_empty())
        };
        let trusted_proxies = config.trusted_proxies();
        let of_file = server.unix.as_ref().map(|path| config.path(path));
        let unix = args.unix.clone().or(of_file);
        Ok(Self {
            listen: match args.listen.as_ref().or(server.listen.as_ref()) {
                Some(listen) => Some(listen.clone()),
                None => unix.is_none().then(|| DEFAULT_LISTEN.to_owned()),
            },
            unix,
            path,
            allowed_hosts: listed(&args.allowed_host, &server.allowed_hosts),
            allowed_origins: listed(&args.allowed_origin, &server.allowed_origins),
            door: door(config, &trusted_proxies),
            trusted_proxies,
            tls,
            tls_terminated: args.tls_terminated || server.tls_terminated == Some(true),
            hello_timeout: pick(args.hello_timeout, &server.hello_timeout)
                .unwrap_or(DEFAULT_HELLO_TIMEOUT),
            store: store(args, config, data)?,
            demo: args.demo || server.demo == Some(true),
            dashboard,
            dashboard_connect: server.dashboard_connect.clone().unwrap_or_default(),
            options: options(args, config),
            message_bytes: server
                .limits
                .message_bytes
                .and_then(|bytes| usize::try_from(bytes).ok()),
            token_files: auth::token_files(args),
        })
    }

    /// Refuses to have tokens cross a network in the clear [ARCP 4-8]. Where nobody has a token, there is nothing to read:
    /// that everybody is let in was asked for by a name of its own.
    pub(super) fn check_clear(&self, args: &ServeArgs, address: SocketAddr) -> Outcome<()> {
        let is_safe = self.tls.is_some()
            || self.tls_terminated
            || args.dangerously_listen_in_the_clear
            || args.dangerously_allow_anonymous
            || address.ip().to_canonical().is_loopback();
        if is_safe {
            return Ok(());
        }
        Err(Failure::usage(format!(
            "`{address}` can be reached over a network, and without TLS whoever is on the way reads the tokens"
        ))
        .help(
            "give --tls-cert and --tls-key; or --tls-terminated where a proxy in front speaks TLS; or, to force it, \
             --dangerously-listen-in-the-clear",
        ))
    }

    /// The address to listen on, if there is one.
    pub(super) async fn address(&self) -> Outcome<Option<SocketAddr>> {
        let Some(listen) = &self.listen else {
            return Ok(None);
        };
        let found = tokio::net::lookup_host(listen).await;
        let mut found = found.map_err(|error| {
            Failure::usage(format!("cannot listen on `{listen}`: {error}"))
                .help("give --listen HOST:PORT")
        })?;
        let first = found.next();
        let first = first.ok_or_else(|| Failure::usage(format!("`{listen}` names no address")))?;
        Ok(Some(first))
    }
}

/// Where jobs are kept; a database with what `serve` alone says of it.
fn store(args: &ServeArgs, config: &Config, data: &DataDir) -> Outcome<StoreChoice> {
    let choice = StoreChoice::new(args.store.as_deref(), config, data)?;
    if let StoreChoice::Postgres(database) = choice {
        return Ok(StoreChoice::Postgres(database.serving(args)));
    }
    let flags = [
        ("--node", args.node.is_some()),
        ("--standby", args.standby),
        ("--require-sync", args.require_sync),
    ];
    match flags.iter().find(|(_, is_given)| *is_given) {
        None => Ok(choice),
        Some((flag, _)) => Err(
            Failure::usage(format!("{flag} is for a store in a database"))
                .help("give --store postgres://USER@HOST/DATABASE, or leave it out"),
        ),
    }
}

/// Refuses an endpoint where the server has something else.
fn beside_others(path: &str) -> Outcome<()> {
    let taken = [
        "/healthz",
        "/readyz",
        "/metrics",
        "/openapi.json",
        "/mcp",
        "/v1",
    ];
    if !taken.contains(&path) && !path.starts_with("/v1/") {
        return Ok(());
    }
    Err(
        Failure::usage(format!("at `{path}` the server has something else"))
            .help("give another --path, such as /arcp"),
    )
}

/// Refuses an endpoint where the dashboard is.
fn beside_dashboard(path: &str) -> Outcome<()> {
    let taken = path == "/" || path.starts_with("/assets/");
    if !taken {
        return Ok(());
    }
    Err(
        Failure::usage(format!("the endpoint's path `{path}` is the dashboard's"))
            .help("give another --path, or serve without the dashboard: --no-dashboard"),
    )
}

/// How many connections there may be.
fn door(config: &Config, trusted_proxies: &[Proxy]) -> DoorOptions {
    let limits = &config.server.limits;
    let mut options = DoorOptions::new().trusted_proxies(trusted_proxies.iter().copied());
    if let Some(connections) = limits.connections {
        options = options.connections(connections as usize);
    }
    if let Some(connections) = limits.connections_per_address {
        options = options.strangers_per_address(connections as usize);
    }
    if let Some(connections) = limits.known_connections_per_address {
        options = options.known_per_address(connections as usize);
    }
    match open_files() {
        Some(files) => options.within_files(files),
        None => options,
    }
}

/// How many files this process may have open, where there is such a limit.
#[cfg(unix)]
fn open_files() -> Option<usize> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current.and_then(|files| usize::try_from(files).ok())
}

#[cfg(not(unix))]
fn open_files() -> Option<usize> {
    None
}

/// The runtime's options as flags and file give them.
fn options(args: &ServeArgs, config: &Config) -> RuntimeOptions {
    let server = &config.server;
    let mut options = RuntimeOptions::default();
    if let Some(span) = pick(args.heartbeat, &server.heartbeat) {
        options = options.heartbeat(span);
    }
    if let Some(span) = pick(args.resume_window, &server.resume_window) {
        options = options.resume_window(span);
    }
    if let Some(span) = pick(args.hello_timeout, &server.hello_timeout) {
        options = options.hello_timeout(span);
    }
    if let Some(span) = pick(args.drain, &server.drain) {
        options = options.drain(span);
    }
    if let Some(span) = Config::span_of(server.idle_timeout.as_ref()) {
        options = options.idle_timeout(span.0);
    }
    options = options.conceal_foreign_jobs(server.conceal_foreign_jobs != Some(false));
    if let Some(failures) = server.limits.failed_tokens_per_address {
        options = options.failed_tokens(failures as usize);
    }
    if let Some(sessions) = server.limits.sessions_per_principal {
        options = options.sessions_per_principal(sessions as usize);
    }
    if let Some(sessions) = server.limits.detached_sessions_per_principal {
        options = options.detached_sessions_per_principal(sessions as usize);
    }
    if let Some(sessions) = server.limits.detached_sessions {
        options = options.detached_sessions(sessions as usize);
    }
    if let Some(requests) = server.limits.long_requests_per_principal {
        options = options.long_requests_per_principal(requests as usize);
    }
    if let Some(bytes) = server.limits.hello_bytes {
        options = options.hello_bytes(bytes as usize);
    }
    if let Some(jobs) = server.limits.subscriptions_per_session {
        options = options.subscriptions_per_session(jobs as usize);
    }
    hosting::limits(options, config)
}

fn pick(flag: Option<Span>, file: &Option<SpanValue>) -> Option<Duration> {
    flag.or_else(|| Config::span_of(file.as_ref()))
        .map(|span| span.0)
}
