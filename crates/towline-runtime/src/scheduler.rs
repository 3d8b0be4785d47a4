//! Firing schedules when their time has come (§22): one task a schedule asks its plan what to do, and does it.

use std::{sync::Arc, time::Duration};

use towline_proto::{
    refusal::Refusal,
    schedule::{Missed, Overlap, Plan, Step},
};
use towline_store::ScheduleChange;
use towline_wire::{AgentRef, Shown, Timestamp};

use crate::{
    command::{FiredBy, fire, set_schedule},
    hub::Hub,
    job::JobEntry,
    life::waited_for,
    schedule::Schedule,
};

/// Begins to watch the clock. A runtime that is only looked at fires nothing [ARCP 14-9].
pub(crate) fn begin(hub: &Arc<Hub>) {
    if !hub.services.options.starts_recovered {
        return;
    }
    for schedule in &hub.services.schedules {
        let agent = AgentRef::parse(schedule.agent());
        let agent = agent.map_err(|error| Refusal::invalid(error.to_string()));
        let found = agent.and_then(|agent| Ok(hub.services.agents.resolve(&agent)?));
        if let Err(refusal) = found {
            tracing::warn!(target: "towline::schedule", schedule = schedule.name(), refusal = %Shown::new(&refusal), "what it fires would be refused now");
        }
        let (watched, schedule) = (Arc::clone(hub), Arc::clone(schedule));
        hub.scope.tasks.spawn(async move {
            let ends = watched.scope.draining.clone();
            tokio::select! {
                () = ends.cancelled() => {}
                () = watch(&watched, &schedule) => {}
            }
        });
    }
}

async fn watch(hub: &Arc<Hub>, schedule: &Schedule) {
    let there = hub.now();
    let mut ahead = None;
    loop {
        // Made before the look.
        let news = hub.books.schedules.news();
        let row = hub.books.schedules.get(schedule.name());
        let wait = match row {
            // What comes from now on is its business.
            None => done_with(hub, schedule, there).await,
            Some(row) if row.paused => Some(LOOK),
            Some(row) => match schedule.plan().step(row.done, there, hub.now()) {
                Step::Wait(until) => {
                    if row.done > hub.now() && ahead.replace(row.done) != Some(row.done) {
                        tracing::warn!(target: "towline::schedule", schedule = schedule.name(), done = %Shown::new(row.done), "the clock was ahead once: times up to then are done with already; resume the schedule for it to fire from now on");
                    }
                    Some(until.since(hub.now()).min(LOOK))
                }
                Step::Never => return,
                Step::PassOver(at) => done_with(hub, schedule, at).await,
                Step::Fire(at) => fire_for(hub, schedule, at, there).await,
            },
        };
        if let Some(wait) = wait {
            tokio::select! {
                () = news => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }
}

/// Fires for a time, or does what is to be done instead; how long to wait before anything else.
async fn fire_for(
    hub: &Arc<Hub>,
    schedule: &Schedule,
    at: Timestamp,
    there: Timestamp,
) -> Option<Duration> {
    let before = running(hub, schedule).await;
    if let Some(before) = &before
        && schedule.overlaps() == Overlap::Skip
    {
        if is_made_up(hub, schedule, at, there) {
            // All that were missed come one after the other. It may have been paused meanwhile.
            before.ended.cancelled().await;
            return None;
        }
        tracing::info!(target: "towline::schedule", schedule = schedule.name(), at = %Shown::new(at), job = %Shown::new(before.id()), "passed over, for the job before is not over");
        return done_with(hub, schedule, at).await;
    }
    let after = before.map(|before| before.id().clone());
    match fire(hub, schedule, FiredBy::Clock { at, after }).await {
        Ok(job) => {
            let row = hub.books.schedules.get(schedule.name());
            if row.is_some_and(|row| row.done >= at) {
                return None;
            }
            // The key stood for a job already.
            let change = ScheduleChange {
                name: schedule.name().to_owned(),
                done: Some(at),
                job: Some(job),
                paused: None,
            };
            retry_later(set_schedule(hub, change).await.is_err())
        }
        Err(refusal) if refusal.code.is_retryable() => {
            tracing::warn!(target: "towline::schedule", schedule = schedule.name(), at = %Shown::new(at), refusal = %Shown::new(&refusal), "not fired, it is tried again");
            Some(RETRY)
        }
        Err(refusal) => {
            tracing::error!(target: "towline::schedule", schedule = schedule.name(), at = %Shown::new(at), refusal = %Shown::new(&refusal), "not fired");
            done_with(hub, schedule, at).await
        }
    }
}

/// Whether each time that was missed fires, and this is one.
fn is_made_up(hub: &Hub, schedule: &Schedule, at: Timestamp, there: Timestamp) -> bool {
    let missed = at <= there || hub.now().since(at) > Plan::LATE;
    missed && schedule.plan().missed == Missed::All
}

/// The job of the latest firing that is not over. One that ended in the queue may have left an earlier one that runs.
async fn running(hub: &Hub, schedule: &Schedule) -> Option<Arc<JobEntry>> {
    let mut latest = hub.books.schedules.get(schedule.name())?.job;
    while let Some(job) = latest {
        let entry = hub.books.jobs.get(&job);
        if let Some(entry) = entry.filter(|entry| !entry.ended.is_cancelled()) {
            return Some(entry);
        }
        latest = waited_for(hub, &job).await;
    }
    None
}

async fn done_with(hub: &Hub, schedule: &Schedule, at: Timestamp) -> Option<Duration> {
    let change = ScheduleChange {
        name: schedule.name().to_owned(),
        done: Some(at),
        ..ScheduleChange::default()
    };
    retry_later(set_schedule(hub, change).await.is_err())
}

fn retry_later(failed: bool) -> Option<Duration> {
    failed.then_some(RETRY)
}

/// How long a clock is trusted, for it may be set, and machines sleep.
const LOOK: Duration = Duration::from_secs(30);

/// How long what failed is left alone.
const RETRY: Duration = Duration::from_secs(5);
