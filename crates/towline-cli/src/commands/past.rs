//! What has happened to a job: all of it for one that is over, up to now for one that is not.

use towline::{
    client::{ClientError, JobEvent, Subscription},
    wire::JobSeq,
};

/// The past of a job, read event by event.
pub(super) struct Past {
    pub(super) subscription: Subscription,
    seen: JobSeq,
}

impl Past {
    /// What came after an event, of a subscription that gives that.
    pub(super) fn after(subscription: Subscription, seen: JobSeq) -> Self {
        Self { subscription, seen }
    }

    /// Whether the job has ended.
    pub(super) fn is_over(&self) -> bool {
        self.subscription.subscribed().current_status.is_terminal()
    }

    /// The next event, none where the past ends. Cancel safe.
    pub(super) async fn next_event(&mut self) -> Result<Option<JobEvent>, ClientError> {
        let last = self.subscription.subscribed().subscribed_from;
        if !self.is_over() && self.seen >= last {
            return Ok(None);
        }
        let event = self.subscription.next_event().await?;
        if let Some(event) = &event {
            // A runtime that does not count a job's events would be waited for.
            self.seen = event.job_seq().unwrap_or(last).max(self.seen);
        }
        Ok(event)
    }
}
