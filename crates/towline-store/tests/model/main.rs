//! Random batches on every store, against a model that keeps everything in the plainest way there is.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod plain;
mod run;

use proptest::{prelude::*, test_runner::RngSeed};
use towline_store::{MemoryStore, SqliteOptions, SqliteStore, testing::Subject};

use self::run::{run, step};

/// The same runs every time; another number looks elsewhere.
const SEED: u64 = 1;

fn block_on(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, rng_seed: RngSeed::Fixed(SEED), ..ProptestConfig::default() })]

    #[test]
    fn the_memory_store_is_the_model(steps in prop::collection::vec(step(), 1..60)) {
        block_on(run(Subject::of(MemoryStore::new()), &steps));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, rng_seed: RngSeed::Fixed(SEED), ..ProptestConfig::default() })]

    #[test]
    fn the_sqlite_store_is_the_model(steps in prop::collection::vec(step(), 1..60), cache in 0usize..2) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        let options = SqliteOptions::new().cache_bytes(cache << 20).readers(1);
        block_on(async {
            let subject = Subject::durable(move || SqliteStore::open_with(path.clone(), options.clone()), directory).await;
            run(subject, &steps).await;
        });
    }
}
