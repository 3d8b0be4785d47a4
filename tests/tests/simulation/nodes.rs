//! Several runtimes on one store: each lives, dies, is cut off from the store and comes back for itself.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use towline::{
    client::{Client, ClientOptions},
    env::{Clock, Ids, TokioClock},
    runtime::{Runtime, RuntimeOptions, auth::StaticTokens},
};
use towline_store::{
    EventStore, Incarnation, JobRow, MemoryStore, RecoveredSession, testing::FaultStore,
};
use towline_transport::MemoryTransport;
use towline_wire::{JobId, JobSeq, RawJson, Secret, Timestamp};

use crate::{
    life::{Hands, Life},
    walkers::{self, Journal},
};

/// A store, the nodes that share it, and what was seen of what they did.
pub(crate) struct Nodes {
    clock: Arc<TokioClock>,
    seed: u64,
    store: Arc<MemoryStore>,
    hands: Hands,
    pub(crate) journal: Journal,
    started: AtomicU64,
    running: Mutex<BTreeMap<String, Node>>,
}

/// A node as long as its process lives.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) runtime: Runtime,
    pub(crate) life: Life,
    /// What goes wrong with its commits.
    pub(crate) faults: FaultStore<Life>,
}

impl Nodes {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        let began = Timestamp::from_unix_micros(1_750_000_000_000_000);
        Arc::new(Self {
            clock: Arc::new(TokioClock::starting_at(began)),
            seed,
            store: Arc::new(MemoryStore::new()),
            hands: Hands::default(),
            journal: Journal::default(),
            started: AtomicU64::new(0),
            running: Mutex::default(),
        })
    }

    /// Starts a process of a name; one that has died before is known to be dead.
    pub(crate) async fn start(&self, name: &str) -> Node {
        self.start_with(name, false).await
    }

    /// Starts a process that has none of the agents.
    pub(crate) async fn start_idle(&self, name: &str) -> Node {
        self.start_with(name, true).await
    }

    async fn start_with(&self, name: &str, idle: bool) -> Node {
        let number = self.started.fetch_add(1, Ordering::Relaxed) + 1;
        let life = Life::of_member(Arc::new(self.store.join(name)), &self.hands);
        let faults = FaultStore::sharing(Arc::new(life.clone()));
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let tokens = StaticTokens::new([("alice", TOKEN)]).expect("the tokens are good");
        let options = RuntimeOptions::default()
            .cancel_grace(Duration::from_secs(2))
            .drain(Duration::from_secs(1))
            .max_starts(1000);
        let builder = Runtime::builder()
            .options(options)
            .clock(Arc::clone(&clock))
            .ids(Ids::seeded(clock, self.seed.wrapping_add(number << 32)))
            .shared_store(Arc::new(faults.clone()))
            .authenticator(tokens);
        let built = walkers::register(builder, &self.journal, &life, idle).build();
        let node = Node {
            runtime: built.await.expect("a node starts on what there is"),
            life,
            faults,
        };
        let before = self.running.lock().insert(name.to_owned(), node.clone());
        assert!(before.is_none(), "one process a name");
        node
    }

    /// A process dies; nobody is told, but its connection is gone.
    pub(crate) fn kill(&self, name: &str) {
        if let Some(node) = self.running.lock().remove(name) {
            node.life.kill();
        }
    }

    /// A process ends as it should.
    pub(crate) async fn stop(&self, name: &str) {
        let node = self.running.lock().remove(name);
        if let Some(node) = node {
            node.runtime.shutdown().await;
            node.life.kill();
        }
    }

    pub(crate) fn node(&self, name: &str) -> Option<Node> {
        self.running.lock().get(name).cloned()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.running.lock().keys().cloned().collect()
    }

    /// The processes that have ended by themselves, because they were declared dead.
    pub(crate) fn fallen(&self) -> Vec<String> {
        let running = self.running.lock();
        let fallen = running
            .iter()
            .filter(|(_, node)| node.runtime.shutting_down().is_cancelled());
        fallen.map(|(name, _)| name.clone()).collect()
    }

    /// Every job there is, as the store has it.
    pub(crate) async fn jobs(&self) -> Vec<JobRow> {
        let query = towline_store::JobQuery {
            limit: 100_000,
            ..Default::default()
        };
        let page = self.store.list_jobs(query).await;
        let mut rows = Vec::new();
        for job in page.expect("the jobs can be listed").jobs {
            let row = self.store.job(&job.id).await;
            rows.extend(row.expect("a job can be read"));
        }
        rows
    }

    /// The records of a job, in order, each with whether it is a terminal one.
    pub(crate) async fn log(&self, job: &JobId) -> Vec<(bool, RawJson)> {
        let blocks = self.store.read_job(job, JobSeq::FIRST, usize::MAX).await;
        let mut records = Vec::new();
        for block in blocks.expect("the log can be read") {
            assert_eq!(block.first().value(), records.len() as u64 + 1);
            let seqs = block.first().value()..=block.last().value();
            let payloads = seqs.filter_map(|seq| block.payload(JobSeq::new(seq)));
            records.extend(payloads.map(|(kind, payload)| (kind.is_terminal(), payload)));
        }
        records
    }

    /// The one session there is, as the store has it.
    pub(crate) async fn session(&self) -> RecoveredSession {
        let found = self.store.recover().await.expect("the store can be read");
        let [session] = &found.sessions[..] else {
            panic!("there are {} sessions", found.sessions.len());
        };
        session.clone()
    }

    /// A client of a node, with one connection and no way to make another.
    pub(crate) async fn client(&self, node: &Node) -> Client {
        let (near, far) = MemoryTransport::pair();
        // It lives by itself.
        drop(node.runtime.accept(far));
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let options = ClientOptions::bearer(TOKEN)
            .clock(Arc::clone(&clock))
            .ids(Ids::seeded(clock, self.seed));
        Client::connect(near, options).await.expect("a session")
    }

    /// Who wrote to a job's log, in its order.
    pub(crate) fn writers(&self, job: &JobId) -> Vec<Incarnation> {
        let hands = self.hands.lock();
        let mut writers: Vec<Incarnation> = hands
            .get(job)
            .into_iter()
            .flat_map(BTreeMap::values)
            .copied()
            .collect();
        writers.dedup();
        writers
    }
}

impl Node {
    /// Asks the node for a job; `None` when it refuses, or does not answer.
    pub(crate) async fn submit(&self, submit: RawJson) -> Option<JobId> {
        let ask = async {
            let token = Some(Secret::new(TOKEN.to_owned()));
            let proven = self
                .runtime
                .prove(Some("Bearer".to_owned()), token, None)
                .await;
            let caller = self.runtime.caller(proven.ok()?, true);
            let job = caller.submit(submit, Default::default()).await.ok()?;
            (!self.life.is_dead()).then_some(job.job_id)
        };
        tokio::time::timeout(Duration::from_secs(8), ask)
            .await
            .ok()
            .flatten()
    }
}

const TOKEN: &str = "the-token-of-alice-in-the-simulation";
