//! Many jobs at once, over connections that break.
//!
//! `TOWLINE_LOAD_SEED=N` throws the same again; `TOWLINE_LOAD_JOBS=N` sets how many jobs each session runs (default 96).

use std::collections::{BTreeMap, VecDeque};

use serde_json::json;
use towline_tests::{
    dice::Dice,
    ledger::Ledger,
    peer::{Left, Peer},
    server::{Serve, Server},
};

use crate::{
    audit::{history, listed, said},
    work::Work,
};

const SESSIONS: usize = 8;
const IN_FLIGHT: usize = 32;

/// [ARCP 8-3, 6.3-3, 6.3-4, 7.3-2] Eight sessions with 32 jobs in flight each, connections dropped at random: every event
/// once, in order, over all jobs of a session, across connections; one terminal each; and a stranger later reads the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_comes_once_in_order_over_broken_connections() {
    let mut dice = Dice::from_env("TOWLINE_LOAD_SEED");
    let jobs = std::env::var("TOWLINE_LOAD_JOBS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(96);
    let server = Serve::demo().start().await;
    let mut sessions = Vec::new();
    for number in 0..SESSIONS {
        sessions.push(Session::new(number, jobs, dice.split()));
    }
    let runs = sessions.into_iter().map(|session| session.run(&server));
    let done = futures_util::future::join_all(runs).await;
    let drops: usize = done.iter().map(|session| session.drops).sum();
    assert!(drops >= SESSIONS, "connections were dropped: {drops}");

    let mut auditor = Peer::open(&server).await;
    let mut count = 0;
    for session in &done {
        for (key, job) in &session.accepted {
            let work = &session.plan[key];
            let (events, terminal) = history(&mut auditor, job).await;
            work.check(&events, &terminal["payload"]);
            let heard: Vec<_> = session.ledger.events(job).iter().map(said).collect();
            assert_eq!(heard, events.iter().map(said).collect::<Vec<_>>(), "{job}");
            assert_eq!(
                session.ledger.terminal(job).map(said),
                Some(said(&terminal)),
                "{job}"
            );
            count += 1;
        }
    }
    assert_eq!(count, SESSIONS * jobs);
    assert_eq!(listed(&server).await.len(), count, "no job ran twice");
}

/// One session and what it has to do.
struct Session {
    number: usize,
    dice: Dice,
    plan: BTreeMap<String, Work>,
    waiting: VecDeque<String>,
    /// Request ids of submits without an answer.
    asked: BTreeMap<String, String>,
    accepted: BTreeMap<String, String>,
    ledger: Ledger,
    drops: usize,
}

impl Session {
    fn new(number: usize, jobs: usize, mut dice: Dice) -> Self {
        let plan: BTreeMap<String, Work> = (0..jobs)
            .map(|job| (format!("{number}-{job}"), Work::any(&mut dice)))
            .collect();
        let waiting = plan.keys().cloned().collect();
        Self {
            number,
            dice,
            plan,
            waiting,
            asked: BTreeMap::new(),
            accepted: BTreeMap::new(),
            ledger: Ledger::default(),
            drops: 0,
        }
    }

    async fn run(mut self, server: &Server) -> Self {
        let mut peer = Peer::open(server).await;
        loop {
            let reads = 1 + self.dice.below(800);
            if self.converse(&mut peer, reads).await {
                self.ledger = peer.lose().ledger;
                return self;
            }
            self.drops += 1;
            let left: Left = peer.lose();
            peer = Peer::resume(server, left).await;
            // What was asked and not answered is asked again; the key makes it the same job.
            for key in std::mem::take(&mut self.asked).into_values() {
                self.waiting.push_front(key);
            }
        }
    }

    /// Submits and reads so many envelopes; whether all is done.
    async fn converse(&mut self, peer: &mut Peer, reads: u64) -> bool {
        for _ in 0..reads {
            while self.in_flight(peer) < IN_FLIGHT && !self.waiting.is_empty() {
                let key = self.waiting.pop_front().unwrap_or_default();
                let id = peer
                    .request("job.submit", self.plan[&key].submit(&key))
                    .await;
                self.asked.insert(id, key);
            }
            if self.in_flight(peer) == 0 && self.waiting.is_empty() {
                return true;
            }
            let envelope = peer.next().await;
            if envelope["type"] == "session.ping" {
                peer.request(
                    "session.pong",
                    json!({"ping_nonce": envelope["payload"]["nonce"]}),
                )
                .await;
            }
            assert_ne!(
                envelope["type"], "session.error",
                "{}: {envelope}",
                self.number
            );
            let request = envelope["payload"]["request_id"]
                .as_str()
                .unwrap_or_default();
            if let Some(key) = self.asked.remove(request) {
                let job = envelope["job_id"].as_str().unwrap_or_default().to_owned();
                let known = self.accepted.insert(key, job.clone());
                assert!(
                    known.is_none_or(|known| known == job),
                    "one key, one job: {envelope}"
                );
            }
        }
        false
    }

    fn in_flight(&self, peer: &Peer) -> usize {
        self.asked.len()
            + self
                .accepted
                .values()
                .filter(|job| peer.terminal(job).is_none())
                .count()
    }
}
