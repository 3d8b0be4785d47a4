//! A runtime in one command, used by others: what runs jobs on a data directory listens on a socket in it, and whoever only
//! looks, or cancels, on the same directory asks through that instead of waiting for the store.
//!
//! The socket is its owner's alone, and so is the token that is shown on it, a new one each time.

use std::path::PathBuf;

use towline::{
    client::{Client, ClientOptions},
    runtime::Runtime,
    transport::{StdioOptions, StdioTransport},
    wire::Secret,
};

use crate::{
    config,
    data_dir::{self, DataDir},
    guard,
    unix_socket::{self, SocketFile},
};

/// A runtime that others on its data directory can use; they no longer can when this is dropped.
pub(crate) struct Beside {
    accepting: tokio::task::JoinHandle<()>,
    token: PathBuf,
    _socket: SocketFile,
}

impl Beside {
    /// Lets others use a runtime; nobody when that cannot be, which is no reason to run no jobs.
    pub(crate) fn open(data: &DataDir, runtime: &Runtime, token: &str) -> Option<Self> {
        match Self::try_open(data, runtime.clone(), token) {
            Ok(beside) => Some(beside),
            Err(error) => {
                tracing::debug!(%error, "nobody can look on through the data directory");
                None
            }
        }
    }

    fn try_open(data: &DataDir, runtime: Runtime, token: &str) -> std::io::Result<Self> {
        let (listener, socket) = unix_socket::listen(&data.socket())?;
        data_dir::write_private(&data.socket_token(), format!("{token}\n").as_bytes())?;
        let listener = tokio::net::UnixListener::from_std(listener)?;
        let accepting = tokio::spawn(async move {
            // An error is this one connection's, or the process has no descriptors left: then a moment helps.
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => drop(runtime.accept(over(stream))),
                    Err(error) => {
                        tracing::debug!(%error, "nobody was let in");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        });
        Ok(Self {
            accepting,
            token: data.socket_token(),
            _socket: socket,
        })
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.accepting.abort();
        // Gone is what it should be.
        let _ = std::fs::remove_file(&self.token);
    }
}

/// A session with the runtime that runs on this directory; nothing when there is none, or it is about to end.
pub(crate) async fn client(
    data: &DataDir,
    options: impl Fn(Secret) -> ClientOptions,
) -> Option<Client> {
    let socket = data.socket();
    if !socket.exists() || guard::directory(data.path()).is_err() {
        return None;
    }
    let stream = tokio::net::UnixStream::connect(&socket).await.ok()?;
    let token = config::first_line(&data.socket_token()).ok()?;
    let options = options(Secret::from(token));
    match Client::connect(over(stream), options).await {
        Ok(client) => Some(client),
        Err(error) => {
            tracing::debug!(%error, "the runtime on this directory lets nobody in");
            None
        }
    }
}

fn over(stream: tokio::net::UnixStream) -> StdioTransport {
    let (reader, writer) = stream.into_split();
    let options = StdioOptions::default()
        .max_line_length(LINE)
        .max_send_length(LINE)
        .declare_confidential(true);
    StdioTransport::over(reader, writer, options)
}

/// The longest line, as long as a WebSocket's longest message.
const LINE: usize = 16 << 20;

/// How long accepting waits after an error.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(100);
