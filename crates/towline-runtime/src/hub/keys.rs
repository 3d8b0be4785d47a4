//! Idempotency keys whose first submit is under way.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use towline_store::Principal;

/// Makes submits with the same key wait for each other, so that one of them runs and the others find its job
/// [ARCP 7.2-1].
#[derive(Default, Clone)]
pub(crate) struct KeysInFlight(Arc<Mutex<HashMap<(Principal, String), CancellationToken>>>);

/// The right to be the one submit of a key; given up when dropped.
pub(crate) struct KeyGuard {
    keys: KeysInFlight,
    key: (Principal, String),
}

impl KeysInFlight {
    /// Waits until no other submit of the key is under way. Cancel safe.
    pub(crate) async fn acquire(&self, principal: &Principal, key: &str) -> KeyGuard {
        let key = (principal.clone(), key.to_owned());
        loop {
            let other = {
                let mut held = self.0.lock();
                match held.get(&key) {
                    Some(done) => done.clone(),
                    None => {
                        held.insert(key.clone(), CancellationToken::new());
                        return KeyGuard {
                            keys: self.clone(),
                            key,
                        };
                    }
                }
            };
            other.cancelled().await;
        }
    }
}

impl Drop for KeyGuard {
    fn drop(&mut self) {
        if let Some(done) = self.keys.0.lock().remove(&self.key) {
            done.cancel();
        }
    }
}
