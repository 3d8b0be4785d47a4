//! The messages that wait for their delivery.

use parking_lot::Mutex;
use tokio::sync::{Notify, futures::Notified};
use towline_proto::webhook::{Bounds, Desk, Next, Post};
use towline_store::{DeliveryRow, Principal};
use towline_wire::Timestamp;

use crate::webhook::{Kept, MOST_WAITING};

/// The desk, and who is told when it changes.
pub(crate) struct WaitingWebhooks {
    desk: Mutex<Desk>,
    news: Notify,
}

impl Default for WaitingWebhooks {
    fn default() -> Self {
        Self {
            desk: Mutex::new(Desk::new(AT_ONCE)),
            news: Notify::new(),
        }
    }
}

impl WaitingWebhooks {
    /// Messages have become durable, or are as an earlier run of the runtime left them.
    pub(crate) fn put(&self, rows: &[DeliveryRow]) {
        if rows.is_empty() {
            return;
        }
        let mut desk = self.desk.lock();
        for row in rows {
            match Kept::of(row) {
                Some(kept) => desk.put(kept.post(row)),
                None => {
                    tracing::error!(target: "towline::webhook", id = %row.id, "a message cannot be read; it is not delivered");
                }
            }
        }
        self.news.notify_waiters();
    }

    /// What is to be done now.
    pub(crate) fn next(&self, now: Timestamp) -> Next {
        self.desk.lock().next(now)
    }

    /// Somebody wants a message delivered once more. `keep` has that written while no try can be over: what is kept of
    /// a try comes either before, or knows of it.
    pub(crate) fn again<T>(&self, post: &Post, keep: impl FnOnce() -> T) -> T {
        let mut desk = self.desk.lock();
        desk.again(&post.line, post.seq);
        keep()
    }

    /// Has what came of a try written by `keep`, which hears whether the message is wanted once more.
    pub(crate) fn keep<T>(&self, post: &Post, keep: impl FnOnce(bool) -> T) -> T {
        let desk = self.desk.lock();
        keep(desk.is_wanted_again(&post.line))
    }

    /// A try is over, and that is durable.
    pub(crate) fn tried(&self, post: Post, now: Timestamp) {
        self.desk.lock().tried(post, now);
        self.news.notify_waiters();
    }

    /// Something changes from now on. Cancel safe.
    pub(crate) fn news(&self) -> Notified<'_> {
        self.news.notified()
    }

    /// Whether a principal has as many messages waiting as it may.
    pub(crate) fn is_full(&self, principal: &Principal) -> bool {
        self.desk.lock().of(principal.as_str()) >= MOST_WAITING
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.desk.lock().len()
    }

    /// Waits until nothing is being tried, and nothing is to be tried now.
    pub(crate) async fn quiet(&self, now: impl Fn() -> Timestamp) {
        loop {
            let news = self.news();
            if self.desk.lock().is_quiet(now()) {
                return;
            }
            news.await;
        }
    }
}

/// How much is tried at once.
const AT_ONCE: Bounds = Bounds {
    all: 64,
    receiver: 4,
};
