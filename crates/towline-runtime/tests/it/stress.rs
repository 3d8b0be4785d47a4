//! Many sessions, many jobs, connections that drop and stores that fail (§8.3).

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};
use towline_runtime::{AgentError, JobContext, Runtime, RuntimeOptions};
use towline_store::{
    EventStore, MemoryStore, StoreError,
    testing::{Fault, FaultStore},
};
use towline_wire::JobSeq;

use crate::{
    agents::Valve,
    peer::{ALICE, BOB, Peer, QUIET, hello, pass, runtime},
};

/// xorshift: the same run for the same seed.
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Emits a number of events, in bursts and with rests; fails, succeeds or streams.
async fn busy(ctx: JobContext, input: Value) -> Result<Value, AgentError> {
    let mut random = Random(input["seed"].as_u64().unwrap_or(1) | 1);
    for line in 0..random.below(40) {
        match random.below(4) {
            0 => ctx.progress(u32::try_from(line)?).send().await?,
            1 => tokio::time::sleep(Duration::from_millis(random.below(40))).await,
            _ => ctx.log("info", format!("line {line}")).await?,
        }
    }
    match random.below(3) {
        0 => Err(AgentError::new(
            towline_wire::ErrorCode::PERMISSION_DENIED,
            "no",
        )),
        1 => {
            let mut result = ctx.stream_result()?;
            result.write_text("streamed").await?;
            result.finish(None).await?;
            Ok(Value::Null)
        }
        _ => Ok(json!(1)),
    }
}

/// What one client has received, over all its connections.
#[derive(Default)]
struct Received {
    last: u64,
    jobs: BTreeMap<String, Vec<(u64, Value)>>,
    ended: usize,
    accepted: HashSet<String>,
}

impl Received {
    fn take(&mut self, frame: &Value) {
        if frame["type"] == "job.accepted" {
            self.accepted
                .insert(frame["job_id"].as_str().unwrap().to_owned());
        }
        let Some(seq) = frame["event_seq"].as_u64() else {
            return;
        };
        assert_eq!(seq, self.last + 1, "every number once and in order");
        self.last = seq;
        let job = frame["job_id"].as_str().unwrap();
        assert!(self.accepted.contains(job), "accepted comes before events");
        let events = self.jobs.entry(job.to_owned()).or_default();
        let ended = events
            .last()
            .is_some_and(|(_, payload)| payload.get("final_status").is_some());
        assert!(!ended, "nothing follows a terminal");
        events.push((frame["job_seq"].as_u64().unwrap(), frame["payload"].clone()));
        self.ended += usize::from(frame["payload"].get("final_status").is_some());
    }
}

/// One client: submits its jobs, drops its connection now and then, takes its session up from what it has, to the last terminal.
async fn client(runtime: Runtime, number: u64, jobs: usize, mut random: Random) -> Received {
    let token = if number.is_multiple_of(2) { ALICE } else { BOB };
    let features: Vec<&str> = QUIET
        .iter()
        .copied()
        .filter(|feature| number % 4 < 2 || *feature != "progress")
        .collect();
    let mut peer = connected(&runtime, "session.hello", hello(token, &features), 0).await;
    let mut received = Received::default();
    let mut submitted = 0;
    while received.ended < jobs {
        if submitted < jobs && random.below(3) == 0 {
            let key = format!("{number}-{submitted}");
            let input = json!({"seed": random.below(1 << 40)});
            peer.send(
                "job.submit",
                json!({"agent": "busy", "input": input, "idempotency_key": key}),
            )
            .await;
            submitted += 1;
            // Dropped only after the answer, so that the client knows what it has submitted.
            while received.accepted.len() < submitted {
                let frame = peer.next().await;
                if frame["type"] == "session.error" {
                    assert_eq!(frame["payload"]["code"], "INTERNAL_ERROR");
                    submitted -= 1;
                }
                received.take(&frame);
            }
        }
        match random.below(30) {
            0 => {
                let superseding = random.below(2) == 0;
                let token = peer.token.clone();
                let old = if superseding {
                    Some(peer)
                } else {
                    drop(peer);
                    None
                };
                let resume = json!({"resume_token": token, "last_event_seq": received.last});
                peer = connected(&runtime, "session.resume", resume, received.last).await;
                drop(old);
            }
            1 => drop(
                peer.send("session.ack", json!({"last_processed_seq": received.last}))
                    .await,
            ),
            2 => pass(0.01).await,
            _ => {
                let wait = Duration::from_millis(random.below(30));
                if let Ok(frame) = tokio::time::timeout(wait, peer.try_next()).await {
                    received.take(&frame.expect("the connection stands"));
                }
            }
        }
    }
    received
}

/// Tries until it is welcome: a store that fails refuses for the moment.
async fn connected(runtime: &Runtime, kind: &str, payload: Value, last: u64) -> Peer {
    loop {
        let mut peer = Peer::raw(runtime);
        peer.last = last;
        peer.send(kind, payload.clone()).await;
        let answer = peer.next().await;
        if answer["type"] == "session.welcome" {
            peer.token = answer["payload"]["resume_token"]
                .as_str()
                .unwrap()
                .to_owned();
            return peer;
        }
        assert_eq!(answer["payload"]["code"], "INTERNAL_ERROR", "{answer}");
    }
}

/// Each job's events are what its log holds, as far as the client's features show it.
async fn compare(store: &dyn EventStore, received: &Received, sees_progress: bool) {
    for (job, events) in &received.jobs {
        let blocks = store
            .read_job(&job.parse().unwrap(), JobSeq::FIRST, usize::MAX)
            .await
            .unwrap();
        let mut log = Vec::new();
        for block in blocks {
            for seq in block.first().value()..=block.last().value() {
                let (_, payload) = block.payload(JobSeq::new(seq)).unwrap();
                let mut payload: Value = payload.read().unwrap();
                if payload.get("final_status").is_some() {
                    // The log is the job's; a frame says whose it is.
                    payload["job_id"] = serde_json::json!(job);
                }
                if sees_progress || payload["kind"] != "progress" {
                    log.push((seq, payload));
                }
            }
        }
        assert_eq!(*events, log, "{job}");
    }
}

async fn run(seed: u64, clients: u64, jobs: usize, store: Arc<dyn EventStore>) {
    let options = RuntimeOptions::default().tail_bytes(600);
    let built = runtime()
        .options(options)
        .shared_store(store.clone())
        .agent("busy", busy);
    let runtime = built.build().await.unwrap();
    let mut running = Vec::new();
    for number in 0..clients {
        let random = Random((seed + 1) * 7919 + number * 104_729 + 1);
        running.push(tokio::spawn(client(runtime.clone(), number, jobs, random)));
    }
    for (number, client) in running.into_iter().enumerate() {
        let received = client
            .await
            .unwrap_or_else(|failure| panic!("seed {seed}, client {number}: {failure}"));
        assert_eq!(received.jobs.len(), jobs);
        compare(store.as_ref(), &received, number % 4 < 2).await;
    }
    pass(1.0).await;
    assert_eq!((runtime.live_jobs(), runtime.attached_sessions()), (0, 0));
}

/// [ARCP 8-3, 6.3-3, 7.3-2] eight sessions with 32 jobs each, whose connections drop at random: every event once, in order, one
/// terminal a job, exactly as the log has it.
#[tokio::test(start_paused = true)]
async fn dropped_connections() {
    for seed in 0..4 {
        run(seed, 8, 32, Arc::new(MemoryStore::new())).await;
    }
}

/// [ARCP 8-3, 7.2-1] the same with a store whose commits fail at random: what was refused for it is tried again.
#[tokio::test(start_paused = true)]
async fn dropped_connections_and_failing_commits() {
    for seed in 0..4 {
        let disk = FaultStore::new(MemoryStore::new());
        disk.randomly(seed + 1, 5);
        run(seed, 4, 16, Arc::new(disk)).await;
    }
}

/// [ARCP 8-3] the same on several threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn dropped_connections_on_threads() {
    run(100, 8, 32, Arc::new(MemoryStore::new())).await;
}

/// [ARCP 8-3, 7.1-2] commits that fail and are tried again: nothing is sent twice, nothing is lost.
#[tokio::test(start_paused = true)]
async fn failing_commits() {
    for seed in 0..6 {
        let disk = FaultStore::new(MemoryStore::new());
        let valves = [Valve::new(), Valve::new(), Valve::new()];
        let built = runtime()
            .shared_store(Arc::new(disk.clone()))
            .agent("one", valves[0].agent());
        let runtime = built
            .agent("two", valves[1].agent())
            .agent("three", valves[2].agent())
            .build()
            .await
            .unwrap();
        let mut peer = Peer::open(&runtime, ALICE, QUIET).await;
        let mut watcher = Peer::open(&runtime, ALICE, QUIET).await;
        let mut jobs = Vec::new();
        for agent in ["one", "two", "three"] {
            let job = peer.start(json!({"agent": agent})).await;
            watcher.ask("job.subscribe", json!({"job_id": job})).await;
            jobs.push(job);
        }
        disk.randomly(seed + 1, 3);
        let mut random = Random(seed * 31 + 7);
        for _ in 0..200 {
            valves[random.below(3) as usize].open(random.below(5) as usize);
            pass(0.01).await;
        }
        valves.iter().for_each(Valve::shut);
        for peer in [&mut peer, &mut watcher] {
            let mut logs: BTreeMap<String, Vec<u64>> = BTreeMap::new();
            let mut ended = 0;
            while ended < 3 {
                let frame = peer.next().await;
                ended += usize::from(frame["payload"].get("final_status").is_some());
                logs.entry(frame["job_id"].as_str().unwrap().to_owned())
                    .or_default()
                    .push(frame["job_seq"].as_u64().unwrap());
            }
            for (job, seqs) in logs {
                let first = seqs[0];
                assert_eq!(
                    seqs,
                    (first..first + seqs.len() as u64).collect::<Vec<_>>(),
                    "{job}"
                );
            }
            peer.expect_silence().await;
        }
    }
}

/// What is in the store at a moment, by session: the last number of its stream.
async fn numbers(store: &MemoryStore) -> HashMap<String, u64> {
    let recovered = store.recover().await.unwrap();
    recovered
        .sessions
        .into_iter()
        .map(|session| (session.row.id.to_string(), session.last.value()))
        .collect()
}

/// [ARCP 8-3, 7.1-2] nothing is sent that is not committed: whatever a client has seen, the store has, at every moment.
#[tokio::test(start_paused = true)]
async fn nothing_is_sent_before_its_commit() {
    let disk = FaultStore::new(MemoryStore::new());
    let valve = Valve::new();
    let runtime = runtime()
        .shared_store(Arc::new(disk.clone()))
        .agent("valve", valve.agent())
        .build()
        .await
        .unwrap();
    let mut peer = Peer::open(&runtime, ALICE, QUIET).await;
    peer.start(json!({"agent": "valve"})).await;
    disk.every_commit(Some(Fault::Delay(Duration::from_millis(70))));
    for round in 0..20 {
        valve.open(3);
        let mut got = 0;
        while got < 3 {
            peer.expect_event("log").await;
            got += 1;
            assert!(
                numbers(disk.inner()).await[&peer.session] >= peer.last,
                "round {round}"
            );
        }
    }
    for fault in [Fault::Hang, Fault::Fail(StoreError::Full("test".into()))] {
        disk.every_commit(Some(fault));
        valve.open(50);
        peer.expect_silence().await;
        disk.every_commit(None);
        disk.release();
        for _ in 0..50 {
            peer.expect_event("log").await;
        }
        peer.expect_silence().await;
    }
}
