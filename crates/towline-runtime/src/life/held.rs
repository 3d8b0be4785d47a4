//! Firings that come while the job of the firing before is not over (§22): pending jobs, which begin when it is.
//!
//! Which job one waits for is kept with it, so that no crash loses it, and whoever lists jobs sees it.

use std::{sync::Arc, time::Duration};

use towline_proto::schedule::Overlap;
use towline_store::Planned;
use towline_wire::{JobId, JobStatus, Shown};

use crate::{hub::Hub, job::JobEntry};

/// Whether a job of that plan waits for another one. One that has begun does not, though it is run again.
pub(super) fn is_held(planned: &Planned, status: JobStatus) -> bool {
    status == JobStatus::Pending && after(planned).is_some()
}

/// What becomes of jobs, which is decided where the others' is.
#[derive(Clone, Copy)]
pub(super) struct Then {
    /// One waits no more.
    pub(super) let_go: fn(&Arc<Hub>, &Arc<JobEntry>),
    /// One has to make room for the next.
    pub(super) replace: fn(&Arc<Hub>, &Arc<JobEntry>),
}

/// Lets a job go when the ones before it are over.
pub(super) fn watch(hub: &Arc<Hub>, job: &Arc<JobEntry>, then: Then) {
    let (hub, job) = (Arc::clone(hub), Arc::clone(job));
    let tasks = hub.scope.tasks.clone();
    tasks.spawn(async move {
        tokio::select! {
            () = hub.scope.stopping.cancelled() => {}
            // It is left to the next start.
            () = hub.scope.draining.cancelled() => {}
            () = job.ended.cancelled() => {}
            () = before_are_over(&hub, &job, then) => (then.let_go)(&hub, &job),
        }
    });
}

/// Waits until the job before is over and, where that never began, the one that it waited for. A schedule that replaces ends
/// them.
async fn before_are_over(hub: &Arc<Hub>, job: &JobEntry, then: Then) {
    let planned = job.row.planned.as_deref();
    let mut next = planned.and_then(after).cloned();
    while let Some(before) = next {
        if let Some(entry) = hub.books.jobs.get(&before) {
            if replaces(hub, job) {
                (then.replace)(hub, &entry);
            }
            entry.ended.cancelled().await;
        }
        next = waited_for(hub, &before).await;
    }
}

/// What a job of a schedule that is over waited for, if it never began: that may not be over. What began had nobody before it.
pub(crate) async fn waited_for(hub: &Hub, over: &JobId) -> Option<JobId> {
    loop {
        match hub.services.store.job(over).await {
            Ok(row) => {
                let row = row.filter(|row| row.state.started_at.is_none())?;
                return after(row.planned.as_deref()?).cloned();
            }
            Err(error) => {
                tracing::warn!(target: "towline::schedule", job = %Shown::new(over), %error, "cannot tell what the job waited for, it is looked again");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

fn replaces(hub: &Hub, job: &JobEntry) -> bool {
    let planned = job.row.planned.as_deref();
    let firing = planned.and_then(|planned| planned.schedule.as_ref());
    let schedule = firing.and_then(|firing| hub.services.schedule(&firing.name));
    schedule.is_some_and(|schedule| schedule.overlaps() == Overlap::Replace)
}

fn after(planned: &Planned) -> Option<&JobId> {
    planned.schedule.as_ref()?.after.as_ref()
}

/// How long a store that failed is left alone.
const RETRY: Duration = Duration::from_secs(1);
