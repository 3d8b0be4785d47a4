//! Whether a commit that was said to have failed was applied all the same.
//!
//! A store owes whoever calls it the outcome ([`towline_store::EventStore::commit`]). One that breaks this must not stop
//! everybody: the same blocks would be committed again and again, and refused each time because they are there already. So
//! after a failure the store is asked for one change of the batch that cannot have been there before. A batch is applied in
//! whole or not at all, so one is enough.

use std::{sync::Arc, time::Duration};

use towline_store::{Batch, Block, Change, EventStore, StoreError};
use towline_wire::{EventSeq, JobId, SessionId};

use super::books::SessionTable;

/// A change that shows whether its batch was applied.
pub(super) enum Witness {
    Block(Arc<Block>),
    Job(JobId),
    Stream(SessionId, EventSeq),
    /// A resume token nobody had before.
    Token([u8; 32]),
}

impl Witness {
    /// The one that is found first, in the order in which they cost the least to ask for; `None` when all the batch does can
    /// be done again.
    pub(super) fn of(batch: &Batch, sessions: &SessionTable) -> Option<Self> {
        let first = |kind: fn(&Change) -> Option<Self>| batch.changes.iter().find_map(kind);
        first(|change| match change {
            Change::Block(block) => Some(Self::Block(Arc::clone(block))),
            _ => None,
        })
        .or_else(|| {
            first(|change| match change {
                Change::Job(row) => Some(Self::Job(row.id.clone())),
                Change::Span { session, span } => Some(Self::Stream(session.clone(), span.last())),
                _ => None,
            })
        })
        .or_else(|| {
            batch.changes.iter().find_map(|change| match change {
                Change::Session(row) => {
                    let known = sessions.get(&row.id);
                    let is_new =
                        known.is_none_or(|known| *known.lock().tokens.current() != row.token_hash);
                    is_new.then_some(Self::Token(row.token_hash))
                }
                _ => None,
            })
        })
    }

    /// Asks the store, several times if it has to be: while it cannot be read either, nobody knows. In the end its word on
    /// the commit is taken.
    pub(super) async fn was_applied(&self, store: &dyn EventStore) -> bool {
        for wait in WAITS {
            match self.is_there(store).await {
                Ok(applied) => return applied,
                Err(error) => {
                    tracing::warn!(target: "towline::store", %error, "the store cannot say what became of a commit");
                    tokio::time::sleep(wait).await;
                }
            }
        }
        false
    }

    async fn is_there(&self, store: &dyn EventStore) -> Result<bool, StoreError> {
        match self {
            Self::Block(block) => {
                let row = store.job(block.job()).await?;
                Ok(row.is_some_and(|row| row.state.last_seq >= block.last()))
            }
            Self::Job(job) => Ok(store.job(job).await?.is_some()),
            Self::Token(hash) => Ok(store.session_by_token(hash).await?.is_some()),
            Self::Stream(session, last) => {
                let end = store.stream_end(session).await?;
                Ok(end.is_some_and(|end| end >= *last))
            }
        }
    }
}

/// How long is waited between two questions.
const WAITS: [Duration; 3] = [
    Duration::from_millis(25),
    Duration::from_millis(100),
    Duration::from_millis(400),
];
