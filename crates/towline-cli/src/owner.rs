//! The owner of a data directory. Whoever may open the store in it may do everything with what is in it, so the commands on a
//! directory may do so too: embedded ones, and those that work through a server that has it.

use futures_util::future::BoxFuture;
use towline::{
    runtime::{
        auth::{AuthRefusal, Authenticator, Credentials, Proof, Proven, StaticTokens},
        roles::{Role, Roles},
    },
    store::Principal,
};

use crate::failure::{Failure, Outcome};

/// Whose the jobs of commands on a data directory are.
pub(crate) const PRINCIPAL: &str = "local";

/// Nobody but the owner.
pub(crate) fn roles() -> Roles {
    with_owner(Roles::new(Role::of_nobody()))
}

/// Roles with that of the owner, whom nothing bounds.
pub(crate) fn with_owner(roles: Roles) -> Roles {
    let role = Role::named("owner of the data directory").admin(true);
    roles.give(PRINCIPAL, role)
}

/// An authenticator that knows the owner too: by a token that stands in the data directory, on connections that come from no
/// address. One that got out is good for nothing over a network.
pub(crate) struct OrOwner<A> {
    owner: StaticTokens,
    others: A,
}

impl<A> OrOwner<A> {
    pub(crate) fn new(token: &str, others: A) -> Outcome<Self> {
        let owner = StaticTokens::new([(PRINCIPAL, token)]).map_err(Failure::local)?;
        Ok(Self { owner, others })
    }
}

impl<A: Authenticator> Authenticator for OrOwner<A> {
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
            if credentials.peer.is_none()
                && let Ok(proven) = self.owner.prove(credentials).await
            {
                return Ok(proven);
            }
            self.others.prove(credentials).await
        })
    }

    fn still_knows(&self, principal: &Principal, proof: &Proof) -> bool {
        self.owner.still_knows(principal, proof) || self.others.still_knows(principal, proof)
    }

    fn lets_anyone_in(&self) -> bool {
        self.others.lets_anyone_in()
    }
}

/// An authenticator that proves anybody but the owner, whose name it may not give away.
pub(crate) struct ButOwner<A>(pub(crate) A);

impl<A: Authenticator> Authenticator for ButOwner<A> {
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
            let proven = self.0.prove(credentials).await?;
            if proven.principal.as_str() == PRINCIPAL {
                let message = format!(
                    "`{PRINCIPAL}` is the owner of the server's data directory, whom this does not prove"
                );
                return Err(AuthRefusal::new(message));
            }
            Ok(proven)
        })
    }

    fn still_knows(&self, principal: &Principal, proof: &Proof) -> bool {
        principal.as_str() != PRINCIPAL && self.0.still_knows(principal, proof)
    }

    fn lets_anyone_in(&self) -> bool {
        self.0.lets_anyone_in()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use towline::runtime::auth::from_fn;

    use super::*;

    /// The owner's token is good where only the owner can come from.
    #[tokio::test]
    async fn the_owners_token_is_not_for_networks() {
        let others = StaticTokens::new([("alice", "public")]).unwrap();
        let known = OrOwner::new("secret", others).unwrap();
        let there: Option<SocketAddr> = "127.0.0.1:9".parse().ok();
        for (token, peer, who) in [
            ("secret", None, Some(PRINCIPAL)),
            ("secret", there, None),
            ("public", None, Some("alice")),
            ("public", there, Some("alice")),
            ("wrong", None, None),
        ] {
            let shown = Credentials::bearer(token).with_peer(peer);
            let found = known.authenticate(&shown).await.ok();
            assert_eq!(found.as_ref().map(Principal::as_str), who, "{token}");
        }
    }

    /// A foreign issuer of tokens says who somebody is, but not that he is the owner.
    #[tokio::test]
    async fn nobody_else_is_called_as_the_owner() {
        let says =
            from_fn(
                |credentials: Credentials| async move { Ok(Principal::new(credentials.token()?)) },
            );
        let bounded = ButOwner(says);
        let ask = async |who: &str| bounded.authenticate(&Credentials::bearer(who)).await;
        assert_eq!(ask("alice").await.unwrap().as_str(), "alice");
        assert!(ask(PRINCIPAL).await.is_err());
    }
}
