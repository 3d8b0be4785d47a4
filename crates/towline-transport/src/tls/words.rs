//! What TLS refuses, in words for a person.

use std::error::Error;

use rustls::CertificateError;

use super::given::only_for_its_role;

/// Why a server's certificate was refused, when that is what went wrong.
pub fn refused_certificate(error: &(dyn Error + 'static)) -> Option<String> {
    let causes = std::iter::successors(Some(error), |&error| inside(error));
    causes
        .take(16)
        .find_map(|cause| match cause.downcast_ref::<rustls::Error>()? {
            rustls::Error::InvalidCertificate(_) => cause.downcast_ref().map(explain),
            _ => None,
        })
}

/// What a TLS error means.
pub fn explain(error: &rustls::Error) -> String {
    let rustls::Error::InvalidCertificate(fault) = error else {
        return error.to_string();
    };
    if only_for_its_role(error) {
        return "it is an authority's own certificate; give that very certificate as one to trust"
            .to_owned();
    }
    match fault {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "no authority trusted here has signed it".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet; is a clock wrong?".to_owned()
        }
        CertificateError::NotValidForName => "it is for another name".to_owned(),
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } if presented.is_empty() => format!(
            "it names no host, and `{}` was expected; it needs a subject alternative name",
            expected.to_str()
        ),
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => format!(
            "it is for {}, and not for `{}`",
            presented.join(", "),
            expected.to_str()
        ),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "it is not for servers".to_owned()
        }
        CertificateError::Revoked => "it has been revoked".to_owned(),
        CertificateError::BadEncoding => "it is malformed".to_owned(),
        fault => fault.to_string(),
    }
}

/// The next cause. An I/O error hides the one it carries behind that one's own cause.
fn inside<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<std::io::Error>() {
        Some(failed) => failed.get_ref().map(|cause| cause as _),
        None => error.source(),
    }
}
