//! Removing what the policy does not keep, in steps.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    future::poll_fn,
    sync::Arc,
    task::Poll,
};

use towline_wire::{JobId, JobSeq, Timestamp};

use super::{
    MemoryStore,
    commit::{Committer, evict},
    jobs::Job,
};
use crate::{Block, RetentionPolicy, RetentionReport};

impl MemoryStore {
    pub(super) async fn remove_surplus(
        &self,
        now: Timestamp,
        policy: &RetentionPolicy,
        keep: &[JobId],
    ) -> RetentionReport {
        let keep: HashSet<&JobId> = keep.iter().collect();
        while self.keys.write().expire(now, STEP) {
            pause().await;
        }
        while self.trim_audit(now, policy) {
            pause().await;
        }
        self.settle_orphans();
        self.forget_checkpoints().await;

        let mut report = std::mem::take(&mut self.committer.lock().made_room);
        let spare = |job: &JobId| !keep.contains(job);
        let too_old = |_: &Committer, at: Timestamp| at.plus(policy.max_age) <= now;
        self.remove_jobs(&mut report, spare, too_old).await;
        let too_many = |committer: &Committer, _| committer.finished.len() as u64 > policy.max_jobs;
        self.remove_jobs(&mut report, spare, too_many).await;
        let max_bytes = policy.max_bytes.min(self.max_bytes);
        let too_big = |committer: &Committer, _| committer.totals.event_bytes > max_bytes;
        self.remove_jobs(&mut report, spare, too_big).await;
        self.remove_jobs(&mut report, |_| true, too_big).await;
        self.evict_running(&mut report, max_bytes).await;
        report
    }

    /// Drops some of the audit rows that are too old or too many; whether there may be more.
    fn trim_audit(&self, now: Timestamp, policy: &RetentionPolicy) -> bool {
        let mut committer = self.committer.lock();
        let refusals = committer.audit.iter().filter(|row| row.is_refusal());
        let mut surplus = (refusals.count() as u64).saturating_sub(policy.audit_refused);
        if surplus > 0 {
            committer.audit.retain(|row| {
                let goes = surplus > 0 && row.is_refusal();
                surplus -= u64::from(goes);
                !goes
            });
        }
        for _ in 0..STEP {
            let surplus = committer.audit.len() as u64 > policy.audit_rows;
            let too_old = |at: Timestamp| at.plus(policy.audit_age) <= now;
            if !committer
                .audit
                .front()
                .is_some_and(|row| surplus || too_old(row.at))
            {
                return false;
            }
            committer.audit.pop_front();
        }
        true
    }

    /// Forgets settled credentials and messages whose job went while they were still out.
    fn settle_orphans(&self) {
        let mut jobs = self.credentials.read().jobs();
        jobs.extend(self.deliveries.read().jobs());
        let _committer = self.committer.lock();
        for job in jobs.iter().filter(|job| self.jobs.find(job).is_none()) {
            self.credentials.write().settle(job);
            self.deliveries.write().settle(job);
        }
    }

    async fn forget_checkpoints(&self) {
        let mut after: Option<(Timestamp, JobId)> = None;
        loop {
            let step = next_finished(&self.committer.lock(), after.as_ref());
            let Some(last) = step.last() else { return };
            after = Some(last.clone());
            for job in step.iter().filter_map(|(_, job)| self.jobs.find(job)) {
                job.set_checkpoint(None);
                job.set_talk(None);
            }
            pause().await;
        }
    }

    /// Removes finished jobs, oldest first and only those that `may_go`, for as long as there is `surplus`.
    async fn remove_jobs(
        &self,
        report: &mut RetentionReport,
        may_go: impl Fn(&JobId) -> bool,
        surplus: impl Fn(&Committer, Timestamp) -> bool,
    ) {
        let mut after = None;
        loop {
            // What goes is dropped outside the lock: a job's log may be large.
            let mut gone: Vec<Arc<Job>> = Vec::new();
            let more = {
                let mut committer = self.committer.lock();
                let step = next_finished(&committer, after.as_ref());
                after = step.last().cloned();
                for (at, id) in step {
                    if !surplus(&committer, at) {
                        after = None;
                        break;
                    }
                    if may_go(&id) {
                        gone.extend(self.remove_job(&mut committer, at, &id, report));
                    }
                }
                after.is_some()
            };
            drop(gone);
            if !more {
                return;
            }
            pause().await;
        }
    }

    fn remove_job(
        &self,
        committer: &mut Committer,
        at: Timestamp,
        id: &JobId,
        report: &mut RetentionReport,
    ) -> Option<Arc<Job>> {
        let job = self.jobs.find(id)?;
        let bytes = job.bytes();
        committer.finished.remove(&(at, id.clone()));
        committer.totals.jobs -= 1;
        committer.totals.events -= job.events();
        committer.totals.event_bytes -= bytes;
        self.jobs.remove(&job);
        self.credentials.write().settle(id);
        self.deliveries.write().settle(id);
        report.jobs.push(id.clone());
        report.bytes += bytes;
        Some(job)
    }

    /// Evicts the oldest blocks of running jobs, whichever job they are of.
    async fn evict_running(&self, report: &mut RetentionReport, max_bytes: u64) {
        if self.committer.lock().totals.event_bytes <= max_bytes {
            return;
        }
        let running = self.jobs.live_handles();
        let mut by_age = oldest_of(&running);
        let mut truncated = Truncated::new();
        loop {
            let evicted = evict_some(&mut self.committer.lock(), &running, &mut by_age, max_bytes);
            if evicted.is_empty() {
                break;
            }
            count(report, &mut truncated, evicted);
            pause().await;
        }
        note(report, &running, truncated);
    }

    /// Removes what a commit brought beyond the store's own bound, and an eighth more, so that it is not each commit that
    /// does so.
    pub(super) fn make_room(&self, committer: &mut Committer) {
        if committer.totals.event_bytes <= self.max_bytes {
            return;
        }
        let enough = self.max_bytes - self.max_bytes / 8;
        let mut report = std::mem::take(&mut committer.made_room);
        while committer.totals.event_bytes > enough {
            let Some((at, id)) = committer.finished.first().cloned() else {
                break;
            };
            if self.remove_job(committer, at, &id, &mut report).is_none() {
                committer.finished.remove(&(at, id));
            }
        }
        let running = if committer.totals.event_bytes > enough {
            self.jobs.live_handles()
        } else {
            Vec::new()
        };
        let (mut by_age, mut truncated) = (oldest_of(&running), Truncated::new());
        loop {
            let evicted = evict_some(committer, &running, &mut by_age, enough);
            if evicted.is_empty() {
                break;
            }
            count(&mut report, &mut truncated, evicted);
        }
        note(&mut report, &running, truncated);
        committer.made_room = report;
    }
}

/// The running jobs that have a block to lose, the oldest block first.
fn oldest_of(running: &[Arc<Job>]) -> BTreeSet<(u64, usize)> {
    running
        .iter()
        .enumerate()
        .filter_map(|(index, job)| Some((job.oldest_evictable()?, index)))
        .collect()
}

/// Running jobs, by their place in a list of them, and the oldest record each still has.
type Truncated = BTreeMap<usize, JobSeq>;

/// What a step of evicting took: a job's place, the oldest record it still has, and the block.
type Evicted = (usize, JobSeq, Arc<Block>);

fn count(report: &mut RetentionReport, truncated: &mut Truncated, evicted: Vec<Evicted>) {
    for (index, oldest, block) in evicted {
        report.bytes += block.text().len() as u64;
        truncated.insert(index, oldest);
    }
}

/// A job that lost its beginning twice is told of once.
fn note(report: &mut RetentionReport, running: &[Arc<Job>], truncated: Truncated) {
    let known = std::mem::take(&mut report.truncated);
    let mut all: HashMap<JobId, JobSeq> = known.into_iter().collect();
    all.extend(
        truncated
            .into_iter()
            .map(|(index, oldest)| (running[index].id().clone(), oldest)),
    );
    report.truncated = all.into_iter().collect();
    report.truncated.sort_unstable();
}

/// One step of evicting.
fn evict_some(
    committer: &mut Committer,
    running: &[Arc<Job>],
    by_age: &mut BTreeSet<(u64, usize)>,
    max_bytes: u64,
) -> Vec<Evicted> {
    let mut evicted = Vec::new();
    while evicted.len() < STEP && committer.totals.event_bytes > max_bytes {
        let Some((_, index)) = by_age.pop_first() else {
            break;
        };
        let Some((oldest, block)) = evict(committer, &running[index]) else {
            continue;
        };
        evicted.push((index, oldest, block));
        by_age.extend(
            running[index]
                .oldest_evictable()
                .map(|order| (order, index)),
        );
    }
    evicted
}

fn next_finished(
    committer: &Committer,
    after: Option<&(Timestamp, JobId)>,
) -> Vec<(Timestamp, JobId)> {
    use std::ops::Bound::{Excluded, Unbounded};
    let start = after.map_or(Unbounded, Excluded);
    committer
        .finished
        .range((start, Unbounded))
        .take(STEP)
        .cloned()
        .collect()
}

/// Lets others run once.
async fn pause() {
    let mut paused = false;
    poll_fn(|context| {
        if paused {
            return Poll::Ready(());
        }
        paused = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

const STEP: usize = 256;
