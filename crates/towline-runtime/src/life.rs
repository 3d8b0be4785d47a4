//! What happens to a job from its acceptance to its end, and what has to be looked after meanwhile.
//!
//! `places` says when a job begins, `held` which job it waits for, `run` watches over its agent, `end` holds everything about how
//! it ends. `recovery` takes up what an earlier run of the runtime left, `membership` what other runtimes on the same store left,
//! `janitor` lets go of what nobody needs any more.

mod alarm;
mod end;
mod held;
mod janitor;
mod membership;
mod places;
mod recovery;
mod run;

use std::sync::Arc;

use towline_store::{Block, DeliveryRow, StoreError};

use crate::{
    hub::{Hub, committer},
    job::JobEntry,
};

pub(crate) use end::{lease_expired, leave_jobs, leave_waiting, stop_job, stopped};
pub(crate) use held::waited_for;
pub(crate) use janitor::{LOOK_EVERY, end_unproved_sessions, revoke_sessions};
pub(crate) use places::{
    begin_with_acceptance, claim_place, never_accepted, start_accepted, terms_of, waiting_for,
};
pub(crate) use run::watch_questions;

/// What is told of a job's records over HTTP.
pub(crate) type Messages = fn(&Hub, &JobEntry, &[Arc<Block>]) -> Vec<DeliveryRow>;

/// Takes up what the store keeps, and starts the tasks every runtime has.
///
/// # Errors
/// What the store says when it cannot be read; nothing is started then.
pub(crate) async fn begin(hub: &Arc<Hub>, messages: Messages) -> Result<(), StoreError> {
    let recovery = recovery::load(hub).await?;
    let follow = committer::Follow {
        ended: end::ended,
        broken: end::broken,
        outgrown: end::outgrown,
        messages,
    };
    let tasks = &hub.scope.tasks;
    tasks.spawn(committer::run(Arc::clone(hub), follow));
    tasks.spawn(janitor::run(Arc::clone(hub)));
    tasks.spawn(alarm::run(Arc::clone(hub)));
    recovery::resume(hub, recovery);
    if hub.footing.is_some() {
        tasks.spawn(membership::run(Arc::clone(hub)));
    }
    Ok(())
}
