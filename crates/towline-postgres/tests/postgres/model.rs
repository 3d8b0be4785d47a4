//! Random batches, against the model of every store.

#[path = "../../../towline-store/tests/model/plain.rs"]
mod plain;
#[path = "../../../towline-store/tests/model/run.rs"]
mod run;

use proptest::{prelude::*, test_runner::RngSeed};
use towline_postgres::{PostgresStore, testing::Server};
use towline_store::testing::Subject;

use self::run::{run, step};

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn the_postgres_store_is_the_model(steps in prop::collection::vec(step(), 1..60)) {
        let Some(server) = Server::get() else { return Ok(()) };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let url = server.url(&server.schema());
        runtime.block_on(async {
            let open = move || {
                let url = url.clone();
                async move { PostgresStore::open(&url).await }
            };
            run(Subject::durable(open, ()).await, &steps).await;
        });
    }
}
