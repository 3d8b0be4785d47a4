//! Where a request comes from.

use std::net::{IpAddr, SocketAddr};

use axum::{extract::ConnectInfo, http::request::Parts};

/// The peer's address: that of the socket, when the server was told to keep it, or the one the proxy in front states.
pub(crate) fn of(parts: &Parts, trust_forwarded_for: bool) -> Option<SocketAddr> {
    let socket = parts
        .extensions
        .get::<ConnectInfo<SocketAddr>>()
        .map(|ConnectInfo(peer)| *peer);
    if trust_forwarded_for {
        forwarded(parts).or(socket)
    } else {
        socket
    }
}

/// The last address of the last header: each proxy adds the one it sees, those before are anybody's word.
fn forwarded(parts: &Parts) -> Option<SocketAddr> {
    let last = parts
        .headers
        .get_all("x-forwarded-for")
        .iter()
        .next_back()?;
    let entry = last.to_str().ok()?.rsplit(',').next()?.trim();
    let address = |text: &str| {
        text.parse::<IpAddr>()
            .ok()
            .map(|address| SocketAddr::new(address, 0))
    };
    let bracketed = || address(entry.strip_prefix('[')?.strip_suffix(']')?);
    entry
        .parse()
        .ok()
        .or_else(|| address(entry))
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
        assert_eq!(of(&request, false), Some("127.0.0.1:9".parse().unwrap()));
        assert_eq!(of(&request, true), Some("198.51.100.7:0".parse().unwrap()));
        assert_eq!(of(&parts(&[], None), true), None);
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
            let peer = of(&parts(headers, Some("127.0.0.1:9")), true);
            assert_eq!(peer, Some(expected.parse().unwrap()), "{headers:?}");
        }
    }
}
