//! The behaviour suite.

use towline_postgres::{PostgresStore, testing::Server};
use towline_store::{store_suite, testing::Subject};

async fn subject() -> Option<Subject> {
    let server = Server::get()?;
    let url = server.url(&server.schema());
    let open = move || {
        let url = url.clone();
        async move { PostgresStore::open(&url).await }
    };
    Some(Subject::durable(open, ()).await)
}

store_suite!(subject());
