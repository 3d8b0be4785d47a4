//! Addresses that requests may not go to: private ones, whatever name they have.

use std::{
    error::Error,
    fmt,
    net::{IpAddr, SocketAddr},
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use towline_proto::address::is_public;

/// Looks names up as the system does, and refuses those at private addresses. The connection is made to the very addresses
/// that were looked at, so a name that changes its mind gains nothing.
pub(crate) struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let found: Vec<SocketAddr> = found.collect();
            let private = found.iter().find(|address| !is_public(address.ip()));
            match private {
                Some(private) => Err(PrivateAddress(private.ip()).into()),
                None => Ok(Box::new(found.into_iter()) as Addrs),
            }
        })
    }
}

/// A host is at an address that is not public.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PrivateAddress(pub(crate) IpAddr);

impl PrivateAddress {
    /// The address that made a request fail, if one did.
    pub(crate) fn behind(error: &(dyn Error + 'static)) -> Option<Self> {
        let causes = std::iter::successors(Some(error), |&error| error.source());
        causes
            .take(16)
            .find_map(|cause| cause.downcast_ref::<Self>().copied())
    }
}

impl fmt::Display for PrivateAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the host is at the private address {}", self.0)
    }
}

impl Error for PrivateAddress {}
