//! Several authenticators, one after the other.

use std::fmt;

use futures_util::future::BoxFuture;
use towline_store::Principal;

use super::{AuthRefusal, Authenticator, Credentials, Proof, Proven};

/// Asks several authenticators in their order; the first that knows the peer decides.
///
/// They share one space of principals: two that can both prove `alice` mean the same Alice (give a
/// [`JwtVerifier`](super::JwtVerifier) a prefix where that is not so). An empty chain refuses everybody.
///
/// ```
/// use towline_runtime::auth::{Chain, JwtVerifier, StaticTokens};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let both = Chain::new()
///     .or(StaticTokens::new([("ops", "a long random token")])?)
///     .or(JwtVerifier::hs256(b"0123456789abcdef0123456789abcdef")?.principal_prefix("jwt:"));
/// # let _ = both;
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct Chain {
    links: Vec<Box<dyn Authenticator>>,
}

impl Chain {
    /// A chain that refuses everybody.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks one more when those before refused.
    #[must_use]
    pub fn or(mut self, authenticator: impl Authenticator) -> Self {
        self.links.push(Box::new(authenticator));
        self
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain")
            .field("links", &self.links.len())
            .finish()
    }
}

impl Authenticator for Chain {
    fn authenticate<'a>(
        &'a self,
        credentials: &'a Credentials,
    ) -> BoxFuture<'a, Result<Principal, AuthRefusal>> {
        Box::pin(async move { Ok(self.prove(credentials).await?.principal) })
    }

    fn prove<'a>(
        &'a self,
        credentials: &'a Credentials,
    ) -> BoxFuture<'a, Result<Proven, AuthRefusal>> {
        Box::pin(async move {
            let mut refusals = Vec::new();
            for link in &self.links {
                match link.prove(credentials).await {
                    Ok(proven) => return Ok(proven),
                    Err(refusal) => refusals.push(refusal),
                }
            }
            Err(join(refusals))
        })
    }

    fn still_knows(&self, principal: &Principal, proof: &Proof) -> bool {
        self.links
            .iter()
            .any(|link| link.still_knows(principal, proof))
    }

    fn lets_anyone_in(&self) -> bool {
        self.links.iter().any(|link| link.lets_anyone_in())
    }
}

/// One refusal of many: the peer is told each different reason once, the log gets every cause.
fn join(refusals: Vec<AuthRefusal>) -> AuthRefusal {
    let mut messages: Vec<&str> = Vec::new();
    for refusal in &refusals {
        if !messages.contains(&refusal.message()) {
            messages.push(refusal.message());
        }
    }
    let message = if messages.is_empty() {
        "no authenticator is configured".to_owned()
    } else {
        messages.join("; ")
    };
    let causes: Vec<_> = refusals
        .iter()
        .filter_map(AuthRefusal::cause)
        .map(ToString::to_string)
        .collect();
    let joined = AuthRefusal::new(message);
    if causes.is_empty() {
        joined
    } else {
        joined.with_cause(causes.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Anonymous, StaticTokens, from_fn},
        *,
    };

    fn custom() -> impl Authenticator {
        from_fn(|credentials: Credentials| async move {
            tokio::task::yield_now().await;
            match credentials.token()? {
                "custom" => Ok(Principal::new("carol")),
                _ => Err(AuthRefusal::new("the directory does not know the token")
                    .with_cause("ldap said 49")),
            }
        })
    }

    /// [ARCP 6.1-4] A custom verifier stands beside the ready-made ones.
    #[tokio::test]
    async fn the_first_that_knows_the_peer_decides() {
        let chain = Chain::new()
            .or(StaticTokens::new([("alice", "static")]).unwrap())
            .or(custom());
        let ask = async |token: &str| chain.authenticate(&Credentials::bearer(token)).await;
        assert_eq!(ask("static").await.unwrap().as_str(), "alice");
        assert_eq!(ask("custom").await.unwrap().as_str(), "carol");
        let refusal = ask("neither").await.unwrap_err();
        assert_eq!(
            refusal.message(),
            "the token is not known here; the directory does not know the token"
        );
        assert_eq!(refusal.cause().unwrap().to_string(), "ldap said 49");
    }

    /// [ARCP 6.1-1] The same reason is given once, and an empty chain is closed.
    #[tokio::test]
    async fn refusals_are_joined() {
        let tokens = || StaticTokens::new([("alice", "static")]).unwrap();
        let refusal = Chain::new()
            .or(tokens())
            .or(tokens())
            .authenticate(&Credentials::none())
            .await
            .unwrap_err();
        assert_eq!(refusal.message().matches("is missing").count(), 1);
        assert!(
            Chain::new()
                .authenticate(&Credentials::bearer("static"))
                .await
                .is_err()
        );
    }

    /// [ARCP 6.1-4] One dangerous link makes the chain dangerous.
    #[tokio::test]
    async fn a_chain_is_as_open_as_its_most_open_link() {
        let closed = Chain::new().or(StaticTokens::new([("alice", "static")]).unwrap());
        assert!(!closed.lets_anyone_in());
        let open = closed.or(Anonymous::dangerously_allow_anonymous("anyone").only_without_token());
        assert!(open.lets_anyone_in());
        assert!(open.authenticate(&Credentials::none()).await.is_ok());
        assert!(
            open.authenticate(&Credentials::bearer("mistyped"))
                .await
                .is_err()
        );
    }
}
