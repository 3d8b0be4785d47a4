//! The handshake does what is drawn above it: every event in every phase.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use serde_json::json;
use tokio::{sync::watch, task::JoinHandle};
use towline_runtime::auth::Authenticator;
use towline_store::{
    MemoryStore, StoreError,
    testing::{Fault, FaultStore},
};

use super::*;
use crate::{drawing::walk, peer::QUIET};

type Disk = FaultStore<FaultStore<MemoryStore>>;

/// A connection on its way, and all that decides about it.
struct Shake {
    runtime: Runtime,
    /// Hangs, and what is below it fails, when it is told to.
    disk: Disk,
    /// What the authenticator says, once it says something.
    says: Arc<watch::Sender<Option<bool>>>,
    asked: Arc<AtomicUsize>,
    /// `None` when the peer has gone.
    peer: Option<Peer>,
    closed: JoinHandle<()>,
    welcomed: bool,
}

fn gate(
    says: &Arc<watch::Sender<Option<bool>>>,
    asked: &Arc<AtomicUsize>,
) -> impl Authenticator + use<> {
    let (says, asked) = (Arc::clone(says), Arc::clone(asked));
    from_fn(move |_credentials: Credentials| {
        asked.fetch_add(1, Ordering::Relaxed);
        let mut said = says.subscribe();
        async move {
            let known = *said.wait_for(Option::is_some).await.unwrap();
            if known == Some(true) {
                Ok(Principal::new("alice"))
            } else {
                Err(AuthRefusal::new("not known"))
            }
        }
    })
}

impl Shake {
    async fn begin() -> Self {
        let (says, asked) = (Arc::new(watch::Sender::new(None)), Arc::default());
        let disk = FaultStore::new(FaultStore::new(MemoryStore::new()));
        let options = RuntimeOptions::default()
            .hello_timeout(LONG)
            .auth_timeout(LONG);
        let runtime = Runtime::builder()
            .authenticator(gate(&says, &asked))
            .options(options)
            .shared_store(Arc::new(disk.clone()))
            .agent("echo", echo())
            .build()
            .await
            .unwrap();
        disk.every_commit(Some(Fault::Hang));
        let (peer, connection) = Peer::connected(&runtime);
        Self {
            runtime,
            disk,
            says,
            asked,
            peer: Some(peer),
            closed: tokio::spawn(connection.closed()),
            welcomed: false,
        }
    }

    async fn happen(&mut self, event: &str) {
        match (event, &mut self.peer) {
            ("hello", Some(peer)) => {
                peer.send("session.hello", hello("t", QUIET)).await;
            }
            ("other", Some(peer)) => {
                peer.send("job.submit", json!({"agent": "none"})).await;
            }
            // On a connection that is over nothing is said any more.
            ("hello" | "other", None) => {}
            ("gone", _) => self.peer = None,
            ("yes", _) => drop(self.says.send_replace(Some(true))),
            ("no", _) => drop(self.says.send_replace(Some(false))),
            ("stored" | "failed", _) => {
                let full = Fault::Fail(StoreError::Full("test".into()));
                self.disk
                    .inner()
                    .every_commit((event == "failed").then_some(full));
                self.disk.every_commit(None);
                self.disk.release();
            }
            ("late", _) => tokio::time::sleep(LONG).await,
            ("drain", _) => {
                let runtime = self.runtime.clone();
                tokio::spawn(async move { runtime.shutdown().await });
            }
            (other, _) => panic!("{other} is no event"),
        }
        // Goodbyes have their time.
        pass(20.0).await;
        if let Some(peer) = &mut self.peer {
            let frames = peer.drain(Duration::from_secs(1)).await;
            self.welcomed |= frames
                .iter()
                .any(|frame| frame["type"] == "session.welcome");
        }
    }

    fn phase(&self) -> &'static str {
        let asked = self.asked.load(Ordering::Relaxed) > 0;
        match (self.closed.is_finished(), self.welcomed) {
            (true, _) => "Over",
            (false, true) => "Live",
            (false, false) if !asked => "Hello",
            (false, false) if self.says.borrow().is_none() => "Proving",
            (false, false) => "Attaching",
        }
    }
}

/// [ARCP 6.1-1, 6.1-2, 6.1-3, 6.1-5, 4-7] whatever comes first, and whatever comes while others decide, is answered as drawn.
#[test]
fn the_handshake_is_as_drawn() {
    let source = include_str!("../../../src/connection/handshake.rs");
    walk(source, |phase, event| {
        let way: &[&str] = match phase {
            "Hello" => &[],
            "Proving" => &["hello"],
            "Attaching" => &["hello", "yes"],
            "Live" => &["hello", "yes", "stored"],
            "Over" => &["gone"],
            other => panic!("{other} is no phase"),
        };
        let paused = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        paused.block_on(async {
            let mut shake = Shake::begin().await;
            for event in way {
                shake.happen(event).await;
            }
            assert_eq!(shake.phase(), phase, "the way to the phase");
            shake.happen(event).await;
            shake.phase().to_owned()
        })
    });
}

/// Longer than all that happens beside it.
const LONG: Duration = Duration::from_secs(300);
