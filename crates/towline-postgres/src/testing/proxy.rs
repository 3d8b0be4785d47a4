//! A TCP proxy before a server's socket.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
};

/// What happens to the next COMMIT that passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection is lost before the server hears of it.
    Before,
    /// The connection is lost after the server has heard of it, and before it has answered.
    After,
    /// It is held back; the connection is lost, and only when [`Proxy::let_go`] is called the server hears of it.
    Late,
    /// The connection is lost when the server has committed and before its answer is passed on, and no connection is taken until [`Proxy::set_open`] says so.
    Away,
    /// The server hears what is to be committed, and of the COMMIT only when [`Proxy::let_go`] is called: as of a process that
    /// was stopped. The connection stays.
    Stopped,
}

/// A proxy whose connections can be lost.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    fault: Mutex<Option<Fault>>,
    hits: AtomicU64,
    /// Whether connections are taken.
    open: AtomicBool,
    /// Moves when those that are there are lost.
    cut: watch::Sender<u64>,
    let_go: watch::Sender<u64>,
}

impl Proxy {
    /// Begins to listen, on a port of 127.0.0.1.
    pub async fn start(socket: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            fault: Mutex::new(None),
            hits: AtomicU64::new(0),
            open: AtomicBool::new(true),
            cut: watch::Sender::new(0),
            let_go: watch::Sender::new(0),
        });
        let of_all = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // Before it is asked whether connections are taken: one that is being made when they are cut is cut too.
                let cut = of_all.cut.subscribe();
                if of_all.open.load(Ordering::SeqCst) {
                    let server = UnixStream::connect(&socket).await;
                    let Ok(server) = server else { continue };
                    tokio::spawn(relay(client, server, cut, Arc::clone(&of_all)));
                }
            }
        });
        Self { address, shared }
    }

    /// The address of a schema, through the proxy.
    pub fn url(&self, schema: &str) -> String {
        format!(
            "postgres://towline@{}/postgres?schema={schema}",
            self.address
        )
    }

    /// Says what happens to the next COMMIT.
    pub fn next_commit(&self, fault: Fault) {
        *self.shared.fault.lock() = Some(fault);
    }

    /// How many faults there were.
    pub fn hits(&self) -> u64 {
        self.shared.hits.load(Ordering::SeqCst)
    }

    /// The server hears what was held back.
    pub fn let_go(&self) {
        self.shared.let_go.send_modify(|times| *times += 1);
    }

    /// Whether connections are taken; those that are there are lost when they are not.
    pub fn set_open(&self, open: bool) {
        self.shared.open.store(open, Ordering::SeqCst);
        if !open {
            self.shared.cut.send_modify(|times| *times += 1);
        }
    }
}

async fn relay(
    mut client: TcpStream,
    mut server: UnixStream,
    mut cut: watch::Receiver<u64>,
    shared: Arc<Shared>,
) {
    let (mut from_client, mut from_server) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => match read {
                Ok(count) if count > 0 => {
                    let bytes = &from_client[..count];
                    if !forward(&mut client, &mut server, bytes, &shared).await {
                        return;
                    }
                }
                _ => return,
            },
            read = server.read(&mut from_server) => match read {
                Ok(count) if count > 0 => {
                    if client.write_all(&from_server[..count]).await.is_err() {
                        return;
                    }
                }
                _ => return,
            },
            _ = cut.changed() => return,
        }
    }
}

/// Waits until the server says that it has committed: one whose client is gone may give up before.
async fn answered(server: &mut UnixStream) {
    let (mut said, mut bytes) = (Vec::new(), vec![0; 4096]);
    let is_said = |said: &[u8]| said.windows(7).any(|window| window == b"COMMIT\0");
    while !is_said(&said) {
        match server.read(&mut bytes).await {
            Ok(count) if count > 0 => said.extend_from_slice(&bytes[..count]),
            _ => return,
        }
    }
}

/// The word, as it comes.
const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";

/// Passes on what the client said; whether the connection goes on.
async fn forward(
    client: &mut TcpStream,
    server: &mut UnixStream,
    bytes: &[u8],
    shared: &Shared,
) -> bool {
    // Only commits of the writer: they come in one piece with their token.
    let commit = bytes
        .windows(COMMIT.len())
        .position(|window| window == COMMIT);
    let commit = commit.filter(|at| *at > 0);
    let fault = commit.and_then(|at| Some((at, shared.fault.lock().take()?)));
    let Some((at, fault)) = fault else {
        return server.write_all(bytes).await.is_ok();
    };
    let mut let_go = shared.let_go.subscribe();
    shared.hits.fetch_add(1, Ordering::SeqCst);
    match fault {
        Fault::Before => {}
        Fault::After => drop(server.write_all(bytes).await),
        Fault::Away => {
            shared.open.store(false, Ordering::SeqCst);
            drop(server.write_all(bytes).await);
            answered(server).await;
            shared.cut.send_modify(|times| *times += 1);
        }
        Fault::Stopped => {
            drop(server.write_all(&bytes[..at]).await);
            drop(let_go.changed().await);
            return server.write_all(&bytes[at..]).await.is_ok();
        }
        Fault::Late => {
            // The client finds the connection closed, the server does not.
            drop(client.shutdown().await);
            drop(let_go.changed().await);
            drop(server.write_all(bytes).await);
            let mut answers = Vec::new();
            drop(
                tokio::time::timeout(
                    std::time::Duration::from_secs(2),
                    server.read_to_end(&mut answers),
                )
                .await,
            );
        }
    }
    false
}
