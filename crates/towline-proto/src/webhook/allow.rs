//! Where anything may be posted to.

use std::net::IpAddr;

use url::{Host, Url};

use crate::{
    address::is_public,
    lease::{Kind, Pattern, PatternError},
};

/// The receivers that a deployment allows, as patterns of URLs (those of `net.fetch`) [ARCP 16-6]. Nothing is allowed by
/// default.
///
/// ```
/// use towline_proto::webhook::Allowed;
///
/// let allowed = Allowed::new(["https://hooks.example/**"])?;
/// assert!(allowed.admit("https://hooks.example/a?b").is_ok());
/// assert!(allowed.admit("https://hooks.example.evil.example/a").is_err());
/// # Ok::<(), towline_proto::lease::PatternError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Allowed(Vec<Pattern>);

/// A receiver that is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiver {
    /// Its URL, which is the one to post to.
    pub url: Url,
    /// Whether it may be at an address that is not public, because the pattern that allows it names the host. At any other
    /// one nothing may be connected to.
    pub may_be_private: bool,
}

/// Why nothing is posted to a URL. The texts show no query, which may hold secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotAllowed {
    /// No URL that can be posted to.
    #[error("it is not a URL of the form https://host/path, without user information")]
    NotUrl,
    /// No pattern covers it.
    #[error("`{url}` is not covered by `[webhooks] allow` of this runtime")]
    NotCovered {
        /// The URL.
        url: String,
    },
    /// It names an address that is not public, and no pattern names that one.
    #[error(
        "`{url}` is at the private address {address}, which no pattern of `[webhooks] allow` names"
    )]
    Private {
        /// The URL.
        url: String,
        /// The address.
        address: IpAddr,
    },
}

impl Allowed {
    /// The patterns.
    ///
    /// # Errors
    /// For the first pattern that is none.
    pub fn new<P: AsRef<str>>(patterns: impl IntoIterator<Item = P>) -> Result<Self, PatternError> {
        let patterns = patterns.into_iter();
        patterns
            .map(|pattern| Pattern::parse(pattern.as_ref(), Kind::Url))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether nothing is allowed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The receiver at a URL. To be asked when a job is submitted, and again before each try: what is allowed may have changed.
    ///
    /// # Errors
    /// [`NotAllowed`].
    pub fn admit(&self, text: &str) -> Result<Receiver, NotAllowed> {
        let mut url = Url::parse(text).map_err(|_| NotAllowed::NotUrl)?;
        let has_user = !url.username().is_empty() || url.password().is_some();
        // What the parser drops, an empty user say, is still there in the text.
        let authority = text.split(['/', '?', '#', '\\']).nth(2).unwrap_or_default();
        let is_web = matches!(url.scheme(), "http" | "https");
        if has_user || authority.contains('@') || !is_web || text.contains('\\') {
            return Err(NotAllowed::NotUrl);
        }
        url.set_fragment(None);
        let covering = |pattern: &&Pattern| pattern.matches(url.as_str()) == Ok(true);
        let mut covering = self.0.iter().filter(covering).peekable();
        if covering.peek().is_none() {
            return Err(NotAllowed::NotCovered { url: shown(&url) });
        }
        let may_be_private = covering.any(Pattern::has_literal_host);
        if let Some(address) = literal_address(&url)
            && !may_be_private
            && !is_public(address)
        {
            let url = shown(&url);
            return Err(NotAllowed::Private { url, address });
        }
        Ok(Receiver {
            url,
            may_be_private,
        })
    }
}

impl Receiver {
    /// The host and the port: what shares a fate with other receivers there.
    pub fn authority(&self) -> &str {
        &self.url[url::Position::BeforeHost..url::Position::AfterPort]
    }
}

/// The URL without what may be secret in it.
fn shown(url: &Url) -> String {
    url[..url::Position::AfterPath].to_owned()
}

/// The address a URL names, when it names one instead of a host.
fn literal_address(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
        Host::Domain(_) => None,
    }
}
