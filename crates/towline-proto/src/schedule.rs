//! Schedules: at which times something is due, and what becomes of times that were missed (§22).
//!
//! A [`Timetable`] is a [`Cron`] expression read by the clocks of a [`Zone`]; it says which time comes next and which came
//! last. A [`Plan`] adds what is to be done about times that nobody was there for; [`Plan::step`] is asked again and again
//! with the time up to which all is done with, and says what to do now: fire, pass over, or wait until when. Whoever asks
//! makes what was done durable before asking again, so that a crash between two steps repeats a step that had no effect.
//!
//! Zones come from a table that is compiled in: the same build gives the same times everywhere, and nothing is read from disk.

mod cron;
#[cfg(test)]
mod tests;
mod timetable;

use std::{fmt, str::FromStr, time::Duration};

use towline_wire::Timestamp;

pub use cron::{Cron, CronError};
pub use timetable::{Timetable, Zone, ZoneError};

/// What becomes of times at which nobody was there to fire [ARCP 22-1].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Missed {
    /// One firing, at the last of them, stands for all that were missed.
    #[default]
    One,
    /// Each of them fires, one after the other.
    All,
    /// They are passed over.
    None,
}

/// What becomes of a firing while an earlier job of the same schedule is not over [ARCP 22-1].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overlap {
    /// It is passed over.
    #[default]
    Skip,
    /// Its job waits until the one before is over.
    Queue,
    /// The one before is cancelled, and its job begins when that is over.
    Replace,
}

/// A text that is none of the words that may stand there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is none of {known}")]
pub struct WordError {
    text: String,
    known: &'static str,
}

/// A timetable, and what becomes of times that were missed.
#[derive(Debug, Clone)]
pub struct Plan {
    /// When.
    pub timetable: Timetable,
    /// And if nobody is there.
    pub missed: Missed,
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Fire for this time. Then all up to it is done with.
    Fire(Timestamp),
    /// Do nothing about the times up to this one. Then they are done with.
    PassOver(Timestamp),
    /// Nothing, until then.
    Wait(Timestamp),
    /// Nothing, ever.
    Never,
}

impl Plan {
    /// What is to be done at `now`, given that all times up to `done` are done with and that somebody has been there to fire
    /// since `there`.
    ///
    /// A time after `there` is not missed when `now` is at most [`Plan::LATE`] after it: somebody may be slow, or the commit
    /// before took a while. A machine that slept has missed what is longer ago.
    pub fn step(&self, done: Timestamp, there: Timestamp, now: Timestamp) -> Step {
        let Some(next) = self.timetable.next_after(done) else {
            return Step::Never;
        };
        if next > now {
            return Step::Wait(next);
        }
        if next > there && now.since(next) <= Self::LATE {
            return Step::Fire(next);
        }
        // Up to here everything was missed.
        let late = Timestamp::from_unix_micros(now.unix_micros().saturating_sub(LATE_MICROS + 1));
        let bound = there.max(late).min(now);
        let last = self.timetable.last_until(bound).unwrap_or(next).max(next);
        match self.missed {
            Missed::One => Step::Fire(last),
            Missed::All => Step::Fire(next),
            Missed::None => Step::PassOver(last),
        }
    }

    /// How late a firing may be without having been missed.
    pub const LATE: Duration = Duration::from_micros(LATE_MICROS.unsigned_abs());
}

const LATE_MICROS: i64 = 60_000_000;

/// The idempotency key of a firing: the schedule and the time, so that nothing fires twice for one time [ARCP 22-2].
pub fn key(schedule: &str, at: Timestamp) -> String {
    format!("schedule:{schedule}@{}", seconds_text(at))
}

/// A time in UTC without a fraction, as keys and listings write it.
pub fn seconds_text(at: Timestamp) -> String {
    let text = at.to_string();
    // `2026-01-31T12:00:00.000Z`
    format!("{}Z", text.get(..19).unwrap_or(&text))
}

/// Whether a text can be the name of a schedule or of a queue: 1 to 64 letters, digits, `.`, `_` and `-`, the first a letter or
/// a digit.
pub fn is_name(text: &str) -> bool {
    let first = text.bytes().next();
    first.is_some_and(|byte| byte.is_ascii_alphanumeric())
        && text.len() <= 64
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

macro_rules! words {
    ($name:ident: $($word:literal => $value:ident),+; $known:literal) => {
        impl $name {
            /// The word for it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$value => $word),+ }
            }
        }

        impl FromStr for $name {
            type Err = WordError;

            fn from_str(text: &str) -> Result<Self, WordError> {
                match text {
                    $($word => Ok(Self::$value),)+
                    _ => Err(WordError { text: text.to_owned(), known: $known }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words!(Missed: "one" => One, "all" => All, "none" => None; "one, all and none");
words!(Overlap: "skip" => Skip, "queue" => Queue, "replace" => Replace; "skip, queue and replace");
