//! What only a store in memory does.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use towline_store::{EventStore, MemoryStore, RetentionPolicy, StoreError, testing::fixture::*};
use towline_wire::JobSeq;

/// About 2 KiB of records.
const BLOCK: u64 = 24;

async fn bytes(store: &MemoryStore) -> u64 {
    store.stats().await.unwrap().event_bytes
}

/// Between two calls of retention a store grows to its bound and no further: finished jobs go first, then the oldest events
/// of running ones, save the newest block of each; the next report tells of all of it.
#[tokio::test]
async fn commits_make_room_for_themselves() {
    let store = MemoryStore::with_max_bytes(64 << 10);
    for number in 1..=4 {
        let id = job_id(number);
        commit(&store, [job(number).into(), block(&id, 1, BLOCK).into()]).await;
        let last = [
            end(&id, BLOCK + 1).into(),
            becomes(&id, succeeded(at(number as i64))),
        ];
        commit(&store, last).await;
    }
    let (running, quiet) = (job_id(5), job_id(6));
    commit(
        &store,
        [job(5).into(), job(6).into(), block(&quiet, 1, BLOCK).into()],
    )
    .await;
    let mut next = 1;
    while store.job(&job_id(1)).await.unwrap().is_some() || next < 100 * BLOCK {
        commit(&store, [block(&running, next, BLOCK).into()]).await;
        next += BLOCK;
        assert!(bytes(&store).await <= store.max_bytes());
    }
    assert_eq!(store.stats().await.unwrap().jobs, 2);
    assert_log(&store, &quiet, 1, BLOCK).await;
    let evicted = store.read_job(&running, JobSeq::FIRST, 1).await;
    let Err(StoreError::Evicted { oldest, .. }) = evicted else {
        panic!("{evicted:?}");
    };
    assert_log(&store, &running, oldest.value(), next - 1).await;

    let policy = RetentionPolicy::default();
    let report = store.retain(at(10), &policy, &[]).await.unwrap();
    assert_eq!(report.jobs, [1, 2, 3, 4].map(job_id));
    assert_eq!(report.truncated, [(running, oldest)]);
    let again = store.retain(at(10), &policy, &[]).await.unwrap();
    assert_eq!((again.jobs, again.truncated), (Vec::new(), Vec::new()));
}

#[test]
fn by_default_the_machine_decides() {
    let most = MemoryStore::new().max_bytes();
    assert!(most >= 256 << 20, "{most}");
    assert_eq!(most, MemoryStore::default().max_bytes());
}
