//! Whether a runtime that shares its store may go on.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use towline_proto::membership::{Pace, Standing};

use super::Hub;

/// When the store last acknowledged that this runtime lives. Whoever is about to do what the world would notice asks here
/// first: others may have declared this runtime dead meanwhile, and have its jobs (a part of 21-8).
///
/// It is a moment and not a flag, so that a process that was stopped finds out on its own clock, before anything tells it.
pub(crate) struct Footing {
    began: Instant,
    /// When the latest acknowledged pulse was asked for; `None` once the footing is lost.
    asked: watch::Sender<Option<Duration>>,
}

impl Footing {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            asked: watch::Sender::new(Some(Duration::ZERO)),
        }
    }

    /// The time since this runtime began.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// A pulse that was asked for then was acknowledged.
    pub(crate) fn acknowledged(&self, asked: Duration) {
        self.asked.send_if_modified(|latest| {
            let moves = latest.is_some();
            *latest = latest.map(|_| asked);
            moves
        });
    }

    /// It is declared dead: it never stands again.
    pub(super) fn lose(&self) {
        self.asked.send_replace(None);
    }

    /// How the runtime stands.
    pub(crate) fn standing(&self) -> Standing {
        let asked = *self.asked.borrow();
        asked.map_or(Standing::Alone, |asked| {
            PACE.standing(self.now().saturating_sub(asked))
        })
    }

    /// Waits until it stands as it is not to stand any more, or at once when it does.
    pub(crate) async fn until(&self, standing: Standing) {
        let after = match standing {
            Standing::Sound => return,
            Standing::Suspended => PACE.suspend,
            Standing::Alone => PACE.leave,
        };
        let mut changes = self.asked.subscribe();
        loop {
            let asked = *changes.borrow_and_update();
            let left = asked.map(|asked| (asked + after).saturating_sub(self.now()));
            let Some(left) = left.filter(|left| !left.is_zero()) else {
                return;
            };
            tokio::select! {
                () = sleep(left) => {}
                // The sender lives in `self`.
                _ = changes.changed() => {}
            }
        }
    }

    async fn sound(&self) {
        let mut changes = self.asked.subscribe();
        while self.standing() != Standing::Sound {
            // The sender lives in `self`.
            let _ = changes.changed().await;
        }
    }
}

impl Hub {
    /// Waits until the runtime may do what the world would notice; at once in one that has its store for itself. For ever in one
    /// that was declared dead: whoever waits is dropped with its agent. Cancel safe.
    pub(crate) async fn sound_footing(&self) {
        if let Some(footing) = &self.footing {
            footing.sound().await;
        }
    }

    /// Whether that would not wait.
    pub(crate) fn is_sound(&self) -> bool {
        let standing = self.footing.as_ref().map(Footing::standing);
        standing.is_none_or(|standing| standing == Standing::Sound)
    }
}

/// How fast everything goes.
pub(crate) const PACE: Pace = Pace::DEFAULT;
