//! The operator's page: built from `dashboard/` in the repository, embedded here, an ARCP client once it runs in a browser.

use std::{fmt::Write as _, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{Path, Request},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use rust_embed::{EmbeddedFile, RustEmbed};

use crate::{EndpointOptions, gate::Gate, refusal::shown};

/// What `dashboard/` is built into. `dashboard` beside `src` is a link to it, so that a package of this crate has the files.
#[derive(RustEmbed)]
#[folder = "dashboard"]
struct Files;

/// What can be chosen for the page.
#[derive(Debug, Clone)]
pub struct DashboardOptions {
    gate: Gate,
    endpoint: String,
    connect: Vec<String>,
}

/// An address that cannot stand in `connect-src`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} is not the address of a runtime, write ws://HOST:PORT or wss://HOST", shown(.0)
)]
pub struct ConnectError(String);

impl DashboardOptions {
    /// The page of the endpoint at `path`, for the hosts and origins that endpoint lets in.
    pub fn for_endpoint(path: &str, options: &EndpointOptions) -> Self {
        Self {
            gate: options.gate.clone(),
            endpoint: path.to_owned(),
            connect: Vec::new(),
        }
    }

    /// Lets the page connect to other runtimes too (`/?url=`), each `ws://HOST[:PORT]` or `wss://HOST[:PORT]`; a path
    /// behind it is ignored. Replaces the list. Default: none, the page only reaches the server it came from.
    ///
    /// # Errors
    /// [`ConnectError`] with the first one that is no such address.
    pub fn connect<A: AsRef<str>>(
        mut self,
        addresses: impl IntoIterator<Item = A>,
    ) -> Result<Self, ConnectError> {
        self.connect = addresses
            .into_iter()
            .map(|address| source(address.as_ref()))
            .collect::<Result<_, _>>()?;
        Ok(self)
    }
}

/// Serves the page at `/` and its files below `/assets/`.
///
/// Requests have to name a host the endpoint lets in [ARCP 4-8]. Every answer forbids what the page does not need: it
/// runs its own scripts and styles and nothing inline, connects to its own server and to what
/// [`DashboardOptions::connect`] lists, and stands in no frame. Files whose names hold a hash may be kept for ever, the
/// page itself is asked for anew each time.
pub fn dashboard_routes<S: Clone + Send + Sync + 'static>(options: &DashboardOptions) -> Router<S> {
    let page = Arc::new(Page::new(options));
    let assets = Arc::clone(&page);
    Router::new()
        .route(
            "/",
            get(move |request: Request| std::future::ready(page.index(&request))),
        )
        .route(
            "/assets/{name}",
            get(move |Path(name): Path<String>, request: Request| {
                std::future::ready(assets.asset(&name, &request))
            }),
        )
}

/// The page as it is served.
struct Page {
    gate: Gate,
    policy: HeaderValue,
    index: Option<String>,
}

impl Page {
    fn new(options: &DashboardOptions) -> Self {
        let index = Files::get(INDEX).and_then(|file| String::from_utf8(file.data.into()).ok());
        Self {
            gate: options.gate.clone(),
            policy: policy(&options.connect),
            index: index.map(|text| text.replace(PLACEHOLDER, &attribute(&options.endpoint))),
        }
    }

    fn index(&self, request: &Request) -> Response {
        if let Err(refusal) = self.gate.check(request.uri(), request.headers()) {
            return refusal.into_response();
        }
        match &self.index {
            Some(text) => self.answer(
                Body::from(text.clone()),
                "text/html; charset=utf-8",
                "no-cache",
            ),
            None => StatusCode::NOT_FOUND.into_response(),
        }
    }

    fn asset(&self, name: &str, request: &Request) -> Response {
        if let Err(refusal) = self.gate.check(request.uri(), request.headers()) {
            return refusal.into_response();
        }
        let found = Files::get(&format!("assets/{name}")).zip(content_type(name));
        match found {
            Some((EmbeddedFile { data, .. }, content_type)) => {
                self.answer(Body::from(data), content_type, FOR_EVER)
            }
            None => StatusCode::NOT_FOUND.into_response(),
        }
    }

    fn answer(&self, body: Body, content_type: &'static str, keep: &'static str) -> Response {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_SECURITY_POLICY, self.policy.clone());
        for (name, value) in FIXED {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(keep));
        (headers, body).into_response()
    }
}

/// What the page may do, and nothing else.
fn policy(connect: &[String]) -> HeaderValue {
    let mut text =
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; connect-src 'self'"
            .to_owned();
    for source in connect {
        // Writing to a string cannot fail.
        let _ = write!(text, " {source}");
    }
    // Sources were checked when they were taken, so this is text a header may hold.
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

/// `ws://HOST[:PORT]` of an address, refused where it could say more than that to whoever reads the policy.
fn source(address: &str) -> Result<String, ConnectError> {
    let refuse = || ConnectError(address.to_owned());
    let (scheme, rest) = address.split_once("://").ok_or_else(refuse)?;
    let host = rest.split('/').next().unwrap_or_default();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte);
    let good = matches!(scheme, "ws" | "wss") && !host.is_empty() && host.bytes().all(is_plain);
    good.then(|| format!("{scheme}://{host}"))
        .ok_or_else(refuse)
}

/// A text as the value of an attribute in double quotes.
fn attribute(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('"', "&quot;")
        .replace('<', "&lt;")
}

/// Only what the build makes; anything else is not ours to serve.
fn content_type(name: &str) -> Option<&'static str> {
    match name.rsplit_once('.')?.1 {
        "js" => Some("text/javascript; charset=utf-8"),
        "css" => Some("text/css; charset=utf-8"),
        "svg" => Some("image/svg+xml"),
        _ => None,
    }
}

const INDEX: &str = "index.html";

/// Where the page is told its endpoint: the value of a `meta` element.
const PLACEHOLDER: &str = "%ARCP_ENDPOINT%";

const FOR_EVER: &str = "public, max-age=31536000, immutable";

const FIXED: [(HeaderName, &str); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_runtimes_get_into_the_policy() {
        for (given, source) in [
            ("wss://arcp.example", "wss://arcp.example"),
            ("ws://127.0.0.1:7777/arcp", "ws://127.0.0.1:7777"),
            ("ws://[::1]:9", "ws://[::1]:9"),
        ] {
            assert_eq!(super::source(given).unwrap(), source);
        }
        for given in [
            "",
            "*",
            "ws://",
            "https://a.example",
            "ws://a.example; script-src *",
            "ws://a,b",
            "ws://*",
            "'unsafe-eval'",
            "ws://a\r\nx",
        ] {
            let refused = super::source(given).unwrap_err();
            assert!(refused.to_string().contains("ws://HOST"), "{refused}");
        }
    }

    #[test]
    fn the_policy_lets_nothing_inline_run() {
        let policy = policy(&["wss://other.example".to_owned()]);
        let policy = policy.to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'; "));
        assert!(policy.ends_with("connect-src 'self' wss://other.example"));
        assert!(!policy.contains("unsafe"), "{policy}");
    }

    /// The page that was built names files that were built, and has the place for its endpoint.
    #[test]
    fn the_page_is_whole() {
        let index = Files::get(INDEX).unwrap();
        let index = String::from_utf8(index.data.into()).unwrap();
        assert_eq!(index.matches(PLACEHOLDER).count(), 1, "{index}");
        let named: Vec<&str> = index
            .split('"')
            .filter_map(|text| text.strip_prefix("/"))
            .filter(|text| text.starts_with("assets/"))
            .collect();
        assert!(named.len() >= 2, "{index}");
        for name in named {
            assert!(Files::get(name).is_some(), "{name} is not there");
            assert!(content_type(name).is_some(), "{name} has no type");
        }
    }

    #[test]
    fn the_endpoint_cannot_leave_its_attribute() {
        assert_eq!(attribute("/a\"><b&"), "/a&quot;>&lt;b&amp;");
    }
}
