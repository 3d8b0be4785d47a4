//! Certificates for `wss`.

use std::{path::Path, sync::Arc};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use crate::{
    failure::{Failure, Outcome},
    values::without_mark,
};

/// The TLS configuration of a certificate chain and its key, both PEM.
pub(super) fn config(certificate: &Path, key: &Path) -> Outcome<Arc<ServerConfig>> {
    let wrong = |flag: &str, path: &Path, error: &dyn std::fmt::Display| {
        Failure::usage(format!(
            "{flag}: `{}` cannot be used: {error}",
            path.display()
        ))
        .help("give a PEM file")
    };
    let read = |flag: &str, path: &Path| {
        let pem = std::fs::read(path).map_err(|error| wrong(flag, path, &error))?;
        Ok(without_mark(pem))
    };
    let pem = read("--tls-cert", certificate)?;
    let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| wrong("--tls-cert", certificate, &error))?;
    if chain.is_empty() {
        return Err(wrong("--tls-cert", certificate, &"it holds no certificate"));
    }
    let private = PrivateKeyDer::from_pem_slice(&read("--tls-key", key)?)
        .map_err(|error| wrong("--tls-key", key, &error))?;
    let provider = towline::transport::tls::provider();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_no_client_auth()
                .with_single_cert(chain, private)
        })
        .map_err(|error| wrong("--tls-cert", certificate, &error))?;
    // WebSocket upgrades are HTTP/1.1.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
