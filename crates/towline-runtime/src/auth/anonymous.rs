//! No authentication, for those who ask for it by name.

use std::net::SocketAddr;

use futures_util::future::{BoxFuture, ready};
use towline_store::Principal;

use super::{AuthRefusal, Authenticator, Credentials, Proof, Proven};

/// Lets everybody in as one principal.
///
/// Whoever reaches the runtime can submit jobs, and cancel and read what others submitted, for all of them are the same
/// principal. Good for tests, and for a runtime that only this machine's one user can reach [ARCP 6.1-4].
#[derive(Debug, Clone)]
pub struct Anonymous {
    principal: Principal,
    only_without_token: bool,
}

impl Anonymous {
    /// Lets everybody in as `principal`, whatever token they bring.
    ///
    /// Danger: this is no authentication. See the type.
    pub fn dangerously_allow_anonymous(principal: impl AsRef<str>) -> Self {
        Self {
            principal: Principal::new(principal.as_ref()),
            only_without_token: false,
        }
    }

    /// Refuses those who do bring a token. At the end of a [`Chain`](super::Chain) this keeps a mistyped token from
    /// silently becoming the anonymous principal. Default: any token is ignored.
    #[must_use]
    pub fn only_without_token(mut self) -> Self {
        self.only_without_token = true;
        self
    }
}

impl Authenticator for Anonymous {
    fn authenticate<'a>(
        &'a self,
        credentials: &'a Credentials,
    ) -> BoxFuture<'a, Result<Principal, AuthRefusal>> {
        let refused = self.only_without_token && credentials.token.is_some();
        Box::pin(ready(if refused {
            Err(AuthRefusal::new(
                "a token was sent, anonymous sessions send none",
            ))
        } else {
            Ok(self.principal.clone())
        }))
    }

    fn prove<'a>(
        &'a self,
        credentials: &'a Credentials,
    ) -> BoxFuture<'a, Result<Proven, AuthRefusal>> {
        Box::pin(async move {
            let principal = self.authenticate(credentials).await?;
            let proof = Proof::by(KEY);
            Ok(Proven { principal, proof })
        })
    }

    fn still_knows(&self, principal: &Principal, proof: &Proof) -> bool {
        *principal == self.principal && proof.key.as_deref().is_none_or(|key| key == KEY)
    }

    fn lets_anyone_in(&self) -> bool {
        true
    }
}

/// The name of no proof at all.
const KEY: &str = "anonymous";

/// Checks, before listening, that a runtime without authentication is not reachable from elsewhere [ARCP 6.1-4].
///
/// `forced` is the operator's word that it is wanted.
///
/// # Errors
/// [`OpenBind`] when `address` is not loopback, `authenticator` lets anyone in, and nobody forced it.
pub fn check_bind(
    authenticator: &dyn Authenticator,
    address: SocketAddr,
    forced: bool,
) -> Result<(), OpenBind> {
    let local = address.ip().to_canonical().is_loopback();
    if local || forced || !authenticator.lets_anyone_in() {
        Ok(())
    } else {
        Err(OpenBind { address })
    }
}

/// A listener would let anyone on the network in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "listening on {address} without authentication would let anyone in; listen on 127.0.0.1, configure a token, or force it"
)]
pub struct OpenBind {
    address: SocketAddr,
}

#[cfg(test)]
mod tests {
    use super::{super::StaticTokens, *};

    /// [ARCP 6.1-4] Anonymous access is asked for by a dangerous name, and then takes whoever comes.
    #[tokio::test]
    async fn anonymous_takes_anybody_when_asked_to() {
        let anonymous = Anonymous::dangerously_allow_anonymous("dev");
        for credentials in [Credentials::none(), Credentials::bearer("whatever")] {
            let principal = anonymous.authenticate(&credentials).await.unwrap();
            assert_eq!(principal.as_str(), "dev");
        }
        let strict = anonymous.only_without_token();
        assert!(strict.authenticate(&Credentials::none()).await.is_ok());
        assert!(
            strict
                .authenticate(&Credentials::bearer("whatever"))
                .await
                .is_err()
        );
    }

    /// [ARCP 6.1-4] Without authentication, binding beyond loopback is refused unless forced.
    #[test]
    fn anonymous_stays_on_loopback_unless_forced() {
        let open = Anonymous::dangerously_allow_anonymous("dev");
        let closed = StaticTokens::new([("alice", "secret")]).unwrap();
        let check = |authenticator: &dyn Authenticator, address: &str, forced| {
            check_bind(authenticator, address.parse().unwrap(), forced).is_ok()
        };
        for local in [
            "127.0.0.1:1",
            "127.8.0.1:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert!(check(&open, local, false), "{local}");
        }
        for reachable in ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "[2001:db8::1]:1"] {
            assert!(!check(&open, reachable, false), "{reachable}");
            assert!(check(&open, reachable, true), "{reachable}");
            assert!(check(&closed, reachable, false), "{reachable}");
        }
    }
}
