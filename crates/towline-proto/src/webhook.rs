//! Webhooks: who is told of a job over HTTP, of what, and when it is tried (16-6).
//!
//! [`Allowed`] says where anything may be posted to, [`Delivery`] is one message from its first try to its last, and [`Desk`]
//! says which of many messages is to be tried next. None of them posts anything.

mod allow;
mod delivery;
mod desk;
#[cfg(test)]
mod tests;

use towline_wire::payload::Notify;

pub use self::{
    allow::{Allowed, NotAllowed, Receiver},
    delivery::{Delivery, FIRST_DELAY, LONGEST_DELAY, Stand, TRIED_FOR},
    desk::{Bounds, Desk, Line, Next, Post},
};

/// What of a job is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HookEvent {
    /// Its agent was started for the first time.
    Started,
    /// It asks people something.
    InputRequest,
    /// It is over.
    Ended,
}

impl HookEvent {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Started, Self::InputRequest, Self::Ended];

    /// What a submit calls it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::InputRequest => "input_request",
            Self::Ended => "ended",
        }
    }

    /// What a message calls it.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Started => "job.started",
            Self::InputRequest => "job.input_request",
            Self::Ended => "job.ended",
        }
    }
}

/// Whether a submit wants to have an event told; when it names none, it wants the end [ARCP 16-6].
pub fn wants(notify: &Notify, event: HookEvent) -> bool {
    if notify.events.is_empty() {
        return event == HookEvent::Ended;
    }
    notify.events.iter().any(|name| name == event.as_str())
}

/// A `notify` that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotifyError {
    /// A URL that no receiver has.
    #[error("`notify.url` has {bytes} bytes, it has 1 to {MOST_URL_BYTES}")]
    Url {
        /// How long it is.
        bytes: usize,
    },
    /// An event there is not.
    #[error("`notify.events` names `{name}`, which is none of started, input_request and ended")]
    Event {
        /// What was named.
        name: String,
    },
    /// One event twice, or more than there are.
    #[error("`notify.events` names {count} events, there are {}; name each once", HookEvent::ALL.len())]
    TooMany {
        /// How many were named.
        count: usize,
    },
}

/// Checks the form of a `notify`. Whether the URL is allowed is another question: see [`Allowed`].
///
/// # Errors
/// [`NotifyError`].
pub fn check(notify: &Notify) -> Result<(), NotifyError> {
    let bytes = notify.url.len();
    if !(1..=MOST_URL_BYTES).contains(&bytes) {
        return Err(NotifyError::Url { bytes });
    }
    let count = notify.events.len();
    if count > HookEvent::ALL.len() {
        return Err(NotifyError::TooMany { count });
    }
    let is_twice = |name: &String| notify.events.iter().filter(|other| *other == name).count() > 1;
    if notify.events.iter().any(is_twice) {
        return Err(NotifyError::TooMany { count });
    }
    let known = |name: &String| HookEvent::ALL.iter().any(|event| event.as_str() == name);
    match notify.events.iter().find(|name| !known(name)) {
        Some(name) => Err(NotifyError::Event {
            name: name.chars().take(64).collect(),
        }),
        None => Ok(()),
    }
}

/// How long a receiver's URL may be.
pub const MOST_URL_BYTES: usize = 2048;
