//! How far a job elsewhere was followed, kept so that a later run of ours goes on from there.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep_until};
use towline_runtime::{EventError, JobContext};

/// What a later run has to know.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Followed {
    /// The key of its submit: the same submit once more finds the same job, and hears it from its beginning [ARCP 7.2-1].
    pub(super) key: String,
    /// How many of its events are in our log.
    pub(super) events: u64,
}

/// Counts the events of a job elsewhere. What an earlier run passed on is not passed on again.
pub(super) struct Marks<'j> {
    ctx: &'j JobContext,
    followed: Followed,
    /// How many events came in this run.
    came: u64,
    /// When what was passed on since is kept.
    due: Option<Instant>,
}

impl<'j> Marks<'j> {
    pub(super) const fn new(ctx: &'j JobContext, followed: Followed) -> Self {
        Self {
            ctx,
            followed,
            came: 0,
            due: None,
        }
    }

    /// Notes an event; whether it is news.
    pub(super) fn is_news(&mut self) -> bool {
        self.came += 1;
        let news = self.came > self.followed.events;
        if news {
            self.followed.events = self.came;
            self.due.get_or_insert_with(|| Instant::now() + KEPT_EVERY);
        }
        news
    }

    /// Waits until there is something to keep; for ever when nothing comes. Cancel safe.
    pub(super) async fn due(&self) {
        match self.due {
            Some(due) => sleep_until(due).await,
            None => std::future::pending().await,
        }
    }

    /// Keeps it.
    pub(super) async fn keep(&mut self) -> Result<(), EventError> {
        self.due = None;
        self.ctx.checkpoint(&self.followed).await
    }
}

/// A crash has at most the events of this time passed on twice.
const KEPT_EVERY: Duration = Duration::from_secs(1);
