//! A store that breaks its word or will not have something: who suffers, and who does not.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use towline_env::{Clock, TokioClock};
use towline_runtime::{AgentError, JobContext, Runtime, RuntimeOptions};
use towline_store::{
    Batch, Change, EventStore, Incarnation, JobQuery, MemoryStore, StoreError,
    testing::{Fault, FaultStore},
};
use towline_wire::JobStatus;

use crate::{
    agents::{Valve, lines},
    peer::{NOON, Peer, job_seqs, kinds, pass, runtime},
};

type Disk = FaultStore<MemoryStore>;

fn failed() -> StoreError {
    StoreError::Failed("test".into())
}

async fn with(disk: &Disk, valve: &Valve) -> Runtime {
    runtime()
        .shared_store(Arc::new(disk.clone()))
        .agent("lines", lines())
        .agent("valve", valve.agent())
        .build()
        .await
        .unwrap()
}

/// [ARCP 8-3, 7.3-2] a commit that was applied and said to have failed counts, whichever it is: a job that was accepted is
/// accepted, no event comes twice, nothing waits for ever.
#[tokio::test(start_paused = true)]
async fn a_commit_said_to_have_failed() {
    for number in 1..=12 {
        let (disk, valve) = (FaultStore::new(MemoryStore::new()), Valve::new());
        let runtime = with(&disk, &valve).await;
        let mut watcher = Peer::alice(&runtime).await;
        let mut alice = Peer::alice(&runtime).await;
        disk.commit_number(disk.commits() + number, Fault::Applied(failed()));
        let job = alice.start(json!({"agent": "valve"})).await;
        let request = json!({"job_id": job, "history": true});
        watcher.ask("job.subscribe", request).await;
        for _ in 0..4 {
            valve.open(1);
            pass(1.0).await;
        }
        valve.shut();
        let frames = alice.until_end(&job).await;
        assert_eq!(job_seqs(&frames), [2, 3, 4, 5, 6], "commit {number}");
        let frames = watcher.until_end(&job).await;
        assert_eq!(job_seqs(&frames), [1, 2, 3, 4, 5, 6], "commit {number}");
        let next = alice
            .start(json!({"agent": "lines", "input": {"n": 3}}))
            .await;
        assert_eq!(job_seqs(&alice.until_end(&next).await), [2, 3, 4, 5]);
    }
}

/// Whether a batch has a record with these words.
fn says(batch: &Batch, words: &str) -> bool {
    batch.changes.iter().any(|change| match change {
        Change::Block(block) => block.text().contains(words),
        _ => false,
    })
}

async fn two_jobs(disk: &Disk) -> (Runtime, Peer, Peer, String, String, Valve) {
    let valve = Valve::new();
    let runtime = runtime()
        .shared_store(Arc::new(disk.clone()))
        .agent("valve", valve.agent())
        .agent("lines", lines())
        .agent("poison", |ctx: JobContext, _input: Value| async move {
            for _ in 0..100 {
                ctx.log("info", "poison").await?;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Ok::<_, AgentError>(Value::Null)
        })
        .build()
        .await
        .unwrap();
    let (mut alice, mut bob) = (Peer::alice(&runtime).await, Peer::bob(&runtime).await);
    let good = bob.start(json!({"agent": "valve"})).await;
    let bad = alice.submit(json!({"agent": "poison"})).await;
    for _ in 0..20 {
        valve.open(1);
        pass(0.01).await;
    }
    (runtime, alice, bob, good, bad, valve)
}

/// [ARCP 12-2] what the store will not have of one job ends that job, with an error, and nobody else's.
#[tokio::test(start_paused = true)]
async fn a_job_whose_events_are_refused() {
    for error in [
        StoreError::Rejected("test".into()),
        StoreError::Corrupt("test".into()),
    ] {
        let disk = FaultStore::new(MemoryStore::new());
        disk.judge(move |batch| says(batch, "poison").then(|| error.clone()));
        let (_runtime, mut alice, mut bob, good, bad, valve) = two_jobs(&disk).await;
        let frames = alice.until_end(&bad).await;
        assert_eq!(kinds(&frames), ["status", "job.error"]);
        let end = &frames[1]["payload"];
        assert_eq!(end["code"], "INTERNAL_ERROR");
        assert_eq!(end["details"]["reason"], "events_refused");
        valve.shut();
        let frames = bob.until_end(&good).await;
        assert_eq!(job_seqs(&frames), (2..=22).collect::<Vec<_>>());
        let next = alice
            .start(json!({"agent": "lines", "input": {"n": 2}}))
            .await;
        assert_eq!(job_seqs(&alice.until_end(&next).await), [2, 3, 4]);
    }
}

/// A job of which the store will not even have the end is let go, and nobody waits for it.
#[tokio::test(start_paused = true)]
async fn a_job_of_which_nothing_is_taken() {
    let disk = FaultStore::new(MemoryStore::new());
    disk.judge(|batch| {
        let refused = says(batch, "poison") || says(batch, "events_refused");
        refused.then(|| StoreError::Rejected("test".into()))
    });
    let (runtime, _alice, mut bob, good, _bad, valve) = two_jobs(&disk).await;
    valve.shut();
    assert_eq!(bob.until_end(&good).await.len(), 21);
    let next = bob
        .start(json!({"agent": "lines", "input": {"n": 2}}))
        .await;
    bob.until_end(&next).await;
    pass(1.0).await;
    assert_eq!(runtime.live_jobs(), 0);
}

/// [ARCP 12-2] of many submits that become one commit the one that the store will not have is refused, and it alone: the
/// others are accepted, their jobs run, and finding it takes few commits.
#[tokio::test(start_paused = true)]
async fn one_submit_among_many_is_refused_alone() {
    for bad in [0, 17, 63] {
        let (disk, valve) = (FaultStore::new(MemoryStore::new()), Valve::new());
        disk.judge(|batch| {
            let uses =
                |change: &Change| matches!(change, Change::Idempotency(row) if row.key == "bad");
            let refused = batch.changes.iter().any(uses);
            refused.then(|| StoreError::Rejected("test".into()))
        });
        let runtime = with(&disk, &valve).await;
        let mut peers = Vec::new();
        for _ in 0..8 {
            peers.push(Peer::alice(&runtime).await);
        }
        // What comes while a commit hangs is one transaction.
        disk.next_commit(Fault::Hang);
        let first = json!({"agent": "valve"});
        peers[0].send("job.submit", first).await;
        pass(0.1).await;
        let mut requests = Vec::new();
        for number in 0..64 {
            let key = if number == bad {
                "bad".to_owned()
            } else {
                format!("key {number}")
            };
            let submit = json!({"agent": "valve", "idempotency_key": key});
            let peer = &mut peers[number / 8];
            requests.push(peer.send("job.submit", submit).await);
        }
        pass(0.1).await;
        let before = disk.commits();
        disk.release();
        pass(10.0).await;
        assert_eq!(runtime.live_jobs(), 64, "all but one, and the first");
        let commits = disk.commits() - before;
        assert!(commits < 40, "{commits} commits");
        let mut replies: Vec<Vec<Value>> = Vec::new();
        for peer in &mut peers {
            replies.push(peer.drain(Duration::from_secs(1)).await);
        }
        for (number, request) in requests.iter().enumerate() {
            let kind = if number == bad {
                "session.error"
            } else {
                "job.accepted"
            };
            assert_eq!(
                reply(&replies[number / 8], request)["type"],
                kind,
                "submit {number}"
            );
        }
    }
}

fn reply<'a>(frames: &'a [Value], request: &str) -> &'a Value {
    let found = frames
        .iter()
        .find(|frame| frame["payload"]["request_id"] == request);
    found.unwrap_or_else(|| panic!("no reply to {request}"))
}

/// [ARCP 7.1-2, 7.6-1, 8-3] what was decided in a transaction that another's fault spoiled is decided anew: a watcher has every
/// event once, and after the answer.
#[tokio::test(start_paused = true)]
async fn what_stood_beside_a_refused_submit_is_decided_anew() {
    let (disk, valve) = (FaultStore::new(MemoryStore::new()), Valve::new());
    disk.judge(|batch| {
        let uses = |change: &Change| matches!(change, Change::Idempotency(_));
        let refused = batch.changes.iter().any(uses);
        refused.then(|| StoreError::Rejected("test".into()))
    });
    let runtime = with(&disk, &valve).await;
    let mut alice = Peer::alice(&runtime).await;
    let mut watcher = Peer::alice(&runtime).await;
    let watched = alice.start(json!({"agent": "valve"})).await;
    disk.next_commit(Fault::Hang);
    valve.open(1);
    pass(0.1).await;
    // All this is one transaction: an event, a subscription, the bad submit, and an event again.
    valve.open(1);
    let history = json!({"job_id": watched, "history": true});
    let asked = watcher.send("job.subscribe", history).await;
    let bad = alice
        .send(
            "job.submit",
            json!({"agent": "valve", "idempotency_key": "bad"}),
        )
        .await;
    pass(0.1).await;
    valve.open(1);
    pass(0.1).await;
    disk.release();
    pass(1.0).await;
    valve.shut();
    let frames = watcher.drain(Duration::from_secs(1)).await;
    assert_eq!(
        reply(&frames[..1], &asked)["type"],
        "job.subscribed",
        "{frames:?}"
    );
    assert_eq!(job_seqs(&frames[1..]), [1, 2, 3, 4, 5]);
    let frames = alice.drain(Duration::from_secs(1)).await;
    assert_eq!(reply(&frames, &bad)["type"], "session.error");
    assert_eq!(job_seqs(&frames), [2, 3, 4, 5]);
}

/// [ARCP 4-7, 6.7-3] a runtime whose store belongs to another one, or has forgotten what it acknowledged, falls: agents and
/// connections end, nobody comes in, and nothing is committed or promised any more. Its jobs stay as they are, for whoever has
/// them now.
#[tokio::test(start_paused = true)]
async fn a_runtime_that_lost_its_store_falls() {
    let rewound = StoreError::Rewound {
        acknowledged: 9,
        found: 3,
    };
    for error in [StoreError::Fenced(Incarnation::new(7)), rewound] {
        let (disk, stopped) = (
            FaultStore::new(MemoryStore::new()),
            Arc::new(AtomicUsize::new(0)),
        );
        let count = Arc::clone(&stopped);
        let runtime = runtime()
            .shared_store(Arc::new(disk.clone()))
            .agent("waits", move |ctx: JobContext, _input: Value| {
                let count = Arc::clone(&count);
                async move {
                    ctx.cancelled().await;
                    count.fetch_add(1, Ordering::Relaxed);
                    Ok::<_, AgentError>(Value::Null)
                }
            })
            .build()
            .await
            .unwrap();
        let (mut alice, mut bob) = (Peer::alice(&runtime).await, Peer::bob(&runtime).await);
        let job = alice.start(json!({"agent": "waits"})).await;
        disk.next_commit(Fault::Fail(error));
        let request = alice.send("job.submit", json!({"agent": "waits"})).await;
        pass(1.0).await;
        let commits = disk.commits();
        let frames = alice.drain(Duration::from_secs(1)).await;
        assert_eq!(reply(&frames, &request)["type"], "session.error");
        assert_eq!(alice.expect_close().await, 1001);
        assert_eq!(bob.drain(Duration::from_secs(1)).await.len(), 1);
        assert_eq!(bob.expect_close().await, 1001);
        assert_eq!(stopped.load(Ordering::Relaxed), 1);
        let mut late = Peer::raw(&runtime);
        assert_eq!(late.expect_close().await, 1001);
        pass(100.0).await;
        assert_eq!(disk.commits(), commits, "nothing is committed any more");
        let kept = disk.inner().job(&job.parse().unwrap()).await.unwrap();
        assert_eq!(kept.unwrap().state.status, JobStatus::Running);
    }
}

/// [ARCP 4-7] also a runtime that has nothing to commit falls when its store says that others have it.
#[tokio::test(start_paused = true)]
async fn an_idle_runtime_hears_that_it_lost_its_store() {
    let disk = FaultStore::new(MemoryStore::new());
    let runtime = runtime().shared_store(Arc::new(disk.clone()));
    let runtime = runtime.build().await.unwrap();
    let mut alice = Peer::alice(&runtime).await;
    pass(1.0).await;
    let commits = disk.commits();
    disk.fall(StoreError::Fenced(Incarnation::new(7)));
    alice.drain(Duration::from_secs(1)).await;
    assert_eq!(alice.expect_close().await, 1001);
    pass(100.0).await;
    assert_eq!(disk.commits(), commits, "nothing is committed any more");
}

/// Agents wait when all of them together have more waiting than they may, however little each has.
#[tokio::test(start_paused = true)]
async fn what_all_jobs_have_waiting_is_bounded() {
    let (disk, said) = (
        FaultStore::new(MemoryStore::new()),
        Arc::new(AtomicUsize::new(0)),
    );
    let counted = Arc::clone(&said);
    let runtime = runtime()
        .options(RuntimeOptions::default().node_pending_bytes(1 << 20))
        .shared_store(Arc::new(disk.clone()))
        .agent("talks", move |ctx: JobContext, _input: Value| {
            let said = Arc::clone(&counted);
            async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                for _ in 0..40 {
                    ctx.log("info", "x".repeat(50 << 10)).await?;
                    said.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<_, AgentError>(Value::Null)
            }
        })
        .build()
        .await
        .unwrap();
    let mut peers = Vec::new();
    for _ in 0..8 {
        let mut peer = Peer::alice(&runtime).await;
        peer.submit(json!({"agent": "talks"})).await;
        peers.push(peer);
    }
    disk.every_commit(Some(Fault::Hang));
    pass(5.0).await;
    let waiting = said.load(Ordering::Relaxed);
    assert!((1..=60).contains(&waiting), "{waiting} lines of 50 KiB");
    disk.every_commit(None);
    disk.release();
    pass(60.0).await;
    assert_eq!(said.load(Ordering::Relaxed), 320);
    assert_eq!(runtime.live_jobs(), 0);
}

async fn life(disk: &Disk, clock: &Arc<TokioClock>, keeps: bool) -> Runtime {
    let agent = move |ctx: JobContext, _input: Value| async move {
        ctx.log("info", format!("run {}", ctx.attempt())).await?;
        if keeps {
            ctx.checkpoint(ctx.attempt()).await?;
        }
        std::future::pending::<()>().await;
        Ok::<_, AgentError>(Value::Null)
    };
    runtime()
        .clock(Arc::clone(clock) as Arc<dyn Clock>)
        .shared_store(Arc::new(disk.clone()))
        .restartable_agent("stays", agent)
        .build()
        .await
        .unwrap()
}

/// One for all lives.
fn clock() -> Arc<TokioClock> {
    Arc::new(TokioClock::starting_at(NOON.parse().unwrap()))
}

/// The runtime dies: of what it still does nothing reaches the disk.
fn die(disk: Disk) -> Disk {
    disk.every_commit(Some(Fault::Hang));
    FaultStore::sharing(Arc::clone(disk.inner()))
}

/// [ARCP 7.3-4] a job that was running each time its runtime died is not run for ever; one that gets somewhere is.
#[tokio::test(start_paused = true)]
async fn restarted_too_often() {
    for keeps in [false, true] {
        let (mut disk, clock) = (FaultStore::new(MemoryStore::new()), clock());
        let mut runtime = life(&disk, &clock, keeps).await;
        let mut alice = Peer::alice(&runtime).await;
        let job = alice.start(json!({"agent": "stays"})).await;
        for _ in 1..=3 {
            pass(1.0).await;
            drop(runtime);
            disk = die(disk);
            runtime = life(&disk, &clock, keeps).await;
        }
        pass(1.0).await;
        let query = JobQuery {
            limit: 1,
            ..JobQuery::default()
        };
        let row = disk.list_jobs(query).await.unwrap().jobs.remove(0);
        assert_eq!(row.id.as_str(), job);
        let state = row.state;
        if keeps {
            assert_eq!((state.status, state.attempt), (JobStatus::Running, 4));
            assert_eq!(state.progressed, 4);
            continue;
        }
        assert_eq!((state.status, state.attempt), (JobStatus::Error, 3));
        let log = disk.read_job(&row.id, state.last_seq, 1).await.unwrap();
        assert!(
            log[0].text().contains(r#""reason":"restarted_too_often""#),
            "{}",
            log[0].text()
        );
    }
}

/// [ARCP 7.3-3] the time a job may run counts from its first run, through restarts.
#[tokio::test(start_paused = true)]
async fn a_restart_gives_no_more_time() {
    let (disk, clock) = (FaultStore::new(MemoryStore::new()), clock());
    let first = life(&disk, &clock, false).await;
    let mut alice = Peer::alice(&first).await;
    alice
        .start(json!({"agent": "stays", "max_runtime_sec": 10}))
        .await;
    pass(6.0).await;
    let disk = die(disk);
    let second = life(&disk, &clock, false).await;
    pass(3.0).await;
    assert_eq!(second.live_jobs(), 1);
    pass(8.0).await;
    assert_eq!(second.live_jobs(), 0);
    let query = JobQuery {
        limit: 1,
        ..JobQuery::default()
    };
    let row = disk.list_jobs(query).await.unwrap().jobs.remove(0);
    assert_eq!(row.state.status, JobStatus::TimedOut);
}
