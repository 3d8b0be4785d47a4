//! The past of jobs that a handle joins when they are under way, or over.
//!
//! A second submit with the key of a job of this session, and a subscribe with history to a job this session sees already,
//! give a handle whose events have gone by. The runtime sends them again when it is asked to, behind whatever else of the
//! job is under way: live events, the past that another handle asked for, perhaps an end. [`Mailbox`] tells the one from the
//! other; here is the asking, and the waiting.

use std::sync::Arc;

use towline_proto::{
    Dialect,
    client::{JobKey, Reply, Request, RequestError},
};

use super::{Driver, LacksPast};
use crate::mailbox::Mailbox;

impl LacksPast {
    pub(super) const fn new(mailbox: Arc<Mailbox>) -> Self {
        Self { mailbox, tries: 0 }
    }
}

impl Driver {
    /// A job ended, and for these handles that was not the end: they wait on, under the key the job had.
    pub(super) fn wait_on(&mut self, waiting: Vec<Arc<Mailbox>>) {
        for mailbox in waiting {
            let job = self.session.watch_on(mailbox.job());
            self.seats.add(job, mailbox);
        }
    }

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
            from: None,
            history: true,
        };
        let at = self.env.moment();
        match self.session.request(request, at, &mut self.effects) {
            Ok((key, Some(job))) => {
                self.seats.add(job, lacks.mailbox.clone());
                self.asked_past.insert(key, (job, lacks));
            }
            Ok(_) => {}
            Err(error) => self.give_up_past(&lacks.mailbox, error),
        }
    }

    pub(super) fn past_answered(&mut self, job: JobKey, lacks: LacksPast, reply: Reply) {
        match reply {
            Reply::Failed(error) => {
                self.seats.remove(job, &lacks.mailbox);
                if may_pass(&error) && lacks.tries < MOST_TRIES {
                    self.lack_past.push(lacks);
                } else {
                    self.give_up_past(&lacks.mailbox, error);
                }
            }
            Reply::Subscribed(_) if self.history_comes_first() => {
                self.end_past(job, &lacks.mailbox)
            }
            Reply::Subscribed(subscribed) => lacks.mailbox.joined(
                subscribed.subscribed_from,
                subscribed.current_status.is_terminal(),
            ),
            _ => {}
        }
    }

    fn history_comes_first(&self) -> bool {
        self.dialect
            .is_some_and(Dialect::sends_history_before_subscribed)
    }

    /// The answer ends a past that came before it.
    fn end_past(&mut self, job: JobKey, mailbox: &Arc<Mailbox>) {
        if mailbox.past_is_in() {
            self.seats.ended_before(job, mailbox);
        }
    }

    /// The past does not come, and the handle is told why.
    fn give_up_past(&self, mailbox: &Mailbox, error: RequestError) {
        mailbox.give_up_past();
        mailbox.set_trouble(Some(self.explain(error)));
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
