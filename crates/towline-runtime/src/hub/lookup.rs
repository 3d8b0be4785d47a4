//! Finding a job and its records, wherever they are.

use std::sync::Arc;

use towline_store::{Block, JobRow, JobState, StoreError};
use towline_wire::{JobId, JobSeq};

use super::Hub;
use crate::job::JobEntry;

/// A job as a request sees it: in memory, or as the store has it.
pub(crate) enum JobView {
    /// It is in memory.
    Live(Arc<JobEntry>),
    /// It is finished and only in the store.
    Stored(Box<JobRow>),
}

impl JobView {
    /// What is fixed about it.
    pub(crate) fn row(&self) -> &JobRow {
        match self {
            Self::Live(entry) => &entry.row,
            Self::Stored(row) => row,
        }
    }

    /// How it stands.
    pub(crate) fn state(&self) -> JobState {
        match self {
            Self::Live(entry) => entry.state(),
            Self::Stored(row) => row.state.clone(),
        }
    }
}

impl Hub {
    /// A job, wherever it is.
    pub(crate) async fn job(&self, job: &JobId) -> Result<Option<JobView>, StoreError> {
        if let Some(entry) = self.books.jobs.get(job) {
            return Ok(Some(JobView::Live(entry)));
        }
        let stored = self.services.store.job(job).await?;
        Ok(stored.map(|row| JobView::Stored(Box::new(row))))
    }

    /// A job a peer names. Where foreign jobs are concealed, finding one takes as long as finding none [ARCP 7.6-5].
    pub(crate) async fn look_up(&self, job: &JobId) -> Result<Option<JobView>, StoreError> {
        let live = self.books.jobs.get(job);
        if live.is_some() && !self.services.options.conceal_foreign_jobs {
            return Ok(live.map(JobView::Live));
        }
        // A submit that came before may not have reached the committer's books yet.
        self.barrier().await;
        let stored = self.services.store.job(job).await?;
        match self.books.jobs.get(job) {
            Some(entry) => Ok(Some(JobView::Live(entry))),
            None => Ok(stored.map(|row| JobView::Stored(Box::new(row)))),
        }
    }

    /// A block of a job's log: from memory when it is recent, else from the store.
    pub(crate) async fn block(
        &self,
        job: &JobId,
        seq: JobSeq,
    ) -> Result<Option<Arc<Block>>, StoreError> {
        if let Some(entry) = self.books.jobs.get(job)
            && let Some(block) = entry.tail.lock().block(seq)
        {
            return Ok(Some(block));
        }
        let blocks = self.services.store.read_job(job, seq, READ_BYTES).await?;
        Ok(blocks.into_iter().next())
    }
}

/// How much of a log is read from the store at once.
const READ_BYTES: usize = 1024 * 1024;
