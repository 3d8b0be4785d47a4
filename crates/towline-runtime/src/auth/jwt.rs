//! JSON Web Tokens (RFC 7519) as bearer tokens.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use towline_env::{Clock, SystemClock};
use towline_store::Principal;

use super::{AuthRefusal, Authenticator, Credentials, Proof, Proven};
use crate::WebError;

mod claims;
mod fetch;
mod key;
mod remote;
mod signature;
mod token;

#[cfg(test)]
mod samples;

use claims::Rules;
use key::KeySet;
use remote::RemoteKeys;
use token::{Token, TokenFault};

pub use fetch::JwksOptions;

/// Accepts JWTs signed with known keys [ARCP 6.1-4].
///
/// The algorithm is pinned by the kind of key and never chosen by the token: an HMAC secret means HS256, an RSA key
/// RS256, a P-256 key ES256, an Ed25519 key EdDSA; `none` does not exist here. A token has to have an `exp` that is not
/// past; `nbf` is heeded when there is one. Set [`JwtVerifier::issuer`] and [`JwtVerifier::audience`] whenever the issuer
/// also makes tokens for others: a token that names an audience is refused as long as none is set.
///
/// ```
/// use towline_runtime::auth::JwtVerifier;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let verifier = JwtVerifier::jwks_url("https://id.example.com/.well-known/jwks.json")?
///     .issuer("https://id.example.com")
///     .audience("agents");
/// # let _ = verifier;
/// # Ok(())
/// # }
/// ```
pub struct JwtVerifier {
    keys: Keys,
    rules: Rules,
    clock: Arc<dyn Clock>,
}

enum Keys {
    Fixed(KeySet),
    Remote(Arc<RemoteKeys>),
}

impl JwtVerifier {
    /// HS256 with a shared secret of at least 32 bytes.
    ///
    /// # Errors
    /// [`JwtConfigError::ShortSecret`]: a shorter one can be guessed from a single token, without asking us.
    pub fn hs256(secret: &[u8]) -> Result<Self, JwtConfigError> {
        Ok(Self::fixed(KeySet::of_secret(secret)?))
    }

    /// A public key as PEM (`PUBLIC KEY` or `RSA PUBLIC KEY`): RSA for RS256, P-256 for ES256, Ed25519 for EdDSA.
    ///
    /// # Errors
    /// [`JwtConfigError`] when it is no such key, a private one for instance.
    pub fn public_key_pem(pem: &str) -> Result<Self, JwtConfigError> {
        KeySet::of_pem(pem).map(Self::fixed)
    }

    /// A JSON Web Key Set (RFC 7517). Keys of other kinds and uses are passed over; symmetric ones mean HS256.
    ///
    /// # Errors
    /// [`JwtConfigError`] when it is no key set, or none of its keys can be used.
    pub fn jwks(json: &str) -> Result<Self, JwtConfigError> {
        KeySet::of_jwks(json.as_bytes(), key::Symmetric::Allowed).map(Self::fixed)
    }

    /// [`JwtVerifier::jwks`] from a file, read once, now.
    ///
    /// # Errors
    /// As `jwks`, and when the file cannot be read.
    pub fn jwks_file(path: impl AsRef<Path>) -> Result<Self, JwtConfigError> {
        let path = path.as_ref();
        let unreadable = |cause| JwtConfigError::Unreadable {
            path: path.display().to_string(),
            cause,
        };
        Self::jwks(&std::fs::read_to_string(path).map_err(unreadable)?)
    }

    /// A JSON Web Key Set fetched over HTTPS, with [`JwksOptions::default`].
    ///
    /// # Errors
    /// As [`JwtVerifier::jwks_url_with`].
    pub fn jwks_url(url: &str) -> Result<Self, JwtConfigError> {
        Self::jwks_url_with(url, JwksOptions::default())
    }

    /// A JSON Web Key Set fetched over HTTPS when the first token comes, and again when it is old or a token names a key
    /// that is not in it. While the issuer cannot be reached the keys known so far go on counting. Symmetric keys in it
    /// are passed over. Needs a tokio runtime when it is used.
    ///
    /// # Errors
    /// [`JwtConfigError::Url`] when the URL is not `https` (plain `http` is taken for loopback addresses only), and
    /// [`JwtConfigError::Client`] when TLS cannot be set up.
    pub fn jwks_url_with(url: &str, options: JwksOptions) -> Result<Self, JwtConfigError> {
        let fetch = fetch::over_http(url, &options)?;
        let keys = RemoteKeys::new(fetch, &options);
        Ok(Self::with_keys(Keys::Remote(Arc::new(keys))))
    }

    fn fixed(keys: KeySet) -> Self {
        Self::with_keys(Keys::Fixed(keys))
    }

    fn with_keys(keys: Keys) -> Self {
        Self {
            keys,
            rules: Rules::default(),
            clock: Arc::new(SystemClock),
        }
    }

    /// Takes only tokens whose `iss` is this. Default: any issuer whose key verifies.
    #[must_use]
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.rules.issuer = Some(issuer.into());
        self
    }

    /// Takes only tokens whose `aud` is, or holds, this; called again, any of them. Default: only tokens without `aud`.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.rules.audiences.push(audience.into());
        self
    }

    /// How far the issuer's clock may be off. Default: 60 s.
    #[must_use]
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.rules.leeway = leeway;
        self
    }

    /// Which claim names the principal; a string of at most 256 bytes. Default: `sub`.
    #[must_use]
    pub fn principal_claim(mut self, claim: impl Into<String>) -> Self {
        self.rules.principal_claim = claim.into();
        self
    }

    /// What principals of these tokens begin with, to keep them apart from those of other authenticators in a
    /// [`Chain`](super::Chain). Default: nothing.
    #[must_use]
    pub fn principal_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.rules.principal_prefix = prefix.into();
        self
    }

    /// Which claim names the role of the principal, a text; see [`Roles`](crate::roles::Roles). Default: none does.
    #[must_use]
    pub fn role_claim(mut self, claim: impl Into<String>) -> Self {
        self.rules.role_claim = Some(claim.into());
        self
    }

    /// Tells the time. Default: the machine's clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    async fn verify(&self, text: &str) -> Result<Proven, AuthRefusal> {
        let token = Token::parse(text).map_err(TokenFault::refusal)?;
        let payload = match &self.keys {
            Keys::Fixed(keys) => keys.verify(&token),
            Keys::Remote(remote) => {
                let keys = remote.keys_for(&token).await?;
                keys.verify(&token)
            }
        };
        let (claims, key) = payload.map_err(TokenFault::refusal)?;
        let proven = || {
            let principal = self.rules.principal(&claims, self.clock.now())?;
            let proof = Proof {
                key: Some(key),
                role: self.rules.role(&claims)?,
                expires_at: self.rules.expires_at(&claims)?,
            };
            Ok(Proven { principal, proof })
        };
        proven().map_err(TokenFault::refusal)
    }
}

impl Authenticator for JwtVerifier {
    fn authenticate<'a>(
        &'a self,
        credentials: &'a Credentials,
    ) -> BoxFuture<'a, Result<Principal, AuthRefusal>> {
        Box::pin(async move { Ok(self.verify(credentials.token()?).await?.principal) })
    }

    fn prove<'a>(
        &'a self,
        credentials: &'a Credentials,
    ) -> BoxFuture<'a, Result<Proven, AuthRefusal>> {
        Box::pin(async move { self.verify(credentials.token()?).await })
    }

    /// Whether the key that signed is known. Before a remote key set was fetched nobody can tell, and the token's expiry
    /// bounds how long that counts.
    fn still_knows(&self, _principal: &Principal, proof: &Proof) -> bool {
        let Some(key) = &proof.key else { return false };
        match &self.keys {
            Keys::Fixed(keys) => keys.knows(key),
            Keys::Remote(remote) => key::is_name(key) && remote.knows(key),
        }
    }
}

impl fmt::Debug for JwtVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtVerifier")
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

/// Why a verifier cannot be set up. No message holds a key.
#[derive(Debug, thiserror::Error)]
pub enum JwtConfigError {
    /// HMAC secrets below the hash's own length are guessed offline.
    #[error("the HS256 secret has {0} bytes, give it at least 32 random ones")]
    ShortSecret(usize),
    /// The PEM is not a public key we can use.
    #[error("the PEM is not usable: {0}")]
    Pem(&'static str),
    /// The key set is not one.
    #[error("the key set is not usable: {0}")]
    Jwks(String),
    /// The file.
    #[error("cannot read the key set {path}: {cause}")]
    Unreadable {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// Keys decide who is let in, so nobody may change them on their way.
    #[error("cannot fetch keys from `{url}`: {reason}")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The HTTP client.
    #[error("cannot set up HTTPS: {0}")]
    Client(#[from] WebError),
}

#[cfg(test)]
mod tests;
