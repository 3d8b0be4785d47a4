//! How the runtime asks others over HTTP: one way of setting a client up, and of saying what went wrong.

use std::{
    error::Error,
    fmt,
    net::{IpAddr, SocketAddr},
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use towline_proto::address::is_public;
use towline_transport::tls::{self, TlsError, Trust};

/// Why an HTTP client cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebError {
    /// Whom it should trust.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The rest of it.
    #[error("{}", describe(.0))]
    Client(#[source] reqwest::Error),
}

/// A client that trusts what the system trusts and these authorities (PEM) besides, and follows no redirects: each is a
/// request of its own, which has to be allowed. TLS is set up here, so that no provider has to be installed.
pub(crate) fn client<'a>(
    authorities: impl IntoIterator<Item = &'a String>,
) -> Result<reqwest::ClientBuilder, WebError> {
    let mut trust = Trust::system();
    for pem in authorities {
        trust = trust.with_pem(pem.as_bytes())?;
    }
    Ok(reqwest::Client::builder()
        .tls_backend_preconfigured(trust.config()?)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("towline/", env!("CARGO_PKG_VERSION"))))
}

/// The whole chain of causes: the outermost one says next to nothing.
pub(crate) fn describe(error: &(dyn Error + 'static)) -> String {
    if let Some(reason) = tls::refused_certificate(error) {
        return format!("the server's certificate is not trusted: {reason}");
    }
    let causes = std::iter::successors(error.source(), |&error| error.source());
    causes.take(16).fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.ends_with(&cause) {
            text
        } else {
            format!("{text}: {cause}")
        }
    })
}

/// Looks names up as the system does, and refuses those at private addresses. The connection is made to the very addresses
/// that were looked at, so a name that changes its mind gains nothing.
pub(crate) struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let found: Vec<SocketAddr> = found.collect();
            let private = found.iter().find(|address| !is_public(address.ip()));
            match private {
                Some(private) => Err(PrivateAddress(private.ip()).into()),
                None => Ok(Box::new(found.into_iter()) as Addrs),
            }
        })
    }
}

/// A host is at an address that is not public.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PrivateAddress(pub(crate) IpAddr);

impl PrivateAddress {
    /// The address that made a request fail, if one did.
    pub(crate) fn behind(error: &(dyn Error + 'static)) -> Option<Self> {
        let causes = std::iter::successors(Some(error), |&error| error.source());
        causes
            .take(16)
            .find_map(|cause| cause.downcast_ref::<Self>().copied())
    }
}

impl fmt::Display for PrivateAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the host is at the private address {}", self.0)
    }
}

impl Error for PrivateAddress {}
