//! Who runs now and who waits [ARCP 7.1-5].
//!
//! A job begins when it has a place **and** is durable, whichever comes second.

use std::sync::Arc;

use towline_proto::{
    admission::Admission,
    job::{Failure, Outcome},
    refusal::Refusal,
};
use towline_store::Principal;

use super::{end, run};
use crate::{
    hub::{Hub, Queued},
    job::{JobEntry, Place},
};

/// Takes a place for a job among the running ones, or in the queue. Delegated children take one beyond every limit:
/// their parents hold one while they wait.
///
/// # Errors
/// A refusal when not even the queue has room.
pub(crate) fn claim_place(hub: &Hub, job: &Arc<JobEntry>) -> Result<(), Refusal> {
    let principal = &job.row.principal;
    let admission = {
        let mut admission = hub.books.admission.lock();
        if job.row.parent.is_some() {
            admission.admit_beyond_limits(principal);
            Admission::Start
        } else {
            if let Some(policy) = &hub.services.access {
                admission.limit(principal, policy.jobs(principal));
            }
            admission.admit(principal, Queued(Arc::clone(job)))
        }
    };
    match admission {
        Admission::Start => job.lock().place = Place::Held,
        Admission::Queued => {}
        Admission::Full => {
            return Err(Refusal::internal(
                "the runtime's queue of jobs is full; try again later",
            ));
        }
    }
    Ok(())
}

/// The job is durable: it begins as soon as it has a place.
pub(crate) fn start_accepted(hub: &Arc<Hub>, job: &Arc<JobEntry>) {
    let place = {
        let mut core = job.lock();
        core.came_to_be();
        core.place
    };
    if place == Place::Held {
        run::start(hub, job);
    }
}

/// A job that was kept before the runtime started, and is to run.
pub(super) fn admit_recovered(hub: &Arc<Hub>, job: &Arc<JobEntry>) {
    match claim_place(hub, job) {
        Ok(()) => start_accepted(hub, job),
        // It was accepted when there was more room.
        Err(refusal) => {
            let outcome = Outcome::Failed(Failure::new(refusal.code, refusal.message));
            end::finish(hub, job, outcome);
        }
    }
}

/// A job that may have taken a place never came to be.
pub(crate) fn never_accepted(hub: &Arc<Hub>, job: &Arc<JobEntry>) {
    job.lock().discard();
    give_up_place(hub, job);
}

/// Gives up a job's place, in the queue or among the running ones. Does nothing when it has none.
pub(super) fn give_up_place(hub: &Arc<Hub>, job: &Arc<JobEntry>) {
    let place = std::mem::replace(&mut job.lock().place, Place::None);
    match place {
        Place::Held => release_place(hub, &job.row.principal),
        Place::None => {
            let mut admission = hub.books.admission.lock();
            admission.withdraw(&job.row.principal, &Queued(Arc::clone(job)));
        }
    }
}

/// A place is free: the next ones begin; those whose acceptance is still being committed do when it is.
fn release_place(hub: &Arc<Hub>, principal: &Principal) {
    let next = hub.books.admission.lock().release(principal);
    for Queued(job) in next {
        let may_begin = {
            let mut core = job.lock();
            core.place = Place::Held;
            core.may_begin()
        };
        if may_begin {
            run::start(hub, &job);
        }
    }
}
