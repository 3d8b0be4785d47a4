//! What a principal may see of the jobs of others, and do with its own.

use std::sync::Arc;

use towline_proto::refusal::Refusal;
use towline_store::JobRow;
use towline_wire::{ErrorCode, JobId, JobStatus};

use super::asker::{Asker, store_refusal};
use crate::{
    hub::{Hub, JobView},
    job::JobEntry,
    session::SessionEntry,
};

/// Whether a session may watch a job [ARCP 7.6-5].
pub(super) fn may_observe(
    hub: &Hub,
    asker: &Asker,
    job: &JobId,
    row: Option<&JobRow>,
) -> Result<(), Refusal> {
    let row = row.ok_or_else(|| Refusal::job_not_found(job))?;
    if may_see(hub, &asker.session, row) {
        return Ok(());
    }
    Err(unseen(hub, asker, row, "this principal may not watch it"))
}

/// Whether a session may cancel a job: the submitting one, however often it was resumed, and whom the deployment's policy
/// lets [ARCP 7.4-2].
pub(super) fn may_cancel(hub: &Hub, asker: &Asker, row: &JobRow) -> Result<(), Refusal> {
    if cancels(hub, &asker.session, row) {
        return Ok(());
    }
    Err(not_yours(hub, asker, row, "cancel it"))
}

/// Whether a session may answer a job's questions, and speak to it [ARCP 15-5, 15-7].
pub(super) fn may_answer(hub: &Hub, asker: &Asker, row: &JobRow) -> Result<(), Refusal> {
    if answers(hub, &asker.session, row) {
        return Ok(());
    }
    Err(not_yours(hub, asker, row, "answer or speak to it"))
}

/// Whether a session is one that may answer: one that may cancel the job, or whom the deployment's policy lets.
pub(crate) fn answers(hub: &Hub, session: &SessionEntry, row: &JobRow) -> bool {
    let policy = hub.services.access.as_ref();
    cancels(hub, session, row)
        || policy.is_some_and(|policy| policy.may_answer(&session.principal, &row.principal))
}

fn cancels(hub: &Hub, session: &SessionEntry, row: &JobRow) -> bool {
    if row.session == session.id {
        return true;
    }
    let policy = hub.services.access.as_ref();
    if policy.is_some_and(|policy| policy.may_cancel(&session.principal, &row.principal)) {
        return true;
    }
    row.principal == session.principal
        && (hub.services.options.principal_cancels
            || hub.books.sessions.get(&row.session).is_none())
}

/// Why a session may not do something with a job that others may.
fn not_yours(hub: &Hub, asker: &Asker, row: &JobRow, what: &str) -> Refusal {
    if row.principal != asker.session.principal {
        return unseen(hub, asker, row, &format!("this session may not {what}"));
    }
    let message = format!(
        "job `{}` was submitted by another session, and only that one may {what}",
        row.id
    );
    Refusal::new(ErrorCode::PERMISSION_DENIED, message).about(&row.id)
}

/// The parent a client wants a child of: running, and the client's own [ARCP 9.4-5].
pub(super) async fn own_running_parent(
    hub: &Hub,
    asker: &Asker,
    job: &JobId,
) -> Result<Arc<JobEntry>, Refusal> {
    let view = hub
        .look_up(job)
        .await
        .map_err(|error| store_refusal(&error))?;
    let own = view.filter(|view| view.row().principal == asker.session.principal);
    let view = own.ok_or_else(|| {
        let message = format!("`parent_job_id`: there is no job `{job}`");
        Refusal::new(ErrorCode::JOB_NOT_FOUND, message)
    })?;
    if view.row().session != asker.session.id {
        let message = format!("`parent_job_id`: job `{job}` was submitted by another session");
        return Err(Refusal::new(ErrorCode::PERMISSION_DENIED, message).about(job));
    }
    let status = view.state().status;
    match view {
        JobView::Live(parent) if status == JobStatus::Running => Ok(parent),
        _ => Err(Refusal::invalid(format!(
            "`parent_job_id`: job `{job}` is {status}, it has to be running"
        ))
        .about(job)),
    }
}

/// A job of another principal: forbidden, or, where that is concealed, as if it did not exist. Callers without a connection
/// never learn that there is one [ARCP 16-3].
fn unseen(hub: &Hub, asker: &Asker, row: &JobRow, why: &str) -> Refusal {
    let conceal = hub.services.options.conceal_foreign_jobs || !asker.has_stream();
    if conceal && !may_see(hub, &asker.session, row) {
        return Refusal::job_not_found(&row.id);
    }
    let message = format!("job `{}` belongs to another principal; {why}", row.id);
    Refusal::new(ErrorCode::PERMISSION_DENIED, message).about(&row.id)
}

fn may_see(hub: &Hub, session: &SessionEntry, row: &JobRow) -> bool {
    hub.services.observes(&session.principal, &row.principal)
}
