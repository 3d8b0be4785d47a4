//! Jobs that were delivered without a request.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::Notify;
use towline_wire::JobId;

use crate::{JobHandle, job::Seat, shared::Shared};

/// Jobs that nobody has asked for, one after the other; see [`crate::Client::unsolicited_jobs`].
///
/// A job that is not taken keeps its first 256 events (or 256 KiB); when more come, all of them are let go, and the handle
/// that takes it later is told so once ([`crate::ClientError::EventsDropped`]). It never stops the session. Of more than
/// 1024 such jobs the oldest are forgotten.
#[derive(Debug)]
pub struct UnsolicitedJobs {
    shared: Arc<Shared>,
}

impl UnsolicitedJobs {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The next job; `None` once the session is over. Cancel safe.
    pub async fn next(&mut self) -> Option<JobHandle> {
        let seat = self.shared.unclaimed.next(self.shared.buffer).await?;
        Some(JobHandle::new(seat, self.shared.clone()))
    }

    /// The next job, if one is there.
    pub fn try_next(&mut self) -> Option<JobHandle> {
        let seat = self.shared.unclaimed.pop(self.shared.buffer)?;
        Some(JobHandle::new(seat, self.shared.clone()))
    }
}

/// The jobs that wait to be taken.
#[derive(Debug, Default)]
pub(crate) struct Unclaimed {
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    seats: VecDeque<Seat>,
    over: bool,
}

impl Unclaimed {
    pub(crate) fn offer(&self, seat: Seat) {
        let mut waiting = self.waiting.lock();
        waiting.seats.push_back(seat);
        let forgotten = if waiting.seats.len() > MOST {
            waiting.seats.pop_front()
        } else {
            None
        };
        drop(waiting);
        if let Some(seat) = forgotten {
            seat.mailbox.close();
        }
        self.arrived.notify_waiters();
    }

    /// Nothing will be offered any more.
    pub(crate) fn finish(&self) {
        self.waiting.lock().over = true;
        self.arrived.notify_waiters();
    }

    /// Takes a job by its id.
    pub(crate) fn take(&self, job: &JobId, buffer: usize) -> Option<Seat> {
        let mut waiting = self.waiting.lock();
        let at = waiting
            .seats
            .iter()
            .position(|seat| seat.mailbox.job() == job)?;
        waiting
            .seats
            .remove(at)
            .inspect(|seat| seat.mailbox.claim(buffer))
    }

    fn pop(&self, buffer: usize) -> Option<Seat> {
        let seat = self.waiting.lock().seats.pop_front();
        seat.inspect(|seat| seat.mailbox.claim(buffer))
    }

    async fn next(&self, buffer: usize) -> Option<Seat> {
        loop {
            let arrived = self.arrived.notified();
            tokio::pin!(arrived);
            // Registered before the look, so that nothing offered in between is missed.
            arrived.as_mut().enable();
            if let Some(seat) = self.pop(buffer) {
                return Some(seat);
            }
            if self.waiting.lock().over {
                return None;
            }
            arrived.await;
        }
    }
}

const MOST: usize = 1024;
