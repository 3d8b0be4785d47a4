//! Three nodes on one store, of which each may be killed, cut off or ended at any time, as a seed decides.
//!
//! Sessions stay where they are: clients here are callers without a connection. What is judged is what becomes of jobs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use towline_store::{EventStore, JobRow, RecoveredSession, StoreError, testing::Fault};
use towline_tests::dice::Dice;
use towline_wire::{JobId, JobStatus, Lease, RawJson};

use crate::{
    nodes::{Node, Nodes},
    storms::seeds,
    virtual_time,
    walkers::{Deed, Entry},
};

const NAMES: [&str; 3] = ["a", "b", "c"];

/// What was acknowledged: the jobs that each key was said to stand for.
type Acknowledged = Arc<Mutex<BTreeMap<u64, BTreeSet<JobId>>>>;

/// Jobs of different kinds, the same for the same key.
fn errand(key: u64) -> RawJson {
    let mut dice = Dice::new(key);
    let agent = ["walker", "stroller", "family", "walker"][dice.below(4) as usize];
    let input = json!({ "n": 1 + dice.below(9), "pause_ms": dice.below(1500) });
    let lease = json!({
        "tool.call": ["step"],
        "cost.budget": ["USD:0.80"],
        "agent.delegate": ["walker"],
    });
    let submit = json!({
        "agent": agent,
        "input": input,
        "lease_request": lease,
        "idempotency_key": format!("key {key}"),
    });
    RawJson::of(&submit).expect("good JSON")
}

fn walk(n: u64, pause_ms: u64) -> RawJson {
    let submit = json!({
        "agent": "walker",
        "input": { "n": n, "pause_ms": pause_ms },
        "lease_request": { "tool.call": ["step"] },
    });
    RawJson::of(&submit).expect("good JSON")
}

/// Runs three nodes through what a seed decides, to a quiet end, and judges what they did.
fn storm(seed: u64) {
    virtual_time(&again(seed), weather(seed));
}

fn again(seed: u64) -> String {
    format!("seed {seed} (TOWLINE_SIM_SEED={seed} runs it alone)")
}

async fn weather(seed: u64) {
    let mut dice = Dice::new(seed);
    let nodes = Nodes::new(seed);
    for name in NAMES {
        nodes.start(name).await;
    }
    let acknowledged = Acknowledged::default();
    let errands = tokio::spawn(run_errands(
        Arc::clone(&nodes),
        dice.split(),
        Arc::clone(&acknowledged),
    ));
    for _ in 0..4 + dice.below(12) {
        sleep(Duration::from_millis(200 + dice.below(5000))).await;
        befall(&nodes, &mut dice).await;
        restart_fallen(&nodes).await;
    }
    errands.await.expect("the errands are run");
    heal(&nodes).await;
    settle(&nodes, seed).await;
    let acknowledged = acknowledged.lock().clone();
    judge(&nodes, &acknowledged, seed).await;
}

async fn run_errands(nodes: Arc<Nodes>, mut dice: Dice, acknowledged: Acknowledged) {
    let mut asking = Vec::new();
    for _ in 0..10 + dice.below(30) {
        sleep(Duration::from_millis(dice.below(1500))).await;
        let key = dice.below(16);
        let name = NAMES[dice.below(3) as usize];
        let Some(node) = nodes.node(name) else {
            continue;
        };
        let acknowledged = Arc::clone(&acknowledged);
        asking.push(tokio::spawn(async move {
            if let Some(job) = node.submit(errand(key)).await {
                acknowledged.lock().entry(key).or_default().insert(job);
            }
        }));
    }
    for asked in asking {
        asked.await.expect("a submit ends by itself");
    }
}

/// One misfortune.
async fn befall(nodes: &Arc<Nodes>, dice: &mut Dice) {
    let name = NAMES[dice.below(3) as usize];
    let Some(node) = nodes.node(name) else {
        nodes.start(name).await;
        return;
    };
    match dice.below(8) {
        0 => nodes.kill(name),
        1 => {
            nodes.kill(name);
            sleep(Duration::from_millis(dice.below(500))).await;
            nodes.start(name).await;
        }
        2 => nodes.stop(name).await,
        3 | 4 => {
            node.life.cut_off(true);
            let span = Duration::from_millis(500 + dice.below(20_000));
            tokio::spawn(async move {
                sleep(span).await;
                node.life.cut_off(false);
            });
        }
        _ => {
            for _ in 0..1 + dice.below(6) {
                let fault = match dice.below(4) {
                    0 => Fault::Fail(StoreError::Full("a test".into())),
                    1 | 2 => Fault::Applied(StoreError::Failed("a test".into())),
                    _ => Fault::Delay(Duration::from_millis(dice.below(9000))),
                };
                let commit = node.faults.commits() + 1 + dice.below(30);
                node.faults.commit_number(commit, fault);
            }
        }
    }
}

/// Whoever is declared dead ends, and is started again.
async fn restart_fallen(nodes: &Nodes) {
    for name in nodes.fallen() {
        nodes.kill(&name);
        nodes.start(&name).await;
    }
}

async fn heal(nodes: &Nodes) {
    for name in NAMES {
        match nodes.node(name) {
            Some(node) => node.life.cut_off(false),
            None => drop(nodes.start(name).await),
        }
    }
}

/// Waits until every job has ended.
async fn settle(nodes: &Nodes, seed: u64) {
    let healed = Instant::now();
    loop {
        restart_fallen(nodes).await;
        let jobs = nodes.jobs().await;
        let left: Vec<_> = jobs
            .iter()
            .filter(|row| !row.state.status.is_terminal())
            .map(|row| (&row.id, row.state.status))
            .collect();
        if left.is_empty() {
            return;
        }
        let waited = healed.elapsed();
        assert!(
            waited < PATIENCE,
            "{}: {left:?} go on after {waited:?}",
            again(seed)
        );
        sleep(Duration::from_millis(250)).await;
    }
}

async fn judge(nodes: &Nodes, acknowledged: &BTreeMap<u64, BTreeSet<JobId>>, seed: u64) {
    let mut faults = Vec::new();
    let jobs = nodes.jobs().await;
    for row in &jobs {
        judge_log(nodes, row, &mut faults).await;
    }
    judge_costs(nodes, &jobs, &mut faults).await;
    for (job, entries) in nodes.journal.all() {
        judge_attempts(&job, &entries, &mut faults);
    }
    // (a part of 21-3) (a part of 21-4)
    for (key, named) in acknowledged {
        let there = named
            .iter()
            .all(|job| jobs.iter().any(|row| row.id == *job));
        if named.len() != 1 || !there {
            faults.push(format!("key {key} stands for {named:?}"));
        }
    }
    let mut told = again(seed);
    for fault in faults.iter().take(20) {
        let _ = write!(told, "\n- {fault}");
    }
    assert!(faults.is_empty(), "{told}\n({} faults)", faults.len());
}

/// A log is dense (reading it says so), has one terminal, which is last (a part of 21-2), and nobody wrote to it who had lost it
/// (a part of 21-7).
async fn judge_log(nodes: &Nodes, row: &JobRow, faults: &mut Vec<String>) {
    let job = &row.id;
    let log = nodes.log(job).await;
    let ends: Vec<_> = (1..)
        .zip(&log)
        .filter(|(_, record)| record.0)
        .map(|(at, _)| at)
        .collect();
    if ends != [log.len()] || row.state.last_seq.value() != log.len() as u64 {
        faults.push(format!("{job}: {} records, ends at {ends:?}", log.len()));
    }
    let writers = nodes.writers(job);
    let different: BTreeSet<_> = writers.iter().collect();
    if different.len() != writers.len() {
        faults.push(format!("{job} was written by {writers:?}"));
    }
}

/// What was counted passes the cap of a tree by no more than what was permitted when it was reached (a part of 21-6).
async fn judge_costs(nodes: &Nodes, jobs: &[JobRow], faults: &mut Vec<String>) {
    let parents: BTreeMap<_, _> = jobs
        .iter()
        .map(|row| (&row.id, row.parent.as_ref()))
        .collect();
    let mut cents: BTreeMap<&JobId, u64> = BTreeMap::new();
    let mut sizes: BTreeMap<&JobId, u64> = BTreeMap::new();
    for row in jobs {
        let mut root = &row.id;
        while let Some(Some(parent)) = parents.get(root) {
            root = parent;
        }
        *sizes.entry(root).or_default() += 1;
        for (_, record) in nodes.log(&row.id).await {
            let record: Value = record.read().expect("good JSON");
            let is_cost = record["kind"] == "metric" && record["body"]["name"] == "cost.step";
            *cents.entry(root).or_default() += 5 * u64::from(is_cost);
        }
    }
    for (root, spent) in cents {
        if spent > 80 + 5 * sizes[root] {
            faults.push(format!("{root} and its children spent {spent} cents of 80"));
        }
    }
}

/// Nothing of an attempt comes after a later one began, and what was acknowledged is restored (a part of 21-8).
fn judge_attempts(job: &JobId, entries: &[Entry], faults: &mut Vec<String>) {
    let (mut latest, mut kept) = (0, 0);
    for entry in entries {
        let holds = match entry.what {
            Deed::Began => entry.attempt > latest,
            Deed::Acted => entry.attempt == latest,
            Deed::Restored(value) => value >= kept,
            Deed::Kept(_) => true,
        };
        if let Deed::Kept(value) = entry.what {
            kept = kept.max(value);
        }
        latest = latest.max(entry.attempt);
        if !holds {
            faults.push(format!("{job}: {entry:?} of {entries:?}"));
        }
    }
}

/// Waits for a job's end, and gives how it ended.
async fn end_of(nodes: &Nodes, job: &JobId) -> JobStatus {
    loop {
        let jobs = nodes.jobs().await;
        let row = jobs
            .iter()
            .find(|row| row.id == *job)
            .expect("the job exists");
        if row.state.status.is_terminal() {
            return row.state.status;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

fn began(nodes: &Nodes, job: &JobId) -> usize {
    let entries = nodes.journal.of(job);
    entries
        .iter()
        .filter(|entry| entry.what == Deed::Began)
        .count()
}

async fn until_begun(nodes: &Nodes, job: &JobId, times: usize) {
    while began(nodes, job) < times {
        sleep(Duration::from_millis(10)).await;
    }
}

/// (a part of 21-2) (a part of 21-7) (a part of 21-8) whatever happens to three nodes, each log has one writer at a time and one end, no
/// attempt acts once a later one has begun, and what was acknowledged stands.
#[test]
fn nodes_come_and_go() {
    seeds(STORMS).into_iter().for_each(storm);
}

/// (a part of 21-7) a job whose node was killed runs again elsewhere, behind its last checkpoint, and nobody told anybody.
#[test]
fn a_job_outlives_its_node() {
    virtual_time("a job outlives its node", async {
        let nodes = Nodes::new(1);
        let a = nodes.start("a").await;
        nodes.start("b").await;
        let job = a.submit(walk(8, 500)).await.expect("the job is taken");
        sleep(Duration::from_millis(2300)).await;
        nodes.kill("a");
        let killed = Instant::now();
        until_begun(&nodes, &job, 2).await;
        assert!(
            killed.elapsed() <= Duration::from_secs(8),
            "{:?}",
            killed.elapsed()
        );
        assert_eq!(end_of(&nodes, &job).await, JobStatus::Success);
        let restored: Vec<_> = nodes
            .journal
            .of(&job)
            .into_iter()
            .filter(|entry| matches!(entry.what, Deed::Restored(_)))
            .map(|entry| entry.what)
            .collect();
        assert_eq!(restored, [Deed::Restored(0), Deed::Restored(4)]);
        assert_eq!(nodes.writers(&job).len(), 2);
    });
}

/// (a part of 21-8) a node that is cut off from the store permits nothing from before another one has its jobs on, and ends when it
/// hears that it was declared dead.
#[test]
fn a_node_that_is_cut_off_does_nothing_more() {
    virtual_time("a node is cut off", async {
        let nodes = Nodes::new(2);
        let a = nodes.start("a").await;
        nodes.start("b").await;
        let job = a.submit(walk(60, 250)).await.expect("the job is taken");
        sleep(Duration::from_millis(1100)).await;
        a.life.cut_off(true);
        until_begun(&nodes, &job, 2).await;
        assert!(!a.runtime.is_ready());
        sleep(Duration::from_secs(3)).await;
        a.life.cut_off(false);
        sleep(Duration::from_millis(100)).await;
        assert_eq!(nodes.fallen(), ["a"]);
        assert_eq!(end_of(&nodes, &job).await, JobStatus::Success);
        let mut faults = Vec::new();
        judge_attempts(&job, &nodes.journal.of(&job), &mut faults);
        assert!(faults.is_empty(), "{faults:?}");
        assert_eq!(nodes.writers(&job).len(), 2);
    });
}

/// A store that takes nothing from anybody makes nobody look dead: nothing is restarted when it is back.
#[test]
fn an_outage_of_the_store_restarts_nothing() {
    virtual_time("the store is away", async {
        let nodes = Nodes::new(3);
        let mut jobs = Vec::new();
        for name in NAMES {
            let node = nodes.start(name).await;
            jobs.push(node.submit(walk(6, 1000)).await.expect("the job is taken"));
        }
        sleep(Duration::from_millis(1500)).await;
        let cut = |is_cut| {
            let nodes = NAMES.map(|name| nodes.node(name).expect("it runs"));
            nodes.iter().for_each(|node| node.life.cut_off(is_cut));
        };
        cut(true);
        sleep(Duration::from_secs(60)).await;
        cut(false);
        for job in &jobs {
            assert_eq!(end_of(&nodes, job).await, JobStatus::Success);
            assert_eq!(began(&nodes, job), 1);
        }
        assert!(nodes.fallen().is_empty());
    });
}

/// Who starts again under the same name has its jobs at once, and who ends as it should leaves them to others at once.
#[test]
fn nobody_waits_for_a_silence_that_is_explained() {
    virtual_time("explained silences", async {
        let nodes = Nodes::new(4);
        let a = nodes.start("a").await;
        let job = a.submit(walk(20, 500)).await.expect("the job is taken");
        until_begun(&nodes, &job, 1).await;
        nodes.kill("a");
        let began = Instant::now();
        nodes.start("a").await;
        until_begun(&nodes, &job, 2).await;
        assert!(
            began.elapsed() < Duration::from_secs(1),
            "{:?}",
            began.elapsed()
        );
        nodes.start("b").await;
        nodes.stop("a").await;
        let began = Instant::now();
        until_begun(&nodes, &job, 3).await;
        assert!(
            began.elapsed() < Duration::from_secs(2),
            "{:?}",
            began.elapsed()
        );
        assert_eq!(nodes.names(), ["b"]);
        assert_eq!(end_of(&nodes, &job).await, JobStatus::Success);
    });
}

/// A job waits for a node that has its agent, and ends when there is none for long.
#[test]
fn jobs_go_where_their_agent_is() {
    virtual_time("placement", async {
        let nodes = Nodes::new(6);
        let a = nodes.start("a").await;
        nodes.start_idle("b").await;
        let job = a.submit(walk(8, 500)).await.expect("the job is taken");
        until_begun(&nodes, &job, 1).await;
        nodes.kill("a");
        sleep(Duration::from_secs(12)).await;
        let c = nodes.start("c").await;
        until_begun(&nodes, &job, 2).await;
        assert_eq!(end_of(&nodes, &job).await, JobStatus::Success);
        let job = c.submit(walk(8, 500)).await.expect("the job is taken");
        until_begun(&nodes, &job, 1).await;
        nodes.kill("c");
        let killed = Instant::now();
        assert_eq!(end_of(&nodes, &job).await, JobStatus::Error);
        let waited = killed.elapsed();
        assert!(waited >= Duration::from_secs(15), "{waited:?}");
        assert!(waited <= Duration::from_secs(30), "{waited:?}");
        assert_eq!(began(&nodes, &job), 1);
    });
}

/// Has another node take the one session there is, and says how long its old node kept the connection.
async fn takes_the_session(nodes: &Nodes, from: &Node, by: &Node) -> (RecoveredSession, Duration) {
    let token = nodes.session().await.row.token_hash;
    let shared = by.life.shared().expect("the store is shared");
    let taken = shared.take_session(&token).await.expect("the store works");
    let at = Instant::now();
    while from.runtime.attached_sessions() > 0 {
        sleep(Duration::from_millis(5)).await;
    }
    (taken.expect("the token is good"), at.elapsed())
}

/// A node whose session another one took closes the connection, also when nothing happens there, and says nothing more of the
/// session to the store; the session's jobs go on.
#[test]
fn a_session_that_was_taken_elsewhere_ends_here() {
    for steps in [0, 12] {
        virtual_time("a session is taken", async move {
            let nodes = Nodes::new(5);
            let (a, b) = (nodes.start("a").await, nodes.start("b").await);
            let client = nodes.client(&a).await;
            let mut job = None;
            if steps > 0 {
                let lease = Lease::new().with("tool.call", "step");
                let submit = client.submit("walker").lease(lease);
                let input = json!({ "n": steps, "pause_ms": 300 });
                let sent = submit.input(&input).send().await;
                job = Some(sent.expect("the job is taken").id().clone());
            }
            sleep(Duration::from_millis(1400)).await;
            let (taken, took) = takes_the_session(&nodes, &a, &b).await;
            assert!(took <= Duration::from_millis(1100), "{took:?}");
            assert_eq!(taken.last.value() > 0, steps > 0);
            if let Some(job) = &job {
                assert_eq!(end_of(&nodes, job).await, JobStatus::Success);
            }
            sleep(Duration::from_secs(3)).await;
            let kept = nodes.session().await;
            assert_eq!((kept.last, kept.row), (taken.last, taken.row));
        });
    }
}

const STORMS: u64 = 150;
/// How long after the last misfortune the last job may end: the longest has nine steps of 1.5 s, as a child of two in a row.
const PATIENCE: Duration = Duration::from_secs(120);
