//! What has to be looked after now and then: sessions whose window has passed, and what the store need not keep.

use std::{sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval};
use towline_proto::limits;
use towline_wire::{JobId, JobStatus, Timestamp};

use crate::{
    hub::{EndSession, Hub},
    session::SessionEntry,
};

/// Runs until the runtime stops.
pub(super) async fn run(hub: Arc<Hub>) {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ticks = 0u64;
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = hub.scope.stopping.cancelled() => return,
        }
        end_lost_sessions(&hub);
        if ticks.is_multiple_of(RETAIN_EVERY) && ticks > 0 {
            retain(&hub).await;
        }
        hub.sum_up_refusals();
        ticks += 1;
        measure(&hub);
    }
}

/// What is counted rather than added up. No label depends on a peer.
fn measure(hub: &Hub) {
    let mut jobs = [(JobStatus::Pending, 0u32), (JobStatus::Running, 0)];
    for job in hub.books.jobs.unfinished() {
        let status = job.lock().machine.status();
        jobs.iter_mut()
            .filter(|(of, _)| *of == status)
            .for_each(|(_, count)| *count += 1);
    }
    for (status, count) in jobs {
        metrics::gauge!("towline_jobs", "status" => status.as_str()).set(count);
    }
    let (mut attached, mut detached, mut lag) = (0u32, 0u32, 0);
    for session in hub.books.sessions.all() {
        let state = session.lock();
        match state.attachment {
            Some(_) => attached += 1,
            None => detached += 1,
        }
        if state.attachment.is_some() {
            lag = lag.max(state.stream.lag());
        }
    }
    metrics::gauge!("towline_sessions", "state" => "attached").set(attached);
    metrics::gauge!("towline_sessions", "state" => "detached").set(detached);
    // A sum would hide the one that matters.
    metrics::gauge!("towline_ack_lag_max").set(lag as f64);
    hub.services.credentials.measure();
}

/// Ends the sessions whose window has passed, and, when too many are detached, those that were left first.
fn end_lost_sessions(hub: &Hub) {
    let (now, options) = (hub.now(), &hub.services.options);
    let mut detached: Vec<(Timestamp, Arc<SessionEntry>)> = Vec::new();
    for session in hub.books.sessions.all() {
        let since = session.lock().detached_at;
        let Some(since) = since else { continue };
        if limits::in_resume_window(Some(since), now, options.resume_window) {
            detached.push((since, session));
        } else {
            end_session(hub, &session);
        }
    }
    let surplus = detached.len().saturating_sub(options.detached_sessions);
    if surplus > 0 {
        detached.sort_by_key(|(since, _)| *since);
        detached
            .iter()
            .take(surplus)
            .for_each(|(_, session)| end_session(hub, session));
    }
}

fn end_session(hub: &Hub, session: &Arc<SessionEntry>) {
    let told = std::mem::replace(&mut session.lock().ending, true);
    if !told {
        hub.command(EndSession(Arc::clone(session)));
    }
}

async fn retain(hub: &Arc<Hub>) {
    let keep: Vec<JobId> = {
        let mut jobs: Vec<JobId> = Vec::new();
        for session in hub.books.sessions.all() {
            jobs.extend(session.lock().stream.jobs().cloned());
        }
        jobs.sort_unstable();
        jobs.dedup();
        jobs
    };
    let services = &hub.services;
    match services
        .store
        .retain(hub.now(), &services.options.retention, &keep)
        .await
    {
        Ok(report) => forget_evicted(hub, report),
        Err(error) => tracing::error!(target: "towline::store", %error, "retention failed"),
    }
}

/// Sessions whose streams point into what is gone cannot be replayed from before it any more.
fn forget_evicted(hub: &Arc<Hub>, report: towline_store::RetentionReport) {
    let gone = report
        .jobs
        .iter()
        .map(|job| (job, towline_wire::JobSeq::new(towline_wire::MAX_SEQ)));
    let cut = report.truncated.iter().map(|(job, oldest)| {
        (
            job,
            towline_wire::JobSeq::new(oldest.value().saturating_sub(1)),
        )
    });
    for (job, up_to) in gone.chain(cut) {
        for session in hub.books.sessions.all() {
            let last = session.lock().stream.last_of(job, up_to);
            if let Some(last) = last {
                hub.evict(
                    &session,
                    last,
                    "the store no longer keeps the events of a job",
                );
            }
        }
    }
}

const TICK: Duration = Duration::from_secs(1);
/// Retention runs once a minute.
const RETAIN_EVERY: u64 = 60;
