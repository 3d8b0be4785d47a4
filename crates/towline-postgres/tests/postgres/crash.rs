//! What was acknowledged survives the end of the process that committed it, and that of the server.

#[path = "../../../towline-store/tests/crash/commits.rs"]
mod commits;

use std::{
    env,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

use towline_postgres::{Inspection, PostgresOptions, PostgresStore, testing::Server};
use towline_store::{EventStore as _, testing::fixture::commit};

use self::commits::{assert_whole, before, changes, committed};

const CHILD: &str = "TOWLINE_POSTGRES_CRASH_CHILD";

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap()
}

/// The child: goes on where the store ends and commits until it is killed.
#[test]
fn child() {
    let Ok(url) = env::var(CHILD) else { return };
    runtime().block_on(async {
        let store = PostgresStore::open(&url).await.unwrap();
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
fn run_and_kill(url: &str, commits: u64) -> u64 {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "crash::child", "--nocapture", "--test-threads=1"])
        .env(CHILD, url)
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
    let last = lines.filter_map(&mut number).last().or(acked).unwrap();
    child.wait().unwrap();
    last
}

/// A process of the same name takes the place of one that was killed at once, and finds all of it.
#[test]
fn what_was_acknowledged_survives_kill_9() {
    let Some(server) = Server::get() else { return };
    let url = server.url(&server.schema());
    let runtime = runtime();
    for commits in [1, 3, 40, 1, 700, 600, 333, 1, 800, 90] {
        let acked = run_and_kill(&url, commits);
        runtime.block_on(async {
            // Also a store that nobody has opened since has to be in order.
            let look = Inspection::begin(&url, &PostgresOptions::new())
                .await
                .unwrap();
            let report = look.verify().await.unwrap();
            assert!(report.is_ok(), "{report:?}");
            drop(look);
            let store = PostgresStore::open(&url).await.unwrap();
            assert_whole(&store, acked).await;
            store.close().await.unwrap();
        });
    }
}

/// The server goes and comes back at any moment: whoever commits waits, and nothing is lost or done twice.
#[test]
fn what_was_acknowledged_survives_the_server() {
    let Some(server) = Server::another(&["-c", "fsync=off"]) else {
        return;
    };
    let url = server.url("towline");
    runtime().block_on(async {
        let store = PostgresStore::open(&url).await.unwrap();
        commit(&store, before()).await;
        let mut next = 0;
        for round in 0..8 {
            let until = next + 20 + round * 17;
            std::thread::scope(|scope| {
                // In the midst of commits, whichever one it meets.
                scope.spawn(|| server.crash());
                tokio::task::block_in_place(|| {
                    tokio::runtime::Handle::current().block_on(async {
                        while next < until {
                            commit(&store, changes(next)).await;
                            next += 1;
                        }
                    });
                });
            });
            assert_whole(&store, next - 1).await;
            server.wait();
        }
        store.close().await.unwrap();
        let look = Inspection::begin(&url, &PostgresOptions::new())
            .await
            .unwrap();
        assert!(look.verify().await.unwrap().is_ok());
    });
}
