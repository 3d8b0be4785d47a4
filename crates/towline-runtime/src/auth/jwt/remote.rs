//! A key set that lives elsewhere.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::Semaphore, time::Instant};

use super::{
    JwksOptions,
    fetch::Fetch,
    key::{KeySet, Symmetric},
    token::{Token, TokenFault},
};
use crate::auth::AuthRefusal;

/// The latest key set that could be fetched.
///
/// It is fetched when there is none, when it is old, and when a token names a key that is not in it; not again before
/// `retry_after` has passed, whatever peers send, and never twice at a time. A set that could be fetched once is kept until
/// the next one comes, so an issuer that is down locks nobody out whose key is known.
pub(super) struct RemoteKeys {
    fetch: Fetch,
    refresh_after: Duration,
    retry_after: Duration,
    state: Mutex<State>,
    /// Whoever holds the permit fetches.
    turn: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    keys: Option<Arc<KeySet>>,
    fetched_at: Option<Instant>,
    tried_at: Option<Instant>,
}

/// What to do for a token.
enum Step {
    /// These keys will do.
    Use(Arc<KeySet>),
    /// These keys will do, but should be fetched again by somebody.
    Renew(Arc<KeySet>),
    /// Without a fetch it cannot be told.
    Need,
    /// A fetch is not due; the token's key stays unknown.
    Unknown,
}

impl RemoteKeys {
    pub(super) fn new(fetch: Fetch, options: &JwksOptions) -> Self {
        Self {
            fetch,
            refresh_after: options.refresh_after,
            retry_after: options.retry_after,
            state: Mutex::default(),
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    /// The keys to verify the token with.
    pub(super) async fn keys_for(
        self: &Arc<Self>,
        token: &Token<'_>,
    ) -> Result<Arc<KeySet>, AuthRefusal> {
        match self.step(token, Instant::now()) {
            Step::Use(keys) => return Ok(keys),
            Step::Renew(keys) => {
                // Nobody waits for it: the keys at hand are good, and the next token finds the new ones.
                if let Ok(permit) = Arc::clone(&self.turn).try_acquire_owned() {
                    self.spawn_fetch(permit);
                }
                return Ok(keys);
            }
            Step::Unknown => return Err(self.unknown()),
            Step::Need => {}
        }
        let Ok(permit) = Arc::clone(&self.turn).acquire_owned().await else {
            return Err(self.unknown());
        };
        // While this one waited, another may have fetched.
        match self.step(token, Instant::now()) {
            Step::Use(keys) | Step::Renew(keys) => Ok(keys),
            Step::Unknown => Err(self.unknown()),
            Step::Need => {
                // In a task of its own: a peer that hangs up must not be able to spoil the fetch for all others.
                let _ = self.spawn_fetch(permit).await;
                self.known(token).ok_or_else(|| self.unknown())
            }
        }
    }

    fn step(&self, token: &Token<'_>, now: Instant) -> Step {
        let state = self.state.lock();
        let past =
            |at: Option<Instant>, age: Duration| at.is_none_or(|at| now.duration_since(at) >= age);
        let due = past(state.tried_at, self.retry_after);
        let old = past(state.fetched_at, self.refresh_after);
        match state.keys.as_ref().filter(|keys| keys.covers(token)) {
            Some(keys) if old && due => Step::Renew(Arc::clone(keys)),
            Some(keys) => Step::Use(Arc::clone(keys)),
            None if due => Step::Need,
            None => Step::Unknown,
        }
    }

    /// Whether a key of this name is in the latest set, or there is none yet.
    pub(super) fn knows(&self, name: &str) -> bool {
        let state = self.state.lock();
        state.keys.as_ref().is_none_or(|keys| keys.knows(name))
    }

    fn known(&self, token: &Token<'_>) -> Option<Arc<KeySet>> {
        self.state
            .lock()
            .keys
            .clone()
            .filter(|keys| keys.covers(token))
    }

    /// The peer learns that the key is not known, or that we could not look; where we look is none of its business.
    fn unknown(&self) -> AuthRefusal {
        if self.state.lock().keys.is_some() {
            return TokenFault::Signature.refusal();
        }
        AuthRefusal::new("the token cannot be checked at the moment, try again later")
            .with_cause("no key set could be fetched so far")
    }

    fn spawn_fetch(
        self: &Arc<Self>,
        permit: tokio::sync::OwnedSemaphorePermit,
    ) -> tokio::task::JoinHandle<()> {
        let keys = Arc::clone(self);
        tokio::spawn(async move {
            let fetched = (keys.fetch)().await;
            // After the fetch, so that whoever asks meanwhile waits for it instead of being told that none is due.
            keys.state.lock().tried_at = Some(Instant::now());
            let read = fetched.and_then(|text| {
                KeySet::of_jwks(&text, Symmetric::PassedOver).map_err(|cause| cause.to_string())
            });
            match read {
                Ok(set) => keys.replace(set),
                Err(reason) => tracing::warn!(
                    reason,
                    "the key set could not be fetched, the old one goes on counting"
                ),
            }
            drop(permit);
        })
    }

    fn replace(&self, set: KeySet) {
        let mut state = self.state.lock();
        state.keys = Some(Arc::new(set));
        state.fetched_at = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests;
