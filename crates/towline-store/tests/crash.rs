//! A process that commits is killed at any moment; what it said was committed is there, and nothing is torn.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![cfg(unix)]

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

use towline_store::{Change, EventStore, SqliteStore, testing::fixture::*};
use towline_wire::{EventSeq, RawJson};

const CHILD: &str = "TOWLINE_STORE_CRASH_CHILD";
const JOBS: u64 = 7;

/// Commit `number`: two records of one job, its span in one session, and a key, an audit row and a checkpoint that name
/// it; so that a torn commit shows as a number that one of them has and another has not.
fn changes(number: u64) -> Vec<Change> {
    let (id, round) = (job_id(number % JOBS), number / JOBS);
    let mut changes = vec![
        block(&id, round * 2 + 1, 2).into(),
        sees(0, span(number * 2 + 1, &id, round * 2 + 1, 2)),
        Change::Idempotency(key(&format!("k{number}"), &id, at(0))),
        Change::Audit(audit(number, at(0))),
        Change::Checkpoint {
            job: job_id(0),
            value: RawJson::parse(number.to_string()).unwrap(),
        },
    ];
    if number % 50 == 49 {
        let up_to = EventSeq::new((number - 20) * 2);
        changes.push(Change::Trim {
            session: session_id(0),
            up_to,
        });
    }
    changes
}

/// The child: goes on where the file ends and commits until it is killed.
#[test]
fn child() {
    let Ok(path) = env::var(CHILD) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = SqliteStore::open(&path).await.unwrap();
        let mut next = committed(&store).await;
        if next == 0 {
            let jobs = (0..JOBS).map(|number| job(number).into());
            commit(&store, jobs.chain([session(0).into()])).await;
        }
        let mut out = std::io::stdout().lock();
        writeln!(out, "ready").unwrap();
        loop {
            commit(&store, changes(next)).await;
            writeln!(out, "ack {next}").unwrap();
            out.flush().unwrap();
            next += 1;
        }
    });
}

/// How many commits the store has, by its audit log.
async fn committed(store: &dyn EventStore) -> u64 {
    store.audit(1).await.unwrap().first().map_or(0, |row| {
        let data: serde_json::Value = row.data.read().unwrap();
        data["n"].as_u64().unwrap() + 1
    })
}

/// Runs a child until it has acknowledged some commits, kills it, and says which was the last.
fn run_and_kill(path: &Path, commits: u64) -> u64 {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let mut acked = None;
    let mut number = |line: String| {
        line.rsplit_once("ack ")
            .map(|(_, number)| number.parse::<u64>().unwrap())
    };
    for _ in 0..commits {
        acked = lines.by_ref().find_map(&mut number);
        assert!(acked.is_some(), "the child ended by itself");
    }
    child.kill().unwrap();
    // What it still said before it died counts too.
    let last = lines.filter_map(&mut number).last().or(acked).unwrap();
    child.wait().unwrap();
    last
}

async fn assert_whole(store: &dyn EventStore, acked: u64) {
    let commits = committed(store).await;
    assert!(
        commits > acked,
        "{acked} was acknowledged, only {commits} are there"
    );
    assert!(
        commits <= acked + 2,
        "no more than the one that was under way"
    );
    for number in 0..JOBS {
        let rounds = (commits + JOBS - 1 - number) / JOBS;
        assert_log(store, &job_id(number), 1, rounds * 2).await;
    }
    let recovered = store.recover().await.unwrap();
    assert_eq!(recovered.jobs.len() as u64, JOBS);
    let session = &recovered.sessions[0];
    assert_eq!(session.last.value(), commits * 2);
    let spans = &session.spans;
    assert!(
        spans
            .windows(2)
            .all(|pair| pair[1].first == pair[0].last().next())
    );
    assert_eq!(spans.last().unwrap().last(), session.last);
    let trims = commits / 50;
    assert_eq!(
        spans[0].first.value(),
        if trims == 0 {
            1
        } else {
            (trims * 50 - 21) * 2 + 1
        }
    );
    let principal = job(0).principal;
    for (number, expected) in [(commits - 1, true), (commits, false)] {
        let found = store
            .idempotency(&principal, &format!("k{number}"))
            .await
            .unwrap();
        assert_eq!(found.is_some(), expected, "key {number} of {commits}");
    }
    let checkpoint = store.checkpoint(&job_id(0)).await.unwrap().unwrap();
    assert_eq!(checkpoint.as_str(), (commits - 1).to_string());
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    // Moments of every kind: at once, within the first flush, around the next ones, long after.
    for commits in [1, 3, 40, 1, 700, 1000, 333, 1, 1100, 90] {
        let acked = run_and_kill(&path, commits);
        // Also a file nobody has opened since has to be in order.
        let report = SqliteStore::verify(&path).unwrap();
        assert!(report.is_ok(), "{report:?}");
        runtime.block_on(async {
            let store = SqliteStore::open(&path).await.unwrap();
            assert_whole(&store, acked).await;
            store.close().await.unwrap();
        });
    }
}
