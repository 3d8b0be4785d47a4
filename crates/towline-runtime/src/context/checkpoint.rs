//! Keeping what an agent wants back after a restart.

use std::sync::Arc;

use tokio::sync::oneshot;
use towline_store::{Change, StoreError};
use towline_wire::RawJson;

use crate::{
    hub::{Command, Hub, Tx},
    job::JobEntry,
};

/// Keeps a job's checkpoint; from then on its runs are counted anew. Cancel safe: it is kept all the same.
///
/// # Errors
/// What the store says; [`StoreError::Closed`] when the runtime has stopped.
pub(super) async fn keep(
    hub: &Arc<Hub>,
    job: &Arc<JobEntry>,
    value: RawJson,
) -> Result<(), StoreError> {
    let (done, kept) = oneshot::channel();
    hub.command(Keep {
        job: Arc::clone(job),
        value,
        before: None,
        done,
    });
    kept.await.unwrap_or(Err(StoreError::Closed))
}

struct Keep {
    job: Arc<JobEntry>,
    value: RawJson,
    /// How far the job had got before.
    before: Option<u32>,
    done: oneshot::Sender<Result<(), StoreError>>,
}

impl Command for Keep {
    fn decide(&mut self, tx: &mut Tx<'_>) {
        tx.push(Change::Checkpoint {
            job: self.job.id().clone(),
            value: self.value.clone(),
        });
        {
            let mut core = self.job.lock();
            let attempt = core.runs.attempt;
            self.before = Some(core.note_progress(attempt));
        }
        // The value and the count become durable together.
        tx.take(&self.job);
    }

    fn undo(&mut self) {
        if let Some(before) = self.before.take() {
            self.job.lock().note_progress(before);
        }
    }

    fn done(mut self: Box<Self>, _hub: &Arc<Hub>, result: Result<(), &StoreError>) {
        if result.is_err() {
            self.undo();
        }
        // Whoever waited may have gone.
        let _ = self.done.send(result.map_err(StoreError::clone));
    }
}
