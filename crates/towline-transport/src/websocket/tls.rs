//! TLS for a WebSocket client.

use std::{io, sync::Arc};

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::WebSocketOptions;
use crate::tls::{TlsError, Trust};

/// Whom a `wss` client trusts.
#[derive(Clone, Default)]
pub(super) enum ClientTrust {
    #[default]
    System,
    Pem(Vec<u8>),
    Der(Vec<Vec<u8>>),
    Config(Arc<ClientConfig>),
}

impl ClientTrust {
    pub(super) fn config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let trust = match self {
            Self::Config(config) => return Ok(Arc::clone(config)),
            Self::System => Trust::system(),
            Self::Pem(pem) => Trust::nobody().with_pem(pem)?,
            Self::Der(certificates) => Trust::nobody().with_der(certificates.iter().cloned()),
        };
        trust.config().map(Arc::new)
    }
}

impl WebSocketOptions {
    /// Client: trusts the certificates of this PEM text, **instead of** those the operating system trusts. A server may
    /// also show one of them as its own, as with those that `openssl req -x509` makes.
    #[must_use]
    pub fn root_certificates_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.trust = ClientTrust::Pem(pem.into());
        self
    }

    /// Client: trusts these certificates (DER), **instead of** those the operating system trusts.
    #[must_use]
    pub fn root_certificates_der(mut self, der: impl IntoIterator<Item = Vec<u8>>) -> Self {
        self.trust = ClientTrust::Der(der.into_iter().collect());
        self
    }

    /// Client: the whole TLS configuration is the caller's, client certificates and the crypto provider included.
    /// Default: the operating system's trust, and ring.
    #[must_use]
    pub fn tls_config(mut self, config: Arc<ClientConfig>) -> Self {
        self.trust = ClientTrust::Config(config);
        self
    }
}

/// Secures a stream.
pub(super) async fn secure(
    stream: TcpStream,
    host: &str,
    config: Arc<ClientConfig>,
) -> io::Result<Box<TlsStream<TcpStream>>> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let stream = TlsConnector::from(config).connect(name, stream).await?;
    Ok(Box::new(stream))
}
