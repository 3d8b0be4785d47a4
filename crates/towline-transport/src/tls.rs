//! Whom a client over TLS trusts: one configuration for WebSockets and for the runtime's own requests.
//!
//! rustls does TLS and [ring] the cryptography: it needs only a C compiler and is built in seconds. The provider is passed
//! to each configuration and never installed for the process, which belongs to the program.
//!
//! [ring]: https://crates.io/crates/ring

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::{CryptoProvider, ring},
};
use rustls_pki_types::{CertificateDer, pem, pem::PemObject as _};
use rustls_platform_verifier::Verifier;

mod given;
mod words;

use given::AlsoGiven;
pub use words::{explain, refused_certificate};

/// Whom a client trusts: what the operating system trusts, certificates that are given to it, or both.
///
/// A certificate that is given is trusted as an authority, and also as the very certificate a server shows, which is what
/// `openssl req -x509` makes: an authority and a server's certificate in one, often without a name besides its common name.
#[derive(Debug, Clone)]
pub struct Trust {
    system: bool,
    given: Vec<CertificateDer<'static>>,
}

/// Why a client's TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The text is not PEM.
    #[error("the root certificates are not PEM: {0}")]
    Pem(#[source] pem::Error),
    /// Neither the system nor a certificate is to be trusted.
    #[error("no root certificate was given, so no server could be trusted")]
    NoRoot,
    /// A given certificate is none.
    #[error("a root certificate cannot be used: {0}")]
    BadRoot(#[source] rustls::Error),
    /// The operating system's trust cannot be asked.
    #[error("the system's root certificates cannot be used: {0}")]
    System(#[source] rustls::Error),
    /// The rest of the set-up.
    #[error("TLS cannot be set up: {0}")]
    SetUp(#[source] rustls::Error),
}

impl Trust {
    /// What the operating system trusts.
    pub const fn system() -> Self {
        Self {
            system: true,
            given: Vec::new(),
        }
    }

    /// Nobody, before certificates are given.
    pub const fn nobody() -> Self {
        Self {
            system: false,
            given: Vec::new(),
        }
    }

    /// Adds the certificates of a PEM text.
    ///
    /// # Errors
    /// [`TlsError::Pem`] when the text is broken, [`TlsError::NoRoot`] when it holds no certificate.
    pub fn with_pem(mut self, pem: &[u8]) -> Result<Self, TlsError> {
        let before = self.given.len();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            self.given.push(certificate.map_err(TlsError::Pem)?);
        }
        if self.given.len() == before {
            return Err(TlsError::NoRoot);
        }
        Ok(self)
    }

    /// Adds certificates in DER.
    #[must_use]
    pub fn with_der(mut self, certificates: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let certificates = certificates.into_iter().map(CertificateDer::from);
        self.given.extend(certificates);
        self
    }

    /// A client's configuration, for HTTP/1.1: what can be upgraded to a WebSocket, and what the runtime asks of others.
    ///
    /// # Errors
    /// [`TlsError`] when a certificate is none, or nobody is trusted.
    pub fn config(&self) -> Result<ClientConfig, TlsError> {
        let provider = provider();
        let verifier = AlsoGiven::new(self.verifier(&provider)?, self.given.clone());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::SetUp)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        // A server that also speaks HTTP/2 would choose it, and an upgrade is HTTP/1.1.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    fn verifier(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in &self.given {
            roots.add(certificate.clone()).map_err(TlsError::BadRoot)?;
        }
        if self.system {
            let given = self.given.iter().cloned();
            let verifier = Verifier::new_with_extra_roots(given, Arc::clone(provider));
            return Ok(Arc::new(verifier.map_err(TlsError::System)?));
        }
        if roots.is_empty() {
            return Err(TlsError::NoRoot);
        }
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        let verifier = verifier
            .build()
            .map_err(|cause| TlsError::SetUp(rustls::Error::General(cause.to_string())))?;
        Ok(verifier)
    }
}

impl Default for Trust {
    fn default() -> Self {
        Self::system()
    }
}

/// The cryptography that TLS uses here, on either side. It is passed on and never installed.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
