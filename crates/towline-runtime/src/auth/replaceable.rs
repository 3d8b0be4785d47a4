//! An authenticator that is replaced while sessions live by it.

use std::{fmt, sync::Arc};

use futures_util::future::BoxFuture;
use parking_lot::RwLock;
use towline_store::Principal;

use super::{AuthRefusal, Authenticator, Credentials, Proof, Proven};

/// An authenticator in whose place another can be put, when tokens or keys were changed. Cheap to clone; clones are the same.
///
/// What is asked after [`replace`](Self::replace) is asked of the new one. Sessions that it does not know any more end at the
/// latest with the runtime's next look at them, and at once with
/// [`Runtime::recheck_sessions`](crate::Runtime::recheck_sessions) [ARCP 14-7].
#[derive(Clone)]
pub struct Replaceable(Arc<RwLock<Arc<dyn Authenticator>>>);

impl Replaceable {
    /// Begins with this one.
    pub fn new(first: Arc<dyn Authenticator>) -> Self {
        Self(Arc::new(RwLock::new(first)))
    }

    /// Puts another in its place.
    pub fn replace(&self, next: Arc<dyn Authenticator>) {
        *self.0.write() = next;
    }

    fn now(&self) -> Arc<dyn Authenticator> {
        Arc::clone(&self.0.read())
    }
}

impl Authenticator for Replaceable {
    fn authenticate<'a>(
        &'a self,
        credentials: &'a Credentials,
    ) -> BoxFuture<'a, Result<Principal, AuthRefusal>> {
        let now = self.now();
        Box::pin(async move { now.authenticate(credentials).await })
    }

    fn prove<'a>(
        &'a self,
        credentials: &'a Credentials,
    ) -> BoxFuture<'a, Result<Proven, AuthRefusal>> {
        let now = self.now();
        Box::pin(async move { now.prove(credentials).await })
    }

    fn still_knows(&self, principal: &Principal, proof: &Proof) -> bool {
        self.now().still_knows(principal, proof)
    }

    fn lets_anyone_in(&self) -> bool {
        self.now().lets_anyone_in()
    }
}

impl fmt::Debug for Replaceable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replaceable").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::StaticTokens;

    /// [ARCP 14-7] What the next one does not know is known no more, whoever holds a clone.
    #[tokio::test]
    async fn the_next_one_is_asked() {
        let tokens = |token: &str| Arc::new(StaticTokens::new([("alice", token)]).unwrap());
        let current = Replaceable::new(tokens("one"));
        let held = current.clone();
        let proven = held.prove(&Credentials::bearer("one")).await.unwrap();
        assert!(held.still_knows(&proven.principal, &proven.proof));
        current.replace(tokens("two"));
        assert!(!held.still_knows(&proven.principal, &proven.proof));
        assert!(held.prove(&Credentials::bearer("one")).await.is_err());
        held.prove(&Credentials::bearer("two")).await.unwrap();
    }
}
