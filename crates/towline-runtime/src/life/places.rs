//! Who runs now and who waits [ARCP 7.1-5].
//!
//! A job begins when it has a place **and** is durable, whichever comes second.

use std::sync::Arc;

use towline_proto::{
    admission::Admission,
    job::{Failure, Outcome},
    refusal::Refusal,
};
use towline_store::Principal;

use crate::hub::Hub;
use crate::job::JobEntry;

/// A job in the queue.
pub(crate) struct Waiting(Arc<JobEntry>);

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Hub {
    /// Takes a place for a job among the running ones, or in the queue. Delegated children take one beyond every limit:
    /// their parents hold one while they wait.
    ///
    /// # Errors
    /// A refusal when not even the queue has room.
    pub(crate) fn claim_place(&self, job: &Arc<JobEntry>) -> Result<(), Refusal> {
        let principal = &job.row.principal;
        if job.row.parent.is_some() {
            self.admission.lock().admit_beyond_limits(principal);
            job.lock().has_place = true;
            return Ok(());
        }
        let admission = self
            .admission
            .lock()
            .admit(principal, Waiting(Arc::clone(job)));
        match admission {
            Admission::Start => job.lock().has_place = true,
            Admission::Queued => {}
            Admission::Full => {
                return Err(Refusal::internal(
                    "the runtime's queue of jobs is full; try again later",
                ));
            }
        }
        Ok(())
    }

    /// The job is durable: it begins as soon as it has a place.
    pub(crate) fn start_accepted(self: &Arc<Self>, job: &Arc<JobEntry>) {
        let has_place = {
            let mut core = job.lock();
            core.is_durable = true;
            core.has_place
        };
        if has_place {
            crate::life::start(self, job);
        }
    }

    /// A job that was kept before the runtime started, and is to run.
    pub(crate) fn admit_recovered(self: &Arc<Self>, job: &Arc<JobEntry>) {
        match self.claim_place(job) {
            Ok(()) => self.start_accepted(job),
            // It was accepted when there was more room.
            Err(refusal) => {
                let outcome = Outcome::Failed(Failure::new(refusal.code, refusal.message));
                crate::life::finish(self, job, outcome);
            }
        }
    }

    /// A job that took a place never came to be.
    pub(crate) fn never_accepted(self: &Arc<Self>, job: &Arc<JobEntry>) {
        job.lock().discard();
        self.give_up_place(job);
    }

    /// Gives up a job's place, in the queue or among the running ones. Does nothing when it has none.
    pub(crate) fn give_up_place(self: &Arc<Self>, job: &Arc<JobEntry>) {
        let had_place = std::mem::take(&mut job.lock().has_place);
        if had_place {
            return self.release_place(&job.row.principal);
        }
        self.admission
            .lock()
            .withdraw(&job.row.principal, &Waiting(Arc::clone(job)));
    }

    /// A place is free: the next ones begin; those whose acceptance is still being committed do when it is.
    fn release_place(self: &Arc<Self>, principal: &Principal) {
        let next = self.admission.lock().release(principal);
        for Waiting(job) in next {
            let is_durable = {
                let mut core = job.lock();
                core.has_place = true;
                core.is_durable
            };
            if is_durable {
                crate::life::start(self, &job);
            }
        }
    }
}
