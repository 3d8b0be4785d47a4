//! What the fuzz target `tokens` does with its input. The ordinary tests include this file too and run every seed
//! through it.

use futures_util::FutureExt as _;
use towline_runtime::auth::{Authenticator as _, Credentials, JwtVerifier};

/// Nobody signs with it.
const SECRET: &[u8] = b"a secret of thirty-two bytes, or more";

/// Reads up to the first empty line as keys of every kind, and the rest as a token that a stranger shows.
///
/// Nothing may panic; what is no key is refused with a reason, and the token proves nobody, in a message that does not
/// repeat it.
pub(crate) fn tokens(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let (keys, token) = text.split_once("\n\n").unwrap_or(("", text));
    let verifiers = [
        JwtVerifier::hs256(SECRET),
        JwtVerifier::hs256(keys.as_bytes()),
        JwtVerifier::public_key_pem(keys),
        JwtVerifier::jwks(keys),
    ];
    for (index, verifier) in verifiers.into_iter().enumerate() {
        let verifier = match verifier {
            Ok(verifier) => verifier,
            Err(error) => {
                assert!(!error.to_string().is_empty(), "a refusal says why");
                continue;
            }
        };
        let credentials = Credentials::bearer(token);
        // With these keys nothing is fetched, so nothing is waited for.
        let told = verifier.authenticate(&credentials).now_or_never();
        match told.expect("fixed keys need no time") {
            // Keys and token that fit together are good; the first verifier has none of them.
            Ok(_) => assert_ne!(index, 0, "{token:?} was believed"),
            Err(refusal) => {
                let message = refusal.message();
                assert!(token.len() < 16 || !message.contains(token), "{message}");
            }
        }
    }
    let _ = JwtVerifier::jwks_url(token.lines().next().unwrap_or_default());
}
