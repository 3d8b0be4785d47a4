//! How the runtime asks others over HTTP: one way of setting a client up, and of saying what went wrong.

#[cfg(any(feature = "http", feature = "webhooks"))]
mod public;

use std::error::Error;

use towline_transport::tls::{self, TlsError, Trust};

#[cfg(any(feature = "http", feature = "webhooks"))]
pub(crate) use public::{PrivateAddress, PublicOnly};

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
