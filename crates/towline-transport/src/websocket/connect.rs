//! The client's way to an open WebSocket: URL, TCP, TLS, upgrade.

use std::{io, net::SocketAddr};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_tungstenite::{
    client_async_with_config,
    tungstenite::{
        client::IntoClientRequest as _,
        error::{Error as WsError, ProtocolError},
        handshake::client::Request,
        http::{HeaderName, HeaderValue, Response, Uri, header, uri::InvalidUri},
    },
};

use super::{ClientStream, WebSocketOptions, head::HeadOnly};
use crate::TransportError;

/// What a successful connect yields.
pub(super) struct Connected {
    pub(super) stream: ClientStream,
    /// What was read behind the server's answer.
    pub(super) input: BytesMut,
    pub(super) peer: SocketAddr,
    pub(super) encrypted: bool,
}

/// Connects within the handshake timeout.
pub(super) async fn connect(
    url: &str,
    options: &WebSocketOptions,
) -> Result<Connected, TransportError> {
    let target = Target::parse(url)?;
    let timeout = options.handshake_timeout;
    match tokio::time::timeout(timeout, Box::pin(target.open(options))).await {
        Ok(connected) => connected,
        Err(_) => Err(target.failed(format!("no answer within {timeout:?}"))),
    }
}

/// Upgrades a byte stream within the handshake timeout. Gives it back, and what was read behind the answer.
pub(super) async fn connect_on<IO>(
    io: IO,
    url: &str,
    options: &WebSocketOptions,
) -> Result<(IO, BytesMut), TransportError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let target = Target::parse(url)?;
    let timeout = options.handshake_timeout;
    match tokio::time::timeout(timeout, Box::pin(target.upgrade(io, options))).await {
        Ok(upgraded) => upgraded,
        Err(_) => Err(target.failed(format!("no answer within {timeout:?}"))),
    }
}

/// A URL, taken apart.
#[derive(Debug)]
struct Target {
    uri: Uri,
    encrypted: bool,
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
}

impl Target {
    fn parse(url: &str) -> Result<Self, TransportError> {
        let refuse = |reason: &str| TransportError::impossible(without_secrets(url), reason);
        let not_a_url =
            |cause: InvalidUri| refuse(&format!("this is not a URL ({cause})")).because(cause);
        let mut uri: Uri = url.parse().map_err(not_a_url)?;
        let encrypted = match uri.scheme_str() {
            Some("ws") => false,
            Some("wss") => true,
            Some("http" | "https") => {
                return Err(refuse(
                    "use `ws://` for `http://` and `wss://` for `https://`",
                ));
            }
            Some(_) | None => return Err(refuse("the URL has to begin with `ws://` or `wss://`")),
        };
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        if authority.contains('@') {
            return Err(refuse(
                "user and password do not belong into the URL; send a bearer token in the hello",
            ));
        }
        let host = uri
            .host()
            .unwrap_or_default()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        if host.is_empty() {
            return Err(refuse("the URL names no host"));
        }
        let port = uri.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
        if uri.path() == "/" && uri.query().is_none() && !url.ends_with('/') {
            uri = format!("{url}/arcp").parse().map_err(not_a_url)?;
        }
        Ok(Self {
            uri,
            encrypted,
            host,
            port,
        })
    }

    async fn open(&self, options: &WebSocketOptions) -> Result<Connected, TransportError> {
        let security = self.security(options)?;
        let tcp = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(|cause| self.unreachable(cause))?;
        let lost = |cause: io::Error| self.failed(cause.to_string()).because(cause);
        let peer = tcp.peer_addr().map_err(lost)?;
        tcp.set_nodelay(true).map_err(lost)?;
        let stream = security.apply(tcp, self).await?;
        let (stream, input) = self.upgrade(stream, options).await?;
        Ok(Connected {
            stream,
            input,
            peer,
            encrypted: self.encrypted,
        })
    }

    async fn upgrade<IO>(
        &self,
        io: IO,
        options: &WebSocketOptions,
    ) -> Result<(IO, BytesMut), TransportError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let request = self.request(options)?;
        let upgraded = client_async_with_config(request, HeadOnly::new(io), None).await;
        let (stream, _) = upgraded.map_err(|cause| self.not_upgraded(cause))?;
        Ok(stream.into_inner().into_parts())
    }

    fn request(&self, options: &WebSocketOptions) -> Result<Request, TransportError> {
        let request = self.uri.clone().into_client_request();
        let mut request =
            request.map_err(|cause| self.refused(cause.to_string()).because(cause))?;
        for (name, value) in &options.headers {
            let header = HeaderName::try_from(name.as_str());
            let header =
                header.map_err(|_| self.refused(format!("`{name}` is not a header name")))?;
            // The value may be a secret, so the error does not show it.
            let value = HeaderValue::try_from(value.as_str());
            let mut value = value.map_err(|_| {
                self.refused(format!(
                    "the header `{name}` has characters it must not have"
                ))
            })?;
            value.set_sensitive(true);
            request.headers_mut().append(header, value);
        }
        Ok(request)
    }

    fn unreachable(&self, cause: io::Error) -> TransportError {
        let reason = match cause.kind() {
            io::ErrorKind::ConnectionRefused => {
                format!("connection refused: nothing listens on port {}", self.port)
            }
            _ => cause.to_string(),
        };
        self.failed(reason).because(cause)
    }

    fn not_upgraded(&self, cause: WsError) -> TransportError {
        match cause {
            WsError::Http(response) => TransportError::Refused {
                target: self.name(),
                status: response.status().as_u16(),
                reason: explain(&response),
            },
            WsError::Io(cause) => self
                .failed(format!("the server ended the upgrade: {cause}"))
                .because(cause),
            // The cause says in a library's words what bytes they were, which helps nobody.
            WsError::Protocol(ProtocolError::HttparseError(_)) => self.refused(
                "what answers there does not speak HTTP; is it the address of a WebSocket?"
                    .to_owned(),
            ),
            WsError::Protocol(ProtocolError::HandshakeIncomplete) => {
                self.failed("the server ended the connection during the upgrade".to_owned())
            }
            WsError::Protocol(fault) => self
                .refused(format!(
                    "the server's answer to the upgrade is wrong: {fault}"
                ))
                .because(fault),
            cause => self
                .refused(format!("the upgrade failed: {cause}"))
                .because(cause),
        }
    }

    fn failed(&self, reason: String) -> TransportError {
        TransportError::unreachable(self.name(), reason)
    }

    fn refused(&self, reason: String) -> TransportError {
        TransportError::impossible(self.name(), reason)
    }

    fn name(&self) -> String {
        without_secrets(&self.uri.to_string())
    }
}

/// What has to happen to a byte stream before the upgrade.
enum Security {
    None,
    #[cfg(feature = "tls")]
    Tls(std::sync::Arc<rustls::ClientConfig>),
}

#[cfg(feature = "tls")]
impl Target {
    fn security(&self, options: &WebSocketOptions) -> Result<Security, TransportError> {
        if !self.encrypted {
            return Ok(Security::None);
        }
        let config = options.trust.config();
        let config = config.map_err(|cause| self.refused(cause.to_string()).because(cause))?;
        Ok(Security::Tls(config))
    }

    fn insecure(&self, cause: io::Error) -> TransportError {
        let tls = cause
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let error = match tls {
            Some(fault @ rustls::Error::InvalidCertificate(_)) => self.refused(format!(
                "the server's certificate is not trusted: {}; for a private authority give its root certificate",
                crate::tls::explain(fault)
            )),
            Some(rustls::Error::InvalidMessage(_)) => {
                self.refused("the server does not speak TLS on this port; is it `ws://`?".to_owned())
            }
            Some(fault) => self.refused(format!("TLS failed: {fault}")),
            None => self.failed(format!("TLS failed: {cause}")),
        };
        error.because(cause)
    }
}

#[cfg(not(feature = "tls"))]
impl Target {
    fn security(&self, _: &WebSocketOptions) -> Result<Security, TransportError> {
        if self.encrypted {
            return Err(self.refused(
                "this program was built without TLS; build it with the feature `tls`".to_owned(),
            ));
        }
        Ok(Security::None)
    }
}

impl Security {
    #[cfg(feature = "tls")]
    async fn apply(self, tcp: TcpStream, target: &Target) -> Result<ClientStream, TransportError> {
        match self {
            Self::None => Ok(ClientStream::plain(tcp)),
            Self::Tls(config) => super::tls::secure(tcp, &target.host, config)
                .await
                .map(ClientStream::secured)
                .map_err(|cause| target.insecure(cause)),
        }
    }

    #[cfg(not(feature = "tls"))]
    async fn apply(self, tcp: TcpStream, _: &Target) -> Result<ClientStream, TransportError> {
        Ok(ClientStream::plain(tcp))
    }
}

/// The URL without what may be secret in it: user and password, the query.
fn without_secrets(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = url.split_at(url.find("://").map_or(0, |at| at + "://".len()));
    // A password may hold a slash that nobody escaped, so all before the last sign goes.
    format!("{scheme}{}", rest.rsplit('@').next().unwrap_or_default())
}

/// What an HTTP status means for somebody who wanted a WebSocket.
fn explain(response: &Response<Option<Vec<u8>>>) -> String {
    let location = response
        .headers()
        .get(header::LOCATION)
        .and_then(|location| location.to_str().ok());
    match response.status().as_u16() {
        301..=308 => format!(
            "it redirects to {}; connect there",
            location.map_or_else(|| "nowhere".to_owned(), without_secrets)
        ),
        401 => {
            "it wants authentication before the upgrade; send an `Authorization` header".to_owned()
        }
        403 => {
            "it does not allow this host or origin; check its allowed hosts and origins".to_owned()
        }
        404 => "there is no endpoint at this path; the usual one is /arcp".to_owned(),
        426 => "it saw no WebSocket upgrade; a proxy in between may drop the `Upgrade` header"
            .to_owned(),
        429 => "it has too many connections; try again later".to_owned(),
        500.. => "the server, or a proxy in front of it, is in trouble; try again later".to_owned(),
        _ => "it is not a WebSocket endpoint".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn parsed(url: &str) -> (String, String, u16) {
        let target = Target::parse(url).unwrap();
        (target.uri.to_string(), target.host, target.port)
    }

    /// [ARCP 4-1] The default path is `/arcp`.
    #[test]
    fn a_url_without_path_means_the_default_path() {
        assert_eq!(
            parsed("ws://host"),
            ("ws://host/arcp".into(), "host".into(), 80)
        );
        assert_eq!(
            parsed("wss://host:7777"),
            ("wss://host:7777/arcp".into(), "host".into(), 7777)
        );
        assert_eq!(
            parsed("wss://host/"),
            ("wss://host/".into(), "host".into(), 443)
        );
        assert_eq!(
            parsed("ws://[::1]:9/x?y=1"),
            ("ws://[::1]:9/x?y=1".into(), "::1".into(), 9)
        );
    }

    #[test]
    fn a_bad_url_is_refused_with_a_remedy() {
        for (url, remedy) in [
            ("http://host/arcp", "use `ws://`"),
            ("host:7777", "has to begin with `ws://`"),
            ("ws://alice:secret@host/", "bearer token"),
            ("ws://", "not a URL"),
            ("ws://ho st/", "not a URL"),
        ] {
            let error = Target::parse(url).unwrap_err();
            assert!(!error.is_transient(), "{error}");
            assert!(error.to_string().contains(remedy), "{url}: {error}");
        }
    }

    /// Whoever answers in another protocol is told of in our words, not in a parser's.
    #[tokio::test]
    async fn what_speaks_no_http_is_told_of_plainly() {
        use tokio::io::AsyncWriteExt as _;

        let (near, mut far) = tokio::io::duplex(4096);
        far.write_all(b"SSH-2.0-OpenSSH_9.9\r\n\r\n").await.unwrap();
        let connected = connect_on(near, "ws://host/arcp", &WebSocketOptions::default()).await;
        let error = connected.expect_err("no upgrade");
        let words = error.to_string();
        assert!(
            words.contains("does not speak HTTP") && !words.contains("httparse"),
            "{words}"
        );
        assert!(!error.is_transient());
    }

    #[test]
    fn an_error_shows_no_query() {
        let error = Target::parse("http://host/arcp?token=s3cret").unwrap_err();
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
}
