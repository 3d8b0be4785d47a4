//! What the parts of a store know of each other.

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use towline_store::{StoreError, StoreStats};

use crate::state::Tally;

/// What others see of the writer.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) totals: Mutex<Totals>,
    /// Why nothing is ever committed again, once that is so.
    pub(crate) fallen: Mutex<Option<StoreError>>,
    pub(crate) has_fallen: CancellationToken,
    /// Cancelled when it was asked to leave.
    pub(crate) leaving: CancellationToken,
    /// Whoever closes the store does not want to know any more what became of a commit.
    pub(crate) closing: CancellationToken,
}

/// How much there is, as of the last commit.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) tally: Tally,
    pub(crate) sessions: u64,
}

impl Totals {
    /// With how much the tables take.
    pub(crate) fn stats(&self, disk_bytes: u64) -> StoreStats {
        let count = |number: i64| u64::try_from(number).unwrap_or(0);
        StoreStats {
            jobs: count(self.tally.jobs),
            live_jobs: count(self.tally.live),
            events: count(self.tally.events),
            event_bytes: count(self.tally.bytes),
            sessions: self.sessions,
            disk_bytes,
        }
    }
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self {
            totals: Mutex::default(),
            fallen: Mutex::new(None),
            has_fallen: CancellationToken::new(),
            leaving: CancellationToken::new(),
            closing: CancellationToken::new(),
        }
    }

    /// Nothing is ever committed again.
    pub(crate) fn fall(&self, error: &StoreError) {
        self.fallen.lock().get_or_insert_with(|| error.clone());
        self.has_fallen.cancel();
    }
}
