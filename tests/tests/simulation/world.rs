//! A runtime that dies and comes back, and the network between it and its clients.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::sleep;
use towline::{
    client::{Backoff, ClientOptions},
    env::{Clock, Ids, TokioClock},
    runtime::{Runtime, RuntimeOptions, auth::StaticTokens},
};
use towline_store::{MemoryStore, testing::FaultStore};
use towline_tests::dice::Dice;
use towline_transport::{MemoryTransport, TransportError, testing::Chaos};
use towline_wire::Timestamp;

use crate::{
    agents::{self, Runs},
    book::Book,
    life::{Death, Disk, Life},
    tap::{Tap, Wire},
};

/// How often silence is noticed, on both sides.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(5);

/// One run of the simulation: the disk, the runtime that lives at the moment, and what becomes of connections to it.
///
/// Clones are the same world.
#[derive(Clone)]
pub(crate) struct World(Arc<Inner>);

struct Inner {
    clock: Arc<TokioClock>,
    ids: Ids,
    disk: Disk,
    runs: Runs,
    options: RuntimeOptions,
    current: Mutex<Option<Incarnation>>,
    lives: AtomicU64,
    wires: Mutex<Vec<Arc<Wire>>>,
    /// Nothing goes wrong any more.
    is_calm: AtomicBool,
}

/// A runtime as long as it lives.
#[derive(Clone)]
struct Incarnation {
    runtime: Runtime,
    life: Life,
}

/// What becomes of a connection.
#[derive(Debug, Clone)]
pub(crate) enum Fate {
    /// Nothing.
    Good,
    /// It is cut after so many frames, both directions together.
    CutAfter(u64),
    /// Frames to the client take their time, and then it is cut.
    Slow { most: Duration, cut_after: u64 },
    /// Something happens to it after a time.
    Later(Duration, Misfortune),
}

/// What can happen to a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Misfortune {
    Cut,
    /// The client loses it, the runtime does not notice.
    Strand,
    SilenceUp,
    SilenceDown,
    SilenceBoth,
}

impl World {
    /// A world whose runtime does not live yet.
    pub(crate) fn new(seed: u64) -> Self {
        let clock = Arc::new(TokioClock::starting_at(Timestamp::from_unix_micros(
            1_750_000_000_000_000,
        )));
        let ids = Ids::seeded(Arc::clone(&clock) as Arc<dyn Clock>, seed);
        Self(Arc::new(Inner {
            clock,
            ids,
            disk: FaultStore::new(MemoryStore::new()),
            runs: Runs::default(),
            options: RuntimeOptions::default()
                .heartbeat(HEARTBEAT)
                .cancel_grace(Duration::from_secs(2)),
            current: Mutex::new(None),
            lives: AtomicU64::new(0),
            wires: Mutex::default(),
            is_calm: AtomicBool::new(false),
        }))
    }

    /// The store as it is on the disk.
    pub(crate) fn disk(&self) -> &Disk {
        &self.0.disk
    }

    /// What agents did.
    pub(crate) fn runs(&self) -> &Runs {
        &self.0.runs
    }

    /// Starts the runtime on what is on the disk.
    pub(crate) async fn start(&self, death: Option<Death>) {
        let life = Life::new(&self.0.disk, death);
        let number = self.0.lives.fetch_add(1, Ordering::Relaxed) + 1;
        let tokens = StaticTokens::new([("alice", TOKEN)]).expect("the tokens are good");
        let builder = Runtime::builder()
            .options(self.0.options.clone())
            .clock(Arc::clone(&self.0.clock) as Arc<dyn Clock>)
            .ids(self.0.ids.clone())
            .shared_store(Arc::new(life.clone()))
            .authenticator(tokens);
        let built = agents::register(builder, &self.0.runs, number)
            .build()
            .await;
        let runtime = built.expect("a runtime starts on what it left");
        *self.0.current.lock() = Some(Incarnation { runtime, life });
    }

    /// The runtime dies; nobody is told.
    pub(crate) fn kill(&self) {
        let dying = self.0.current.lock().take();
        if let Some(dying) = dying {
            dying.life.kill();
        }
        for wire in std::mem::take(&mut *self.0.wires.lock()) {
            wire.cut();
        }
    }

    /// Waits until the runtime has died by itself.
    pub(crate) async fn death(&self) {
        let life = self
            .0
            .current
            .lock()
            .as_ref()
            .map(|current| current.life.clone());
        if let Some(life) = life {
            life.ended().await;
        }
    }

    /// The runtime, while it lives.
    pub(crate) fn runtime(&self) -> Option<Runtime> {
        self.0
            .current
            .lock()
            .as_ref()
            .map(|current| current.runtime.clone())
    }

    /// From now on connections are good.
    pub(crate) fn calm_down(&self) {
        self.0.is_calm.store(true, Ordering::Relaxed);
        self.0.disk.randomly(0, 0);
        self.0.disk.every_commit(None);
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.0.is_calm.load(Ordering::Relaxed)
    }

    /// A connection to the runtime that lives now.
    pub(crate) fn connect(
        &self,
        book: &Book,
        fate: Fate,
        seed: u64,
    ) -> Result<(Tap, Arc<Wire>), TransportError> {
        let runtime = self.runtime().ok_or_else(refused)?;
        let (near, far) = MemoryTransport::pair();
        // It lives by itself.
        drop(runtime.accept(far));
        let chaos = match &fate {
            Fate::Good | Fate::Later(..) => Chaos::seeded(seed),
            Fate::CutAfter(frames) => Chaos::seeded(seed).cut_after(*frames),
            Fate::Slow { most, cut_after } => Chaos::seeded(seed)
                .delay(Duration::from_millis(1)..=*most)
                .cut_after(*cut_after),
        };
        let (near, _) = chaos.wrap(near);
        let (tap, wire) = Tap::over(near, book.page());
        if let Fate::Later(after, misfortune) = fate {
            let wire = Arc::clone(&wire);
            tokio::spawn(async move {
                sleep(after).await;
                misfortune.befall(&wire);
            });
        }
        self.0.wires.lock().push(Arc::clone(&wire));
        Ok((tap, wire))
    }

    /// How a client of this world behaves that has one connection and no way to make another.
    pub(crate) fn lone_client_options(&self, seed: u64) -> ClientOptions {
        ClientOptions::bearer(TOKEN)
            .clock(Arc::clone(&self.0.clock) as Arc<dyn Clock>)
            .ids(Ids::seeded(
                Arc::clone(&self.0.clock) as Arc<dyn Clock>,
                seed,
            ))
    }

    /// How a client of this world behaves. `fate` decides about each of its connections, the first one included.
    pub(crate) fn client_options(
        &self,
        book: &Book,
        seed: u64,
        fate: impl Fn(u64) -> Fate + Send + Sync + 'static,
    ) -> ClientOptions {
        let (world, book, made) = (self.clone(), book.clone(), AtomicU64::new(0));
        let connector = move || {
            let number = made.fetch_add(1, Ordering::Relaxed);
            let fate = if world.is_calm() {
                Fate::Good
            } else {
                fate(number)
            };
            let connected = world.connect(&book, fate, seed.wrapping_add(number));
            async move { connected.map(|(tap, _)| tap) }
        };
        self.lone_client_options(seed)
            .backoff(Backoff::new(
                Duration::from_millis(40),
                Duration::from_secs(2),
            ))
            .connector(connector)
    }
}

impl Misfortune {
    fn befall(self, wire: &Wire) {
        match self {
            Self::Cut => wire.cut(),
            Self::Strand => wire.strand(),
            Self::SilenceUp => wire.silence_up(),
            Self::SilenceDown => wire.silence_down(),
            Self::SilenceBoth => {
                wire.silence_up();
                wire.silence_down();
            }
        }
    }
}

impl Fate {
    /// One as a network gives them.
    pub(crate) fn drawn(dice: &mut Dice) -> Self {
        let misfortune = match dice.below(5) {
            0 => Misfortune::Cut,
            1 => Misfortune::Strand,
            2 => Misfortune::SilenceUp,
            3 => Misfortune::SilenceDown,
            _ => Misfortune::SilenceBoth,
        };
        match dice.below(10) {
            0 | 1 => Self::Good,
            2 | 3 => Self::CutAfter(1 + dice.below(80)),
            4 | 5 => {
                let most = Duration::from_millis(2 + dice.below(400));
                Self::Slow {
                    most,
                    cut_after: 20 + dice.below(200),
                }
            }
            _ => Self::Later(Duration::from_millis(20 + dice.below(8000)), misfortune),
        }
    }
}

fn refused() -> TransportError {
    TransportError::Io(io::Error::new(
        io::ErrorKind::ConnectionRefused,
        "the runtime is down",
    ))
}

const TOKEN: &str = "a token of the simulation";
