//! Random batches, against the model of every store.

#[path = "../../../towline-store/tests/model/plain.rs"]
mod plain;
#[path = "../../../towline-store/tests/model/run.rs"]
mod run;

use proptest::{prelude::*, test_runner::RngSeed};
use towline_postgres::{PostgresOptions, PostgresStore, testing::Server};
use towline_store::testing::Subject;

use self::run::{Step, run, step};

/// Takes the steps with a store of its own.
fn walk(steps: &[Step], shared: bool) {
    let Some(server) = Server::get() else { return };
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    let url = server.url(&server.schema());
    runtime.block_on(async {
        let open = move || {
            let url = url.clone();
            let options = PostgresOptions::new().shared(shared);
            async move { PostgresStore::open_with(&url, options).await }
        };
        run(Subject::durable(open, ()).await, steps).await;
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn the_postgres_store_is_the_model(steps in prop::collection::vec(step(), 1..60)) {
        walk(&steps, false);
    }

    #[test]
    fn and_so_is_one_that_may_be_shared(steps in prop::collection::vec(step(), 1..60)) {
        walk(&steps, true);
    }
}
