//! `job.cancel` (§7.4).

use std::sync::Arc;

use towline_proto::{
    job::{Cause, Stop},
    refusal::Refusal,
};
use towline_store::{Change, JobRow, StoreError};
use towline_wire::{ErrorCode, JobId, JobStatus, payload};

use super::{Asker, envelope, store_refusal, subscribe::unseen};
use crate::{
    audit::{Actor, Audit, Verdict},
    hub::{Command, Hub, JobView, Tx},
    job::JobEntry,
    session::Reply,
};

pub(super) async fn cancel(hub: &Arc<Hub>, asker: Asker, job: JobId, reason: Option<String>) {
    match find(hub, &asker, &job).await {
        Ok(entry) => hub.command(CancelJob {
            job: entry,
            reason,
            asker,
            stop: None,
        }),
        Err(refusal) => {
            let actor = Actor {
                principal: &asker.session.principal,
                session: &asker.session.id,
            };
            hub.audit(Audit::at(hub.now()).cancel(actor, &job, Verdict::Refused(&refusal.code)));
            asker.refuse_quietly(&refusal);
        }
    }
}

async fn find(hub: &Arc<Hub>, asker: &Asker, job: &JobId) -> Result<Arc<JobEntry>, Refusal> {
    let view = hub
        .look_up(job)
        .await
        .map_err(|error| store_refusal(&error))?;
    let view = view.ok_or_else(|| Refusal::job_not_found(job))?;
    check_authority(hub, asker, view.row())?;
    match view {
        JobView::Live(entry) => Ok(entry),
        JobView::Stored(row) => Err(too_late(job, row.state.status)),
    }
}

/// Only the submitting session may cancel, however often it was resumed [ARCP 7.4-2].
fn check_authority(hub: &Hub, asker: &Asker, row: &JobRow) -> Result<(), Refusal> {
    let session = &asker.session;
    if row.session == session.id {
        return Ok(());
    }
    if row.principal != session.principal {
        return Err(unseen(hub, session, row, "this session may not cancel it"));
    }
    let submitter_is_gone = hub.session(&row.session).is_none();
    if hub.options.principal_cancels || submitter_is_gone {
        return Ok(());
    }
    let message = format!(
        "job `{}` was submitted by another session, and only that one may cancel it",
        row.id
    );
    Err(Refusal::new(ErrorCode::PERMISSION_DENIED, message).about(&row.id))
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

impl Command for CancelJob {
    fn decide(&mut self, tx: &mut Tx<'_>) {
        let cause = Cause::Cancelled {
            reason: self.reason.clone(),
        };
        self.stop = Some(self.job.lock().stop(cause, tx.hub.now()));
        tx.flush(&self.job);
        let actor = Actor {
            principal: &self.asker.session.principal,
            session: &self.asker.session.id,
        };
        let verdict = match self.stop {
            Some(Stop::TooLate(_)) => Verdict::Refused(&ErrorCode::INVALID_REQUEST),
            _ => Verdict::Allowed,
        };
        let row = Audit::at(tx.hub.now()).cancel(actor, self.job.id(), verdict);
        crate::audit::record(&row);
        tx.push(Change::Audit(row));
    }

    fn done(self: Box<Self>, hub: &Arc<Hub>, result: Result<(), &StoreError>) {
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
        crate::life::stopped(hub, &self.job, self.stop.as_ref());
    }
}
