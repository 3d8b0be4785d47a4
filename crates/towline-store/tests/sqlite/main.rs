//! What only a store in a file does.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod opening;

use std::{path::Path, sync::Arc};

use rusqlite::Connection;
use towline_store::{
    Change, Durability, EventStore, SqliteOptions, SqliteStore, StoreError, testing::fixture::*,
};
use towline_wire::JobSeq;

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    async fn open(&self) -> SqliteStore {
        SqliteStore::open(self.file("store.db")).await.unwrap()
    }
}

fn sql(path: &Path, text: &str) {
    Connection::open(path).unwrap().execute_batch(text).unwrap();
}

/// Some of everything, part of it only in the log.
async fn fill(store: &SqliteStore) {
    for number in 1..=20 {
        let id = job_id(number);
        commit(store, [job(number).into(), session(number).into()]).await;
        for seq in 0..10 {
            let first = seq * 3 + 1;
            commit(
                store,
                [
                    block(&id, first, 3).into(),
                    sees(number, span(first, &id, first, 3)),
                ],
            )
            .await;
        }
        if number % 2 == 0 {
            commit(
                store,
                [end(&id, 31).into(), becomes(&id, succeeded(at(50)))],
            )
            .await;
        }
    }
}

#[tokio::test]
async fn a_full_disk_takes_nothing_and_harms_nothing() {
    let dir = Dir::new();
    let store = dir.open().await;
    let id = job_id(1);
    commit(
        &store,
        [job(1).into(), session(1).into(), block(&id, 1, 4).into()],
    )
    .await;
    store.limit_size(400 << 10).await.unwrap();
    let mut next = 5;
    let changes = |next: u64| {
        [
            block(&id, next, 200).into(),
            sees(1, span((next - 5) + 1, &id, next, 200)),
            Change::Audit(audit(next, at(1))),
        ]
    };
    let error = loop {
        match try_commit(&store, changes(next)).await {
            Ok(()) => next += 200,
            Err(error) => break error,
        }
    };
    assert!(
        matches!(error, StoreError::Full(_)) && error.is_transient(),
        "{error}"
    );
    assert!(next > 5, "something fitted");
    for _ in 0..3 {
        assert!(matches!(
            try_commit(&store, changes(next)).await,
            Err(StoreError::Full(_))
        ));
    }
    assert_log(&store, &id, 1, next - 1).await;
    assert_eq!(
        store
            .job(&id)
            .await
            .unwrap()
            .unwrap()
            .state
            .last_seq
            .value(),
        next - 1
    );
    assert_eq!(
        store.audit(10_000).await.unwrap().len() as u64,
        (next - 5) / 200
    );

    store.limit_size(1 << 30).await.unwrap();
    commit(&store, changes(next)).await;
    next += 200;
    assert_log(&store, &id, 1, next - 1).await;
    store.close().await.unwrap();
    let report = SqliteStore::verify(dir.file("store.db")).unwrap();
    assert!(report.is_ok(), "{report:?}");
    let store = dir.open().await;
    assert_log(&store, &id, 1, next - 1).await;
    assert_eq!(
        store.recover().await.unwrap().sessions[0].last.value(),
        next - 5
    );
}

#[tokio::test]
async fn a_batch_that_does_not_fit_does_not_fail_those_beside_it() {
    let dir = Dir::new();
    let store = dir.open().await;
    commit(&store, [job(1).into()]).await;
    store.limit_size(1 << 20).await.unwrap();
    let commits = (2..40u64).map(|number| {
        let size = if number % 2 == 0 { 30_000 } else { 2 };
        try_commit(
            &store,
            [job(number).into(), block(&job_id(number), 1, size).into()],
        )
    });
    let results = futures_util::future::join_all(commits).await;
    for (number, result) in (2..40u64).zip(results) {
        assert_eq!(result.is_ok(), number % 2 == 1, "{number}: {result:?}");
        assert_eq!(
            store.job(&job_id(number)).await.unwrap().is_some(),
            number % 2 == 1
        );
    }
    store.close().await.unwrap();
    assert!(SqliteStore::verify(dir.file("store.db")).unwrap().is_ok());
}

#[tokio::test]
async fn batches_that_wait_are_committed_together_and_judged_apart() {
    let dir = Dir::new();
    let store = Arc::new(dir.open().await);
    let commits = (0..500u64).map(|number| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            // Every third batch is wrong in itself.
            let first = if number % 3 == 0 { 2 } else { 1 };
            try_commit(
                &*store,
                [job(number).into(), block(&job_id(number), first, 2).into()],
            )
            .await
        })
    });
    let commits: Vec<_> = commits.collect();
    for (number, commit) in (0..).zip(commits) {
        let result = commit.await.unwrap();
        match number % 3 {
            0 => assert!(matches!(result, Err(StoreError::Rejected(_)))),
            _ => result.unwrap(),
        }
        assert_eq!(
            store.job(&job_id(number)).await.unwrap().is_some(),
            number % 3 != 0
        );
    }
}

#[tokio::test]
async fn a_store_that_is_dropped_has_what_was_answered() {
    let dir = Dir::new();
    let store = dir.open().await;
    fill(&store).await;
    drop(store);
    let store = dir.open().await;
    assert_log(&store, &job_id(20), 1, 31).await;
    assert_eq!(store.recover().await.unwrap().sessions.len(), 20);
    assert!(
        !dir.file("store.db-wal").exists()
            || dir.file("store.db-wal").metadata().unwrap().len() == 0
    );
}

#[tokio::test]
async fn an_open_store_can_be_checked_copied_and_measured() {
    let dir = Dir::new();
    let store = dir.open().await;
    fill(&store).await;
    let report = SqliteStore::verify(dir.file("store.db")).unwrap();
    assert!(report.is_ok(), "{report:?}");
    assert_eq!(
        (
            report.stats.jobs,
            report.stats.live_jobs,
            report.stats.events
        ),
        (20, 10, 610)
    );
    assert_eq!(
        SqliteStore::stats_of(dir.file("store.db")).unwrap().events,
        610
    );

    let copy = dir.file("copy.db");
    SqliteStore::backup(dir.file("store.db"), &copy).unwrap();
    let error = SqliteStore::backup(dir.file("store.db"), &copy).unwrap_err();
    assert!(error.to_string().contains("copy.db"), "{error}");
    commit(&store, [block(&job_id(1), 31, 1).into()]).await;
    store.close().await.unwrap();

    assert!(SqliteStore::verify(&copy).unwrap().is_ok());
    let copied = SqliteStore::open(&copy).await.unwrap();
    assert_log(&copied, &job_id(1), 1, 30).await;
    assert_log(&copied, &job_id(20), 1, 31).await;
    assert_eq!(copied.recover().await.unwrap().sessions.len(), 20);
    assert!(
        SqliteStore::verify(dir.file("none.db"))
            .unwrap_err()
            .to_string()
            .contains("none.db")
    );
}

#[tokio::test]
async fn what_is_freed_can_be_given_back() {
    let dir = Dir::new();
    let store = dir.open().await;
    let id = job_id(1);
    commit(
        &store,
        [
            job(1).into(),
            block(&id, 1, 50_000).into(),
            end(&id, 50_001).into(),
        ],
    )
    .await;
    commit(
        &store,
        [
            becomes(&id, succeeded(at(1))),
            job(2).into(),
            block(&job_id(2), 1, 3).into(),
        ],
    )
    .await;
    let policy = towline_store::RetentionPolicy {
        max_jobs: 0,
        ..Default::default()
    };
    store.retain(at(2), &policy, &[]).await.unwrap();
    let freed = store.compact().await.unwrap();
    assert!(freed > 1 << 20, "{freed}");
    assert!(store.stats().await.unwrap().disk_bytes < 1 << 20);
    commit(&store, [block(&job_id(2), 4, 3).into()]).await;
    assert_log(&store, &job_id(2), 1, 6).await;
    store.close().await.unwrap();
    assert!(SqliteStore::verify(dir.file("store.db")).unwrap().is_ok());
}

#[tokio::test]
async fn damage_is_found_and_named() {
    let dir = Dir::new();
    let store = dir.open().await;
    fill(&store).await;
    store.close().await.unwrap();
    let whole = dir.file("store.db");
    let cases = [
        ("DELETE FROM block WHERE n = 5", "is followed by"),
        (
            "UPDATE block SET text = substr(text, 2) WHERE n = 7",
            "bytes",
        ),
        (
            "UPDATE block SET text = CAST(x'00' || substr(text, 2) AS BLOB) WHERE n = 7",
            "not JSON",
        ),
        ("UPDATE block SET head = x'ffffff' WHERE n = 7", "head"),
        ("DELETE FROM block_index WHERE n = 9", "index lacks 1"),
        (
            "UPDATE job_state SET ended_at = 1 WHERE key = 1",
            "does not end",
        ),
        (
            "UPDATE job_state SET ended_at = NULL WHERE key = 2",
            "is live",
        ),
        ("DELETE FROM job WHERE key = 3", "not kept"),
        (
            "UPDATE span SET count = count + 1 WHERE session = 4",
            "sess_",
        ),
        (
            "UPDATE span SET first = first + 1 WHERE session = 4",
            "sess_",
        ),
        ("DELETE FROM session WHERE key = 4", "spans are of sessions"),
        ("UPDATE meta SET events = 1", "counted"),
    ];
    for (harm, told) in cases {
        let copy = dir.file("harmed.db");
        std::fs::copy(&whole, &copy).unwrap();
        sql(&copy, harm);
        let report = SqliteStore::verify(&copy).unwrap();
        assert!(
            report.problems.iter().any(|line| line.contains(told)),
            "{harm}: {:?}",
            report.problems
        );
    }
}

#[tokio::test]
async fn a_damaged_block_is_an_error_and_not_a_wrong_answer() {
    let dir = Dir::new();
    let store = dir.open().await;
    fill(&store).await;
    store.close().await.unwrap();
    sql(
        &dir.file("store.db"),
        "UPDATE block SET head = x'09' WHERE job = 1",
    );
    let store = dir.open().await;
    let error = store
        .read_job(&job_id(1), JobSeq::FIRST, 1)
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Corrupt(_)), "{error}");
    assert_log(&store, &job_id(2), 1, 31).await;
}

#[tokio::test]
async fn the_log_does_not_grow_without_bound() {
    let dir = Dir::new();
    let options = SqliteOptions::new()
        .durability(Durability::Process)
        .cache_bytes(1 << 20);
    let store = SqliteStore::open_with(dir.file("store.db"), options)
        .await
        .unwrap();
    let id = job_id(1);
    commit(&store, [job(1).into()]).await;
    let record = (
        towline_store::RecordKind::Event,
        format!(r#"{{"x":"{}"}}"#, "y".repeat(1 << 20)),
    );
    for seq in 1..=400 {
        commit(
            &store,
            [block_of(&id, seq, std::slice::from_ref(&record)).into()],
        )
        .await;
    }
    let log = dir.file("store.db-wal").metadata().unwrap().len();
    assert!(
        log < 300 << 20,
        "400 MiB were committed, the log has {log} bytes"
    );
}
