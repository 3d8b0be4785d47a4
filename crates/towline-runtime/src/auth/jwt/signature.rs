//! Whether a signature is good.

use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use ring::{
    error::Unspecified,
    hmac,
    signature::{
        ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
        UnparsedPublicKey, VerificationAlgorithm,
    },
};

/// Whether `signature` of `message` was made by this key with this algorithm. The key's own form is not trusted: one that
/// the algorithm cannot use has signed nothing.
pub(super) fn is_good(
    algorithm: Algorithm,
    key: &DecodingKey,
    message: &[u8],
    signature: &[u8],
) -> bool {
    let public = |algorithm: &'static dyn VerificationAlgorithm, key: &[u8]| {
        UnparsedPublicKey::new(algorithm, key).verify(message, signature)
    };
    let verified = match (algorithm, key.kind()) {
        (Algorithm::HS256, DecodingKeyKind::SecretOrDer(secret)) => {
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
            hmac::verify(&key, message, signature)
        }
        (Algorithm::RS256, DecodingKeyKind::SecretOrDer(key)) => {
            public(&RSA_PKCS1_2048_8192_SHA256, key)
        }
        (Algorithm::RS256, DecodingKeyKind::RsaModulusExponent { n, e }) => {
            // Some issuers write a leading zero, as DER has to.
            let (n, e) = (without_zeros(n), without_zeros(e));
            RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
        }
        (Algorithm::ES256, DecodingKeyKind::SecretOrDer(point)) => {
            public(&ECDSA_P256_SHA256_FIXED, point)
        }
        (Algorithm::EdDSA, DecodingKeyKind::SecretOrDer(key)) => public(&ED25519, key),
        _ => Err(Unspecified),
    };
    verified.is_ok()
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}
