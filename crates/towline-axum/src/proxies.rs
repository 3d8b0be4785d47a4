//! Where a request comes from.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use axum::{extract::ConnectInfo, http::request::Parts};

/// A proxy, or a network of them, whose `X-Forwarded-For` is believed: `10.0.0.7`, `10.0.0.0/8`, `fd00::/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proxy {
    network: IpAddr,
    bits: u8,
}

/// A text that names no proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyError(());

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an address or a network, write 10.0.0.7 or 10.0.0.0/8")
    }
}

impl std::error::Error for ProxyError {}

impl FromStr for Proxy {
    type Err = ProxyError;

    fn from_str(text: &str) -> Result<Self, ProxyError> {
        let (address, bits) = text
            .trim()
            .split_once('/')
            .map_or((text.trim(), None), |(address, bits)| (address, Some(bits)));
        let network = address
            .parse::<IpAddr>()
            .map_err(|_| ProxyError(()))?
            .to_canonical();
        let all = width(network);
        let bits = bits
            .map_or(Ok(all), str::parse)
            .map_err(|_| ProxyError(()))?;
        if bits > all {
            return Err(ProxyError(()));
        }
        Ok(Self { network, bits })
    }
}

impl Proxy {
    /// Whether it is at this address.
    pub fn is_at(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let all = width(self.network);
        let different = number(address) ^ number(self.network);
        width(address) == all
            && different
                .checked_shr(u32::from(all - self.bits))
                .unwrap_or(0)
                == 0
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => address.into(),
    }
}

/// Whose word on the peer's address is taken.
#[derive(Debug, Clone)]
pub(crate) enum Forwarded {
    /// That of these proxies.
    By(Vec<Proxy>),
    /// Whoever connects has added the last entry.
    Last,
}

impl Default for Forwarded {
    fn default() -> Self {
        Self::By(Vec::new())
    }
}

/// The peer's address: that of the socket, when the server was told to keep it, or the one that a proxy states which is
/// believed.
pub(crate) fn of(parts: &Parts, forwarded: &Forwarded) -> Option<SocketAddr> {
    let socket = parts
        .extensions
        .get::<ConnectInfo<SocketAddr>>()
        .map(|ConnectInfo(peer)| *peer);
    let stated = match forwarded {
        Forwarded::Last => stated(parts).next().flatten(),
        Forwarded::By(proxies) => {
            let is_proxy = |peer: SocketAddr| proxies.iter().any(|proxy| proxy.is_at(peer.ip()));
            // Who is not believed ends the chain, and so does what cannot be read.
            socket.filter(|peer| is_proxy(*peer)).and_then(|_| {
                stated(parts)
                    .map_while(|peer| peer)
                    .find(|peer| !is_proxy(*peer))
            })
        }
    };
    stated.or(socket)
}

/// The addresses of `X-Forwarded-For`, the last first: each proxy adds the one it sees.
fn stated(parts: &Parts) -> impl Iterator<Item = Option<SocketAddr>> {
    let headers = parts.headers.get_all("x-forwarded-for").iter().rev();
    let texts = headers.map(|header| header.to_str().unwrap_or_default());
    texts.flat_map(|text| text.rsplit(',').map(address))
}

fn address(entry: &str) -> Option<SocketAddr> {
    let entry = entry.trim();
    let bare = |text: &str| {
        text.parse::<IpAddr>()
            .ok()
            .map(|address| SocketAddr::new(address, 0))
    };
    let bracketed = || bare(entry.strip_prefix('[')?.strip_suffix(']')?);
    entry
        .parse()
        .ok()
        .or_else(|| bare(entry))
        .or_else(bracketed)
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn parts(forwarded: &[&str], socket: Option<&str>) -> Parts {
        let mut request = Request::new(());
        for value in forwarded {
            request
                .headers_mut()
                .append("x-forwarded-for", value.parse().unwrap());
        }
        if let Some(socket) = socket {
            request
                .extensions_mut()
                .insert(ConnectInfo(socket.parse::<SocketAddr>().unwrap()));
        }
        request.into_parts().0
    }

    #[test]
    fn a_proxys_word_counts_only_when_trusted() {
        let request = parts(&["198.51.100.7"], Some("127.0.0.1:9"));
        assert_eq!(
            of(&request, &Forwarded::default()),
            Some("127.0.0.1:9".parse().unwrap())
        );
        assert_eq!(
            of(&request, &Forwarded::Last),
            Some("198.51.100.7:0".parse().unwrap())
        );
        assert_eq!(of(&parts(&[], None), &Forwarded::Last), None);
    }

    #[test]
    fn the_last_entry_is_the_proxys_own() {
        for (headers, expected) in [
            (&["1.1.1.1, 198.51.100.7"][..], "198.51.100.7:0"),
            (&["1.1.1.1", "2.2.2.2,198.51.100.7:55"], "198.51.100.7:55"),
            (&["2001:db8::1"], "[2001:db8::1]:0"),
            (&["[2001:db8::1]"], "[2001:db8::1]:0"),
            (&["[2001:db8::1]:8"], "[2001:db8::1]:8"),
            (&["198.51.100.7, unknown"], "127.0.0.1:9"),
            (&[""], "127.0.0.1:9"),
        ] {
            let peer = of(&parts(headers, Some("127.0.0.1:9")), &Forwarded::Last);
            assert_eq!(peer, Some(expected.parse().unwrap()), "{headers:?}");
        }
    }

    /// [ARCP 14-2] Proxies are trusted by name: the word of anybody else is not taken, nor is what they pass on from others.
    #[test]
    fn proxies_are_trusted_by_name() {
        let proxies = ["127.0.0.1", "10.0.0.0/8", "fd00::/8"];
        let by = Forwarded::By(proxies.iter().map(|text| text.parse().unwrap()).collect());
        for (headers, socket, expected) in [
            (&["198.51.100.7"][..], "127.0.0.1:9", "198.51.100.7:0"),
            (&["198.51.100.7"], "192.0.2.1:9", "192.0.2.1:9"),
            (
                &["1.1.1.1, 198.51.100.7, 10.9.9.9"],
                "[::ffff:127.0.0.1]:9",
                "198.51.100.7:0",
            ),
            (
                &["1.1.1.1", "198.51.100.7", "10.9.9.9, 10.8.8.8"],
                "[fd00::7]:9",
                "198.51.100.7:0",
            ),
            (&["1.1.1.1, unknown"], "127.0.0.1:9", "127.0.0.1:9"),
            (&["10.1.1.1"], "127.0.0.1:9", "127.0.0.1:9"),
            (&[], "127.0.0.1:9", "127.0.0.1:9"),
        ] {
            let peer = of(&parts(headers, Some(socket)), &by);
            assert_eq!(
                peer,
                Some(expected.parse().unwrap()),
                "{headers:?} {socket}"
            );
        }
    }

    #[test]
    fn proxies_are_addresses_and_networks() {
        let is_at = |proxy: &str, address: &str| {
            proxy
                .parse::<Proxy>()
                .unwrap()
                .is_at(address.parse().unwrap())
        };
        assert!(is_at("10.0.0.0/8", "10.255.0.1") && !is_at("10.0.0.0/8", "11.0.0.1"));
        assert!(is_at("0.0.0.0/0", "192.0.2.1") && !is_at("0.0.0.0/0", "::1"));
        assert!(is_at("::/0", "2001:db8::1") && is_at("::1", "::1") && !is_at("::1", "::2"));
        for text in [
            "",
            "proxy",
            "10.0.0.0/33",
            "10.0.0.0/",
            "::/129",
            "10.0.0.1:80",
        ] {
            assert!(text.parse::<Proxy>().is_err(), "{text}");
        }
    }
}
