//! Connecting again.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use towline_transport::{Transport, TransportError};

use crate::{Backoff, Connecting, Connector, SessionOver};

/// Makes connections after a loss, with growing waits, until the session cannot be resumed any more.
pub(super) struct Dial {
    connector: Option<Arc<dyn Connector>>,
    backoff: Backoff,
    give_up_after: Option<Duration>,
    window: Option<Duration>,
    attempts: u32,
    lost_at: Option<Instant>,
    state: State,
}

enum State {
    Idle,
    Waiting(Instant),
    Dialling(Connecting<'static>),
}

/// What the waiting for a connection gave.
pub(super) enum Dialled {
    /// It is time to try.
    Now,
    /// The try is over.
    Done(Result<Box<dyn Transport>, TransportError>),
}

impl Dial {
    pub(super) fn new(
        connector: Option<Arc<dyn Connector>>,
        backoff: Backoff,
        give_up_after: Option<Duration>,
    ) -> Self {
        Self {
            connector,
            backoff,
            give_up_after,
            window: None,
            attempts: 0,
            lost_at: None,
            state: State::Idle,
        }
    }

    pub(super) const fn can_dial(&self) -> bool {
        self.connector.is_some()
    }

    pub(super) const fn is_busy(&self) -> bool {
        !matches!(self.state, State::Idle)
    }

    /// Plans the next try. Gives the tries so far.
    pub(super) fn schedule(&mut self, random: u64) -> Result<u32, SessionOver> {
        let now = Instant::now();
        let lost_at = *self.lost_at.get_or_insert(now);
        let after = self.give_up_after.or(self.window).unwrap_or(DEFAULT_WINDOW);
        if now - lost_at >= after {
            return Err(SessionOver::GaveUp {
                attempts: self.attempts,
                after,
            });
        }
        self.attempts += 1;
        let until = (now + self.backoff.wait(self.attempts, random)).min(lost_at + after);
        self.state = State::Waiting(until);
        Ok(self.attempts - 1)
    }

    pub(super) fn begin(&mut self) {
        self.state = match self.connector.clone() {
            Some(connector) => State::Dialling(Box::pin(async move { connector.connect().await })),
            None => State::Idle,
        };
    }

    /// A session stands on the connection that was made.
    pub(super) fn succeeded(&mut self, window: Option<Duration>) {
        self.window = window;
        self.attempts = 0;
        self.lost_at = None;
        self.state = State::Idle;
    }

    pub(super) fn stop(&mut self) {
        self.connector = None;
        self.state = State::Idle;
    }

    /// Waits for the time to try, or for the try. Cancel safe. Never returns when idle.
    pub(super) async fn wait(&mut self) -> Dialled {
        match &mut self.state {
            State::Idle => std::future::pending().await,
            State::Waiting(until) => {
                tokio::time::sleep_until(*until).await;
                Dialled::Now
            }
            State::Dialling(connecting) => {
                let done = connecting.await;
                self.state = State::Idle;
                Dialled::Done(done)
            }
        }
    }
}

/// When neither the options nor the runtime say.
const DEFAULT_WINDOW: Duration = Duration::from_secs(600);
