//! Fetching a key set over HTTPS.

use std::{net::IpAddr, time::Duration};

use futures_util::{StreamExt as _, future::BoxFuture};
use url::{Host, Url};

use super::JwtConfigError;
use crate::web::{self, WebError, describe};

/// How a key set is fetched and kept.
#[derive(Debug, Clone)]
pub struct JwksOptions {
    pub(super) refresh_after: Duration,
    pub(super) retry_after: Duration,
    timeout: Duration,
    max_bytes: usize,
    root_certificates: Vec<String>,
}

impl JwksOptions {
    /// The defaults, as the setters name them.
    pub fn new() -> Self {
        Self {
            refresh_after: Duration::from_secs(600),
            retry_after: Duration::from_secs(30),
            timeout: Duration::from_secs(5),
            max_bytes: 256 * 1024,
            root_certificates: Vec::new(),
        }
    }

    /// How old a key set may be before it is fetched again, which is how long a withdrawn key may go on working.
    /// Default: 10 min.
    #[must_use]
    pub fn refresh_after(mut self, age: Duration) -> Self {
        self.refresh_after = age;
        self
    }

    /// The shortest time between two fetches, however many tokens name unknown keys. Default: 30 s.
    #[must_use]
    pub fn retry_after(mut self, pause: Duration) -> Self {
        self.retry_after = pause;
        self
    }

    /// How long a fetch may take in all. Default: 5 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How large a key set may be, in bytes. Default: 256 KiB.
    #[must_use]
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Trusts one more certificate authority, as PEM, beside those of the system. Default: none.
    #[must_use]
    pub fn root_certificate_pem(mut self, pem: impl Into<String>) -> Self {
        self.root_certificates.push(pem.into());
        self
    }
}

impl Default for JwksOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// Gets the text of a key set, or says in a sentence why not.
pub(super) type Fetch = Box<dyn Fn() -> BoxFuture<'static, Result<Vec<u8>, String>> + Send + Sync>;

/// Fetches `url`. Redirects are not followed: the operator named where the keys are.
pub(super) fn over_http(url: &str, options: &JwksOptions) -> Result<Fetch, JwtConfigError> {
    let refuse = |reason: String| JwtConfigError::Url {
        url: without_secrets(url),
        reason,
    };
    let parsed = Url::parse(url).map_err(|cause| refuse(cause.to_string()))?;
    let local = is_loopback(&parsed);
    match parsed.scheme() {
        "https" => {}
        "http" if local => {}
        "http" => {
            return Err(refuse(
                "keys come over https only, or over http from a loopback address".to_owned(),
            ));
        }
        other => return Err(refuse(format!("`{other}` is not https"))),
    }
    let client = client(options, local)?;
    let limit = options.max_bytes;
    Ok(Box::new(move || {
        let request = client
            .get(parsed.clone())
            .header("accept", "application/jwk-set+json, application/json");
        Box::pin(get(request, limit))
    }))
}

fn client(options: &JwksOptions, local: bool) -> Result<reqwest::Client, JwtConfigError> {
    let mut builder = web::client(&options.root_certificates)?.timeout(options.timeout);
    if local {
        builder = builder.no_proxy();
    }
    builder
        .build()
        .map_err(|cause| WebError::Client(cause).into())
}

async fn get(request: reqwest::RequestBuilder, limit: usize) -> Result<Vec<u8>, String> {
    // The URL may hold a password or a key, and whoever configured it knows it.
    let told = |cause: reqwest::Error| describe(&cause.without_url());
    let response = request.send().await.map_err(told)?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(format!("the answer was {}", response.status()));
    }
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(told)?;
        if body.len() + chunk.len() > limit {
            return Err(format!("the key set is larger than {limit} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).to_canonical().is_loopback(),
        None => false,
    }
}

/// The URL without what may be secret in it: user, password, query, fragment. What is no URL is cut where these may begin.
fn without_secrets(url: &str) -> String {
    let shown = match Url::parse(url) {
        Ok(mut parsed) if parsed.has_host() => {
            let _ = parsed.set_username("");
            let _ = parsed.set_password(None);
            parsed.set_query(None);
            parsed.set_fragment(None);
            String::from(parsed)
        }
        _ => {
            let begin = url.find("://").map_or(0, |at| at + "://".len());
            let (scheme, rest) = url.split_at(begin);
            let rest = rest.rsplit('@').next().unwrap_or_default();
            format!(
                "{scheme}{}",
                rest.split(['?', '#']).next().unwrap_or_default()
            )
        }
    };
    shown.chars().take(256).collect()
}

#[cfg(test)]
mod tests;
