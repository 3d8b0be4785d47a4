//! What has to be looked after now and then: sessions whose window has passed, and what the store need not keep.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::time::{MissedTickBehavior, interval};
use towline_proto::limits;
use towline_store::Principal;
use towline_wire::{JobId, JobStatus, Shown, Timestamp};

use crate::{
    audit::{Actor, Audit},
    auth::Proof,
    hub::{EndSession, Hub, SaveSession},
    session::{DetachReason, SessionEntry},
};

/// Runs until the runtime stops.
pub(super) async fn run(hub: Arc<Hub>) {
    let mut tick = interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ticks = 0u64;
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = hub.scope.stopping.cancelled() => return,
        }
        end_unproved_sessions(&hub);
        hub.end_barred_watching();
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

/// Has what proved a principal's sessions prove nothing any more, so that they end and are not resumed, after a restart
/// neither [ARCP 14-7]. What the principal reads without a connection ends too. Says how many sessions there were.
pub(crate) fn revoke_sessions(hub: &Hub, principal: &Principal) -> usize {
    hub.books.callers.revoke(principal);
    let mut sessions = hub.books.sessions.all();
    sessions.retain(|session| session.principal == *principal);
    for session in &sessions {
        session.lock().proof = Proof::revoked();
        hub.command(SaveSession(Arc::clone(session)));
    }
    sessions.len()
}

/// Takes the connection of those whose access was taken away [ARCP 14-7]. The session is kept for its window like any that
/// lost its connection, so that its peer can be told why it is not resumed.
pub(crate) fn end_unproved_sessions(hub: &Hub) {
    for session in hub.books.sessions.all() {
        let attached = {
            let state = session.lock();
            let holds = hub.services.still_proved(&session.principal, &state.proof);
            state.attachment.clone().filter(|_| !holds)
        };
        let Some(attachment) = attached.filter(|attached| !attached.detach.is_cancelled()) else {
            continue;
        };
        tracing::info!(target: "towline::session", session = %session.id, principal = %Shown::new(&session.principal), "access was taken away");
        let role = hub.services.role_of(&session.principal);
        let actor = Actor {
            principal: &session.principal,
            session: &session.id,
            role: role.as_deref(),
        };
        hub.audit(Audit::at(hub.now()).access_ended(actor));
        attachment.detach(DetachReason::Unproved);
    }
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
    let (own, all) = (
        options.detached_sessions_per_principal,
        options.detached_sessions,
    );
    detached.sort_by_key(|(since, _)| *since);
    let left = detached
        .into_iter()
        .map(|(_, session)| (session.principal.clone(), session));
    for session in surplus(left, own, all) {
        end_session(hub, &session);
    }
}

/// Which sessions are too many, given those that were left, the first ones first: of each principal those beyond `own`, and
/// while there are more than `all`, those of whoever has most. So nobody loses a session because of another who has
/// more [ARCP 14-6].
fn surplus<P: Ord + Clone, S>(
    left: impl Iterator<Item = (P, S)>,
    own: usize,
    all: usize,
) -> Vec<S> {
    let mut kept: BTreeMap<P, VecDeque<S>> = BTreeMap::new();
    let (mut total, mut gone) = (0, Vec::new());
    for (principal, session) in left {
        let sessions = kept.entry(principal).or_default();
        sessions.push_back(session);
        total += 1;
        if sessions.len() > own {
            total -= 1;
            gone.extend(sessions.pop_front());
        }
    }
    let mut by_count: BTreeSet<(usize, P)> = kept
        .iter()
        .map(|(principal, sessions)| (sessions.len(), principal.clone()))
        .collect();
    while total > all
        && let Some((count, principal)) = by_count.pop_last()
    {
        gone.extend(kept.get_mut(&principal).and_then(VecDeque::pop_front));
        total -= 1;
        by_count.insert((count.saturating_sub(1), principal));
    }
    gone
}

fn end_session(hub: &Hub, session: &Arc<SessionEntry>) {
    let told = std::mem::replace(&mut session.lock().ending, true);
    if !told {
        hub.command(EndSession::new(session));
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

/// How soon it is noticed that an access was taken away, or a window has passed.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Retention runs once a minute.
const RETAIN_EVERY: u64 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    /// [ARCP 14-6] who leaves many sessions loses its own oldest, also when all of them together are too many.
    #[test]
    fn whoever_has_most_loses_its_oldest() {
        let check = |left: &[(&str, u32)], own, all, gone: &[u32]| {
            assert_eq!(surplus(left.iter().copied(), own, all), gone, "{left:?}");
        };
        let left = [("a", 1), ("b", 2), ("a", 3), ("a", 4), ("b", 5), ("a", 6)];
        check(&left, 4, 6, &[]);
        check(&left, 2, 6, &[1, 3]);
        check(&left, 9, 4, &[1, 3]);
        check(&[("b", 1), ("a", 2), ("a", 3)], 9, 2, &[2]);
        check(&left, 0, 9, &[1, 2, 3, 4, 5, 6]);
        check(&left, 9, 0, &[1, 3, 2, 4, 5, 6]);
    }
}
