//! The behaviour suite, on every store of ours.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod memory {
    use towline_store::{MemoryStore, store_suite, testing::Subject};

    async fn subject() -> Subject {
        Subject::of(MemoryStore::new())
    }

    store_suite!(subject());
}

mod behind_an_idle_fault {
    use towline_store::{
        MemoryStore, store_suite,
        testing::{FaultStore, Subject},
    };

    async fn subject() -> Subject {
        Subject::of(FaultStore::new(MemoryStore::new()))
    }

    store_suite!(subject());
}

mod sqlite {
    use towline_store::{Durability, SqliteOptions, SqliteStore, store_suite, testing::Subject};

    async fn subject() -> Subject {
        // A small cache, so that most reads go to the file.
        with(SqliteOptions::new().cache_bytes(4096)).await
    }

    pub(crate) async fn with(options: SqliteOptions) -> Subject {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        let open = move || SqliteStore::open_with(path.clone(), options.clone());
        Subject::durable(open, directory).await
    }

    store_suite!(subject());

    mod with_defaults {
        use super::*;

        store_suite!(with(SqliteOptions::new()));
    }

    mod for_power {
        use super::*;

        store_suite!(with(
            SqliteOptions::new()
                .durability(Durability::Power)
                .readers(1)
        ));
    }
}

mod shared_memory {
    use std::sync::Arc;

    use towline_store::{
        MemoryStore, store_sharing_suite, store_suite,
        testing::{Subject, sharing::Members},
    };

    /// A member alone is a store like any.
    async fn subject() -> Subject {
        Subject::of(Arc::new(MemoryStore::new()).join("alone"))
    }

    store_suite!(subject());

    async fn members() -> Members {
        Members::in_memory()
    }

    store_sharing_suite!(members());
}
