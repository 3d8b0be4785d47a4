//! A store that several processes write to at a time.

use std::{sync::Arc, time::Duration};

use towline_wire::{SessionId, Timestamp};

use crate::{Incarnation, Recovered, RecoveredSession, StoreFuture};

/// What a runtime needs of a store beside which others run on the same one.
///
/// Opening such a store makes a process a *member*: an [`Incarnation`], which is live until it is *fenced*, and then never
/// again. Each job that has not ended and each session belongs to one incarnation, its owner, and only the owner changes it:
///
/// - A commit of a fenced incarnation is [`Fenced`](crate::StoreError::Fenced), also one that was under way when it was fenced.
/// - What a batch says of a session that has another owner is passed over
///   ([`Committed::lost`](crate::Committed::lost)), also when that session is gone by now.
/// - What contradicts ownership otherwise (a record of another's job, a child of another's job, another job for a key that
///   stands for one) is a mistake of the caller: [`Rejected`](crate::StoreError::Rejected).
///
/// A job is owned together with all that stand above and below it by delegation, its *tree*: what they share, their budget
/// above all, has one writer. A new tree or session is its maker's. A tree goes to another owner only when the one before is
/// fenced, a session whenever somebody comes with its token.
///
/// [`EventStore::recover`](crate::EventStore::recover) of a member gives what earlier incarnations of its name left, and makes
/// that its own.
///
/// Every implementation passes `store_sharing_suite!` in `testing`.
pub trait Shared: Send + Sync {
    /// Who this is.
    fn incarnation(&self) -> Incarnation;

    /// Shows the others that this member lives, as durably as any commit, and says how they do. `known` are the sessions of
    /// earlier answers ([`Heard::taken`]) that this member has let go of, with no batch under way that may name them: from now
    /// on the store need not remember that they were taken.
    fn pulse<'a>(&'a self, known: &'a [SessionId]) -> StoreFuture<'a, Heard>;

    /// Declares another incarnation dead, unless its number has moved since it was `seen`. `false` when it had, or when it was
    /// fenced already. Its sessions that were attached are detached from `now` on.
    fn fence(&self, other: Incarnation, seen: u64, now: Timestamp) -> StoreFuture<'_, bool>;

    /// Makes trees of fenced incarnations this member's own, as far as it wants them, the oldest first, and gives all of them
    /// that has not ended, with the credentials that are out. No sessions, no schedules.
    fn adopt<'a>(&'a self, wanted: &'a Wanted) -> StoreFuture<'a, Recovered>;

    /// Makes the session a resume token is good for now this member's own, by the token's SHA-256 [ARCP 6.3-7]. `None` when it
    /// is good for none. Of two members that try with the same token each gets the session, one after the other; the one
    /// that comes to rotate the token has it.
    fn take_session<'a>(&'a self, token: &'a [u8; 32])
    -> StoreFuture<'a, Option<RecoveredSession>>;

    /// Removes the sessions of fenced incarnations whose resume window has passed, and says how many. What is owned is its
    /// owner's to end.
    fn end_left_sessions(&self, now: Timestamp, window: Duration) -> StoreFuture<'_, u64>;
}

/// What a member would take over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// At most so many trees.
    pub most: usize,
    /// Only trees whose jobs are all of agents of these names; `None` means any.
    pub agents: Option<Vec<String>>,
}

impl Wanted {
    /// All there is.
    pub const EVERYTHING: Self = Self {
        most: usize::MAX,
        agents: None,
    };
}

/// What a member hears with its pulse.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    /// The other members that live.
    pub others: Vec<Pulse>,
    /// Whether there may be something to [adopt](Shared::adopt).
    pub orphans: bool,
    /// Sessions that other members took from this one, until it says that it knows.
    pub taken: Vec<SessionId>,
}

/// How another member does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulse {
    /// Its name.
    pub node: Arc<str>,
    /// Who it is.
    pub incarnation: Incarnation,
    /// How often it has shown that it lives.
    pub n: u64,
}
