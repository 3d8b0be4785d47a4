//! `towline ready`: whether a server takes sessions, by its `/readyz`. It opens no data directory and shows no token, so that
//! a health check may run it beside the server as often as it likes.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::{Client, Url};
use rustls::{ClientConfig, RootCertStore};
use towline::{
    transport::tls::{self, Trust},
    wire::Shown,
};

use crate::{
    args::ReadyArgs,
    config::Config,
    exit,
    failure::{Failure, Outcome, chain},
    output,
    target::socket_path,
    values::without_user,
};

const TIMEOUT: Duration = Duration::from_secs(5);

/// Whom to ask.
struct Target {
    url: Url,
    /// Where the host of the URL is, when it is this machine whatever names say.
    here: Option<SocketAddr>,
    /// The Unix socket that is listened on instead.
    socket: Option<PathBuf>,
}

impl Target {
    /// A server on a Unix socket, which lets its owner in by any name of this machine.
    fn of_socket(path: PathBuf) -> Outcome<Self> {
        Ok(Self {
            url: of_url("http://localhost")?,
            here: None,
            socket: Some(path),
        })
    }

    /// What is said of it.
    fn name(&self) -> String {
        match &self.socket {
            Some(path) => format!("unix:{}", path.display()),
            None => self.url.to_string(),
        }
    }
}

pub(super) async fn run(config: Option<&Path>, args: &ReadyArgs) -> Outcome {
    let target = match &args.url {
        Some(url) => match socket_path(url) {
            Some("") => return Err(Failure::usage("`unix:` names no socket; write unix:PATH")),
            Some(path) => Target::of_socket(path.into())?,
            None => Target {
                url: of_url(url)?,
                here: None,
                socket: None,
            },
        },
        None => of_server(&Config::load(config)?, args).await?,
    };
    let client = client(&target, args)?;
    let asked = client.get(target.url.clone()).send().await;
    let answer = asked.map_err(|error| {
        let why = chain(&error.without_url());
        Failure::connection(format!("`{}`: {why}", target.name()))
    })?;
    if answer.status().is_success() {
        output::line("ready")?;
        return Ok(exit::SUCCESS);
    }
    let status = answer.status();
    let told = answer.text().await.unwrap_or_default();
    let first = told.lines().next().unwrap_or_default();
    output::line(&format!("{status}: {}", Shown::new(&first)))?;
    Ok(exit::JOB_FAILED)
}

fn client(target: &Target, args: &ReadyArgs) -> Outcome<Client> {
    let tls = match target.url.scheme() {
        "https" => trusting(args.ca_cert.as_deref())?,
        // Asks nobody whom this machine trusts, which a small container may not know.
        _ => no_tls()?,
    };
    // A server on this machine is not reached through a proxy, and a check of another one means that one.
    let mut builder = Client::builder()
        .no_proxy()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .timeout(args.timeout.map_or(TIMEOUT, |span| span.0));
    if let (Some(here), Some(host)) = (target.here, target.url.host_str()) {
        builder = builder.resolve(host, here);
    }
    #[cfg(unix)]
    if let Some(socket) = target.socket.clone() {
        builder = builder.unix_socket(socket);
    }
    builder
        .build()
        .map_err(|error| Failure::local(chain(&error)))
}

/// Trusts whom the system trusts, and who is given.
fn trusting(given: Option<&Path>) -> Outcome<ClientConfig> {
    let mut trust = Trust::system();
    if let Some(file) = given {
        let wrong = |error: &dyn std::fmt::Display| {
            Failure::usage(format!("--ca-cert: `{}`: {error}", file.display()))
        };
        let pem = std::fs::read(file).map_err(|error| wrong(&error))?;
        trust = trust.with_pem(&pem).map_err(|error| wrong(&error))?;
    }
    trust
        .config()
        .map_err(|error| Failure::local(chain(&error)))
}

/// Trusts nobody, for where nobody has to be trusted.
fn no_tls() -> Outcome<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::local(chain(&error)))?;
    Ok(builder
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}

/// `/readyz` beside the endpoint or page that was named.
fn of_url(text: &str) -> Outcome<Url> {
    let refuse = || {
        Failure::usage(format!(
            "`{}` is not the URL of a server; write https://HOST, wss://HOST/arcp or unix:PATH",
            without_user(text)
        ))
    };
    let plain = text
        .strip_prefix("ws")
        .filter(|rest| rest.starts_with("://") || rest.starts_with("s://"))
        .map(|rest| format!("http{rest}"));
    let mut url = Url::parse(plain.as_deref().unwrap_or(text)).map_err(|_| refuse())?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(refuse());
    }
    url.set_path("/readyz");
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
}

/// The server of this configuration, asked for by a host that it lets in, at the address it listens on.
async fn of_server(config: &Config, args: &ReadyArgs) -> Outcome<Target> {
    let server = &config.server;
    let listen = args.listen.as_deref().or(server.listen.as_deref());
    let of_file = server.unix.as_ref().map(|path| config.path(path));
    if let (None, Some(socket)) = (listen, args.unix.clone().or(of_file)) {
        return Target::of_socket(socket);
    }
    let listen = listen.unwrap_or(crate::serve::DEFAULT_LISTEN);
    let found = tokio::net::lookup_host(listen).await;
    let address = found.ok().and_then(|mut found| found.next());
    let address =
        address.ok_or_else(|| Failure::usage(format!("`{listen}` names no address to ask")))?;
    if address.port() == 0 {
        return Err(Failure::usage(format!(
            "`{listen}` means a free port, and which one is not known"
        ))
        .help("give --url, or --listen with the port that `serve` printed"));
    }
    let here = SocketAddr::new(reachable(address.ip()), address.port());
    let named = args.allowed_host.iter();
    let host = named
        .chain(server.allowed_hosts.iter().flatten())
        .map(String::as_str)
        .find(|host| !host.contains('*'))
        .map_or_else(|| here.ip().to_string(), str::to_owned);
    let host = host_of(&host, here.port());
    let is_tls = server.tls_cert.is_some();
    let url = format!("{}://{host}/readyz", if is_tls { "https" } else { "http" });
    let url = Url::parse(&url).map_err(|_| {
        Failure::usage(format!("`{host}` of the allowed hosts is no host")).help("give --url")
    })?;
    Ok(Target {
        url,
        here: Some(here),
        socket: None,
    })
}

/// A host with the port it is asked at; an IPv6 address is let in with brackets or without.
fn host_of(host: &str, port: u16) -> String {
    match host.parse::<Ipv6Addr>() {
        Ok(address) => format!("[{address}]:{port}"),
        Err(_) => format!("{host}:{port}"),
    }
}

/// Where a listener on this address is reached from its own machine.
fn reachable(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(any) if any.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(any) if any.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_by_page_or_endpoint() {
        for (given, asked) in [
            ("ws://127.0.0.1:7777/arcp", "http://127.0.0.1:7777/readyz"),
            ("wss://arcp.example/arcp", "https://arcp.example/readyz"),
            ("https://arcp.example/?a#b", "https://arcp.example/readyz"),
        ] {
            assert_eq!(of_url(given).unwrap().as_str(), asked);
        }
        for wrong in ["nonsense", "ftp://h", "unix:/x", "wsx://h"] {
            assert!(of_url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_host_is_asked_at_the_port_of_the_listener() {
        for (host, asked) in [
            ("arcp.example", "arcp.example:7777"),
            ("::1", "[::1]:7777"),
            ("[::1]", "[::1]:7777"),
        ] {
            assert_eq!(host_of(host, 7777), asked);
        }
    }
}
