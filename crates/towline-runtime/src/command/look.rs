//! Looking at a job from outside a session's stream.

use towline_proto::refusal::Refusal;
use towline_store::JobRow;
use towline_wire::JobId;

use super::{
    asker::{Asker, store_refusal},
    visible::may_observe,
};
use crate::{
    audit::{Audit, Verdict},
    hub::Hub,
};

/// A job as the store has it, for somebody who may watch it. One that is there and one that is not are looked for in the same
/// way, so that the time it takes tells nothing [ARCP 7.6-5, 16-3].
///
/// `watches`: what follows is watching, and the audit log is told of every decision about that. Of a mere look it is told
/// where it is a refusal, or the job somebody else's.
pub(crate) async fn look(
    hub: &Hub,
    asker: &Asker,
    job: &JobId,
    watches: bool,
) -> Result<JobRow, Refusal> {
    let row = hub.services.store.job(job).await;
    let row = row.map_err(|error| store_refusal(&error))?;
    let verdict = may_observe(hub, asker, job, row.as_ref());
    let is_own = row
        .as_ref()
        .is_some_and(|row| row.principal == asker.session.principal);
    if watches || verdict.is_err() || !is_own {
        let refusal = verdict.as_ref().err();
        let told = refusal.map_or(Verdict::Allowed, |refusal| Verdict::Refused(&refusal.code));
        let owner = row.as_ref().map(|row| &row.principal);
        let role = asker.role(hub);
        let actor = asker.actor(role.as_deref());
        hub.audit(Audit::at(hub.now()).subscribe(actor, job, owner, told));
    }
    verdict?;
    row.ok_or_else(|| Refusal::job_not_found(job))
}
