//! Who is calling (§6.1): bearer tokens become [`Principal`]s.
//!
//! A connection hands what its `session.hello` said to [`Credentials::from_hello`], which checks the scheme once for
//! every verifier, and the result to an [`Authenticator`]. [`StaticTokens`] and [`JwtVerifier`] are the ready-made ones,
//! [`Chain`] asks several, [`from_fn`] makes one of a closure, and [`Anonymous`] proves nothing and says so in its name.
//! [`AuthLimiter`] slows down whoever keeps guessing.
//!
//! Tokens have no `Debug`, are never logged, and never stand in a refusal.

use std::{borrow::Cow, error::Error, net::SocketAddr, sync::Arc};

use futures_util::future::BoxFuture;
use towline_store::Principal;
use towline_wire::{Secret, payload::Auth};

mod anonymous;
mod chain;
mod function;
#[cfg(feature = "jwt")]
mod jwt;
mod limiter;
mod network;
mod proof;
mod replaceable;
mod static_tokens;

pub use anonymous::{Anonymous, OpenBind, check_bind};
pub use chain::Chain;
pub use function::{FnAuthenticator, from_fn};
#[cfg(feature = "jwt")]
pub use jwt::{JwksOptions, JwtConfigError, JwtVerifier};
pub use limiter::{AuthLimiter, Penalty, Pending};
pub use network::Network;
pub use proof::{Proof, Proven};
pub use replaceable::Replaceable;
pub use static_tokens::{StaticTokens, StaticTokensError};

/// Proves who a peer is.
///
/// The connection's driver calls `authenticate` once for a hello, outside every lock and beside all other sessions, so
/// it may be slow; the driver gives it a deadline [ARCP 6.1-5]. It may be dropped at any await, and has to be cancel
/// safe in that nothing but the peer's own attempt is lost.
///
/// An implementation compares secrets in constant time [ARCP 6.1-4], fails closed, and keeps tokens out of the refusal.
pub trait Authenticator: Send + Sync + 'static {
    /// Who the credentials prove to be.
    ///
    /// # Errors
    /// [`AuthRefusal`] when they prove nobody, or when that could not be found out.
    fn authenticate<'a>(
        &'a self,
        credentials: &'a Credentials,
    ) -> BoxFuture<'a, Result<Principal, AuthRefusal>>;

    /// [`Authenticator::authenticate`], and what the proof was, for as long as a session lives by it [ARCP 14-7]. The
    /// default's proof has no name.
    ///
    /// # Errors
    /// As `authenticate`.
    fn prove<'a>(
        &'a self,
        credentials: &'a Credentials,
    ) -> BoxFuture<'a, Result<Proven, AuthRefusal>> {
        Box::pin(async move { self.authenticate(credentials).await.map(Proven::from) })
    }

    /// Whether a proof of this authenticator would still prove the principal. A session whose proof nobody knows any more
    /// ends, and cannot be resumed [ARCP 14-7]. Asked now and then for each session, at times under a lock: it is quick and
    /// waits for nothing. The default knows the proofs without a name, which are its own. When a proof expires is looked
    /// at elsewhere.
    fn still_knows(&self, principal: &Principal, proof: &Proof) -> bool {
        let _ = principal;
        proof.key.is_none()
    }

    /// Whether somebody without a token is let in. A server refuses to listen beyond loopback with such an authenticator
    /// unless it is forced to [ARCP 6.1-4]; see [`check_bind`].
    fn lets_anyone_in(&self) -> bool {
        false
    }
}

/// What a pointer leads to is what it is.
macro_rules! pointers {
    ($($pointer:ident)+) => {$(
        impl<T: Authenticator + ?Sized> Authenticator for $pointer<T> {
            fn authenticate<'a>(
                &'a self,
                credentials: &'a Credentials,
            ) -> BoxFuture<'a, Result<Principal, AuthRefusal>> {
                (**self).authenticate(credentials)
            }

            fn prove<'a>(
                &'a self,
                credentials: &'a Credentials,
            ) -> BoxFuture<'a, Result<Proven, AuthRefusal>> {
                (**self).prove(credentials)
            }

            fn still_knows(&self, principal: &Principal, proof: &Proof) -> bool {
                (**self).still_knows(principal, proof)
            }

            fn lets_anyone_in(&self) -> bool {
                (**self).lets_anyone_in()
            }
        }
    )+};
}

pointers! { Arc Box }

/// What a peer showed to prove who it is. `Debug` shows that there is a token, nothing of it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Credentials {
    /// The scheme, in lower case; `bearer` is the only one there is.
    pub scheme: Cow<'static, str>,
    /// The token; `None` when there was none, or an empty one.
    pub token: Option<Secret>,
    /// Where the peer is, when it is somewhere.
    pub peer: Option<SocketAddr>,
}

impl Credentials {
    /// A bearer token.
    pub fn bearer(token: impl Into<Secret>) -> Self {
        Self {
            token: Some(token.into()),
            ..Self::none()
        }
    }

    /// Nothing at all.
    pub fn none() -> Self {
        Self {
            scheme: Cow::Borrowed(BEARER),
            token: None,
            peer: None,
        }
    }

    /// Says where the peer is.
    #[must_use]
    pub fn with_peer(mut self, peer: Option<SocketAddr>) -> Self {
        self.peer = peer;
        self
    }

    /// What a hello (or a resume) said. This is the one place that looks at the scheme: an absent one means bearer, the
    /// case does not matter, any other is refused [ARCP 6.1-1].
    ///
    /// # Errors
    /// [`AuthRefusal`] naming the scheme, or the token's length when that is beyond any token's.
    pub fn from_hello(auth: Option<&Auth>, peer: Option<SocketAddr>) -> Result<Self, AuthRefusal> {
        // An empty scheme is one SDK's way to leave it out.
        let scheme = auth.and_then(|auth| auth.scheme.as_deref());
        let scheme = scheme.filter(|scheme| !scheme.is_empty());
        if let Some(other) = scheme.filter(|scheme| !scheme.eq_ignore_ascii_case(BEARER)) {
            let other: String = other.chars().take(32).collect();
            let message = format!("`auth.scheme` is {other:?}, this runtime takes \"{BEARER}\"");
            return Err(AuthRefusal::new(message));
        }
        let token = auth
            .and_then(|auth| auth.token.clone())
            .filter(|token| !token.expose().is_empty());
        let length = token.as_ref().map_or(0, |token| token.expose().len());
        if length > MAX_TOKEN_BYTES {
            let message =
                format!("`auth.token` has {length} bytes, a token has at most {MAX_TOKEN_BYTES}");
            return Err(AuthRefusal::new(message));
        }
        Ok(Self {
            token,
            ..Self::none()
        }
        .with_peer(peer))
    }

    /// The token, for verifiers that cannot do without.
    ///
    /// # Errors
    /// [`AuthRefusal`] that asks for a token.
    pub fn token(&self) -> Result<&str, AuthRefusal> {
        let missing =
            || AuthRefusal::new("`auth.token` is missing, send a bearer token in the hello");
        self.token.as_ref().map(Secret::expose).ok_or_else(missing)
    }
}

/// Why credentials were not accepted. On the wire it becomes `UNAUTHENTICATED` with `message`; the cause stays here.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct AuthRefusal {
    message: Cow<'static, str>,
    #[source]
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl AuthRefusal {
    /// A refusal with words for the peer. They name no secret and nothing a stranger should not know.
    pub fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            message: message.into(),
            cause: None,
        }
    }

    /// Adds what only the log should say. It holds no token either.
    #[must_use]
    pub fn with_cause(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// For the peer.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// For the log.
    pub fn cause(&self) -> Option<&(dyn Error + Send + Sync + 'static)> {
        self.cause.as_deref()
    }
}

const BEARER: &str = "bearer";

/// Longer than any token in use (a JWT with many claims has some 4 KiB), short enough to hash for anybody who asks.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(scheme: Option<&str>, token: Option<&str>) -> Auth {
        Auth {
            scheme: scheme.map(str::to_owned),
            token: token.map(Secret::from),
        }
    }

    fn check(auth: Option<Auth>) -> Result<Option<String>, String> {
        let credentials = Credentials::from_hello(auth.as_ref(), None);
        let token =
            credentials.map(|credentials| credentials.token.map(|token| token.expose().to_owned()));
        token.map_err(|refusal| refusal.message().to_owned())
    }

    /// [ARCP 6.1-1] An absent scheme is bearer, the case does not matter, and every other scheme is refused by name.
    #[test]
    fn the_scheme_is_bearer_or_refused() {
        let token = || Ok(Some("t".to_owned()));
        assert_eq!(check(Some(hello(None, Some("t")))), token());
        assert_eq!(check(Some(hello(Some("bearer"), Some("t")))), token());
        assert_eq!(check(Some(hello(Some("BeaReR"), Some("t")))), token());
        // One SDK's way to leave it out.
        assert_eq!(check(Some(hello(Some(""), Some("t")))), token());
        for other in ["basic", "bearer ", "none"] {
            let refused = check(Some(hello(Some(other), Some("t")))).expect_err(other);
            assert!(refused.contains(&format!("{other:?}")), "{refused}");
        }
    }

    /// [ARCP 6.1-1] No auth, no token and an empty token are the same thing, and a verifier asks for one.
    #[test]
    fn a_missing_token_is_asked_for() {
        for auth in [
            None,
            Some(hello(None, None)),
            Some(hello(Some("bearer"), Some(""))),
        ] {
            let credentials = Credentials::from_hello(auth.as_ref(), None).unwrap();
            let refusal = credentials.token().expect_err("there is no token");
            assert!(refusal.message().contains("`auth.token` is missing"));
        }
    }

    #[test]
    fn a_token_has_a_length() {
        let long = "x".repeat(MAX_TOKEN_BYTES + 1);
        assert!(check(Some(hello(None, Some(&long[1..])))).is_ok());
        assert!(
            check(Some(hello(None, Some(&long))))
                .expect_err("too long")
                .contains("16385")
        );
    }

    #[test]
    fn a_hostile_scheme_stays_short_in_the_refusal() {
        let refused =
            check(Some(hello(Some(&"é\u{1b}\n".repeat(1000)), None))).expect_err("unknown");
        assert!(
            refused.len() < 400 && !refused.contains(['\n', '\u{1b}']),
            "{refused}"
        );
    }

    #[test]
    fn tokens_have_no_debug() {
        let shown = format!("{:?}", Credentials::bearer("hush"));
        assert!(!shown.contains("hush"), "{shown}");
    }
}
