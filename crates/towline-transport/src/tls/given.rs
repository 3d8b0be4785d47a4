//! A server that shows a certificate which was given to the client as one to trust.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    server::ParsedCertificate,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// Asks a verifier, and lets a certificate through that the verifier refuses only because it is an authority's, when it is
/// the very one that was given.
///
/// That trusts nobody further: whoever holds the key of a given certificate could sign one for any name.
#[derive(Debug)]
pub(super) struct AlsoGiven {
    verifier: Arc<dyn ServerCertVerifier>,
    given: Vec<CertificateDer<'static>>,
}

impl AlsoGiven {
    pub(super) fn new(
        verifier: Arc<dyn ServerCertVerifier>,
        given: Vec<CertificateDer<'static>>,
    ) -> Self {
        Self { verifier, given }
    }
}

impl ServerCertVerifier for AlsoGiven {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let refused =
            match self
                .verifier
                .verify_server_cert(shown, intermediates, name, ocsp_response, now)
            {
                Ok(verified) => return Ok(verified),
                Err(refused) => refused,
            };
        if !self.given.iter().any(|given| given == shown) || !only_for_its_role(&refused) {
            return Err(refused);
        }
        match verify_server_name(&ParsedCertificate::try_from(shown)?, name) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            // It names nobody, as a certificate with only a common name does, so there is no name that could be wrong.
            Err(Error::InvalidCertificate(CertificateError::NotValidForNameContext {
                presented,
                ..
            })) if presented.is_empty() => Ok(ServerCertVerified::assertion()),
            Err(wrong_name) => Err(wrong_name),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// Whether a certificate was refused because it is an authority's. It is in its time then: that is looked at before.
pub(super) fn only_for_its_role(refused: &Error) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(cause)) = refused else {
        return false;
    };
    cause
        .0
        .downcast_ref::<webpki::Error>()
        .is_some_and(|cause| *cause == webpki::Error::CaUsedAsEndEntity)
}
