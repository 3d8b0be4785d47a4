//! What a client hears while a call waits.

use std::time::Duration;

use rmcp::{
    Peer, RoleServer,
    model::{ProgressNotificationParam, ProgressToken},
};
use tokio::time::Instant;
use towline_wire::{
    Event, EventPayload, Shown,
    event::{Log, Progress, Status},
};

use crate::desk::Entry;

/// The progress of one call: the job's own, or, while it reports none, a step every 10 seconds [ARCP 19-1]. Each is more than
/// the one before, as MCP wants it; a report of the job's that is not is left out.
pub(crate) struct Reports {
    peer: Peer<RoleServer>,
    /// Nobody hears anything without it.
    token: Option<ProgressToken>,
    last: f64,
    /// Whether the job reports progress of its own.
    is_own: bool,
    /// What the job said last.
    message: Option<String>,
    next: Instant,
}

impl Reports {
    pub(crate) fn new(peer: Peer<RoleServer>, token: Option<ProgressToken>) -> Self {
        Self {
            peer,
            token,
            last: 0.0,
            is_own: false,
            message: None,
            next: Instant::now() + STEP,
        }
    }

    /// Waits for the next step; for ever when there is none. Cancel safe.
    pub(crate) async fn due(&self) {
        if self.token.is_none() || self.is_own {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep_until(self.next).await;
    }

    /// A step.
    pub(crate) async fn step(&mut self) {
        self.next = Instant::now() + STEP;
        let message = self.message.clone();
        self.tell(self.last.floor() + 1.0, None, message).await;
    }

    /// The job did something.
    pub(crate) async fn heard(&mut self, entries: &[Entry]) {
        if self.token.is_none() {
            return;
        }
        for entry in entries.iter().filter(|entry| entry.message == "job.event") {
            let Ok(payload) = entry.payload.read::<EventPayload>() else {
                continue;
            };
            match payload.event() {
                Ok(Event::Progress(progress)) => self.own(&progress).await,
                Ok(Event::Log(Log { message, .. })) => self.says(&message),
                Ok(Event::Status(Status { phase, message, .. })) => {
                    self.says(message.as_deref().unwrap_or(&phase));
                }
                _ => {}
            }
        }
    }

    async fn own(&mut self, progress: &Progress) {
        let number = |text: String| text.parse::<f64>().ok();
        let Some(current) = number(progress.current.to_string()) else {
            return;
        };
        if let Some(message) = &progress.message {
            self.says(message);
        }
        if self.is_own && current <= self.last {
            return;
        }
        if current > self.last {
            self.is_own = true;
            let total = progress.total.and_then(|total| number(total.to_string()));
            let message = progress.message.as_deref().map(shown);
            self.tell(current, total, message).await;
        }
    }

    fn says(&mut self, text: &str) {
        self.message = Some(shown(text));
    }

    async fn tell(&mut self, current: f64, total: Option<f64>, message: Option<String>) {
        let Some(token) = &self.token else {
            return;
        };
        self.last = current;
        let mut told = ProgressNotificationParam::new(token.clone(), current);
        told.total = total;
        told.message = message;
        // Whoever went away hears nothing, and needs nothing.
        if let Err(error) = self.peer.notify_progress(told).await {
            tracing::debug!(%error, "progress was not told");
        }
    }
}

fn shown(text: &str) -> String {
    Shown::new(text).at_most(MESSAGE_BYTES).to_string()
}

/// How often a job without progress of its own is said to be at it.
const STEP: Duration = Duration::from_secs(10);

/// The longest message.
const MESSAGE_BYTES: usize = 500;
