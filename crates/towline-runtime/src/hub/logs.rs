//! How much the logs of each principal's live jobs hold.

use std::collections::HashMap;

use parking_lot::Mutex;
use towline_store::Principal;

/// The bytes by principal, as jobs tell them: in steps, so that a burst of events asks seldom [ARCP 14-6].
#[derive(Default)]
pub(crate) struct Logs(Mutex<HashMap<Principal, u64>>);

impl Logs {
    /// A job has added so much; gives what its principal's jobs hold now.
    pub(crate) fn add(&self, principal: &Principal, bytes: u64) -> u64 {
        let mut logs = self.0.lock();
        let held = logs.entry(principal.clone()).or_default();
        *held = held.saturating_add(bytes);
        *held
    }

    /// A job is over that had told so much.
    pub(crate) fn remove(&self, principal: &Principal, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let mut logs = self.0.lock();
        if let Some(held) = logs.get_mut(principal) {
            *held = held.saturating_sub(bytes);
            if *held == 0 {
                logs.remove(principal);
            }
        }
    }
}
