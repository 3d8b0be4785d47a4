//! Jobs that were delivered without a request.

use std::sync::Arc;

use crate::{JobHandle, shared::Shared};

/// Jobs that nobody has asked for, one after the other; see [`crate::Client::unsolicited_jobs`].
///
/// A job that is not taken keeps its first 256 events (or 256 KiB); when more come, all of them are let go, and the handle
/// that takes it later is told so once ([`crate::ClientError::EventsDropped`]). It never stops the session. Of more than
/// 1024 such jobs the oldest are forgotten.
#[derive(Debug)]
pub struct UnsolicitedJobs {
    shared: Arc<Shared>,
}

impl UnsolicitedJobs {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The next job; `None` once the session is over. Cancel safe.
    pub async fn next(&mut self) -> Option<JobHandle> {
        let seat = self.shared.unclaimed.next(self.shared.buffer).await?;
        Some(JobHandle::new(seat, self.shared.clone()))
    }

    /// The next job, if one is there.
    pub fn try_next(&mut self) -> Option<JobHandle> {
        let seat = self.shared.unclaimed.pop(self.shared.buffer)?;
        Some(JobHandle::new(seat, self.shared.clone()))
    }
}
