//! The web, through the lease (§9.3).

mod client;
mod error;
mod response;

use std::{net::IpAddr, time::Duration};

use futures_util::future::BoxFuture;
use reqwest::{
    Method, StatusCode, Url,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};
use serde::Serialize;
use tokio::time::Instant;
use towline_proto::{
    address::is_public,
    lease::{Kind, Operation, Pattern},
};
use towline_wire::{ErrorCode, namespace};
use url::Host;

use self::error::without_query;
use super::{Denied, JobContext, Permit};
use crate::web::PrivateAddress;

pub(crate) use client::HttpClients;
pub use client::HttpOptions;
pub use error::HttpError;
pub use response::HttpResponse;

impl JobContext {
    /// The part of the web the job's lease covers.
    pub fn http(&self) -> Http {
        Http { ctx: self.clone() }
    }
}

/// HTTP requests, each checked against `net.fetch` before it is made [ARCP 9.3-2].
///
/// A URL is normalised before it is checked, and the request goes to the normalised one. Redirects are followed by hand,
/// each authorised on its own [ARCP 9.2-4]; to another origin they take along only headers that say how a body is written or
/// wanted (`accept*`, `content-*`, `user-agent`, `range`). A host at a private, loopback
/// or link-local address is refused unless the lease names it without wildcards; the address that was looked at is the one
/// connected to. The environment's proxies are not used unless [`HttpOptions`] says so.
///
/// What is denied goes into the job's log as a `tool_result` error; what is allowed leaves no trace there.
#[derive(Debug, Clone)]
pub struct Http {
    ctx: JobContext,
}

impl Http {
    /// Begins a GET request.
    pub fn get(&self, url: impl Into<String>) -> HttpRequest {
        self.request(Method::GET, url)
    }

    /// Begins a POST request.
    pub fn post(&self, url: impl Into<String>) -> HttpRequest {
        self.request(Method::POST, url)
    }

    /// Begins a request.
    pub fn request(&self, method: Method, url: impl Into<String>) -> HttpRequest {
        let options = &self.ctx.equipment.http.options;
        HttpRequest {
            ctx: self.ctx.clone(),
            method,
            url: url.into(),
            headers: HeaderMap::new(),
            body: Vec::new(),
            timeout: options.timeout,
            limit: options.body_limit,
            invalid: None,
        }
    }
}

/// A request being described.
#[derive(Debug)]
#[must_use = "nothing happens before it is awaited or sent"]
pub struct HttpRequest {
    ctx: JobContext,
    method: Method,
    url: String,
    headers: HeaderMap,
    body: Vec<u8>,
    timeout: Duration,
    limit: usize,
    invalid: Option<String>,
}

impl HttpRequest {
    /// Adds a header. `Host` cannot be set, because the lease speaks of the URL's.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::try_from(name)
            .ok()
            .filter(|name| *name != header::HOST);
        match (name, HeaderValue::try_from(value)) {
            (Some(name), Ok(value)) => drop(self.headers.append(name, value)),
            (None, _) => {
                self.invalid = Some("a header's name cannot be `Host`, or is malformed".to_owned())
            }
            (Some(name), Err(_)) => {
                self.invalid = Some(format!("the value of the header `{name}` is malformed"))
            }
        }
        self
    }

    /// The body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// A JSON body, with its content type.
    pub fn json(mut self, body: &impl Serialize) -> Self {
        match serde_json::to_vec(body) {
            Ok(body) => self.header("content-type", "application/json").body(body),
            Err(cause) => {
                self.invalid = Some(format!("the body has no JSON form: {cause}"));
                self
            }
        }
    }

    /// How long the request may take in all, redirects and body included. Default: the runtime's.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How many bytes of the answer's body are read at most. Default: the runtime's.
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// Makes the request, and those it is redirected to. Dropping the future ends them.
    ///
    /// # Errors
    /// [`HttpError`].
    pub async fn send(mut self) -> Result<HttpResponse, HttpError> {
        if let Some(reason) = self.invalid.take() {
            return Err(HttpError::Invalid(reason));
        }
        // A time that no clock reaches is as good as none.
        let timeout = self.timeout.min(LONGEST);
        let deadline = Instant::now() + timeout;
        let mut permit = self.ctx.authorize(Operation::NetFetch(&self.url)).await?;
        let limit = self.ctx.equipment.http.options.max_redirects;
        for _ in 0..=limit {
            let url = fetchable(&permit)?;
            let response = self.hop(&permit, url.clone(), deadline).await?;
            let Some(next) = redirect(&url, &response)? else {
                return Ok(HttpResponse::new(response, url, self.limit));
            };
            permit = self
                .ctx
                .authorize(Operation::NetFetch(next.as_str()))
                .await?;
            self.follow(response.status(), &url, &next);
        }
        let url = shown(&self.url);
        Err(HttpError::TooManyRedirects { url, limit })
    }

    /// Makes one request, to the URL a permit is for.
    async fn hop(
        &self,
        permit: &Permit,
        url: Url,
        deadline: Instant,
    ) -> Result<reqwest::Response, HttpError> {
        let clients = &self.ctx.equipment.http;
        let private = clients.options.private_addresses || self.names_host(permit);
        if !private
            && let Some(address) = literal_address(&url).filter(|address| !is_public(*address))
        {
            return Err(self.refuse(&url, address).await);
        }
        let client = clients.client(private).map_err(|error| HttpError::Failed {
            url: without_query(&url),
            reason: crate::web::describe(&error),
        })?;
        let left = deadline.saturating_duration_since(Instant::now());
        let request = client
            .request(self.method.clone(), url.clone())
            .headers(self.headers.clone())
            .body(self.body.clone())
            .timeout(left);
        match request.send().await {
            Ok(response) => Ok(response),
            Err(error) => match PrivateAddress::behind(&error) {
                Some(PrivateAddress(address)) => Err(self.refuse(&url, address).await),
                None => Err(HttpError::of(&url, error)),
            },
        }
    }

    /// Whether the lease covers the URL by a pattern that names its host, so that whoever wrote it knew where it is.
    fn names_host(&self, permit: &Permit) -> bool {
        let patterns = self.ctx.lease().patterns(namespace::NET_FETCH);
        let compiled = patterns
            .iter()
            .filter_map(|pattern| Pattern::parse(pattern, Kind::Url).ok());
        compiled
            .filter(Pattern::has_literal_host)
            .any(|pattern| pattern.matches(permit.value()) == Ok(true))
    }

    async fn refuse(&self, url: &Url, address: IpAddr) -> HttpError {
        let url = without_query(url);
        let message = format!(
            "net.fetch `{url}` denied: its host is at the private address {address}; it takes a lease that names the host \
             without wildcards"
        );
        let denied = Denied::new(ErrorCode::PERMISSION_DENIED, message);
        self.ctx
            .denied(&denied, &self.ctx.hub.services.ids.call())
            .await;
        HttpError::Denied(denied)
    }

    /// Changes the request as browsers do on a redirect.
    fn follow(&mut self, status: StatusCode, from: &Url, to: &Url) {
        let becomes_get = match status {
            StatusCode::SEE_OTHER => self.method != Method::HEAD,
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => self.method == Method::POST,
            _ => false,
        };
        if becomes_get {
            self.method = Method::GET;
            self.body.clear();
            for header in [
                header::CONTENT_TYPE,
                header::CONTENT_LENGTH,
                header::CONTENT_ENCODING,
            ] {
                self.headers.remove(header);
            }
        }
        if from.origin() != to.origin() {
            // Keys travel under names nobody can list; whoever redirects is not to choose who gets them.
            self.headers = std::mem::take(&mut self.headers)
                .into_iter()
                .scan(None, |last, (name, value)| {
                    *last = name.or_else(|| last.clone());
                    Some((last.clone()?, value))
                })
                .filter(|(name, value)| !value.is_sensitive() && is_harmless(name))
                .collect();
        }
    }
}

/// Awaiting a request sends it.
impl IntoFuture for HttpRequest {
    type Output = Result<HttpResponse, HttpError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

/// The URL of a permit, which other schemes than these two may have.
fn fetchable(permit: &Permit) -> Result<Url, HttpError> {
    let url = Url::parse(permit.value()).map_err(|cause| HttpError::Invalid(cause.to_string()))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        other => Err(HttpError::Invalid(format!(
            "`{other}` URLs cannot be fetched, http and https ones can"
        ))),
    }
}

/// Where an answer redirects to, if it does.
fn redirect(from: &Url, response: &reqwest::Response) -> Result<Option<Url>, HttpError> {
    let redirects = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = response
        .headers()
        .get(header::LOCATION)
        .filter(|_| redirects);
    let Some(location) = location else {
        return Ok(None);
    };
    let bad = |reason: &str| HttpError::Failed {
        url: without_query(from),
        reason: format!("its redirect is malformed: {reason}"),
    };
    let location = std::str::from_utf8(location.as_bytes()).map_err(|_| bad("it is not UTF-8"))?;
    from.join(location)
        .map(Some)
        .map_err(|cause| bad(&cause.to_string()))
}

/// The address a URL names, when it names one instead of a host.
fn literal_address(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
        Host::Domain(_) => None,
    }
}

/// Whether a header only says how a body is written or wanted, so that another origin may have it.
fn is_harmless(name: &HeaderName) -> bool {
    let name = name.as_str();
    let is_of = |family| {
        name == family
            || name
                .strip_prefix(family)
                .is_some_and(|rest| rest.starts_with('-'))
    };
    is_of("accept") || is_of("content") || ["user-agent", "range"].contains(&name)
}

fn shown(url: &str) -> String {
    Url::parse(url).map_or_else(|_| "the URL".to_owned(), |url| without_query(&url))
}

/// Longer than anybody waits, and within what clocks can add up: 30 years.
const LONGEST: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
