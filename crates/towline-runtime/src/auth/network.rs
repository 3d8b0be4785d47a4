//! What counts as one address.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// What one customer of a network has: an IPv4 host, whichever way it is written, or an IPv6 network of 64 bits. Limits an
/// address are counted by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network(IpAddr);

impl Network {
    /// The network of a peer; `None` of one that is nowhere.
    pub fn of(peer: Option<SocketAddr>) -> Option<Self> {
        let address = match peer?.ip().to_canonical() {
            IpAddr::V6(address) => {
                let network = u128::from(address) & (u128::MAX << 64);
                IpAddr::V6(Ipv6Addr::from(network))
            }
            v4 => v4,
        };
        Some(Self(address))
    }
}
