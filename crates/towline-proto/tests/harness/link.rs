//! What is between two ends: two queues with a clock.

use std::{collections::VecDeque, time::Duration};

use towline_wire::Envelope;

/// One connection. Frames arrive in order, each some time after it was sent.
#[derive(Debug, Default)]
pub(crate) struct Link {
    pub(crate) up: Lane,
    pub(crate) down: Lane,
}

/// One direction.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    queue: VecDeque<(Duration, Envelope)>,
}

/// Steele, Lea and Flood's generator.
#[derive(Debug, Clone)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

impl Lane {
    /// A frame is on its way; it does not overtake the one before it.
    pub(crate) fn push(&mut self, frame: Envelope, now: Duration, dice: &mut Dice) {
        let due = now + Duration::from_millis(dice.below(40));
        let due = self.queue.back().map_or(due, |(last, _)| due.max(*last));
        self.queue.push_back((due, frame));
    }

    /// The next frame, and when it arrives.
    pub(crate) fn pop(&mut self) -> Option<(Duration, Envelope)> {
        self.queue.pop_front()
    }

    pub(crate) fn front(&self) -> Option<&Envelope> {
        self.queue.front().map(|(_, frame)| frame)
    }

    /// Loses the next frame.
    pub(crate) fn lose(&mut self) {
        self.queue.pop_front();
    }
}
