//! A runtime in one command, used by others: what runs jobs on a data directory listens on a socket in it, and whoever only
//! looks, or cancels, on the same directory asks through that instead of waiting for the store. A server's runtime stays, so
//! jobs are run through it too.
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
    data_dir::{self, DataDir},
    embedded::Stay,
    guard,
    store_choice::StoreChoice,
    unix_socket::{self, SocketFile},
};

/// What stands in the token's file, a line each: the token, whether the runtime stays, and which store it has.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Card {
    token: String,
    stay: Stay,
    store: String,
}

impl Card {
    pub(crate) fn new(token: &str, stay: Stay, store: &StoreChoice) -> Self {
        Self {
            token: token.to_owned(),
            stay,
            store: store.name(),
        }
    }

    fn text(&self) -> String {
        let stay = match self.stay {
            Stay::Ends => "ends",
            Stay::Stays => "stays",
        };
        format!("{}\n{stay}\n{}\n", self.token, self.store)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let (token, stay, store) = (lines.next()?, lines.next()?, lines.next()?);
        let stay = match stay {
            "ends" => Stay::Ends,
            "stays" => Stay::Stays,
            _ => return None,
        };
        let (token, store) = (token.to_owned(), store.to_owned());
        Some(Self { token, stay, store })
    }
}

/// A runtime that others on its data directory can use; they no longer can when this is dropped.
pub(crate) struct Beside {
    accepting: tokio::task::JoinHandle<()>,
    card: PathBuf,
    _socket: SocketFile,
}

impl Beside {
    /// Lets others use a runtime; nobody when that cannot be, which is no reason to run no jobs.
    pub(crate) fn open(data: &DataDir, runtime: &Runtime, card: &Card) -> Option<Self> {
        match Self::try_open(data, runtime.clone(), card) {
            Ok(beside) => Some(beside),
            Err(error) => {
                tracing::debug!(%error, "nobody can work through the data directory");
                None
            }
        }
    }

    fn try_open(data: &DataDir, runtime: Runtime, card: &Card) -> std::io::Result<Self> {
        let (listener, socket) = unix_socket::listen(&data.socket())?;
        data_dir::write_private(&data.socket_token(), card.text().as_bytes())?;
        let listener = tokio::net::UnixListener::from_std(listener)?;
        let accepting = tokio::spawn(async move {
            // Whoever comes when it ends waits for the store.
            let ends = runtime.shutting_down();
            ends.run_until_cancelled(accept(&listener, &runtime)).await;
        });
        Ok(Self {
            accepting,
            card: data.socket_token(),
            _socket: socket,
        })
    }
}

async fn accept(listener: &tokio::net::UnixListener, runtime: &Runtime) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(runtime.accept(over(stream))),
            // It is this one connection's, or the process has no descriptors left: then a moment helps.
            Err(error) => {
                tracing::debug!(%error, "nobody was let in");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.accepting.abort();
        // Gone is what it should be.
        let _ = std::fs::remove_file(&self.card);
    }
}

/// A session with the runtime that [`transport`] leads to; nothing when it lets nobody in.
pub(crate) async fn client(
    data: &DataDir,
    store: &StoreChoice,
    wanted: Stay,
    options: impl Fn(Secret) -> ClientOptions,
) -> Option<Client> {
    let (transport, token) = transport(data, store, wanted).await?;
    match Client::connect(transport, options(token)).await {
        Ok(client) => Some(client),
        Err(error) => {
            tracing::debug!(%error, "the runtime on this directory lets nobody in");
            None
        }
    }
}

/// The way to the runtime that runs on this directory and has this store, and the token to show; nothing when there is none, it
/// is about to end, or one is `wanted` that stays and this one does not.
pub(crate) async fn transport(
    data: &DataDir,
    store: &StoreChoice,
    wanted: Stay,
) -> Option<(StdioTransport, Secret)> {
    let socket = data.socket();
    if !socket.exists() || guard::directory(data.path()).is_err() {
        return None;
    }
    let stream = tokio::net::UnixStream::connect(&socket).await.ok()?;
    let card = Card::parse(&std::fs::read_to_string(data.socket_token()).ok()?)?;
    let stays = card.stay == Stay::Stays || wanted == Stay::Ends;
    if !stays || card.store != store.name() {
        return None;
    }
    Some((over(stream), Secret::from(card.token)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_go_round() {
        for stay in [Stay::Ends, Stay::Stays] {
            let card = Card::new("t", stay, &StoreChoice::Memory);
            assert_eq!(Card::parse(&card.text()), Some(card));
        }
        for text in ["", "t\n", "t\nmaybe\nmemory\n"] {
            assert_eq!(Card::parse(text), None, "{text:?}");
        }
    }
}
