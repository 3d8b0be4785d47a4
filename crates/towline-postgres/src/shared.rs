//! What the parts of a store know of each other.

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use towline_store::StoreError;

use crate::tally::Totals;

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

/// The state of a node that was asked to leave; with a smaller one it has the store, with a greater one it does not.
pub(crate) const LEAVING: i64 = 1;
