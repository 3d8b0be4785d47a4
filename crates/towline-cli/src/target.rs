//! What `--url` names: a server over TCP or a Unix socket, or a program that is a runtime on its standard input and output.

use std::{
    path::PathBuf,
    task::{Context, Poll},
    time::Duration,
};

use towline::{
    transport::{
        ChildOptions, ChildProcess, CloseFrame, FrameSink, FrameSource, StdioTransport, Transport,
        TransportError, TransportInfo, WebSocketOptions, WebSocketTransport,
    },
    wire::Envelope,
};

use crate::values::without_user;

/// Where a runtime is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// A WebSocket, `ws://` or `wss://`.
    Socket(String),
    /// A WebSocket on a Unix socket of this machine.
    Unix(PathBuf),
    /// A program and its arguments.
    Child(Vec<String>),
}

/// The endpoint's usual path.
const ENDPOINT: &str = "/arcp";

/// How long a program has to go away by itself once its input is closed; half of it before it is told to.
const GRACE: Duration = Duration::from_secs(20);

impl Target {
    /// Reads `ws://…`, `wss://…`, `http(s)://…` (the WebSocket beside it), `unix:PATH` or `stdio:COMMAND…`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Some(command) = text.strip_prefix("stdio:") {
            return child(command);
        }
        if let Some(path) = socket_path(text) {
            if path.is_empty() {
                return Err("`unix:` names no socket; write unix:PATH".to_owned());
            }
            return Ok(Self::Unix(path.into()));
        }
        let (encrypted, rest) = if let Some(rest) = text.strip_prefix("http://") {
            ("ws", rest)
        } else if let Some(rest) = text.strip_prefix("https://") {
            ("wss", rest)
        } else if text.starts_with("ws://") || text.starts_with("wss://") {
            check_port(text)?;
            return Ok(Self::Socket(text.to_owned()));
        } else {
            let text = without_user(text);
            return Err(format!(
                "`{text}` names no runtime; write ws://HOST:PORT/arcp, wss://HOST/arcp, https://HOST, unix:PATH or \
                 stdio:COMMAND"
            ));
        };
        let url = format!("{encrypted}://{}", beside(rest));
        check_port(&url)?;
        Ok(Self::Socket(url))
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// What the transport says; for `wss` and a program it names what to do.
    pub(crate) async fn connect(
        &self,
        options: &WebSocketOptions,
    ) -> Result<Box<dyn Transport>, TransportError> {
        match self {
            Self::Socket(url) => {
                let transport = WebSocketTransport::connect_with(url, options).await?;
                Ok(Box::new(transport))
            }
            Self::Unix(path) => unix(path, options).await,
            Self::Child(words) => {
                let options = ChildOptions::new(words.first().map_or("", String::as_str))
                    .args(words.iter().skip(1));
                let (child, transport) = ChildProcess::spawn(&options)?;
                Ok(Box::new(Owned { child, transport }))
            }
        }
    }

    /// Whether each connection is a runtime of its own, which is gone with it.
    pub(crate) const fn is_child(&self) -> bool {
        matches!(self, Self::Child(_))
    }
}

/// The path in `unix:PATH` or `unix://PATH`.
pub(crate) fn socket_path(text: &str) -> Option<&str> {
    let path = text.strip_prefix("unix:")?;
    Some(path.strip_prefix("//").unwrap_or(path))
}

/// A URL that means the same in every directory.
pub(crate) fn absolute(url: &str) -> String {
    let path = socket_path(url).and_then(|path| std::path::absolute(path).ok());
    path.map_or_else(|| url.to_owned(), |path| format!("unix:{}", path.display()))
}

/// The WebSocket beside an HTTP address: its own path, unless that is none, or the HTTP interface's.
fn beside(rest: &str) -> String {
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = path.trim_end_matches('/');
    let path = path.strip_suffix("/v1").unwrap_or(path);
    if path.is_empty() {
        format!("{host}{ENDPOINT}")
    } else {
        format!("{host}{path}")
    }
}

/// Libraries read a port that is none as another one.
fn check_port(url: &str) -> Result<(), String> {
    let authority = url.split('/').nth(2).unwrap_or_default();
    let authority = authority.rsplit('@').next().unwrap_or_default();
    let port = match authority.rsplit_once(']') {
        Some((_, after)) => after.strip_prefix(':'),
        None => authority.rsplit_once(':').map(|(_, port)| port),
    };
    match port {
        Some(port) if port.parse::<u16>().is_err() || port == "0" => Err(format!(
            "`{}` has the port `{port}`, which is none; give 1 to 65535",
            without_user(url)
        )),
        _ => Ok(()),
    }
}

fn child(command: &str) -> Result<Target, String> {
    match shlex::split(command) {
        None => Err(format!("`stdio:{command}` has a quote that does not end")),
        Some(words) if words.first().is_none_or(String::is_empty) => Err(
            "`stdio:` names no command; write stdio:COMMAND, as in 'stdio:my-runtime --stdio'"
                .to_owned(),
        ),
        Some(words) => Ok(Target::Child(words)),
    }
}

#[cfg(unix)]
async fn unix(
    path: &std::path::Path,
    options: &WebSocketOptions,
) -> Result<Box<dyn Transport>, TransportError> {
    let stream = tokio::net::UnixStream::connect(path).await;
    let stream = stream.map_err(|error| {
        let name = format!("`{}`", path.display());
        match error.kind() {
            std::io::ErrorKind::NotFound => {
                TransportError::unreachable(name, "there is no such socket")
            }
            std::io::ErrorKind::ConnectionRefused => {
                TransportError::unreachable(name, "nobody listens on it")
            }
            _ => TransportError::unreachable(name, error.to_string()),
        }
        .because(error)
    })?;
    // Nobody but the two ends reads a socket of this machine.
    let options = options.clone().declare_confidential(true);
    let url = format!("ws://localhost{ENDPOINT}");
    let transport = WebSocketTransport::connect_on(stream, &url, &options).await?;
    Ok(Box::new(transport))
}

#[cfg(not(unix))]
async fn unix(
    path: &std::path::Path,
    _: &WebSocketOptions,
) -> Result<Box<dyn Transport>, TransportError> {
    Err(TransportError::impossible(
        format!("`{}`", path.display()),
        "this system has no Unix sockets",
    ))
}

/// A child's transport, and the child.
struct Owned {
    child: ChildProcess,
    transport: StdioTransport,
}

impl Transport for Owned {
    fn info(&self) -> TransportInfo {
        self.transport.info()
    }

    fn split(self: Box<Self>) -> (Box<dyn FrameSink>, Box<dyn FrameSource>) {
        let Self { child, transport } = *self;
        let (sink, source) = Box::new(transport).split();
        let sink = OwnedSink {
            child: Some(child),
            sink,
            ending: None,
        };
        (Box::new(sink), source)
    }
}

/// Closing it waits for the child, which may have things to put in order; dropping it kills the child.
struct OwnedSink {
    child: Option<ChildProcess>,
    sink: Box<dyn FrameSink>,
    ending: Option<futures_util::future::BoxFuture<'static, ()>>,
}

impl FrameSink for OwnedSink {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.sink.poll_ready(cx)
    }

    fn start_send(&mut self, envelope: Envelope) -> Result<(), TransportError> {
        self.sink.start_send(envelope)
    }

    fn start_send_text(&mut self, text: &str) -> Result<(), TransportError> {
        self.sink.start_send_text(text)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.sink.poll_flush(cx)
    }

    fn poll_close(
        &mut self,
        cx: &mut Context<'_>,
        close: &CloseFrame,
    ) -> Poll<Result<(), TransportError>> {
        if self.ending.is_none() {
            std::task::ready!(self.sink.poll_close(cx, close))?;
        }
        if let Some(mut child) = self.child.take() {
            self.ending = Some(Box::pin(async move {
                // How it ends is its own affair: the session was closed before.
                drop(child.terminate(GRACE).await);
            }));
        }
        match &mut self.ending {
            Some(ending) => ending.as_mut().poll(cx).map(Ok),
            None => Poll::Ready(Ok(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_sockets_and_programs() {
        let socket = |url: &str| Ok(Target::Socket(url.to_owned()));
        for (text, target) in [
            ("ws://h:1/arcp", socket("ws://h:1/arcp")),
            ("wss://h", socket("wss://h")),
            ("http://h:7777", socket("ws://h:7777/arcp")),
            ("http://h:7777/", socket("ws://h:7777/arcp")),
            ("https://h/v1", socket("wss://h/arcp")),
            ("https://h/base/v1/", socket("wss://h/base")),
            ("https://h/own?x#y", socket("wss://h/own")),
            ("http://[::1]:9", socket("ws://[::1]:9/arcp")),
            ("unix:/run/t.sock", Ok(Target::Unix("/run/t.sock".into()))),
            ("unix:///run/t.sock", Ok(Target::Unix("/run/t.sock".into()))),
            ("unix:t.sock", Ok(Target::Unix("t.sock".into()))),
            (
                "stdio:my-runtime --name 'a b'",
                Ok(Target::Child(
                    ["my-runtime", "--name", "a b"].map(str::to_owned).into(),
                )),
            ),
        ] {
            assert_eq!(Target::parse(text), target, "{text}");
        }
    }

    #[test]
    fn urls_can_be_kept() {
        for url in ["ws://h:1/arcp", "stdio:./a b", "unix:/run/t.sock"] {
            assert_eq!(absolute(url), url);
        }
        assert_eq!(absolute("unix:///run/t.sock"), "unix:/run/t.sock");
        let here = std::env::current_dir().unwrap().join("t.sock");
        assert_eq!(absolute("unix:t.sock"), format!("unix:{}", here.display()));
    }

    #[test]
    fn what_names_nothing_is_refused_with_the_remedy() {
        for (text, part) in [
            ("h:1", "ws://HOST:PORT/arcp"),
            ("ftp://u:p4ss@h", "names no runtime"),
            ("ws://host:99999", "`99999`"),
            ("http://host:", "port ``"),
            ("wss://u@[::1]:x/arcp", "`x`"),
            ("unix:", "unix:PATH"),
            ("stdio:", "stdio:COMMAND"),
            ("stdio:a 'b", "quote"),
        ] {
            let error = Target::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
            assert!(!error.contains("p4ss"), "{error}");
        }
    }
}
