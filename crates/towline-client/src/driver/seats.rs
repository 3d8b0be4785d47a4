//! Who sees which job.

use std::sync::{Arc, Weak};

use towline_proto::client::{JobEnd, JobKey, Lane};
use towline_wire::{EventSeq, JobId};

use crate::{
    ClientError, JobEvent,
    mailbox::{Fill, Mailbox, Role},
};

/// The mailboxes of every job that lives. A job has one per handle, and nearly always exactly one.
pub(super) struct Seats {
    by_job: Vec<Vec<Arc<Mailbox>>>,
    /// Of jobs that ended, until their handles have taken everything.
    ended: Vec<Weak<Mailbox>>,
    /// At how many of them to look which are done with.
    forget_at: usize,
}

impl Default for Seats {
    fn default() -> Self {
        Self {
            by_job: Vec::new(),
            ended: Vec::new(),
            forget_at: FORGET_AT,
        }
    }
}

/// What became of an event.
#[derive(Default)]
pub(super) struct Delivered {
    /// A mailbox that is full now.
    pub(super) full: Option<Arc<Mailbox>>,
    /// The job, once for each of its subscriptions that was found dropped. By its id: the machine may have given the key
    /// to another job meanwhile.
    pub(super) unwatched: Vec<JobId>,
}

impl Delivered {
    fn note(&mut self, seat: &Arc<Mailbox>, fill: Fill) {
        match fill {
            Fill::Room => {}
            Fill::Full => self.full = Some(seat.clone()),
            Fill::Closed if seat.role() == Role::Watch => self.unwatched.push(seat.job().clone()),
            Fill::Closed => {}
        }
    }
}

impl Seats {
    pub(super) fn add(&mut self, job: JobKey, mailbox: Arc<Mailbox>) {
        if self.by_job.len() <= job.index() {
            self.by_job.resize_with(job.index() + 1, Vec::new);
        }
        self.by_job[job.index()].push(mailbox);
    }

    pub(super) fn remove(&mut self, job: JobKey, mailbox: &Arc<Mailbox>) {
        if let Some(seats) = self.by_job.get_mut(job.index()) {
            seats.retain(|seat| !Arc::ptr_eq(seat, mailbox));
        }
    }

    /// Delivers a run of events of one job, and leaves `events` empty.
    pub(super) fn deliver(
        &mut self,
        job: JobKey,
        lane: Lane,
        events: &mut Vec<JobEvent>,
    ) -> Delivered {
        let mut delivered = Delivered::default();
        if let Some(seats) = self.by_job.get_mut(job.index()) {
            let single = seats.len() == 1;
            seats.retain(|seat| {
                let fill = if single {
                    seat.put(lane, events.drain(..))
                } else {
                    seat.put(lane, events.iter().cloned())
                };
                delivered.note(seat, fill);
                fill != Fill::Closed
            });
        }
        events.clear();
        delivered
    }

    /// Gives back the seats that wait for their job's past: this is not their end.
    pub(super) fn end(
        &mut self,
        job: JobKey,
        end: &Arc<JobEnd>,
        seq: Option<EventSeq>,
    ) -> Vec<Arc<Mailbox>> {
        let (waiting, ended): (Vec<_>, Vec<_>) = self
            .take(job)
            .into_iter()
            .partition(|seat| seat.waits_for_past());
        for seat in ended {
            seat.end(end.clone(), seq);
            self.ended.push(Arc::downgrade(&seat));
        }
        for seat in &waiting {
            seat.pass_end(end.clone(), seq);
        }
        if self.ended.len() >= self.forget_at {
            self.ended.retain(|seat| {
                seat.upgrade()
                    .is_some_and(|seat| seat.processed().is_some())
            });
            self.forget_at = FORGET_AT.max(2 * self.ended.len());
        }
        waiting
    }

    /// A handle has its end already.
    pub(super) fn ended_before(&mut self, job: JobKey, mailbox: &Arc<Mailbox>) {
        self.remove(job, mailbox);
        self.ended.push(Arc::downgrade(mailbox));
    }

    /// Nobody watches the job any more.
    pub(super) fn release(&mut self, job: JobKey) {
        self.take(job);
    }

    /// Removes dropped subscriptions of a job. Says how many.
    pub(super) fn remove_closed(&mut self, job: JobKey) -> usize {
        let Some(seats) = self.by_job.get_mut(job.index()) else {
            return 0;
        };
        let before = seats.len();
        seats.retain(|seat| !(seat.role() == Role::Watch && seat.is_closed()));
        before - seats.len()
    }

    pub(super) fn set_trouble(&self, trouble: Option<&ClientError>) {
        self.by_job
            .iter()
            .flatten()
            .for_each(|seat| seat.set_trouble(trouble.cloned()));
    }

    /// Up to where every handle has taken its events, given the last one received.
    pub(super) fn processed(&self, received: EventSeq) -> EventSeq {
        let ended = self
            .ended
            .iter()
            .filter_map(Weak::upgrade)
            .filter_map(|seat| seat.processed());
        let live = self
            .by_job
            .iter()
            .flatten()
            .filter_map(|seat| seat.processed());
        live.chain(ended)
            .min()
            .map_or(received, |held| held.min(received))
    }

    /// Empties the seats of a job.
    pub(super) fn take(&mut self, job: JobKey) -> Vec<Arc<Mailbox>> {
        self.by_job
            .get_mut(job.index())
            .map(std::mem::take)
            .unwrap_or_default()
    }
}

const FORGET_AT: usize = 64;
