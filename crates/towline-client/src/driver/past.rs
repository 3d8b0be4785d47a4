//! The past of jobs that a handle joins when they are under way, or over.
//!
//! A second submit with the key of a job of this session, and a subscribe with history to a job this session sees already,
//! give a handle whose events have gone by. The runtime sends them again when it is asked to, behind whatever else of the
//! job is under way: live events, perhaps the end. [`Mailbox`] tells the one from the other; here is the asking.

use std::sync::Arc;

use towline_proto::client::{JobEnd, JobKey, Reply, Request, RequestError};
use towline_wire::JobSeq;

use super::{Driver, LacksPast};
use crate::mailbox::Mailbox;

impl LacksPast {
    /// A handle that has nothing of the job.
    pub(super) const fn from_start(mailbox: Arc<Mailbox>) -> Self {
        Self {
            mailbox,
            after: JobSeq::ZERO,
            end: None,
            tries: 0,
        }
    }

    /// A handle whose job ended before its past came. What was asked for before comes too, perhaps; the end of that is the
    /// end.
    pub(super) fn overtaken(mailbox: Arc<Mailbox>, after: JobSeq, end: &Arc<JobEnd>) -> Self {
        Self {
            mailbox,
            after,
            end: Some(end.clone()),
            tries: 0,
        }
    }

    /// The past does not come, and the handle is told so.
    fn give_up(self) {
        self.mailbox.give_up_past();
        if let Some(end) = self.end {
            self.mailbox.end(end, None);
        }
    }
}

impl Driver {
    /// Asks for what is lacking, once nothing is left to carry out: a subscribe takes a key that is free in the machine, and
    /// effects that are not carried out yet may still mean the job that had it.
    pub(super) fn ask_for_past(&mut self) {
        if !self.effects.is_empty() {
            return;
        }
        for lacks in std::mem::take(&mut self.lack_past) {
            self.ask_for_past_of(lacks);
        }
    }

    fn ask_for_past_of(&mut self, mut lacks: LacksPast) {
        lacks.tries += 1;
        let request = Request::Subscribe {
            job: lacks.mailbox.job().clone(),
            from: (lacks.after > JobSeq::ZERO).then_some(lacks.after),
            history: true,
        };
        let at = self.env.moment();
        match self.session.request(request, at, &mut self.effects) {
            Ok((key, Some(job))) => {
                self.seats.add(job, lacks.mailbox.clone());
                self.asked_past.insert(key, (job, lacks));
            }
            _ => lacks.give_up(),
        }
    }

    pub(super) fn past_answered(&mut self, job: JobKey, lacks: LacksPast, reply: Reply) {
        match reply {
            Reply::Failed(error) => {
                self.seats.remove(job, &lacks.mailbox);
                if may_pass(&error) && lacks.tries < MOST_TRIES {
                    self.lack_past.push(lacks);
                } else {
                    let trouble = self.explain(error);
                    lacks.mailbox.set_trouble(Some(trouble));
                    lacks.give_up();
                }
            }
            Reply::Subscribed(subscribed) => lacks.mailbox.joined(subscribed.subscribed_from),
            _ => {}
        }
    }
}

/// Whether the same request may be answered another time. The runtime sets the pace.
fn may_pass(error: &RequestError) -> bool {
    match error {
        RequestError::Refused(refusal) => refusal.retryable,
        RequestError::Timeout { .. } | RequestError::Disconnected { .. } => true,
        _ => false,
    }
}

const MOST_TRIES: u32 = 16;
