//! The behaviour suite: of a process that has the store for itself, and of the only one of those that may share it.

use towline_postgres::{PostgresOptions, PostgresStore, testing::Server};
use towline_store::{EventStore as _, StoreError, store_suite, testing::Subject};

async fn subject(shared: bool) -> Option<Subject> {
    let server = Server::get()?;
    let url = server.url(&server.schema());
    let open = move || {
        let url = url.clone();
        let options = PostgresOptions::new().shared(shared);
        async move {
            let store = PostgresStore::open_with(&url, options).await?;
            if shared {
                // What the life before left becomes this one's.
                store.recover().await?;
            }
            Ok::<_, StoreError>(store)
        }
    };
    Some(Subject::durable(open, ()).await)
}

mod alone {
    use super::*;

    store_suite!(subject(false));
}

mod shared {
    use super::*;

    store_suite!(subject(true));
}
