//! How far a job is (§8.2).

use futures_util::future::BoxFuture;
use towline_proto::span::RecordKind;
use towline_wire::{Amount, EventKind, event};

use super::{EventError, JobContext};

impl JobContext {
    /// How far the job is: `ctx.progress(3).of(10).units("files").send().await?`. What is done may pass the total
    /// [ARCP 8-2].
    pub fn progress(&self, current: impl Into<Amount>) -> Progress<'_> {
        Progress {
            ctx: self,
            body: event::Progress {
                current: current.into(),
                total: None,
                units: None,
                message: None,
            },
        }
    }
}

/// A progress event being described.
#[derive(Debug)]
#[must_use = "nothing happens before it is awaited or sent"]
pub struct Progress<'a> {
    ctx: &'a JobContext,
    body: event::Progress,
}

impl<'a> Progress<'a> {
    /// How much there is in all. Default: not known.
    pub fn of(mut self, total: impl Into<Amount>) -> Self {
        self.body.total = Some(total.into());
        self
    }

    /// What is counted. Default: not said.
    pub fn units(mut self, units: impl Into<String>) -> Self {
        self.body.units = Some(units.into());
        self
    }

    /// A word for a person. Default: none.
    pub fn message(mut self, message: impl Into<String>) -> Self {
        self.body.message = Some(message.into());
        self
    }

    /// Adds the event to the log. Awaiting the description itself does the same, for one allocation more.
    ///
    /// # Errors
    /// [`EventError::JobEnded`] when the job has ended; [`EventError::Invalid`] when what is done is negative.
    pub async fn send(self) -> Result<(), EventError> {
        let current = &self.body.current;
        if current.is_negative() {
            return Err(EventError::Invalid(format!(
                "progress: `current` is {current}, it cannot be negative"
            )));
        }
        self.ctx
            .emit_body(RecordKind::Progress, &EventKind::PROGRESS, &self.body)
            .await
    }
}

/// Awaiting progress sends it.
impl<'a> IntoFuture for Progress<'a> {
    type Output = Result<(), EventError>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}
