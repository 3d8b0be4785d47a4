//! Which hosts and origins are let in [ARCP 4-8].

use std::net::{IpAddr, Ipv6Addr};

use axum::http::{HeaderMap, HeaderName, Uri, header};

use crate::refusal::{Refusal, shown};

/// Looks at a request before anything else does.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate {
    /// `None` lets in requests for any host.
    pub(crate) hosts: Option<Vec<HostName>>,
    pub(crate) origins: Origins,
}

/// Which web pages are let in. What sends no `Origin` is no web page.
#[derive(Debug, Clone)]
pub(crate) enum Origins {
    /// Any page.
    Any,
    /// Pages of the endpoint's own server, and of these origins.
    OwnAnd(Vec<Origin>),
}

impl Default for Origins {
    fn default() -> Self {
        Self::OwnAnd(Vec::new())
    }
}

/// A host without its port, in a form that can be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HostName {
    Address(IpAddr),
    /// In lower case, without the dot of an absolute name.
    Name(String),
}

/// An origin in the form browsers write it: lower case, no default port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin(String);

impl Gate {
    /// # Errors
    /// The refusal to send: the host's first, then the origin's.
    pub(crate) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        if let Some(allowed) = &self.hosts {
            check_host(allowed, uri, headers)?;
        }
        match &self.origins {
            Origins::Any => Ok(()),
            Origins::OwnAnd(allowed) => self.check_origin(allowed, uri, headers),
        }
    }

    fn check_origin(
        &self,
        allowed: &[Origin],
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<(), Refusal> {
        let Some(origin) = only(headers, header::ORIGIN)? else {
            return Ok(());
        };
        let host = uri.authority().map(|authority| authority.as_str());
        let host = host.map_or_else(|| only(headers, header::HOST), |host| Ok(Some(host)))?;
        let is_own = host.is_some_and(|host| self.is_own(origin, host));
        if is_own || allowed.contains(&Origin::of(origin)) {
            return Ok(());
        }
        Err(Refusal::forbidden(format!(
            "the origin {} is not allowed here, add it to the allowed origins",
            shown(origin)
        )))
    }

    /// Whether an origin is of the server that `host` names: the same host, or another of the allowed ones, on the same
    /// port. Another port is another server, though it may be on the same machine.
    fn is_own(&self, origin: &str, host: &str) -> bool {
        let Some((scheme, authority)) = origin.split_once("://") else {
            return false;
        };
        let default = match scheme.to_ascii_lowercase().as_str() {
            "http" => 80,
            "https" => 443,
            _ => return false,
        };
        let (Some(theirs), Some(ours)) =
            (HostName::requested(authority), HostName::requested(host))
        else {
            return false;
        };
        let is_allowed = |hosts: &Vec<HostName>| hosts.contains(&theirs);
        let is_host = theirs == ours || self.hosts.as_ref().is_some_and(is_allowed);
        is_host && port(authority, default) == port(host, default)
    }
}

/// The port a host is named with, or `default`; `None` when it is no port.
fn port(host: &str, default: u16) -> Option<u16> {
    let behind = host.rsplit(']').next().unwrap_or(host);
    match behind.rsplit_once(':') {
        None | Some((_, "")) => Some(default),
        Some((_, port)) => port.parse().ok(),
    }
}

fn check_host(allowed: &[HostName], uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
    let is_allowed =
        |host: &str| HostName::requested(host).is_some_and(|host| allowed.contains(&host));
    let host = only(headers, header::HOST)?;
    // A request line may name a host as well, and then an HTTP server takes that one.
    let in_line = uri.authority().map(|authority| authority.as_str());
    match (host, in_line) {
        (None, None) => Err(Refusal::forbidden(
            "the request has no Host header, send one".to_owned(),
        )),
        (host, in_line) => match host.iter().chain(&in_line).find(|host| !is_allowed(host)) {
            None => Ok(()),
            Some(host) => Err(Refusal::forbidden(format!(
                "the host {} is not allowed here, connect by an allowed name or add it to the allowed hosts",
                shown(host)
            ))),
        },
    }
}

/// The value of a header that may stand once. Two of them are a disagreement somebody could hide in.
fn only(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, Refusal> {
    let mut values = headers.get_all(&name).iter();
    let value = values.next();
    if values.next().is_some() {
        return Err(Refusal::forbidden(format!(
            "the request has several {name} headers, send one"
        )));
    }
    let unreadable = |_| Refusal::forbidden(format!("the {name} header is not text"));
    value
        .map(|value| value.to_str().map_err(unreadable))
        .transpose()
}

impl HostName {
    /// A host as a request names it: perhaps with a port, an IPv6 address in brackets. `None` when it is neither.
    pub(crate) fn requested(text: &str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => text
                .find(':')
                .map_or((text, ""), |colon| text.split_at(colon)),
        };
        let is_port = |port: &str| port.bytes().all(|digit| digit.is_ascii_digit());
        (port.is_empty() || port.strip_prefix(':').is_some_and(is_port)).then_some(())?;
        if text.starts_with('[') {
            return host
                .parse::<Ipv6Addr>()
                .ok()
                .map(|address| Self::Address(address.into()));
        }
        (!host.is_empty()).then(|| Self::named(host))
    }

    /// A host as an operator writes it: an IPv6 address may stand without brackets.
    pub(crate) fn configured(text: &str) -> Self {
        let text = text.trim();
        let bare = text
            .parse()
            .ok()
            .map(|address: Ipv6Addr| Self::Address(address.into()));
        bare.or_else(|| Self::requested(text))
            .unwrap_or_else(|| Self::named(text))
    }

    fn named(host: &str) -> Self {
        let host = host.strip_suffix('.').unwrap_or(host);
        match host.parse() {
            Ok(address) => Self::Address(address),
            Err(_) => Self::Name(host.to_ascii_lowercase()),
        }
    }
}

impl Origin {
    pub(crate) fn of(text: &str) -> Self {
        let text = text.trim().to_ascii_lowercase();
        let text = text.strip_suffix('/').unwrap_or(&text);
        let default_port = match text.split_once("://") {
            Some(("https" | "wss", _)) => ":443",
            Some(("http" | "ws", _)) => ":80",
            _ => "",
        };
        Self(text.strip_suffix(default_port).unwrap_or(text).to_owned())
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn gate(hosts: Option<&[&str]>, origins: Option<&[&str]>) -> Gate {
        Gate {
            hosts: hosts.map(|hosts| {
                hosts
                    .iter()
                    .map(|host| HostName::configured(host))
                    .collect()
            }),
            origins: origins.map_or(Origins::Any, |origins| {
                Origins::OwnAnd(origins.iter().map(|origin| Origin::of(origin)).collect())
            }),
        }
    }

    fn check(gate: &Gate, headers: &[(HeaderName, &str)]) -> Result<(), String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        gate.check(&Uri::from_static("/arcp"), &map)
            .map_err(|refusal| refusal.to_string())
    }

    /// [ARCP 4-8] The port does not matter, nor does the case; `[::1]` is one address however it is written.
    #[test]
    fn hosts_are_compared_without_port_and_case() {
        let gate = gate(
            Some(&["localhost", "127.0.0.1", "[::1]", "Runtime.Example:9"]),
            None,
        );
        for host in [
            "localhost",
            "LOCALHOST",
            "localhost:7777",
            "localhost.",
            "localhost:",
            "127.0.0.1",
            "127.0.0.1:1",
            "[::1]",
            "[::1]:7777",
            "[0:0:0:0:0:0:0:1]:7777",
            "runtime.example",
            "RUNTIME.example:443",
        ] {
            assert_eq!(check(&gate, &[(header::HOST, host)]), Ok(()), "{host}");
        }
        for host in [
            "",
            ":80",
            "evil.example",
            "localhost.evil.example",
            "evil.localhost",
            "localhost@evil.example",
            "::1",
            "[::1",
            "[::1]x",
            "[::2]",
            "[localhost]",
            "127.0.0.2",
            "127.1",
            "localhost:80:80",
            "localhost:x",
            "localhost, evil.example",
            "lócalhost",
        ] {
            assert!(check(&gate, &[(header::HOST, host)]).is_err(), "{host}");
        }
    }

    /// [ARCP 4-8] A request without a `Host` is let in only where any host is; two of them nowhere.
    #[test]
    fn a_host_has_to_be_there_once() {
        assert!(
            check(&gate(Some(&["localhost"]), None), &[])
                .unwrap_err()
                .contains("no Host header")
        );
        assert_eq!(check(&gate(None, None), &[]), Ok(()));
        let twice = [(header::HOST, "localhost"), (header::HOST, "localhost")];
        assert!(
            check(&gate(Some(&["localhost"]), None), &twice)
                .unwrap_err()
                .contains("several host")
        );
        assert!(check(&gate(Some(&[]), None), &twice[..1]).is_err());
    }

    #[test]
    fn the_request_line_cannot_name_another_host() {
        let gate = gate(Some(&["localhost"]), None);
        let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("localhost"))]);
        assert!(
            gate.check(&Uri::from_static("http://localhost:1/arcp"), &headers)
                .is_ok()
        );
        assert!(
            gate.check(&Uri::from_static("http://evil.example/arcp"), &headers)
                .is_err()
        );
    }

    #[test]
    fn operators_may_leave_the_brackets_out() {
        for configured in ["::1", "[::1]", "[::1]:7777", " [::1] "] {
            assert_eq!(
                check(
                    &gate(Some(&[configured]), None),
                    &[(header::HOST, "[::1]:1")]
                ),
                Ok(()),
                "{configured}"
            );
        }
    }

    /// [ARCP 4-8] When origins are listed, others are refused; requests of programs, which have none, are not.
    #[test]
    fn origins_are_compared_as_browsers_write_them() {
        let gate = gate(
            None,
            Some(&[
                "https://App.Example/",
                "http://localhost:3000",
                "https://b.example:443",
            ]),
        );
        assert_eq!(check(&gate, &[]), Ok(()));
        for origin in [
            "https://app.example",
            "HTTPS://APP.EXAMPLE",
            "http://localhost:3000",
            "https://b.example",
        ] {
            assert_eq!(
                check(&gate, &[(header::ORIGIN, origin)]),
                Ok(()),
                "{origin}"
            );
        }
        for origin in [
            "null",
            "",
            "http://app.example",
            "https://app.example:444",
            "https://evil.example",
            "app.example",
        ] {
            assert!(
                check(&gate, &[(header::ORIGIN, origin)]).is_err(),
                "{origin}"
            );
        }
    }

    /// [ARCP 4-8] A page of the endpoint's own server is let in, by whichever allowed name it was opened; one of another port
    /// or host, or of no place, is not, listed or not.
    #[test]
    fn an_endpoints_own_pages_are_let_in() {
        let listed = gate(Some(&["localhost", "127.0.0.1", "[::1]"]), Some(&[]));
        let any_host = gate(None, Some(&[]));
        for (gate, host, origin, is_let_in) in [
            (&listed, "localhost:7777", "http://localhost:7777", true),
            (&listed, "localhost:7777", "HTTP://LocalHost:7777", true),
            (&listed, "127.0.0.1:7777", "http://localhost:7777", true),
            (&listed, "[::1]:7777", "http://[::1]:7777", true),
            (&listed, "localhost", "http://localhost", true),
            (&listed, "localhost", "https://localhost", true),
            (&listed, "localhost:7777", "http://localhost:3000", false),
            (&listed, "localhost:7777", "http://localhost", false),
            (&listed, "localhost:7777", "http://evil.example:7777", false),
            (&listed, "localhost:7777", "http://evil.example", false),
            (&listed, "localhost:7777", "null", false),
            (&listed, "localhost:7777", "", false),
            (&listed, "localhost:7777", "file://localhost:7777", false),
            (&any_host, "arcp.example", "https://arcp.example", true),
            (&any_host, "arcp.example", "https://evil.example", false),
        ] {
            let checked = check(gate, &[(header::HOST, host), (header::ORIGIN, origin)]);
            assert_eq!(checked.is_ok(), is_let_in, "{host} {origin}: {checked:?}");
        }
    }

    /// [ARCP 4-8] The host comes first.
    #[test]
    fn the_host_is_checked_before_the_origin() {
        let gate = gate(Some(&["a"]), Some(&["https://a"]));
        let both_bad = [(header::HOST, "b"), (header::ORIGIN, "https://b")];
        assert!(check(&gate, &both_bad).unwrap_err().contains("the host"));
        assert!(
            check(&gate, &[(header::HOST, "a"), both_bad[1].clone()])
                .unwrap_err()
                .contains("the origin")
        );
    }
}
