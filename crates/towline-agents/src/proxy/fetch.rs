//! Requests to elsewhere: decided by the lease, then carried out.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http_body_util::BodyExt as _;
use hyper::{Method, Request, Response, Uri, body::Incoming, header, http::uri::PathAndQuery};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::{net::TcpStream, time::timeout};
use towline_proto::{
    address::is_public,
    lease::{Kind, LeaseSet, Operation, Pattern},
};
use towline_runtime::JobContext;
use towline_wire::{CallId, ErrorCode, Lease, event, namespace};
use url::{Host, Url};

use super::{
    answer::{Body, Refused, full, strip_hop_by_hop},
    outside::Outside,
    serve::{LARGEST_HEAD, MOST_HEADERS, Tunnel},
};

/// What the log calls it.
const TOOL: &str = namespace::NET_FETCH;

/// How long a name may take to be looked up, and an address to be connected to.
const PATIENCE: Duration = Duration::from_secs(10);

/// So many of a host's addresses are tried.
const TRIED: usize = 4;

/// A longer URL is cut in the log.
const SHOWN: usize = 2048;

/// What one job may fetch.
#[derive(Debug)]
pub(super) struct Fetches {
    ctx: JobContext,
    /// Patterns that name one host, without wildcards: of the lease, and of what a person may let through.
    literal: Vec<Pattern>,
    outside: Arc<dyn Outside>,
}

/// Where an allowed request goes.
struct Target {
    call: CallId,
    url: Url,
    addresses: Vec<SocketAddr>,
}

impl Fetches {
    pub(super) fn new(ctx: &JobContext, outside: Arc<dyn Outside>) -> Self {
        let literal = patterns(ctx.lease())
            .filter_map(|pattern| Pattern::parse(pattern, Kind::Url).ok())
            .filter(Pattern::has_literal_host);
        Self {
            literal: literal.collect(),
            ctx: ctx.clone(),
            outside,
        }
    }

    /// A request of plain HTTP, whose whole URL is seen.
    pub(super) async fn forward(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Refused> {
        let url = request.uri().to_string();
        let target = self.decide(request.method(), &url).await?;
        let went = self.exchange(&target, request).await;
        match &went {
            Ok(answer) => {
                let status = json!({"status": answer.status().as_u16()});
                self.ctx.tool_result(&target.call, status).await?;
            }
            Err(refused) => self.failed(&target.call, refused).await,
        }
        went
    }

    /// A tunnel: what goes through it is not seen, so every path of the host has to be covered [ARCP 18-2].
    pub(super) async fn tunnel(
        &self,
        mut request: Request<Incoming>,
    ) -> Result<(Response<Body>, Tunnel), Refused> {
        let authority = request.uri().authority().map_or("", |found| found.as_str());
        if request.uri().port_u16().is_none() {
            return Err(Refused::invalid(format!(
                "`CONNECT {authority}` names no port; write CONNECT HOST:443"
            )));
        }
        // Whoever is asked about it is asked about what it opens.
        let url = format!("https://{authority}/**");
        let target = self.decide(&Method::CONNECT, &url).await?;
        match self.connect(&target).await {
            Ok((stream, address)) => {
                let connected = json!({"address": address.ip().to_string()});
                self.ctx.tool_result(&target.call, connected).await?;
                let upgrade = hyper::upgrade::on(&mut request);
                Ok((Response::new(full("")), Tunnel { upgrade, stream }))
            }
            Err(refused) => {
                self.failed(&target.call, &refused).await;
                Err(refused)
            }
        }
    }

    /// Whether, and to which addresses, a request may go. The decision stands in the job's log.
    async fn decide(&self, method: &Method, asked: &str) -> Result<Target, Refused> {
        let args = json!({"method": method.as_str(), "url": shown(asked)});
        let call = self.ctx.tool_call(TOOL, args).await?;
        let operation = Operation::NetFetch(asked);
        let through = *method == Method::CONNECT;
        let permit = match self.ctx.authorize_call(operation, &call).await {
            Ok(permit) => permit,
            Err(denied) if through && *denied.code() == ErrorCode::PERMISSION_DENIED => {
                let message = format!("{}; {TUNNEL}", denied.message());
                return Err(Refused::forbidden(message));
            }
            Err(denied) => return Err(denied.into()),
        };
        match self
            .target(through && !permit.is_approved(), permit.value())
            .await
        {
            Ok((url, addresses)) => Ok(Target {
                call,
                url,
                addresses,
            }),
            Err(refused) => {
                self.failed(&call, &refused).await;
                Err(refused)
            }
        }
    }

    /// The second half of a decision, about a URL that may be fetched; `whole` when all of its host has to be covered.
    async fn target(&self, whole: bool, value: &str) -> Result<(Url, Vec<SocketAddr>), Refused> {
        let url = Url::parse(value).map_err(|cause| Refused::invalid(cause.to_string()))?;
        if whole && !self.covers_every_path(&url).await {
            let message = format!("net.fetch `{value}` denied: {TUNNEL}");
            return Err(Refused::forbidden(message));
        }
        let addresses = self.addresses(&url, value).await?;
        Ok((url, addresses))
    }

    async fn covers_every_path(&self, url: &Url) -> bool {
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return false;
        };
        // Written into a pattern it has to mean itself.
        let plain = |char: char| char.is_ascii_alphanumeric() || "-_.:[]".contains(char);
        if !host.chars().all(plain) {
            return false;
        }
        let every = Lease::new().with(namespace::NET_FETCH, format!("https://{host}:{port}/**"));
        let reach = self.ctx.reach();
        // Comparing patterns takes a while when they are made for it.
        let covered = tokio::task::spawn_blocking(move || {
            LeaseSet::compile(&every).is_ok_and(|every| reach.contains(&every))
        });
        covered.await.unwrap_or(false)
    }

    /// The addresses of a URL's host, all of which may be connected to.
    async fn addresses(&self, url: &Url, value: &str) -> Result<Vec<SocketAddr>, Refused> {
        let port = url.port_or_known_default().unwrap_or_default();
        let (found, literal) = match url.host() {
            Some(Host::Ipv4(address)) => (vec![address.into()], true),
            Some(Host::Ipv6(address)) => (vec![address.into()], true),
            Some(Host::Domain(name)) => (self.resolve(name).await?, false),
            None => (Vec::new(), true),
        };
        let own = found.iter().find(|address| !is_public(**address));
        if let Some(own) = own.filter(|_| !(literal && self.is_named(value))) {
            return Err(Refused::forbidden(format!(
                "net.fetch `{}` denied: its host is at the private address {own}; it takes a lease that names that address, \
                 without wildcards, and a request to it",
                shown(value)
            )));
        }
        if found.is_empty() {
            let message = format!("`{}` has no address", shown(value));
            return Err(Refused::beyond(message));
        }
        let found = found.into_iter().take(TRIED);
        Ok(found
            .map(|address| SocketAddr::new(address, port))
            .collect())
    }

    async fn resolve(&self, name: &str) -> Result<Vec<std::net::IpAddr>, Refused> {
        let failed = |why: &str| Refused::beyond(format!("`{name}` cannot be looked up: {why}"));
        match timeout(PATIENCE, self.outside.resolve(name)).await {
            Ok(found) => found.map_err(|error| failed(&error.to_string())),
            Err(_) => Err(failed("there was no answer in time")),
        }
    }

    /// Whether the lease names the very address that a URL has for a host.
    fn is_named(&self, value: &str) -> bool {
        self.literal
            .iter()
            .any(|pattern| pattern.matches(value) == Ok(true))
    }

    /// Connects to one of the addresses that were looked at.
    async fn connect(&self, target: &Target) -> Result<(TcpStream, SocketAddr), Refused> {
        let mut why = "it has no address".to_owned();
        for address in &target.addresses {
            match timeout(PATIENCE, self.outside.connect(*address)).await {
                Ok(Ok(stream)) => return Ok((stream, *address)),
                Ok(Err(error)) => why = format!("{address}: {error}"),
                Err(_) => why = format!("{address}: there was no answer in time"),
            }
        }
        let host = target.url.host_str().unwrap_or_default();
        Err(Refused::beyond(format!(
            "`{host}` cannot be reached: {why}"
        )))
    }

    async fn exchange(
        &self,
        target: &Target,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Refused> {
        let failed = |error: &dyn std::error::Error| {
            let host = target.url.host_str().unwrap_or_default();
            Refused::beyond(format!("`{host}` failed: {}", crate::trouble::chain(error)))
        };
        readdress(&mut request, &target.url)?;
        let (stream, _) = self.connect(target).await?;
        let mut client = hyper::client::conn::http1::Builder::new();
        client.max_buf_size(LARGEST_HEAD).max_headers(MOST_HEADERS);
        let (mut sender, connection) = client
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failed(&error))?;
        // Ends with the answer's body, which ends with the program's connection at the latest.
        drop(tokio::spawn(connection));
        let answer = sender.send_request(request).await;
        let mut answer = answer.map_err(|error| failed(&error))?;
        strip_hop_by_hop(answer.headers_mut());
        Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()))
    }

    /// Notes in the log that a call came to nothing.
    async fn failed(&self, call: &CallId, refused: &Refused) {
        let error = event::ToolError {
            code: refused.code.clone(),
            message: refused.message.clone(),
            retryable: refused.code.is_retryable(),
        };
        // A job that has ended needs no record of it.
        let _ = self.ctx.tool_failed(call, error).await;
    }
}

/// The patterns of what a lease lets its job fetch, and of what a person may be asked to let it fetch [ARCP 15-6].
pub(super) fn patterns(lease: &Lease) -> impl Iterator<Item = &str> {
    let granted = lease.patterns(namespace::NET_FETCH).iter();
    let asked = lease.patterns(namespace::ASK).iter();
    let asked = asked.filter_map(|text| text.strip_prefix(namespace::NET_FETCH)?.strip_prefix('='));
    granted.map(String::as_str).chain(asked)
}

/// Makes a request to a proxy one to the host: what was allowed, and no more of it.
fn readdress(request: &mut Request<Incoming>, url: &Url) -> Result<(), Refused> {
    let invalid = |cause: &dyn std::fmt::Display| Refused::invalid(cause.to_string());
    let path = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let path: PathAndQuery = path.parse().map_err(|cause| invalid(&cause))?;
    *request.uri_mut() = Uri::from(path);
    let host = url.host_str().unwrap_or_default();
    let host = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    let host = host.parse().map_err(|cause| invalid(&cause))?;
    strip_hop_by_hop(request.headers_mut());
    request.headers_mut().insert(header::HOST, host);
    Ok(())
}

/// A URL as the log shows it: a query may hold a secret, and so may a user's name.
fn shown(url: &str) -> String {
    let mut text = match Url::parse(url) {
        Ok(mut url) => {
            url.set_query(None);
            url.set_fragment(None);
            // URLs that cannot have these have none.
            let _ = url.set_username("").and_then(|()| url.set_password(None));
            url.to_string()
        }
        Err(_) => "a malformed URL".to_owned(),
    };
    let end = text.char_indices().nth(SHOWN).map(|(at, _)| at);
    text.truncate(end.unwrap_or(text.len()));
    text
}

/// Why a tunnel takes more than other requests.
const TUNNEL: &str = "what goes through CONNECT is not seen, so the lease has to cover every path of the host: write \
                      net.fetch=https://HOST/**";
