//! Who runs now and who waits [ARCP 7.1-5].
//!
//! A job begins when it has a place, and runs when that it has begun is durable.

use std::sync::Arc;

use towline_proto::{
    admission::{Admission, NoRoom, Terms},
    job::Cause,
    refusal::Refusal,
};
use towline_store::JobRow;
use towline_wire::{JobId, payload::WaitingFor};

use super::{end, held, run};
use crate::{
    hub::{Hub, Queued},
    job::{JobEntry, Place},
};

/// Takes a place for a job among the running ones, or in the queue. A delegated child takes one of its principal's
/// children instead, and never waits: its parent holds a place while it waits for it.
///
/// # Errors
/// A refusal when not even the queue has room.
pub(crate) fn claim_place(hub: &Hub, job: &Arc<JobEntry>) -> Result<(), Refusal> {
    let principal = &job.row.principal;
    if job.row.parent.is_some() {
        let mut admission = hub.books.admission.lock();
        if !admission.admit_child(principal) {
            return Err(Refusal::internal(format!(
                "this principal has {} child jobs at once, as many as it may; try again later",
                admission.children_per_principal()
            ))
            .for_own_bound());
        }
        drop(admission);
        job.lock().place = Place::Child;
        return Ok(());
    }
    // The books are locked while nothing else is.
    let weight = job.weight();
    let terms = job.lock().terms.clone();
    let admission = {
        let mut admission = hub.books.admission.lock();
        if let Some(policy) = &hub.services.access {
            admission.limit(principal, policy.jobs(principal));
        }
        let queued = Queued(Arc::clone(job));
        match &terms {
            None => admission.admit(principal, queued, weight),
            Some(terms) => admission.admit_on(terms, principal, queued, weight, hub.now()),
        }
    };
    if terms.is_some() {
        hub.books.alarm.notify_one();
    }
    match admission {
        Admission::Start => job.lock().place = Place::Held,
        Admission::Queued => {}
        Admission::Full(no_room) => {
            let refusal = Refusal::internal(no_room.to_string());
            return Err(match no_room {
                NoRoom::Everybody => refusal,
                NoRoom::Jobs(_) | NoRoom::Bytes(_) => refusal.for_own_bound(),
            });
        }
    }
    Ok(())
}

/// A job that has its place at once begins in the commit that accepts it: one commit, and one wait for the disk, less than
/// if its beginning came after. Whether it did.
pub(crate) fn begin_with_acceptance(hub: &Hub, job: &JobEntry) -> bool {
    let place = job.lock().place;
    place != Place::None && run::begin(hub, job)
}

/// The job is durable: it runs if it has begun, or begins as soon as it has a place.
pub(crate) fn start_accepted(hub: &Arc<Hub>, job: &Arc<JobEntry>, has_begun: bool) {
    let place = {
        let mut core = job.lock();
        core.came_to_be();
        core.place
    };
    if has_begun {
        run::start_begun(hub, job);
    } else if place != Place::None {
        run::start(hub, job);
    } else if job.lock().terms.as_ref().is_some_and(|terms| terms.held) {
        held::watch(hub, job, held::Then { let_go, replace });
    }
}

/// A job that was kept before the runtime started, and is to run. It was admitted before, so the bounds on waiting, which
/// may have been others, do not end it now.
pub(super) fn admit_recovered(hub: &Arc<Hub>, job: &Arc<JobEntry>) {
    let (principal, weight) = (&job.row.principal, job.weight());
    let terms = job.lock().terms.as_deref().cloned().unwrap_or_default();
    let place = {
        let mut admission = hub.books.admission.lock();
        if job.row.parent.is_some() {
            admission.admit_child_anyway(principal);
            Place::Child
        } else {
            let queued = Queued(Arc::clone(job));
            match admission.admit_again(&terms, principal, queued, weight, hub.now()) {
                Admission::Start => Place::Held,
                Admission::Queued | Admission::Full(_) => Place::None,
            }
        }
    };
    hub.books.alarm.notify_one();
    // One that waits may have been given a place meanwhile.
    if place != Place::None {
        job.lock().place = place;
    }
    start_accepted(hub, job, false);
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
        Place::Held => release_place(hub, job),
        Place::Child => {
            let principal = &job.row.principal;
            hub.books.admission.lock().release_child(principal);
        }
        Place::None => {
            let terms = job.lock().terms.as_deref().cloned().unwrap_or_default();
            let mut admission = hub.books.admission.lock();
            admission.withdraw(&terms, &job.row.principal, &Queued(Arc::clone(job)));
        }
    }
}

/// A place is free: the next ones begin; those whose acceptance is still being committed do when it is.
fn release_place(hub: &Arc<Hub>, job: &JobEntry) {
    let line = job
        .lock()
        .terms
        .as_ref()
        .and_then(|terms| terms.line.clone());
    let principal = &job.row.principal;
    let next = {
        let mut admission = hub.books.admission.lock();
        admission.release(principal, line.as_ref(), || hub.now())
    };
    if line.is_some() {
        hub.books.alarm.notify_one();
    }
    start_next(hub, next);
}

/// Time has passed: who waited for it may begin.
pub(super) fn advance(hub: &Arc<Hub>) {
    let next = hub.books.admission.lock().advance(hub.now());
    start_next(hub, next);
}

/// A job waits for no other one any more.
fn let_go(hub: &Arc<Hub>, job: &Arc<JobEntry>) {
    let queued = Queued(Arc::clone(job));
    let next = hub.books.admission.lock().let_go(&queued, hub.now());
    start_next(hub, next);
}

/// A job makes room for the next firing of its schedule.
fn replace(hub: &Arc<Hub>, job: &Arc<JobEntry>) {
    let reason = Some("replaced by the next firing of its schedule".to_owned());
    end::stop_job(hub, job, Cause::Cancelled { reason });
}

/// What a job asks for beside a place. A queue that there is no more keeps nobody waiting.
pub(crate) fn terms_of(hub: &Hub, row: &JobRow) -> Option<Box<Terms>> {
    let planned = row.planned.as_ref()?;
    let queue = planned.queue.as_ref();
    let terms = Terms {
        not_before: planned.not_before,
        held: held::is_held(planned, row.state.status),
        line: queue.and_then(|queue| hub.books.admission.lock().line(queue, &row.input)),
        priority: planned.priority,
    };
    (terms != Terms::default()).then(|| Box::new(terms))
}

/// Where a job waits for its turn [ARCP 22-4].
pub(crate) fn waiting_for(hub: &Hub, job: &JobId) -> Option<WaitingFor> {
    let job = hub.books.jobs.get(job)?;
    let terms = job.lock().terms.clone()?;
    let queued = Queued(Arc::clone(&job));
    let admission = hub.books.admission.lock();
    let position = admission.position(&terms, &job.row.principal, &queued)?;
    Some(WaitingFor {
        queue: terms.line?.queue.to_string(),
        position: u64::try_from(position).unwrap_or(u64::MAX),
    })
}

fn start_next(hub: &Arc<Hub>, next: Vec<Queued>) {
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
