//! One message, from its first try to its last.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use towline_wire::Timestamp;

/// A message to a receiver, as far as it came [ARCP 16-6].
///
/// ```text
///            try failed, its time is not over
///                   ┌───────┐
///                   ▼       │
/// new ───────▶ Waiting ─────┘
///               │  │  ▲
///   try came    │  │  │ again
///   through     ▼  │  │
///       Delivered  └──┴──▶ Failed   try failed, its time is over
/// ```
///
/// The first try may be made at once, the next ones 1, 2, 4, … seconds after the one before, an hour after it at most, for a
/// day from the first try. It reads no clock: whoever tries says when that was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Where it stands.
    pub stand: Stand,
    /// How often it was tried.
    pub tries: u32,
    /// When it was tried first, in this round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_try: Option<Timestamp>,
    /// How often it was tried in this round.
    round: u32,
    /// Why the latest try that failed did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// Where a message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "is", content = "at")]
pub enum Stand {
    /// It is to be tried, not before this moment.
    Waiting(Timestamp),
    /// The receiver has it, since then.
    Delivered(Timestamp),
    /// It was given up then.
    Failed(Timestamp),
}

impl Delivery {
    /// A message that nobody has tried to deliver.
    pub fn new(now: Timestamp) -> Self {
        Self {
            stand: Stand::Waiting(now),
            tries: 0,
            first_try: None,
            round: 0,
            last_error: None,
        }
    }

    /// When it is to be tried; `None` when it is not.
    pub fn due(&self) -> Option<Timestamp> {
        match self.stand {
            Stand::Waiting(at) => Some(at),
            Stand::Delivered(_) | Stand::Failed(_) => None,
        }
    }

    /// The word for where it stands.
    pub const fn status(&self) -> &'static str {
        match self.stand {
            Stand::Waiting(_) => "pending",
            Stand::Delivered(_) => "delivered",
            Stand::Failed(_) => "failed",
        }
    }

    /// After a try that began at `began` and is over `now`.
    #[must_use]
    pub fn tried(&self, began: Timestamp, now: Timestamp, outcome: Result<(), String>) -> Self {
        let first = self.first_try.unwrap_or(began);
        let round = self.round.saturating_add(1);
        let (stand, last_error) = match outcome {
            Ok(()) => (Stand::Delivered(now), self.last_error.clone()),
            Err(error) => {
                let next = now.plus(delay_after(round));
                let last = first.plus(TRIED_FOR);
                let is_over = now >= last;
                let stand = if is_over {
                    Stand::Failed(now)
                } else {
                    // The last try is made when the day is over, not up to an hour before.
                    Stand::Waiting(next.min(last))
                };
                (stand, Some(error))
            }
        };
        Self {
            stand,
            tries: self.tries.saturating_add(1),
            first_try: Some(first),
            round,
            last_error,
        }
    }

    /// Once more, from the first delay on and for another day, whatever became of it.
    #[must_use]
    pub fn again(&self, now: Timestamp) -> Self {
        Self {
            stand: Stand::Waiting(now),
            tries: self.tries,
            first_try: None,
            round: 0,
            last_error: self.last_error.clone(),
        }
    }
}

/// How long the next try waits after the `n`th one failed.
fn delay_after(n: u32) -> Duration {
    let doublings = n.saturating_sub(1).min(12);
    (FIRST_DELAY * (1 << doublings)).min(LONGEST_DELAY)
}

/// How long after the first try the second one comes.
pub const FIRST_DELAY: Duration = Duration::from_secs(1);

/// How long a try waits at most.
pub const LONGEST_DELAY: Duration = Duration::from_secs(3600);

/// How long a message is tried.
pub const TRIED_FOR: Duration = Duration::from_secs(24 * 3600);
