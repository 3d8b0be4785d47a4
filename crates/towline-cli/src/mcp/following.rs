//! A job's log, whoever has it.

use futures_util::future::BoxFuture;
use towline::{
    JobId,
    mcp::{Entry, JobLog},
    runtime::policy::Refusal,
    wire::JobSeq,
};

use super::{Office, Turn};

/// Reads a job's log, and goes on at the next runtime when the one that was asked goes: a restartable job does.
pub(super) struct Following {
    office: Office,
    job: JobId,
    /// The record that was given last.
    last: JobSeq,
    turn: Turn,
    log: Box<dyn JobLog>,
}

impl Following {
    /// Begins after a record.
    pub(super) async fn from(office: Office, job: JobId, after: JobSeq) -> Result<Self, Refusal> {
        let mut turn = office.turn().await?;
        let mut log = turn.desk.log(&job, after).await;
        if log.is_err() && turn.is_over() {
            turn = office.turn().await?;
            log = turn.desk.log(&job, after).await;
        }
        Ok(Self {
            log: log?,
            last: after,
            office,
            job,
            turn,
        })
    }

    async fn entries(&mut self) -> Result<Vec<Entry>, Refusal> {
        loop {
            let read = self.log.next().await;
            let has_ended = read.as_ref().map_or(true, Vec::is_empty);
            if has_ended && self.turn.is_over() {
                *self = Self::from(self.office.clone(), self.job.clone(), self.last).await?;
                continue;
            }
            if let Some(last) = read.as_ref().ok().and_then(|entries| entries.last()) {
                self.last = last.seq;
            }
            return read;
        }
    }
}

impl JobLog for Following {
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<Entry>, Refusal>> {
        Box::pin(self.entries())
    }
}
