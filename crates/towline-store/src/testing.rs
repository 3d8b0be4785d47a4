//! For tests: the behaviour suite every store passes, and a store that fails on demand.
//!
//! A store runs the suite by naming how to make it:
//!
//! ```no_run
//! use towline_store::{MemoryStore, store_suite, testing::Subject};
//!
//! async fn memory() -> Subject {
//!     Subject::of(MemoryStore::new())
//! }
//!
//! store_suite!(memory());
//! ```

mod fault;
pub mod fixture;
#[expect(clippy::unwrap_used, reason = "a case that cannot go on has failed")]
pub mod ledger;
#[expect(clippy::unwrap_used, reason = "a case that cannot go on has failed")]
pub mod listing;
#[expect(clippy::unwrap_used, reason = "a case that cannot go on has failed")]
pub mod logs;
#[expect(clippy::unwrap_used, reason = "a case that cannot go on has failed")]
pub mod retention;
#[expect(clippy::unwrap_used, reason = "a case that cannot go on has failed")]
pub mod sharing;
#[expect(clippy::unwrap_used, reason = "a case that cannot go on has failed")]
pub mod streams;

use std::{any::Any, fmt, future::Future, pin::Pin, sync::Arc};

pub use self::fault::{Fault, FaultStore};
use crate::{EventStore, StoreError};

type Reopened = Pin<Box<dyn Future<Output = Result<Arc<dyn EventStore>, StoreError>> + Send>>;

/// A store under test, and how to open it once more.
pub struct Subject {
    /// The store.
    pub store: Arc<dyn EventStore>,
    reopen: Option<Box<dyn Fn() -> Reopened + Send + Sync>>,
    _kept: Option<Box<dyn Any + Send + Sync>>,
}

impl Subject {
    /// A store that is gone when it is closed.
    pub fn of(store: impl EventStore) -> Self {
        Self {
            store: Arc::new(store),
            reopen: None,
            _kept: None,
        }
    }

    /// A store that `open` opens again after it was closed. `kept` lives as long as the subject: the directory the
    /// store is in, say.
    pub async fn durable<S, F>(
        open: impl Fn() -> F + Send + Sync + 'static,
        kept: impl Any + Send + Sync,
    ) -> Self
    where
        S: EventStore,
        F: Future<Output = Result<S, StoreError>> + Send + 'static,
    {
        let reopen = move || -> Reopened {
            let opened = open();
            Box::pin(async move { Ok(Arc::new(opened.await?) as Arc<dyn EventStore>) })
        };
        let store = reopen().await.expect("the store opens");
        Self {
            store,
            reopen: Some(Box::new(reopen)),
            _kept: Some(Box::new(kept)),
        }
    }

    /// Whether it can be opened again.
    pub(crate) fn is_on_disk(&self) -> bool {
        self.reopen.is_some()
    }

    /// Closes a durable store and opens it again; leaves any other as it is.
    pub async fn reopen(&mut self) {
        if let Some(reopen) = &self.reopen {
            self.store.close().await.expect("the store closes");
            self.store = reopen().await.expect("the store opens again");
        }
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject")
            .field("durable", &self.reopen.is_some())
            .finish_non_exhaustive()
    }
}

/// The subject of a case, where there is one: a store whose server is not there has none.
#[doc(hidden)]
pub fn offered<S>(subject: impl Into<Option<S>>) -> Option<S> {
    subject.into()
}

/// Runs every case of the suite on a store; the argument is an expression whose value is a future of a [`Subject`], or of an
/// `Option` of one: without one a case does nothing.
#[macro_export]
macro_rules! store_suite {
    ($subject:expr) => {
        $crate::store_log_suite!($subject);
        $crate::store_listing_suite!($subject);
        $crate::store_stream_suite!($subject);
        $crate::store_ledger_suite!($subject);
        $crate::store_retention_suite!($subject);
    };
}

/// Writes one test for each case of a part of the suite.
#[doc(hidden)]
#[macro_export]
macro_rules! store_cases {
    ($subject:expr, $part:ident: $($case:ident),* $(,)?) => {
        $(
            #[::tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                if let Some(subject) = $crate::testing::offered($subject.await) {
                    $crate::testing::$part::$case(subject).await;
                }
            }
        )*
    };
}
