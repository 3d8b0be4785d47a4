//! TLS for clients.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::options::Trust;

/// A client's byte stream.
pub struct ClientStream(Inner);

enum Inner {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl ClientStream {
    pub(super) fn plain(stream: TcpStream) -> Self {
        Self(Inner::Plain(stream))
    }

    /// Secures a stream.
    pub(super) async fn secured(
        stream: TcpStream,
        host: &str,
        config: Arc<ClientConfig>,
    ) -> io::Result<Self> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|cause| io::Error::other(cause.to_string()))?;
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        Ok(Self(Inner::Tls(Box::new(stream))))
    }

    fn io(&mut self) -> Pin<&mut (dyn ByteStream + '_)> {
        match &mut self.0 {
            Inner::Plain(stream) => Pin::new(stream),
            Inner::Tls(stream) => Pin::new(&mut **stream),
        }
    }
}

trait ByteStream: AsyncRead + AsyncWrite + Unpin {}

impl<IO: AsyncRead + AsyncWrite + Unpin> ByteStream for IO {}

impl std::fmt::Debug for ClientStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Inner::Plain(_) => "ClientStream(plain)",
            Inner::Tls(_) => "ClientStream(tls)",
        })
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.io().poll_read(cx, buffer)
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.io().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_shutdown(cx)
    }
}

impl Trust {
    /// The configuration for it. The crypto provider is passed on, never installed for the whole process.
    pub(super) fn config(&self) -> Result<Arc<ClientConfig>, String> {
        let roots = match self {
            Self::Config(config) => return Ok(config.clone()),
            Self::Platform => None,
            Self::Pem(pem) => {
                let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
                let certificates = certificates
                    .map_err(|cause| format!("the root certificates are not PEM: {cause}"))?;
                Some(root_store(certificates)?)
            }
            Self::Der(certificates) => Some(root_store(certificates.clone())?),
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|cause| cause.to_string())?;
        let mut config = match roots {
            Some(roots) => builder.with_root_certificates(roots),
            None => builder.with_platform_verifier().map_err(|cause| {
                format!("the system's root certificates cannot be used: {cause}")
            })?,
        }
        .with_no_client_auth();
        // A server that also speaks HTTP/2 would choose it, and the upgrade is HTTP/1.1.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn root_store(certificates: Vec<CertificateDer<'static>>) -> Result<RootCertStore, String> {
    if certificates.is_empty() {
        return Err("no root certificate was given, so no server could be trusted".to_owned());
    }
    let mut store = RootCertStore::empty();
    for certificate in certificates {
        store
            .add(certificate)
            .map_err(|cause| format!("a root certificate cannot be used: {cause}"))?;
    }
    Ok(store)
}
