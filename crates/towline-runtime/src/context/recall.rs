//! What an earlier job said of itself, for one that continues it.

use towline_store::{JobRow, StoreError};
use towline_wire::{ErrorCode, EventKind, JobId, JobSeq, RawJson};

use super::{Denied, JobContext};
use crate::hub::JobView;

impl JobContext {
    /// The bodies of an earlier job's events of one kind, the first ones first: of those among its first and its last records. The
    /// job has to be one of this job's principal and agent.
    ///
    /// # Errors
    /// JOB_NOT_FOUND when there is none, or it is another principal's; INVALID_REQUEST when another agent did it.
    pub async fn recall(&self, job: &JobId, kind: &EventKind) -> Result<Vec<RawJson>, Denied> {
        let view = self.hub.look_up(job).await.map_err(unread)?;
        let row = view.as_ref().map(JobView::row);
        let own = row.filter(|row| row.principal == *self.principal());
        let Some(row) = own else {
            let why = format!("there is no job `{job}`");
            return Err(Denied::new(ErrorCode::JOB_NOT_FOUND, why));
        };
        if row.agent.name() != self.agent().name() {
            let why = format!("job `{job}` was done by `{}`, another agent", row.agent);
            return Err(Denied::new(ErrorCode::INVALID_REQUEST, why));
        }
        let last = self.last_of(&view, row);
        let late = JobSeq::new(last.value().saturating_sub(LOOKED_AT).max(1));
        let mut found = self
            .bodies(job, JobSeq::new(1), late, kind)
            .await
            .map_err(unread)?;
        let latest = self.bodies(job, late, last.next(), kind).await;
        found.extend(latest.map_err(unread)?);
        Ok(found)
    }

    fn last_of(&self, view: &Option<JobView>, row: &JobRow) -> JobSeq {
        let state = view.as_ref().map(JobView::state);
        state.map_or(row.state.last_seq, |state| state.last_seq)
    }

    /// Those from one record on, before another one, as far as one read gives them.
    async fn bodies(
        &self,
        job: &JobId,
        from: JobSeq,
        to: JobSeq,
        kind: &EventKind,
    ) -> Result<Vec<RawJson>, StoreError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let store = &self.hub.services.store;
        let blocks = store.read_job(job, from, READ_BYTES).await?;
        let mut bodies = Vec::new();
        for block in blocks {
            let mut next = from.max(block.first());
            while next < to
                && let Some((_, payload)) = block.payload(next)
            {
                next = next.next();
                let event: Result<towline_wire::EventPayload, _> = payload.read();
                bodies.extend(
                    event
                        .ok()
                        .filter(|event| event.kind == *kind)
                        .map(|event| event.body),
                );
            }
        }
        Ok(bodies)
    }
}

fn unread(error: StoreError) -> Denied {
    let why = format!("what the earlier job said cannot be read: {error}");
    Denied::new(ErrorCode::INTERNAL_ERROR, why)
}

/// How many of a job's last records are looked at.
const LOOKED_AT: u64 = 64;

/// How much is read at once.
const READ_BYTES: usize = 256 * 1024;
