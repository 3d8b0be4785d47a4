//! A closure as authenticator.

use std::{fmt, future::Future};

use futures_util::future::BoxFuture;
use towline_store::Principal;

use super::{AuthRefusal, Authenticator, Credentials};

/// Makes an authenticator of a closure, for tokens that are looked up somewhere else.
///
/// ```
/// use towline_runtime::auth::{AuthRefusal, Credentials, from_fn};
/// use towline_store::Principal;
///
/// let sessions = from_fn(|credentials: Credentials| async move {
///     match credentials.token()? {
///         token if token.starts_with("svc_") => Ok(Principal::new("service")),
///         _ => Err(AuthRefusal::new("the token is not known here")),
///     }
/// });
/// # let _ = sessions;
/// ```
pub fn from_fn<F, Fut>(verify: F) -> FnAuthenticator<F>
where
    F: Fn(Credentials) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Principal, AuthRefusal>> + Send + 'static,
{
    FnAuthenticator(verify)
}

/// What [`from_fn`] makes.
#[derive(Clone)]
pub struct FnAuthenticator<F>(F);

impl<F> fmt::Debug for FnAuthenticator<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FnAuthenticator")
    }
}

impl<F, Fut> Authenticator for FnAuthenticator<F>
where
    F: Fn(Credentials) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Principal, AuthRefusal>> + Send + 'static,
{
    fn authenticate<'a>(
        &'a self,
        credentials: &'a Credentials,
    ) -> BoxFuture<'a, Result<Principal, AuthRefusal>> {
        Box::pin((self.0)(credentials.clone()))
    }
}
