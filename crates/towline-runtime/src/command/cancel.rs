//! `job.cancel` (§7.4).

use std::sync::Arc;

use towline_proto::{
    job::{Cause, Stop},
    refusal::Refusal,
};
use towline_store::{AuditRow, JobRow, StoreError};
use towline_wire::{ErrorCode, JobId, JobStatus, payload};

use super::{
    asker::{Asker, envelope, store_refusal},
    visible::may_cancel,
};
use crate::{
    audit::{Audit, Verdict},
    hub::{Command, Hub, JobView, Tx},
    job::JobEntry,
    life,
    session::Reply,
};

pub(super) async fn cancel(hub: &Arc<Hub>, asker: Asker, job: JobId, reason: Option<String>) {
    match live_job(hub, &asker, &job, may_cancel).await {
        Ok(entry) => hub.command(CancelJob {
            job: entry,
            reason,
            asker,
            stop: None,
        }),
        Err(refusal) => {
            let verdict = Verdict::Refused(&refusal.code);
            let role = asker.role(hub);
            let actor = asker.actor(role.as_deref());
            hub.audit(Audit::at(hub.now()).cancel(actor, &job, verdict));
            asker.refuse_quietly(&refusal);
        }
    }
}

/// The job of a request that is about a live one, when `may` lets the asker.
pub(super) async fn live_job(
    hub: &Hub,
    asker: &Asker,
    job: &JobId,
    may: fn(&Hub, &Asker, &JobRow) -> Result<(), Refusal>,
) -> Result<Arc<JobEntry>, Refusal> {
    let view = hub
        .look_up(job)
        .await
        .map_err(|error| store_refusal(&error))?;
    let view = view.ok_or_else(|| Refusal::job_not_found(job))?;
    may(hub, asker, view.row())?;
    match view {
        JobView::Live(entry) => Ok(entry),
        JobView::Stored(row) => Err(too_late(job, row.state.status)),
    }
}

fn too_late(job: &JobId, status: JobStatus) -> Refusal {
    let details = serde_json::json!({ "status": status });
    Refusal::invalid(format!(
        "job `{job}` has ended, or is about to end, as `{status}`"
    ))
    .about(job)
    .with_details(details)
}

struct CancelJob {
    job: Arc<JobEntry>,
    reason: Option<String>,
    asker: Asker,
    stop: Option<Stop>,
}

impl CancelJob {
    fn is_refused(&self) -> bool {
        matches!(self.stop, Some(Stop::TooLate(_)))
    }

    fn audit(&self, hub: &Hub) -> AuditRow {
        let verdict = match self.stop {
            Some(Stop::TooLate(_)) => Verdict::Refused(&ErrorCode::INVALID_REQUEST),
            _ => Verdict::Allowed,
        };
        let role = self.asker.role(hub);
        let actor = self.asker.actor(role.as_deref());
        Audit::at(hub.now()).cancel(actor, self.job.id(), verdict)
    }
}

impl Command for CancelJob {
    fn decide(&mut self, tx: &mut Tx<'_>) {
        // Decided again, it is stopping already, by this.
        if self.stop.is_none() {
            let cause = Cause::Cancelled {
                reason: self.reason.clone(),
            };
            self.stop = Some(self.job.lock().stop(cause, tx.hub.now()));
        }
        tx.take(&self.job);
        if !self.is_refused() {
            tx.audit(self.audit(tx.hub));
        }
    }

    fn done(self: Box<Self>, hub: &Arc<Hub>, result: Result<(), &StoreError>) {
        if result.is_err() || self.is_refused() {
            // The entry went with the commit, or has none to go with; what it tells of stays decided.
            hub.audit(self.audit(hub));
        }
        if let Some(Stop::TooLate(status)) = self.stop {
            return self.asker.refuse_quietly(&too_late(self.job.id(), status));
        }
        match result {
            Ok(()) => {
                let payload = payload::Cancelled {
                    request_id: self.asker.request.clone(),
                    job_id: Some(self.job.id().clone()),
                    reason: self.reason.clone(),
                };
                let envelope = envelope(&payload)
                    .with_job(self.job.id().clone())
                    .with_trace(Some(self.job.row.trace));
                self.asker.reply(Reply::gating(envelope));
            }
            Err(error) => self.asker.refuse_quietly(&store_refusal(error)),
        }
        // The job is being stopped in any case: the decision is in its machine, and the store will get it.
        if let Some(stop) = &self.stop {
            life::stopped(hub, &self.job, stop);
        }
    }
}
