//! A process that commits is killed at any moment; what it said was committed is there, and nothing is torn.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![cfg(unix)]

mod commits;

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

use towline_store::{EventStore, SqliteStore, testing::fixture::*};

use self::commits::{assert_whole, before, changes, committed};

const CHILD: &str = "TOWLINE_STORE_CRASH_CHILD";
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
            commit(&store, before()).await;
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
