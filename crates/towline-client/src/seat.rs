//! What handles are made of, and those that nobody has asked for.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::Notify;
use towline_wire::{JobId, payload::Accepted};

use crate::mailbox::Mailbox;

/// What makes a handle.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) accepted: Option<Arc<Accepted>>,
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

    pub(crate) fn pop(&self, buffer: usize) -> Option<Seat> {
        let seat = self.waiting.lock().seats.pop_front();
        seat.inspect(|seat| seat.mailbox.claim(buffer))
    }

    pub(crate) async fn next(&self, buffer: usize) -> Option<Seat> {
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
